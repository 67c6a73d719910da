#include "folder.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void folder_make(struct folder *folder, const char *parent)
{
    (void)snprintf(folder->path, sizeof(folder->path), "%s/bb-kv-XXXXXX",
                   parent == NULL ? "/tmp" : parent);
    cr_assert_not_null(mkdtemp(folder->path));
}

static void each_file(const struct folder *folder,
                      void (*each)(const char *path, const char *name, const void *arg),
                      const void *arg)
{
    char path[512];
    DIR *dir = opendir(folder->path);
    cr_assert_not_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(path, sizeof(path), "%s/%s", folder->path, entry->d_name);
            each(path, entry->d_name, arg);
        }
    }
    (void)closedir(dir);
}

static void remove_file(const char *path, const char *name, const void *arg)
{
    (void)name;
    (void)arg;
    (void)unlink(path);
}

void folder_remove(const struct folder *folder)
{
    each_file(folder, remove_file, NULL);
    (void)rmdir(folder->path);
}

static void copy_file(const char *path, const char *name, const void *arg)
{
    const struct folder *to = arg;
    char target[512], block[65536];
    (void)snprintf(target, sizeof(target), "%s/%s", to->path, name);
    FILE *in = fopen(path, "rb"), *out = fopen(target, "wb");
    cr_assert(in != NULL && out != NULL);
    for (size_t n = fread(block, 1, sizeof(block), in); n > 0;
         n = fread(block, 1, sizeof(block), in)) {
        cr_assert_eq(fwrite(block, 1, n, out), n);
    }
    (void)fclose(in);
    (void)fclose(out);
}

void folder_copy(const struct folder *from, const struct folder *to)
{
    each_file(from, copy_file, to);
}

/* What the log's files are made of, as libraft gets them. */
#include <criterion/criterion.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define FILE_BYTES (1 << 20)

/* A file as libraft makes it; nothing has its name any more. */
static int make_file(void)
{
    char name[] = "/tmp/bb-blocks-XXXXXX";
    int fd = mkstemp(name);

    cr_assert_geq(fd, 0);
    cr_assert_eq(unlink(name), 0);
    cr_assert_eq(posix_fallocate(fd, 0, FILE_BYTES), 0);
    return fd;
}

/* Of the blocks how many only are reserved; -1: this file system does not say. */
static int count_unwritten(int fd)
{
    size_t size = sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent);
    struct fiemap *map = calloc(1, size);
    int count = 0;

    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_extent_count = 64;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    if (ioctl(fd, FS_IOC_FIEMAP, map) != 0) {
        free(map);
        return -1;
    }
    for (unsigned i = 0; i < map->fm_mapped_extents; i++)
        count += (map->fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0;
    free(map);
    return count;
}

Test(replog, a_file_of_the_log_has_been_written_before_entries_come)
{
    struct stat stat;
    char bytes[4096];
    char zeros[sizeof bytes] = { 0 };

    replog_blocks_start();
    int plain = make_file();
    cr_assert_neq(count_unwritten(plain), 0); /* so the count would see one */
    (void)close(plain);
    int fd = make_file();
    cr_assert_eq(fstat(fd, &stat), 0);
    cr_assert_eq(stat.st_size, FILE_BYTES);
    cr_assert_eq(pread(fd, bytes, sizeof bytes, FILE_BYTES - (off_t)sizeof bytes), sizeof bytes);
    cr_assert_arr_eq(bytes, zeros, sizeof bytes);
    cr_assert_leq(count_unwritten(fd), 0);
    (void)close(fd);
}

Test(replog, what_is_in_a_file_stays_when_more_is_reserved)
{
    char bytes[8] = { 0 };
    int fd = make_file();

    replog_blocks_start();
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(pwrite(fd, "content", 8, 4096), 8);
        cr_assert_eq(posix_fallocate(fd, 0, 2 * FILE_BYTES), 0);
        cr_assert_eq(pread(fd, bytes, 8, 4096), 8);
        cr_assert_str_eq(bytes, "content");
    }
    (void)close(fd);
}

Test(replog, what_cannot_be_reserved_is_told)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_neq(posix_fallocate(fd, 0, FILE_BYTES), 0);
    cr_assert_neq(posix_fallocate(-1, 0, FILE_BYTES), 0);
    (void)close(fd);
}

/* Else libraft would go on to use the one of libc. */
Test(replog, libraft_finds_the_program_s_way_to_reserve)
{
    union {
        void *object;
        int (*function)(int fd, off_t offset, off_t size);
    } found = { .object = dlsym(RTLD_DEFAULT, "posix_fallocate") };
    union {
        void *object;
        int (*function)(int fd, off_t offset, off_t size);
    } next = { .object = dlsym(RTLD_NEXT, "posix_fallocate") };

    cr_assert_eq(found.function, posix_fallocate);
    cr_assert_neq(found.function, next.function);
}

/* A temporary folder per test. */
#ifndef TESTS_KV_FOLDER_H
#define TESTS_KV_FOLDER_H

struct folder {
    char path[128];
};
/* Under `parent`, or /tmp when it is NULL. */
void folder_make(struct folder *folder, const char *parent);
void folder_remove(const struct folder *folder); /* with all that is in it */
void folder_copy(const struct folder *from, const struct folder *to);

#endif

/* The temporary folders of the kv tests. */
#include "kv/folder.c"

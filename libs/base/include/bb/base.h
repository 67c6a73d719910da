/*
 * The vocabulary of all BitBend code: slices, owned buffers, arenas, statuses, assertions and the
 * context that travels with one piece of work.
 *
 * Ownership: a slice borrows, a buf owns, an arena owns all that was allocated from it.
 * Threads: nothing here is shared between threads unless its comment says so.
 */
#ifndef BB_BASE_H
#define BB_BASE_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bb/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#define BB_COUNT_OF(array)             (sizeof(array) / sizeof((array)[0]))

/* ---- assertions: on in every build ---- */

_Noreturn void bb_assert_failed(const char *file, int line, const char *function, const char *text);
#define bb_assert(condition) \
    ((condition) ? (void)0 : bb_assert_failed(__FILE__, __LINE__, __func__, #condition))
#ifdef BB_SLOW_ASSERTS
#define bb_assert_slow(condition) bb_assert(condition)
#else
#define bb_assert_slow(condition) ((void)0)
#endif
#define BB_UNREACHABLE(why) bb_assert_failed(__FILE__, __LINE__, __func__, "unreachable: " why)

/* An object that comes back through a `void *` starts with `uint32_t magic`. */
#define bb_cast(type, pointer, expected)                                                       \
    (bb_assert((pointer) != NULL && *(const uint32_t *)(const void *)(pointer) == (expected)), \
     (type *)(void *)(pointer))

/* ---- numbers that must not be mixed ---- */

/* Commit time in microseconds since 1970: transaction id, transaction time and version at once. */
struct bb_txtime {
    uint64_t us;
};
#define BB_TX(value) ((struct bb_txtime){ .us = (value) })
#define BB_TX_NONE   ((struct bb_txtime){ .us = 0 })
#define BB_TX_MAX    ((struct bb_txtime){ .us = UINT64_MAX })

/* ---- borrowed bytes ---- */

struct bb_slice {
    const uint8_t *data;
    size_t size;
};
#define BB_SLICE_EMPTY ((struct bb_slice){ .data = NULL, .size = 0 })

static inline struct bb_slice bb_slice(const void *data, size_t size)
{
    return (struct bb_slice){ .data = (const uint8_t *)data, .size = size };
}
static inline struct bb_slice bb_slice_str(const char *text)
{
    return bb_slice(text, text == NULL ? 0 : strlen(text));
}
/* Byte order as memcmp; a prefix sorts first. Result < 0, 0, > 0. */
int bb_slice_compare(struct bb_slice a, struct bb_slice b);
bool bb_slice_equal(struct bb_slice a, struct bb_slice b);
bool bb_slice_equal_str(struct bb_slice a, const char *text);
/* The next item of a list with commas, which moves behind it; empty items are passed over. False:
 * the end. */
bool bb_slice_next_item(struct bb_slice *list, struct bb_slice *item);
bool bb_slice_starts_with(struct bb_slice a, struct bb_slice prefix);
/* printf helper: "%.*s", BB_SLICE_ARG(s) */
#define BB_SLICE_ARG(s) (int)(s).size, (const char *)(s).data

/* ---- memory that does not fail: the process stops when memory is gone ---- */

void *bb_alloc(size_t size); /* uninitialised */
void *bb_alloc_zero(size_t count, size_t size);
void *bb_realloc(void *old, size_t size);
void bb_free(void *pointer); /* accepts NULL */
char *bb_strdup(const char *text);
struct bb_slice bb_slice_dup(struct bb_slice from); /* free with bb_free((void *)s.data) */

/* ---- owned, growing bytes ---- */

struct bb_buf {
    uint8_t *data;
    size_t size, capacity;
};
void bb_buf_init(struct bb_buf *buf);
void bb_buf_fini(struct bb_buf *buf);
void bb_buf_clear(struct bb_buf *buf); /* size = 0, keeps the memory */
/* Make room for `more` bytes after size and return where they go; size is unchanged. */
uint8_t *bb_buf_reserve(struct bb_buf *buf, size_t more);
void bb_buf_append(struct bb_buf *buf, const void *data, size_t size);
void bb_buf_append_slice(struct bb_buf *buf, struct bb_slice slice);
void bb_buf_append_str(struct bb_buf *buf, const char *text);
void bb_buf_append_byte(struct bb_buf *buf, uint8_t byte);
void bb_buf_printf(struct bb_buf *buf, const char *format, ...) BB_PRINTF(2, 3);
static inline struct bb_slice bb_buf_slice(const struct bb_buf *buf)
{
    return bb_slice(buf->data, buf->size);
}

/* ---- arena: one request's memory, released at once ---- */

struct bb_arena;
/* `limit` bytes at most (0: no limit). Blocks of the first 16 KB are kept over a reset. */
struct bb_arena *bb_arena_new(size_t limit);
void bb_arena_free(struct bb_arena *arena);
void bb_arena_reset(struct bb_arena *arena);
/* 16-byte aligned; NULL when the limit is reached. */
void *bb_arena_alloc(struct bb_arena *arena, size_t size);
void *bb_arena_zero(struct bb_arena *arena, size_t count, size_t size);
/* Empty slice with data == NULL when the limit is reached and `from` was not empty. */
struct bb_slice bb_arena_dup(struct bb_arena *arena, struct bb_slice from);
char *bb_arena_str(struct bb_arena *arena, struct bb_slice from); /* NUL-terminated copy */
char *bb_arena_printf(struct bb_arena *arena, const char *format, ...) BB_PRINTF(2, 3);
size_t bb_arena_used(const struct bb_arena *arena);

/* ---- the context of one piece of work ---- */

struct bb_env;
struct bb_log;
#define BB_ERROR_MAX 512
struct bb_ctx {
    struct bb_env *env;     /* time, randomness, files; see bb/env.h */
    struct bb_arena *arena; /* memory of this piece of work; may be NULL where not needed */
    struct bb_log *log;     /* see bb/obs.h; NULL: silent */
    uint64_t trace_id;      /* follows a request through all processes; 0: none */
    uint64_t deadline_us;   /* monotonic, by ctx->env; 0: none */
    const volatile bool *is_cancelled; /* NULL: never */
    int status;                        /* of the last bb_fail */
    char error[BB_ERROR_MAX];          /* its text: what happened, where, what to do */
};
/* Remember status and text, return status. The place that knows the reason calls it once. */
int bb_fail(struct bb_ctx *ctx, int status, const char *format, ...) BB_PRINTF(3, 4);
/* strerror that is safe in threads; `text` has room for `size` bytes and is returned. */
const char *bb_strerror(int errnum, char *text, size_t size);

/* ---- intrusive doubly linked list ---- */

struct bb_list {
    struct bb_list *next, *prev;
};
static inline void bb_list_init(struct bb_list *head)
{
    head->next = head->prev = head;
}
static inline bool bb_list_is_empty(const struct bb_list *head)
{
    return head->next == head;
}
static inline void bb_list_push_back(struct bb_list *head, struct bb_list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void bb_list_push_front(struct bb_list *head, struct bb_list *item)
{
    bb_list_push_back(head->next, item);
}
/* Safe on an item that is initialised and in no list. */
static inline void bb_list_remove(struct bb_list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    bb_list_init(item);
}
#define bb_container(pointer, type, member) \
    ((type *)(void *)((uint8_t *)(void *)(pointer)-offsetof(type, member)))
#define bb_list_each(item, head) \
    for (struct bb_list * (item) = (head)->next; (item) != (head); (item) = (item)->next)
#define bb_list_each_safe(item, head)                                                           \
    for (struct bb_list * (item) = (head)->next, *item##_next = (item)->next; (item) != (head); \
         (item) = item##_next, item##_next = (item)->next)

/* ---- integers as bytes ---- */

static inline void bb_put_be32(uint8_t *to, uint32_t v)
{
    to[0] = (uint8_t)(v >> 24);
    to[1] = (uint8_t)(v >> 16);
    to[2] = (uint8_t)(v >> 8);
    to[3] = (uint8_t)v;
}
static inline uint32_t bb_get_be32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}
static inline void bb_put_be64(uint8_t *to, uint64_t v)
{
    bb_put_be32(to, (uint32_t)(v >> 32));
    bb_put_be32(to + 4, (uint32_t)v);
}
static inline uint64_t bb_get_be64(const uint8_t *from)
{
    return (uint64_t)bb_get_be32(from) << 32 | bb_get_be32(from + 4);
}
static inline void bb_put_le32(uint8_t *to, uint32_t v)
{
    memcpy(to, &v, 4);
}
static inline uint32_t bb_get_le32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, 4);
    return v;
}
static inline void bb_put_le64(uint8_t *to, uint64_t v)
{
    memcpy(to, &v, 8);
}
static inline uint64_t bb_get_le64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, 8);
    return v;
}
/* LEB128; at most 10 bytes. Put returns the bytes written; get returns bytes read, 0 if malformed.
 */
size_t bb_varint_put(uint8_t *to, uint64_t v);
size_t bb_varint_get(struct bb_slice from, uint64_t *v);

/* ---- checksums, hashes, text encodings ---- */

uint32_t bb_crc32c(uint32_t seed, const void *data, size_t size); /* seed 0 to start */
/* 64-bit hash with a seed, stable over versions and machines (formats may store it): XXH64. */
uint64_t bb_hash64(struct bb_slice data, uint64_t seed);
/* SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104). */
struct bb_sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
    size_t fill;
};
void bb_sha256_init(struct bb_sha256 *sha);
void bb_sha256_update(struct bb_sha256 *sha, const void *data, size_t size);
void bb_sha256_final(struct bb_sha256 *sha, uint8_t digest[32]);
void bb_sha256(struct bb_slice data, uint8_t digest[32]);
void bb_hmac_sha256(struct bb_slice key, struct bb_slice data, uint8_t digest[32]);
bool bb_equal_constant_time(struct bb_slice a, struct bb_slice b);

/* Standard base64 with padding. Decode refuses anything else (BB_BAD_REQUEST), appends to `to`. */
void bb_base64_append(struct bb_buf *to, struct bb_slice from);
int bb_base64_decode(struct bb_ctx *ctx, struct bb_slice from, struct bb_buf *to);
void bb_hex_append(struct bb_buf *to, struct bb_slice from);
/* BB_BAD_REQUEST on odd length or other characters. */
int bb_hex_decode(struct bb_ctx *ctx, struct bb_slice from, struct bb_buf *to);
bool bb_utf8_is_valid(struct bb_slice text); /* RFC 3629: no surrogates, no overlong forms */

/* ---- threads: the only locks outside libs/rt ---- */

struct bb_mutex;
struct bb_cond;
struct bb_thread;
struct bb_mutex *bb_mutex_new(void);
void bb_mutex_free(struct bb_mutex *mutex);
void bb_mutex_lock(struct bb_mutex *mutex);
void bb_mutex_unlock(struct bb_mutex *mutex);
struct bb_cond *bb_cond_new(void);
void bb_cond_free(struct bb_cond *cond);
void bb_cond_wait(struct bb_cond *cond, struct bb_mutex *mutex);
/* False on timeout. */
bool bb_cond_wait_ms(struct bb_cond *cond, struct bb_mutex *mutex, uint32_t timeout_ms);
void bb_cond_signal(struct bb_cond *cond);
void bb_cond_broadcast(struct bb_cond *cond);
/* `name` is cut at 15 characters; signals are blocked in the thread. Ends the process on failure.
 */
struct bb_thread *bb_thread_start(const char *name, void (*run)(void *arg), void *arg);
void bb_thread_join(struct bb_thread *thread); /* and frees it */

#ifdef __cplusplus
}
#endif

#endif

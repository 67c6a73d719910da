/*
 * Is the file whole? LMDB trusts what it maps: a page that is not what it should be makes it answer
 * wrongly or end the process. Here the file is read page by page, as the newest commit reaches
 * them, and what is wrong is named by its place.
 */
#include <fcntl.h>
#include <unistd.h>

#include "kv.h"

enum {
    PAGE_MAX = 65536,
    PAGE_HEADER = 16, /* own number u64, - u16, flags u16, lower u16, upper u16 */
    NODE_HEADER = 8,  /* low u16, high u16, flags u16, size of the key u16 */
    TREE_BYTES = 48,  /* page size u32, flags u16, depth u16, .., root u64 */
    META_TREES = 40,  /* in a meta page: the list of free pages, the tree of names */
    META_LAST = 136,  /* the last page, the commit */
    IS_BRANCH = 1,
    IS_LEAF = 2,
    IS_OVERFLOW = 4,
    KIND_FLAGS = 0x6f,
    NODE_IS_BIG = 1, /* the value lies in pages of its own */
    NODE_IS_TREE = 2,
    DEPTH_MAX = 64
};
#define MAGIC   0xbeefc0deu
#define NO_PAGE UINT64_MAX

struct walk {
    struct bb_ctx *ctx;
    const char *dir;
    int fd;
    uint64_t file_bytes, last_page, commit;
    uint32_t page_bytes;
};

static unsigned le16(const uint8_t *from)
{
    return from[0] | (unsigned)from[1] << 8;
}

static int damaged(struct walk *walk, uint64_t page, const char *what)
{
    return bb_fail(walk->ctx, BB_CORRUPT,
                   "data.mdb in %s is damaged at byte %" PRIu64 " (page %" PRIu64 "): %s",
                   walk->dir, page * walk->page_bytes, page, what);
}

static bool read_page(const struct walk *walk, uint64_t page, uint8_t *to)
{
    ssize_t done = pread(walk->fd, to, walk->page_bytes, (off_t)(page * walk->page_bytes));
    return done == (ssize_t)walk->page_bytes;
}

/* ---- a tree ---- */

static int walk_page(struct walk *walk, uint64_t page, unsigned depth, bool are_numbers);

static int walk_tree(struct walk *walk, uint64_t page, const uint8_t *tree, bool are_numbers)
{
    uint64_t root = bb_get_le64(tree + TREE_BYTES - 8);
    unsigned depth = le16(tree + 6);

    if (root == NO_PAGE) {
        return BB_OK;
    }
    if (depth == 0 || depth > DEPTH_MAX) {
        return damaged(walk, page, "a tree of impossible depth");
    }
    return walk_page(walk, root, depth, are_numbers);
}

/* A value that has pages of its own: the first one says how many. */
static int check_overflow(struct walk *walk, uint64_t page, uint64_t bytes)
{
    uint8_t head[PAGE_HEADER];

    if (page > walk->last_page ||
        pread(walk->fd, head, sizeof(head), (off_t)(page * walk->page_bytes)) != PAGE_HEADER) {
        return damaged(walk, page, "the file ends before it");
    }
    uint64_t count = bb_get_le32(head + 12);
    if (bb_get_le64(head) != page || (le16(head + 10) & KIND_FLAGS) != IS_OVERFLOW) {
        return damaged(walk, page, "it is not the value that was written there");
    }
    if (count * walk->page_bytes < bytes + PAGE_HEADER || page + count - 1 > walk->last_page ||
        (page + count) * walk->page_bytes > walk->file_bytes) {
        return damaged(walk, page, "a value that is longer than its pages");
    }
    return BB_OK;
}

struct node {
    const uint8_t *data;
    size_t key_bytes;
    uint64_t value_bytes, child;
    unsigned flags;
    bool is_whole;
};

static struct node node_at(const struct walk *walk, const uint8_t *bytes, size_t i, bool is_leaf)
{
    size_t at = le16(bytes + PAGE_HEADER + 2 * i);
    if (at < PAGE_HEADER || at + NODE_HEADER > walk->page_bytes) {
        return (struct node){ .is_whole = false };
    }
    const uint8_t *head = bytes + at;
    struct node node = { .data = head + NODE_HEADER,
                         .key_bytes = le16(head + 6),
                         .value_bytes = bb_get_le32(head),
                         .flags = le16(head + 4) };
    node.child = node.value_bytes | (uint64_t)node.flags << 32;
    uint64_t inside = !is_leaf ? 0 : node.flags & NODE_IS_BIG ? 8 : node.value_bytes;
    node.is_whole = at + NODE_HEADER + node.key_bytes + inside <= walk->page_bytes;
    return node;
}

static int compare(const struct node *a, const struct node *b, bool are_numbers)
{
    if (are_numbers && a->key_bytes == 8 && b->key_bytes == 8) {
        uint64_t x = bb_get_le64(a->data), y = bb_get_le64(b->data);
        return x < y ? -1 : x > y;
    }
    return bb_slice_compare(bb_slice(a->data, a->key_bytes), bb_slice(b->data, b->key_bytes));
}

static int walk_node(struct walk *walk, uint64_t page, unsigned depth, const struct node *node,
                     bool are_numbers)
{
    if (depth > 1) {
        return walk_page(walk, node->child, depth - 1, are_numbers);
    }
    const uint8_t *value = node->data + node->key_bytes;
    if (node->flags & NODE_IS_BIG) {
        return check_overflow(walk, bb_get_le64(value), node->value_bytes);
    }
    if ((node->flags & NODE_IS_TREE) && node->value_bytes == TREE_BYTES) {
        return walk_tree(walk, page, value, false);
    }
    return BB_OK;
}

static int walk_nodes(struct walk *walk, uint64_t page, unsigned depth, bool are_numbers,
                      const uint8_t *bytes)
{
    size_t count = (le16(bytes + 12) - (size_t)PAGE_HEADER) / 2;
    struct node last = { .is_whole = false };
    int rc = BB_OK;

    for (size_t i = 0; i < count && rc == BB_OK; i++) {
        struct node node = node_at(walk, bytes, i, depth == 1);
        if (!node.is_whole) {
            return damaged(walk, page, "an entry that reaches out of it");
        }
        /* The first key of a branch is none: it stands for all that is smaller. */
        if (last.is_whole && compare(&last, &node, are_numbers) >= 0) {
            return damaged(walk, page, "its keys are out of order");
        }
        rc = walk_node(walk, page, depth, &node, are_numbers);
        last = node;
        last.is_whole = depth == 1 || i > 0;
    }
    return rc;
}

static int walk_page(struct walk *walk, uint64_t page, unsigned depth, bool are_numbers)
{
    int rc;

    if (page < 2 || page > walk->last_page) {
        return damaged(walk, page, "a page that the file does not have is named");
    }
    uint8_t *bytes = bb_alloc(walk->page_bytes);
    if (!read_page(walk, page, bytes)) {
        rc = damaged(walk, page, "the file ends before it");
    } else if (bb_get_le64(bytes) != page) {
        rc = damaged(walk, page, "it is not the page that was written there");
    } else if ((le16(bytes + 10) & KIND_FLAGS) != (depth == 1 ? IS_LEAF : IS_BRANCH)) {
        rc = damaged(walk, page, "a page of another kind");
    } else if (le16(bytes + 12) < PAGE_HEADER || le16(bytes + 12) > le16(bytes + 14) ||
               le16(bytes + 14) > walk->page_bytes) {
        rc = damaged(walk, page, "it has impossible bounds");
    } else {
        rc = walk_nodes(walk, page, depth, are_numbers, bytes);
    }
    bb_free(bytes);
    return rc;
}

/* ---- the file ---- */

/* The commit of a meta page; false: it is none. */
static bool read_meta(const struct walk *walk, uint64_t at, uint8_t *meta, uint64_t *commit)
{
    if (pread(walk->fd, meta, META_LAST + 16, (off_t)at) != META_LAST + 16 ||
        bb_get_le32(meta + PAGE_HEADER) != MAGIC) {
        return false;
    }
    uint32_t page_bytes = bb_get_le32(meta + META_TREES);
    *commit = bb_get_le64(meta + META_LAST + 8);
    return page_bytes >= 512 && page_bytes <= PAGE_MAX && (page_bytes & (page_bytes - 1)) == 0;
}

static int walk_file(struct walk *walk)
{
    uint8_t metas[2][META_LAST + 16];
    uint64_t commits[2] = { 0 };

    bool has_first = read_meta(walk, 0, metas[0], &commits[0]);
    uint64_t second_at = has_first ? bb_get_le32(metas[0] + META_TREES) : 4096;
    bool has_second = read_meta(walk, second_at, metas[1], &commits[1]);
    if (!has_first && !has_second) {
        return bb_fail(walk->ctx, BB_CORRUPT,
                       "data.mdb in %s is damaged at byte 0: neither of its first two pages says "
                       "where the data is",
                       walk->dir);
    }
    const uint8_t *meta = metas[has_second && (!has_first || commits[1] > commits[0])];
    walk->page_bytes = bb_get_le32(meta + META_TREES);
    walk->last_page = bb_get_le64(meta + META_LAST);
    int rc = walk_tree(walk, 0, meta + META_TREES, true);
    return rc != BB_OK ? rc : walk_tree(walk, 0, meta + META_TREES + TREE_BYTES, false);
}

int bb_kv_verify(struct bb_ctx *ctx, const char *dir)
{
    struct walk walk = { .ctx = ctx, .dir = dir };
    struct bb_buf path;

    bb_buf_init(&path);
    bb_buf_printf(&path, "%s/data.mdb", dir);
    bb_buf_append_byte(&path, 0);
    walk.fd = open((const char *)path.data, O_RDONLY | O_CLOEXEC);
    bb_buf_fini(&path);
    if (walk.fd < 0) {
        return bb_fail(ctx, BB_NOT_FOUND, "there is no data.mdb in %s that can be read", dir);
    }
    off_t end = lseek(walk.fd, 0, SEEK_END);
    walk.file_bytes = end < 0 ? 0 : (uint64_t)end;
    int rc = walk_file(&walk);
    (void)close(walk.fd); /* nothing was written through it */
    return rc;
}

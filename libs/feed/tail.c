/*
 * Recent records in memory, in blocks that hold them in the form of the file: what is to be written
 * is what is read, and nothing is copied twice. A block's bytes never move or change once appended,
 * so the writing thread may read them while the owner appends behind.
 */
#include "feed_internal.h"

static struct feed_block *block_new(uint64_t prev, size_t needed)
{
    size_t capacity = needed > FEED_BLOCK_BYTES ? needed : FEED_BLOCK_BYTES;
    struct feed_block *block = bb_alloc(sizeof *block + capacity);

    *block = (struct feed_block){ .prev = prev, .last = prev, .capacity = capacity };
    bb_list_init(&block->link);
    return block;
}

void feed_tail_append(struct bb_feed *feed, const struct feed_record *record)
{
    size_t size = FEED_RECORD_HEADER + record->bytes.size;
    struct feed_block *block = NULL;

    if (!bb_list_is_empty(&feed->blocks)) {
        block = bb_container(feed->blocks.prev, struct feed_block, link);
    }
    if (block == NULL || block->capacity - block->size < size) {
        block = block_new(record->prev, size);
        bb_list_push_back(&feed->blocks, &block->link);
        feed->tail_bytes += block->capacity;
    }
    feed_record_encode(record, block->data + block->size);
    block->size += size;
    block->last = record->number;
    feed->unsynced_bytes += size;
}

void feed_tail_trim(struct bb_feed *feed)
{
    while (feed->tail_bytes > feed->tail_bytes_max && feed->blocks.next != feed->blocks.prev) {
        struct feed_block *block = bb_container(feed->blocks.next, struct feed_block, link);
        if (block->written < block->size) {
            break; /* the files do not have it yet */
        }
        bb_list_remove(&block->link);
        feed->tail_bytes -= block->capacity;
        feed->tail_prev = block->last;
        bb_free(block);
    }
}

void feed_tail_free(struct bb_feed *feed)
{
    bb_list_each_safe(item, &feed->blocks) {
        bb_free(bb_container(item, struct feed_block, link));
    }
    bb_list_init(&feed->blocks);
}

/* Records after `after` of one block; false when `each` had enough. */
static bool block_read(const struct feed_block *block, uint64_t after, bb_feed_each_fn *each,
                       void *arg)
{
    size_t at = 0;

    while (at < block->size) {
        const uint8_t *from = block->data + at;
        size_t length = bb_get_le32(from);
        uint64_t tx = bb_get_le64(from + 16), prev = bb_get_le64(from + 24);
        if (tx > after &&
            !each(arg, BB_TX(prev), BB_TX(tx), bb_slice(from + FEED_RECORD_HEADER, length))) {
            return false;
        }
        at += FEED_RECORD_HEADER + length;
    }
    return true;
}

int bb_feed_read(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_txtime after,
                 bb_feed_each_fn *each, void *arg)
{
    struct bb_list *item = &feed->blocks;

    if (after.us >= feed->newest) {
        return BB_OK;
    }
    if (after.us < bb_feed_earliest(feed).us) {
        return bb_fail(ctx, BB_TX_TRUNCATED,
                       "position %" PRIu64 " is older than the feed keeps; start at %" PRIu64
                       " or later",
                       after.us, bb_feed_earliest(feed).us);
    }
    if (after.us < feed->tail_prev) {
        return BB_PENDING;
    }
    /* Cursors are mostly near the end: look from there. */
    while (item->prev != &feed->blocks &&
           bb_container(item->prev, struct feed_block, link)->last > after.us) {
        item = item->prev;
    }
    for (; item != &feed->blocks; item = item->next) {
        if (!block_read(bb_container(item, struct feed_block, link), after.us, each, arg)) {
            break;
        }
    }
    return BB_OK;
}

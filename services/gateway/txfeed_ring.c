#include "txfeed_ring.h"

static struct txfeed_item *item_at(const struct txfeed_ring *ring, size_t index)
{
    return ring->items[(ring->first + index) & (ring->capacity - 1)];
}

static void text_free(struct txfeed_text *text)
{
    bb_http_buffer_release(text->event);
    bb_free(text);
}

static size_t text_size(const struct txfeed_text *text)
{
    return sizeof(*text) + (text->event == NULL ? 0 : text->event->size);
}

static void pop(struct txfeed_ring *ring)
{
    struct txfeed_item *item = item_at(ring, 0);

    ring->bytes -= item->size;
    ring->floor_tx = item->tx;
    ring->first = (ring->first + 1) & (ring->capacity - 1);
    ring->count--;
    while (item->texts != NULL) {
        struct txfeed_text *text = item->texts;

        item->texts = text->next;
        text_free(text);
    }
    bb_free(item);
}

void gateway_txfeed_ring_init(struct txfeed_ring *ring, size_t bytes_max)
{
    *ring = (struct txfeed_ring){ .bytes_max = bytes_max };
}

void gateway_txfeed_ring_fini(struct txfeed_ring *ring)
{
    while (ring->count > 0)
        pop(ring);
    bb_free(ring->items);
}

void gateway_txfeed_ring_clear(struct txfeed_ring *ring, uint64_t tx)
{
    while (ring->count > 0)
        pop(ring);
    ring->floor_tx = tx;
    ring->newest_tx = tx;
}

static void grow(struct txfeed_ring *ring)
{
    size_t capacity = ring->capacity == 0 ? 64 : ring->capacity * 2;
    struct txfeed_item **items = bb_alloc(capacity * sizeof(*items));

    for (size_t i = 0; i < ring->count; i++)
        items[i] = item_at(ring, i);
    bb_free(ring->items);
    ring->items = items;
    ring->capacity = capacity;
    ring->first = 0;
}

void gateway_txfeed_ring_add(struct txfeed_ring *ring, uint64_t prev, uint64_t tx,
                             struct bb_slice bytes)
{
    struct txfeed_item *item = bb_alloc_zero(1, sizeof(*item) + bytes.size);
    uint8_t *copy = (uint8_t *)(item + 1);

    bb_assert(tx > prev);
    if (prev != ring->newest_tx)
        gateway_txfeed_ring_clear(ring, prev);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    item->tx = tx;
    item->prev = prev;
    item->bytes = bb_slice(copy, bytes.size);
    item->size = sizeof(*item) + bytes.size;
    if (ring->count == ring->capacity)
        grow(ring);
    ring->items[(ring->first + ring->count) & (ring->capacity - 1)] = item;
    ring->count++;
    ring->bytes += item->size;
    ring->newest_tx = tx;
    while (ring->bytes > ring->bytes_max && ring->count > 0)
        pop(ring);
}

struct txfeed_item *gateway_txfeed_ring_after(const struct txfeed_ring *ring, uint64_t position)
{
    size_t low = 0;
    size_t high = ring->count;

    if (position < ring->floor_tx)
        return NULL;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (item_at(ring, middle)->tx <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ring->count ? item_at(ring, low) : NULL;
}

struct txfeed_text *gateway_txfeed_ring_text(const struct txfeed_item *item,
                                             const struct txfeed_view *view)
{
    struct txfeed_text *text = item->texts;

    while (text != NULL && text->view != view)
        text = text->next;
    return text;
}

struct txfeed_text *gateway_txfeed_ring_keep(struct txfeed_ring *ring, struct txfeed_item *item,
                                             const struct txfeed_view *view,
                                             struct bb_http_buffer *event, size_t json_at,
                                             size_t json_size)
{
    struct txfeed_text *text = bb_alloc(sizeof(*text));

    *text = (struct txfeed_text){ .next = item->texts,
                                  .view = view,
                                  .event = event,
                                  .json_at = json_at,
                                  .json_size = json_size };
    item->texts = text;
    item->size += text_size(text);
    ring->bytes += text_size(text);
    while (ring->bytes > ring->bytes_max && item_at(ring, 0) != item)
        pop(ring);
    return text;
}

void gateway_txfeed_ring_drop_view(struct txfeed_ring *ring, const struct txfeed_view *view)
{
    for (size_t i = 0; i < ring->count; i++) {
        struct txfeed_item *item = item_at(ring, i);
        struct txfeed_text **link = &item->texts;

        while (*link != NULL && (*link)->view != view)
            link = &(*link)->next;
        if (*link == NULL)
            continue;
        struct txfeed_text *text = *link;
        *link = text->next;
        item->size -= text_size(text);
        ring->bytes -= text_size(text);
        text_free(text);
    }
}

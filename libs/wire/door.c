#include "wire.h"

#include <stdatomic.h>

struct wire_door {
    struct bb_task task; /* in the loop's inbox exactly while `items` is not empty */
    struct bb_loop *loop;
    _Atomic(struct wire_item *) items; /* newest first */
    void (*take)(void *arg, struct wire_item *oldest);
    void *arg;
    bool is_closed; /* owner thread */
};

static struct wire_item *take_all(struct wire_door *door)
{
    struct wire_item *newest = atomic_exchange_explicit(&door->items, NULL, memory_order_acq_rel);
    struct wire_item *oldest = NULL;

    while (newest != NULL) {
        struct wire_item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void run(struct bb_task *task)
{
    struct wire_door *door = bb_container(task, struct wire_door, task);

    if (door->is_closed) {
        bb_free(door);
    } else {
        door->take(door->arg, take_all(door));
    }
}

struct wire_door *wire_door_new(struct bb_loop *loop,
                                void (*take)(void *arg, struct wire_item *oldest), void *arg)
{
    struct wire_door *door = bb_alloc_zero(1, sizeof *door);

    door->task.run = run;
    door->loop = loop;
    door->take = take;
    door->arg = arg;
    return door;
}

void wire_door_push(struct wire_door *door, struct wire_item *item)
{
    struct wire_item *head = atomic_load_explicit(&door->items, memory_order_relaxed);

    do {
        item->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&door->items, &head, item, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (head == NULL)
        bb_loop_post(door->loop, &door->task);
}

struct wire_item *wire_door_close(struct wire_door *door)
{
    struct wire_item *oldest = take_all(door);

    /* Items mean that the task is in the inbox; it runs later, finds us closed and frees. */
    door->is_closed = true;
    if (oldest == NULL)
        bb_free(door);
    return oldest;
}

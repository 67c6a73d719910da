/*
 * Two threads as the two processes of a ring: one writes bytes of a known sequence in pieces of any
 * size, the other one checks them; both sleep when there is nothing to do and are woken as a slot
 * and its supervisor wake each other. A wake-up that is lost ends the test. Meant for MODE=tsan.
 */
#include <stdio.h>

#include "bb/ring.h"

#define CAPACITY 256
#define BYTES    400000u
#define LOST_MS  20000

/* What rings: a doorbell that is rung before its owner sleeps wakes it at once. */
struct bell {
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    bool has_rung;
};

static _Alignas(64) uint8_t memory[1024];
static struct bell writers, readers;

static void bell_init(struct bell *bell)
{
    bell->mutex = bb_mutex_new();
    bell->cond = bb_cond_new();
}

static void bell_fini(struct bell *bell)
{
    bb_cond_free(bell->cond);
    bb_mutex_free(bell->mutex);
}

static void ring(struct bell *bell)
{
    bb_mutex_lock(bell->mutex);
    bell->has_rung = true;
    bb_cond_signal(bell->cond);
    bb_mutex_unlock(bell->mutex);
}

static void wait_for(struct bell *bell)
{
    bb_mutex_lock(bell->mutex);
    while (!bell->has_rung)
        bb_assert(bb_cond_wait_ms(bell->cond, bell->mutex, LOST_MS));
    bell->has_rung = false;
    bb_mutex_unlock(bell->mutex);
}

static uint8_t byte_at(uint64_t at)
{
    return (uint8_t)(at * 31 % 253);
}

static void write_all(void *arg)
{
    struct bb_ring *writer = arg;
    uint8_t piece[CAPACITY * 2];
    uint64_t seed = 1;

    while (writer->at < BYTES) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t size = 1 + (size_t)(seed >> 33) % (sizeof piece - 1), written;
        size = BYTES - writer->at < size ? (size_t)(BYTES - writer->at) : size;
        for (size_t i = 0; i < size; i++)
            piece[i] = byte_at(writer->at + i);
        bb_assert(bb_ring_write(writer, bb_slice(piece, size), &written) == BB_OK);
        if (written > 0 && bb_ring_must_wake_reader(writer))
            ring(&readers);
        if (written < size && bb_ring_wait_for_room(writer))
            wait_for(&writers);
    }
}

static void read_all(struct bb_ring *reader)
{
    struct bb_buf got;

    bb_buf_init(&got);
    for (uint64_t at = 0; at < BYTES;) {
        bb_buf_clear(&got);
        bb_assert(bb_ring_read(reader, &got) == BB_OK);
        for (size_t i = 0; i < got.size; i++)
            bb_assert(got.data[i] == byte_at(at + i));
        at += got.size;
        if (got.size > 0 && bb_ring_must_wake_writer(reader))
            ring(&writers);
        if (at < BYTES && bb_ring_may_sleep(reader)) {
            wait_for(&readers);
            bb_ring_awake(reader);
        }
    }
    bb_buf_fini(&got);
}

int main(void)
{
    struct bb_ring writer, reader;

    bb_assert(bb_ring_memory_size(CAPACITY) <= sizeof memory);
    bb_ring_attach(&writer, memory, CAPACITY);
    bb_ring_attach(&reader, memory, CAPACITY);
    bell_init(&writers);
    bell_init(&readers);
    struct bb_thread *thread = bb_thread_start("writer", write_all, &writer);
    read_all(&reader);
    bb_thread_join(thread);
    bell_fini(&writers);
    bell_fini(&readers);
    (void)puts("ok");
    return 0;
}

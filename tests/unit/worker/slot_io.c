/* The rings to a slot that does not behave. */
#include <criterion/criterion.h>

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slot.h"

#define RING_BYTES  (128u << 10)
#define RING_MEMORY (RING_BYTES + 256)
#define FRAME_BYTES (1u << 20)
#define ROUNDS_MAX  64

struct hostile {
    _Atomic uint64_t *written, *read;
    _Atomic uint32_t *reader_sleeps;
    atomic_bool is_over;
};

/* Makes room for one byte whenever there is none, and wants to be woken for it. */
static void read_byte_by_byte(void *arg)
{
    struct hostile *hostile = arg;
    while (!atomic_load(&hostile->is_over)) {
        uint64_t read = atomic_load(hostile->read);
        atomic_store(hostile->reader_sleeps, 1);
        if (atomic_load(hostile->written) - read == RING_BYTES) {
            atomic_store(hostile->read, read + 1);
        }
    }
}

static void *map_memory(int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    uint8_t capacity[4];
    struct iovec data = { .iov_base = capacity, .iov_len = sizeof(capacity) };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    int memory_fd;
    cr_assert_eq(recvmsg(fd, &message, 0), 4);
    cr_assert_eq(bb_get_le32(capacity), RING_BYTES);
    memcpy(&memory_fd, CMSG_DATA(&control.header), sizeof(int));
    void *memory = mmap(NULL, 2 * RING_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    cr_assert_neq(memory, MAP_FAILED);
    (void)close(memory_fd);
    return memory;
}

static void send_large(struct slot *slot)
{
    static char text[FRAME_BYTES];
    Bb__Proto__SlotReadResults results;
    Bb__Proto__ToSlot message;
    memset(text, 't', sizeof(text) - 1);
    bb__proto__slot_read_results__init(&results);
    bb__proto__to_slot__init(&message);
    results.error = text;
    message.op_case = BB__PROTO__TO_SLOT__OP_READS;
    message.reads = &results;
    worker_slot_send(slot, &message);
}

Test(slot_io, slot_that_reads_byte_by_byte_does_not_keep_the_supervisor, .timeout = 20)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct worker worker = { .ctx = &ctx, .slot_count = 1 };
    struct slot slot = { .magic = SLOT_MAGIC, .worker = &worker };
    int ends[2];
    worker.slots = &slot;
    worker.loop = bb_loop_new(ctx.env, NULL, "test");
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    cr_assert_eq(worker_slot_io_open(&slot, ends[0]), BB_OK);
    uint8_t *memory = map_memory(ends[1]);
    struct hostile hostile = { .written = (void *)memory,
                               .read = (void *)(memory + 64),
                               .reader_sleeps = (void *)(memory + 128) };
    struct bb_thread *thread = bb_thread_start("hostile", read_byte_by_byte, &hostile);
    send_large(&slot);
    for (unsigned turn = 1; turn <= 20; turn++) {
        worker_slots_turn(&worker);
        cr_assert_leq(atomic_load(hostile.written), RING_BYTES + turn * ROUNDS_MAX);
    }
    atomic_store(&hostile.is_over, true);
    bb_thread_join(thread);
    worker_slot_io_close(&slot);
    bb_loop_free(worker.loop);
    (void)close(ends[1]);
    cr_assert_eq(munmap(memory, 2 * RING_MEMORY), 0);
}

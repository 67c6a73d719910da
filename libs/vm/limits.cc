#include "limits.hh"

#include <cstdio>
#include <cstdlib>

#include <unistd.h>

/* What the supervisor reads from the end of a slot. */
enum {
    EXIT_FATAL = 77,
    EXIT_OUT_OF_MEMORY = 78
};

namespace bb
{

bool Allocator::take(size_t length)
{
    size_t used = used_.load(std::memory_order_relaxed);
    do {
        if (length > budget_ || used > budget_ - length) {
            return false;
        }
    } while (!used_.compare_exchange_weak(used, used + length, std::memory_order_relaxed));
    return true;
}

void *Allocator::Allocate(size_t length)
{
    if (!take(length)) {
        return nullptr;
    }
    void *data = calloc(length == 0 ? 1 : length, 1);
    if (data == nullptr) {
        used_.fetch_sub(length, std::memory_order_relaxed);
    }
    return data;
}

void *Allocator::AllocateUninitialized(size_t length)
{
    return Allocate(length);
}

void Allocator::Free(void *data, size_t length)
{
    free(data);
    used_.fetch_sub(length, std::memory_order_relaxed);
}

/* No stdio: the heap may be in any state. */
static void last_words(const char *what, const char *detail)
{
    char line[256];
    int size =
        snprintf(line, sizeof line, "bb_slot: %s: %s\n", what, detail == nullptr ? "" : detail);

    if (size > 0) {
        (void)!write(STDERR_FILENO, line,
                     (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
    }
}

static void on_out_of_memory(const char *location, const v8::OOMDetails &details)
{
    last_words("out of memory", details.detail != nullptr ? details.detail : location);
    _exit(EXIT_OUT_OF_MEMORY);
}

static void on_fatal(const char *location, const char *message)
{
    (void)location;
    last_words("fatal error of V8", message);
    _exit(EXIT_FATAL);
}

/* The first time the script is stopped and gets some room to unwind; a script that goes on growing
 * (one huge allocation) gets more once, then V8 ends the process. */
static size_t on_near_limit(void *data, size_t current, size_t initial)
{
    struct bb_vm *vm = static_cast<struct bb_vm *>(data);
    const size_t step = (size_t)64 << 20;

    if (!vm->is_out_of_memory.exchange(true)) {
        bb_vm_terminate(vm, BB_VM_OUT_OF_MEMORY);
        return current + (initial / 2 > step / 2 ? initial / 2 : step / 2);
    }
    return current < initial + 4 * step ? current + step : current;
}

std::unique_ptr<Allocator> new_allocator(size_t budget)
{
    return std::make_unique<Allocator>(budget);
}

void set_limits(struct bb_vm *vm)
{
    vm->isolate->SetOOMErrorHandler(on_out_of_memory);
    vm->isolate->SetFatalErrorHandler(on_fatal);
    vm->isolate->AddNearHeapLimitCallback(on_near_limit, vm);
}

} // namespace bb

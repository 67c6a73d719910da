/*
 * Memory limits of one isolate: array buffers, the heap, and what happens when V8 gives up.
 */
#ifndef BB_VM_LIMITS_HH
#define BB_VM_LIMITS_HH

#include "vm_internal.hh"

namespace bb
{

/* Array buffers lie outside V8's heap limit; this budget is theirs. Freed on any thread. */
class Allocator : public v8::ArrayBuffer::Allocator
{
  public:
    explicit Allocator(size_t budget) : budget_(budget)
    {
    }
    void *Allocate(size_t length) override;
    void *AllocateUninitialized(size_t length) override;
    void Free(void *data, size_t length) override;

  private:
    bool take(size_t length);
    const size_t budget_;
    std::atomic<size_t> used_{ 0 };
};

} // namespace bb

#endif

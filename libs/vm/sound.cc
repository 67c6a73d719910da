/*
 * Did a function leave something behind that the next one would meet?
 *
 * All built-in objects are frozen but RegExp.prototype, whose fast paths in V8 that would take. So
 * the end of each call compares it (js/harden.js), and to look at the twenty properties one by one
 * costs more than many a function. V8 itself takes a regular expression's fast path by the hidden
 * class of RegExp.prototype alone: whatever is added, taken away, or made another kind of property
 * gives the object another one, and a class that belongs to one object is never used for another.
 * So while it has the hidden class of the start, only the values of its methods are left to
 * compare, and that it has no elements.
 *
 * A full collection may move a hidden class, and a later one may then come to lie where it was: the
 * place is looked at before each full collection, and remembered anew after it. Once it was another
 * one, the long way is taken for good.
 */
#include "vm_internal.hh"

namespace bb
{

/* Where the hidden class of RegExp.prototype lies: the first word of each object of V8's. */
static uintptr_t class_of_regexp(const struct bb_vm *vm)
{
    const v8::HandleScope handles(vm->isolate);
    const v8::Local<v8::Object> object = vm->regexp.Get(vm->isolate);
    uintptr_t tagged, first;

    memcpy(&tagged, *object, sizeof tagged);
    memcpy(&first,
           reinterpret_cast<const void *>(tagged - v8::internal::kHeapObjectTag +
                                          v8::internal::Internals::kHeapObjectMapOffset),
           sizeof first);
    return first;
}

bool is_regexp_class_known(struct bb_vm *vm)
{
    if (vm->regexp_class != 0 && class_of_regexp(vm) != vm->regexp_class) {
        vm->regexp_class = 0;
    }
    return vm->regexp_class != 0;
}

static void before_collection(v8::Isolate *isolate, v8::GCType, v8::GCCallbackFlags, void *)
{
    (void)is_regexp_class_known(vm_of(isolate));
}

static void after_collection(v8::Isolate *isolate, v8::GCType, v8::GCCallbackFlags, void *)
{
    struct bb_vm *vm = vm_of(isolate);

    if (vm->regexp_class != 0) {
        vm->regexp_class = class_of_regexp(vm);
    }
}

void watch_regexp(struct bb_vm *vm)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::Value> constructor, prototype;

    if (!context->Global()->Get(context, str(isolate, "RegExp")).ToLocal(&constructor) ||
        !constructor.As<v8::Object>()
             ->Get(context, str(isolate, "prototype"))
             .ToLocal(&prototype)) {
        return; /* the long way, always */
    }
    vm->regexp.Reset(isolate, prototype.As<v8::Object>());
    vm->regexp_class = class_of_regexp(vm);
    isolate->AddGCPrologueCallback(before_collection, nullptr, v8::kGCTypeMarkSweepCompact);
    isolate->AddGCEpilogueCallback(after_collection, nullptr, v8::kGCTypeMarkSweepCompact);
}

void unwatch_regexp(struct bb_vm *vm)
{
    vm->isolate->RemoveGCPrologueCallback(before_collection, nullptr);
    vm->isolate->RemoveGCEpilogueCallback(after_collection, nullptr);
}

} // namespace bb

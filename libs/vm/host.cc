/*
 * The one door out of the realm: host(op, ...args).
 */
#include "vm_internal.hh"

namespace bb
{

enum {
    HOST_ARGS_MAX = 8,
    HOST_BYTES_MAX = 48 << 20,
    KEPT_BYTES_MAX = 1 << 20
};

/* The arguments behind the op as one array. */
static bool encode_arguments(struct bb_vm *vm, const v8::FunctionCallbackInfo<v8::Value> &info,
                             struct bb_buf *to, std::string *error)
{
    const EncodeOptions options = { "value", true, false, HOST_BYTES_MAX };
    const uint32_t count = (uint32_t)(info.Length() - 1);
    const size_t head = 9 + (size_t)count * 4;

    bb_buf_clear(to);
    memset(bb_buf_reserve(to, head), 0, head);
    to->size = head;
    to->data[0] = BB_TAG_ARRAY;
    bb_put_le32(to->data + 5, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!encode(vm, info[(int)i + 1], options, to, error)) {
            return false;
        }
        bb_put_le32(to->data + 9 + (size_t)i * 4, (uint32_t)(to->size - head));
    }
    bb_put_le32(to->data + 1, (uint32_t)(to->size - 5));
    return true;
}

static void answer_pending(const v8::FunctionCallbackInfo<v8::Value> &info, struct bb_vm_call *call)
{
    v8::Isolate *isolate = info.GetIsolate();
    v8::Local<v8::Promise::Resolver> resolver;

    if (!v8::Promise::Resolver::New(isolate->GetCurrentContext()).ToLocal(&resolver)) {
        return;
    }
    call->tickets.emplace_back(isolate, resolver);
    call->open_ticket_count++;
    info.GetReturnValue().Set(resolver->GetPromise());
}

/* One large document must not hold its memory for ever. */
static void trim(struct bb_buf *buf)
{
    if (buf->capacity > KEPT_BYTES_MAX) {
        bb_buf_fini(buf);
        bb_buf_init(buf);
    }
}

void host_function(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);
    struct bb_vm_call *call = vm->call;
    std::string error;

    if (call == nullptr || call->is_done) {
        throw_error(vm, BB_NOT_AVAILABLE_HERE,
                    "the database can be used while a function runs only");
        return;
    }
    if (info.Length() < 1 || info.Length() > HOST_ARGS_MAX || !info[0]->IsUint32()) {
        throw_error(vm, BB_INTERNAL, "host(op, ...args) takes a number and up to 7 values");
        return;
    }
    /* A getter among the arguments may call the host again: the buffer is this call's own. */
    struct bb_buf arguments = vm->scratch;
    bb_buf_init(&vm->scratch);
    if (!encode_arguments(vm, info, &arguments, &error)) {
        if (!error.empty()) {
            throw_error(vm, BB_NOT_ENCODABLE, error);
        }
    } else {
        const struct bb_vm_ticket ticket = { (call->generation << 32) | call->tickets.size() };
        bb_buf_clear(&vm->answer);
        call->is_host_open = realm_of(isolate->GetCurrentContext())->is_own;
        const int rc = vm->host(call->ctx, call->arg, call, info[0].As<v8::Uint32>()->Value(),
                                bb_buf_slice(&arguments), ticket, &vm->answer);
        v8::Local<v8::Value> value;
        if (rc == BB_PENDING) {
            answer_pending(info, call);
        } else if (rc != BB_OK) {
            throw_error(vm, rc, call->ctx->error);
        } else if (vm->answer.size > 0 && decode(vm, bb_buf_slice(&vm->answer)).ToLocal(&value)) {
            info.GetReturnValue().Set(value);
        }
    }
    bb_buf_fini(&vm->scratch);
    vm->scratch = arguments;
    trim(&vm->scratch);
    trim(&vm->answer);
}

} // namespace bb

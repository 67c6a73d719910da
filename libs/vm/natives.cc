/*
 * What our JavaScript cannot do in JavaScript: the call's clock and chance, text encodings, hashes,
 * clones.
 */
#include "vm_internal.hh"

extern "C" {
#include "digest.h"
#include "wasm.h"
}

namespace bb
{

using Info = v8::FunctionCallbackInfo<v8::Value>;

enum {
    CLONE_BYTES_MAX = 64 << 20,
    RANDOM_BYTES_MAX = 65536,
    WASM_MEMORIES_MAX = 4 /* of 64 MB each: --wasm-max-mem-pages */
};

void set_native(struct bb_vm *vm, v8::Local<v8::Object> object, const char *name,
                v8::FunctionCallback callback)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::Function> function = v8::Function::New(context, callback, v8::Local<v8::Value>(),
                                                         0, v8::ConstructorBehavior::kThrow)
                                           .ToLocalChecked();

    function->SetName(str(isolate, name));
    object->Set(context, str(isolate, name), function).Check();
}

/* xorshift128 (Marsaglia 2003) over the seed of the request: the same on every attempt. */
static uint32_t next_random(struct bb_vm_call *call)
{
    uint32_t *s = call->random;
    const uint32_t t = s[0] ^ (s[0] << 11);

    s[0] = s[1];
    s[1] = s[2];
    s[2] = s[3];
    s[3] = s[3] ^ (s[3] >> 19) ^ t ^ (t >> 8);
    return s[3];
}

static void native_random(const Info &info)
{
    struct bb_vm_call *call = vm_of(info.GetIsolate())->call;
    double number = 0.5;

    if (call != nullptr) {
        const uint64_t high = next_random(call) >> 5, low = next_random(call) >> 6;
        call->saw_random = true;
        number = (double)(high << 26 | low) / 9007199254740992.0;
    }
    info.GetReturnValue().Set(number);
}

/* randomBytes(count): an ArrayBuffer. */
static void native_random_bytes(const Info &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);
    const uint32_t size = info[0]->IsUint32() ? info[0].As<v8::Uint32>()->Value() : 0;

    if (vm->call == nullptr || size > RANDOM_BYTES_MAX) {
        throw_error(vm, BB_NOT_AVAILABLE_HERE,
                    "random bytes: inside of a call, up to 65536 at once");
        return;
    }
    v8::Local<v8::ArrayBuffer> buffer = v8::ArrayBuffer::New(isolate, size);
    uint8_t *bytes = static_cast<uint8_t *>(buffer->Data());
    for (uint32_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(next_random(vm->call) >> 13);
    }
    vm->call->saw_random = true;
    info.GetReturnValue().Set(buffer);
}

static void native_now(const Info &info)
{
    struct bb_vm_call *call = vm_of(info.GetIsolate())->call;

    if (call != nullptr) {
        call->saw_time = true;
    }
    info.GetReturnValue().Set(call == nullptr ? 0.0 : (double)call->now_ms);
}

/* The bytes of an ArrayBuffer or a view of one; false for anything else. */
static bool bytes_of(v8::Local<v8::Value> value, struct bb_slice *bytes)
{
    if (value->IsArrayBuffer()) {
        v8::Local<v8::ArrayBuffer> buffer = value.As<v8::ArrayBuffer>();
        *bytes = bb_slice(buffer->Data(), buffer->ByteLength());
        return true;
    }
    if (value->IsArrayBufferView()) {
        v8::Local<v8::ArrayBufferView> view = value.As<v8::ArrayBufferView>();
        const uint8_t *data = static_cast<const uint8_t *>(view->Buffer()->Data());
        *bytes =
            bb_slice(data == nullptr ? nullptr : data + view->ByteOffset(), view->ByteLength());
        return true;
    }
    return false;
}

static v8::MaybeLocal<v8::ArrayBuffer> new_buffer(v8::Isolate *isolate, struct bb_slice bytes)
{
    std::unique_ptr<v8::BackingStore> store = v8::ArrayBuffer::NewBackingStore(
        isolate, bytes.size, v8::BackingStoreInitializationMode::kZeroInitialized,
        v8::BackingStoreOnFailureMode::kReturnNull);

    if (store == nullptr) {
        isolate->ThrowException(
            v8::Exception::RangeError(str(isolate, "Array buffer allocation failed")));
        return v8::MaybeLocal<v8::ArrayBuffer>();
    }
    if (bytes.size > 0) {
        memcpy(store->Data(), bytes.data, bytes.size);
    }
    return v8::ArrayBuffer::New(isolate, std::move(store));
}

static void return_buffer(const Info &info, struct bb_slice bytes)
{
    v8::Local<v8::ArrayBuffer> buffer;

    if (new_buffer(info.GetIsolate(), bytes).ToLocal(&buffer)) {
        info.GetReturnValue().Set(buffer);
    }
}

/* utf8Encode(well-formed string): an ArrayBuffer. */
static void native_utf8_encode(const Info &info)
{
    struct bb_buf bytes;

    bb_buf_init(&bytes);
    if (info[0]->IsString() && append_utf8(info.GetIsolate(), info[0].As<v8::String>(), &bytes)) {
        return_buffer(info, bb_buf_slice(&bytes));
    }
    bb_buf_fini(&bytes);
}

/* utf8Decode(bytes, isFatal): a string; undefined when fatal and malformed. */
static void native_utf8_decode(const Info &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_slice bytes;
    v8::Local<v8::String> text;

    if (!bytes_of(info[0], &bytes) || (info[1]->IsTrue() && !bb_utf8_is_valid(bytes))) {
        return;
    }
    if (bytes.size == 0) {
        info.GetReturnValue().SetEmptyString();
    } else if (str_of(isolate, bytes).ToLocal(&text)) {
        info.GetReturnValue().Set(text);
    } else {
        isolate->ThrowException(v8::Exception::RangeError(str(isolate, "Invalid string length")));
    }
}

static void hash(const Info &info, uint8_t digest[32], bool *is_good)
{
    struct bb_slice bytes;
    struct bb_buf text;

    bb_buf_init(&text);
    *is_good = true;
    if (bytes_of(info[0], &bytes)) {
        bb_sha256(bytes, digest);
    } else if (info[0]->IsString() &&
               append_utf8(info.GetIsolate(), info[0].As<v8::String>(), &text)) {
        bb_sha256(bb_buf_slice(&text), digest);
    } else {
        *is_good = false;
        throw_error(vm_of(info.GetIsolate()), BB_BAD_ARGUMENTS,
                    "sha256 takes a well-formed string or an ArrayBuffer");
    }
    bb_buf_fini(&text);
}

/* digest(hash, data), hmac(hash, key, data): an ArrayBuffer. `hash` is an enum vm_hash. */
static void native_digest(const Info &info)
{
    struct bb_slice data;
    uint8_t digest[VM_DIGEST_MAX];

    if (info[0]->IsUint32() && bytes_of(info[1], &data)) {
        const enum vm_hash hash = static_cast<enum vm_hash>(info[0].As<v8::Uint32>()->Value());
        return_buffer(info, bb_slice(digest, vm_digest(hash, data, digest)));
    }
}

static void native_hmac(const Info &info)
{
    struct bb_slice key, data;
    uint8_t digest[VM_DIGEST_MAX];

    if (info[0]->IsUint32() && bytes_of(info[1], &key) && bytes_of(info[2], &data)) {
        const enum vm_hash hash = static_cast<enum vm_hash>(info[0].As<v8::Uint32>()->Value());
        return_buffer(info, bb_slice(digest, vm_hmac(hash, key, data, digest)));
    }
}

static void native_sha256_hex(const Info &info)
{
    uint8_t digest[32];
    bool is_good;
    struct bb_buf hex;

    hash(info, digest, &is_good);
    if (is_good) {
        v8::Local<v8::String> text;
        bb_buf_init(&hex);
        bb_hex_append(&hex, bb_slice(digest, sizeof digest));
        if (str_of(info.GetIsolate(), bb_buf_slice(&hex)).ToLocal(&text)) {
            info.GetReturnValue().Set(text);
        }
        bb_buf_fini(&hex);
    }
}

namespace
{

/* Throws a bare string, which js/globals.js makes a DataCloneError of. */
class CloneDelegate : public v8::ValueSerializer::Delegate
{
  public:
    explicit CloneDelegate(v8::Isolate *isolate) : isolate_(isolate)
    {
    }
    void ThrowDataCloneError(v8::Local<v8::String> message) override
    {
        isolate_->ThrowException(message);
    }
    void *ReallocateBufferMemory(void *old, size_t size, size_t *actual) override
    {
        if (size > CLONE_BYTES_MAX) {
            return nullptr;
        }
        *actual = size;
        return realloc(old, size);
    }
    void FreeBufferMemory(void *buffer) override
    {
        free(buffer);
    }

  private:
    v8::Isolate *isolate_;
};

} // namespace

static void native_clone(const Info &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    CloneDelegate delegate(isolate);
    v8::ValueSerializer writer(isolate, &delegate);

    writer.WriteHeader();
    if (!writer.WriteValue(context, info[0]).FromMaybe(false)) {
        return;
    }
    const std::pair<uint8_t *, size_t> bytes = writer.Release();
    v8::ValueDeserializer reader(isolate, bytes.first, bytes.second);
    v8::Local<v8::Value> copy;
    if (reader.ReadHeader(context).FromMaybe(false) && reader.ReadValue(context).ToLocal(&copy)) {
        info.GetReturnValue().Set(copy);
    }
    free(bytes.first);
}

/* wasmHarden(bytes or base64): [ArrayBuffer, memories of an instance]. Throws a bare string. */
static void native_wasm_harden(const Info &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);
    struct bb_ctx *ctx = vm->call == nullptr ? nullptr : vm->call->ctx;
    struct bb_slice bytes;
    struct bb_buf given, code;
    uint32_t memory_count = 0;

    if (ctx == nullptr) {
        throw_error(vm, BB_NOT_AVAILABLE_HERE, "WebAssembly: inside of a call only");
        return;
    }
    bb_buf_init(&given);
    bb_buf_init(&code);
    int rc = BB_OK;
    if (!bytes_of(info[0], &bytes)) {
        const std::string text = utf8_of(isolate, info[0]);
        rc = bb_base64_decode(ctx, bb_slice(text.data(), text.size()), &given);
        bytes = bb_buf_slice(&given);
    }
    rc = rc == BB_OK ? vm_wasm_harden(ctx, bytes, &code, &memory_count) : rc;
    if (rc != BB_OK) {
        isolate->ThrowException(str(isolate, ctx->error));
    } else {
        v8::Local<v8::ArrayBuffer> buffer;
        if (new_buffer(isolate, bb_buf_slice(&code)).ToLocal(&buffer)) {
            v8::Local<v8::Value> answer[] = { buffer,
                                              v8::Integer::NewFromUnsigned(isolate, memory_count) };
            info.GetReturnValue().Set(v8::Array::New(isolate, answer, 2));
        }
    }
    bb_buf_fini(&given);
    bb_buf_fini(&code);
}

/* wasmTake(count): as many memories more belong to this call. */
static void native_wasm_take(const Info &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm_call *call = vm_of(isolate)->call;
    const uint32_t count = info[0]->IsUint32() ? info[0].As<v8::Uint32>()->Value() : 0;

    if (call == nullptr || count > WASM_MEMORIES_MAX - call->wasm_memory_count) {
        isolate->ThrowException(v8::Exception::RangeError(
            str(isolate, "WebAssembly: a call has at most 4 memories; instantiate a module once")));
        return;
    }
    call->wasm_memory_count += count;
}

void install_natives(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    set_native(vm, internals, "random", native_random);
    set_native(vm, internals, "randomBytes", native_random_bytes);
    set_native(vm, internals, "now", native_now);
    set_native(vm, internals, "utf8Encode", native_utf8_encode);
    set_native(vm, internals, "utf8Decode", native_utf8_decode);
    set_native(vm, internals, "digest", native_digest);
    set_native(vm, internals, "hmac", native_hmac);
    set_native(vm, internals, "sha256hex", native_sha256_hex);
    set_native(vm, internals, "clone", native_clone);
    set_native(vm, internals, "wasmHarden", native_wasm_harden);
    set_native(vm, internals, "wasmTake", native_wasm_take);
}

} // namespace bb

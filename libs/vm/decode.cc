/*
 * BBV to JavaScript. Field names become internalised strings that are kept; a field list seen a few
 * times gets a generated object literal, which costs half of setting properties one by one and
 * gives all documents of a table one hidden class.
 */
#include "vm_internal.hh"

namespace bb
{

enum {
    SHAPE_SEEN_MIN = 8,
    SHAPE_FIELDS_MAX = 64
};

static v8::Local<v8::Value> decode_value(struct bb_vm *vm, v8::Local<v8::Context> context,
                                         const uint8_t *data, size_t size, uint32_t depth);

v8::MaybeLocal<v8::String> str_of(v8::Isolate *isolate, struct bb_slice utf8)
{
    return v8::String::NewFromUtf8(isolate, reinterpret_cast<const char *>(utf8.data),
                                   v8::NewStringType::kNormal, (int)utf8.size);
}

bool is_ascii(const uint8_t *data, size_t size)
{
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, data + at, 8);
        if ((word & 0x8080808080808080u) != 0) {
            return false;
        }
    }
    for (; at < size; at++) {
        if (data[at] >= 0x80) {
            return false;
        }
    }
    return true;
}

v8::Local<v8::String> key_string(struct bb_vm *vm, const uint8_t *data, size_t size)
{
    const std::string_view name(reinterpret_cast<const char *>(data), size);
    auto found = vm->keys.find(name);

    if (found != vm->keys.end()) {
        return found->second.Get(vm->isolate);
    }
    v8::Local<v8::String> key;
    if (!v8::String::NewFromUtf8(vm->isolate, name.data(), v8::NewStringType::kInternalized,
                                 (int)size)
             .ToLocal(&key)) {
        key = v8::String::Empty(vm->isolate);
    }
    if (vm->keys.size() < KEY_CACHE_MAX && size <= 64) {
        vm->keys.emplace(name, v8::Global<v8::String>(vm->isolate, key));
    }
    return key;
}

static v8::Local<v8::Value> decode_string(struct bb_vm *vm, const uint8_t *data, size_t size)
{
    v8::Local<v8::String> text;
    v8::MaybeLocal<v8::String> made;

    if (is_ascii(data, size)) {
        made = v8::String::NewFromOneByte(vm->isolate, data, v8::NewStringType::kNormal, (int)size);
    } else {
        made = str_of(vm->isolate, bb_slice(data, size));
    }
    return made.ToLocal(&text) ? text.As<v8::Value>() : v8::Local<v8::Value>();
}

static v8::Local<v8::Value> decode_bytes(struct bb_vm *vm, const uint8_t *data, size_t size)
{
    std::unique_ptr<v8::BackingStore> store = v8::ArrayBuffer::NewBackingStore(
        vm->isolate, size, v8::BackingStoreInitializationMode::kZeroInitialized,
        v8::BackingStoreOnFailureMode::kReturnNull);

    if (store == nullptr) {
        throw_error(vm, BB_READ_LIMIT, "no room for another ArrayBuffer in this function");
        return v8::Local<v8::Value>();
    }
    if (size > 0) {
        memcpy(store->Data(), data, size);
    }
    return v8::ArrayBuffer::New(vm->isolate, std::move(store));
}

static v8::Local<v8::Value> decode_array(struct bb_vm *vm, v8::Local<v8::Context> context,
                                         const uint8_t *data, size_t size, uint32_t depth)
{
    const uint32_t count = bb_get_le32(data + 5);
    const uint8_t *ends = data + 9, *first = ends + (size_t)count * 4;
    v8::LocalVector<v8::Value> items(vm->isolate);
    uint32_t begin = 0;

    bb_assert((size_t)(first - data) <= size);
    items.reserve(count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t end = bb_get_le32(ends + (size_t)i * 4);
        v8::Local<v8::Value> item =
            decode_value(vm, context, first + begin, end - begin, depth + 1);

        if (item.IsEmpty()) {
            return item;
        }
        items.push_back(item);
        begin = end;
    }
    return v8::Array::New(vm->isolate, items.data(), count);
}

/* Where the parts of an encoded object lie. */
struct ObjectParts {
    uint32_t count;
    const uint8_t *ends; /* pairs: name end, value end */
    const uint8_t *names, *values;
};

static ObjectParts parts_of(const uint8_t *data)
{
    ObjectParts parts;
    parts.count = bb_get_le32(data + 5);
    parts.ends = data + 9;
    const uint8_t *heap = parts.ends + (size_t)parts.count * 8;
    parts.names = heap + 4;
    parts.values = parts.names + bb_get_le32(heap);
    return parts;
}

static std::string literal_source(const ObjectParts &parts)
{
    std::string source = "return {";
    uint32_t begin = 0;
    char text[24];

    for (uint32_t i = 0; i < parts.count; i++) {
        const uint32_t end = bb_get_le32(parts.ends + (size_t)i * 8);
        struct bb_buf quoted;
        bb_buf_init(&quoted);
        bb_json_string(&quoted, bb_slice(parts.names + begin, end - begin));
        /* Computed: "__proto__" must be an ordinary field. */
        const bool is_proto = end - begin == 9 && memcmp(parts.names + begin, "__proto__", 9) == 0;
        source += is_proto ? "[" : "";
        source.append(reinterpret_cast<const char *>(quoted.data), quoted.size);
        source += is_proto ? "]" : "";
        snprintf(text, sizeof text, ":a%u,", i);
        source += text;
        bb_buf_fini(&quoted);
        begin = end;
    }
    return source + "}";
}

static bool make_factory(struct bb_vm *vm, v8::Local<v8::Context> context, const ObjectParts &parts,
                         Shape *shape)
{
    v8::Isolate *isolate = vm->isolate;
    const std::string source = literal_source(parts);
    v8::Local<v8::String> text;
    v8::LocalVector<v8::String> names(isolate);
    char name[16];

    for (uint32_t i = 0; i < parts.count; i++) {
        snprintf(name, sizeof name, "a%u", i);
        names.push_back(str(isolate, name));
    }
    if (!v8::String::NewFromUtf8(isolate, source.data(), v8::NewStringType::kNormal,
                                 (int)source.size())
             .ToLocal(&text)) {
        return false;
    }
    v8::ScriptOrigin origin(str(isolate, "bitbend:shape"));
    v8::ScriptCompiler::Source unit(text, origin);
    v8::Local<v8::Function> factory;
    if (!v8::ScriptCompiler::CompileFunction(context, &unit, names.size(), names.data())
             .ToLocal(&factory)) {
        return false;
    }
    shape->factory.Reset(isolate, factory);
    return true;
}

/* Is it the list that `probe` below makes of these names? */
static bool is_list_of(const std::string &list, const ObjectParts &parts)
{
    const size_t names = (size_t)(parts.values - parts.names);

    if (list.size() != names + (size_t)parts.count * 4 ||
        memcmp(list.data(), parts.names, names) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < parts.count; i++) {
        if (memcmp(list.data() + names + (size_t)i * 4, parts.ends + (size_t)i * 8, 4) != 0) {
            return false;
        }
    }
    return true;
}

/* The shape of these names when it is worth a factory. */
static Shape *shape_of(struct bb_vm *vm, v8::Local<v8::Context> context, const ObjectParts &parts)
{
    /* Factories make objects of the realm that calls share. */
    if (parts.count == 0 || parts.count > SHAPE_FIELDS_MAX || !is_home(vm, context)) {
        return nullptr;
    }
    for (auto *recent : vm->recent_shapes) {
        if (recent != nullptr && is_list_of(recent->first, parts)) {
            return &recent->second;
        }
    }
    std::string &probe = vm->shape_probe;
    probe.assign(reinterpret_cast<const char *>(parts.names), (size_t)(parts.values - parts.names));
    for (uint32_t i = 0; i < parts.count; i++) {
        probe.append(reinterpret_cast<const char *>(parts.ends + (size_t)i * 8), 4);
    }
    auto found = vm->shapes.find(probe);
    if (found == vm->shapes.end()) {
        if (vm->shapes.size() < SHAPE_CACHE_MAX) {
            vm->shapes.emplace(probe, Shape{});
        }
        return nullptr;
    }
    Shape *shape = &found->second;
    if (shape->factory.IsEmpty()) {
        if (++shape->seen < SHAPE_SEEN_MIN || !vm->is_open) {
            return nullptr;
        }
        v8::TryCatch quiet(vm->isolate);
        if (!make_factory(vm, context, parts, shape)) {
            shape->seen = 0;
            return nullptr;
        }
    }
    vm->recent_shapes[vm->next_recent_shape++ % BB_COUNT_OF(vm->recent_shapes)] = &*found;
    return shape;
}

static v8::Local<v8::Value> decode_object(struct bb_vm *vm, v8::Local<v8::Context> context,
                                          const uint8_t *data, size_t size, uint32_t depth)
{
    const ObjectParts parts = parts_of(data);
    Shape *shape = shape_of(vm, context, parts);
    v8::Local<v8::Value> values[SHAPE_FIELDS_MAX];
    v8::Local<v8::Object> object;
    uint32_t name_begin = 0, value_begin = 0;

    bb_assert((size_t)(parts.values - data) <= size);
    if (shape == nullptr) {
        object = v8::Object::New(vm->isolate);
    }
    for (uint32_t i = 0; i < parts.count; i++) {
        const uint32_t name_end = bb_get_le32(parts.ends + (size_t)i * 8);
        const uint32_t value_end = bb_get_le32(parts.ends + (size_t)i * 8 + 4);
        v8::Local<v8::Value> item = decode_value(vm, context, parts.values + value_begin,
                                                 value_end - value_begin, depth + 1);
        if (item.IsEmpty()) {
            return item;
        }
        if (shape != nullptr) {
            values[i] = item;
        } else if (object
                       ->CreateDataProperty(
                           context, key_string(vm, parts.names + name_begin, name_end - name_begin),
                           item)
                       .IsNothing()) {
            return v8::Local<v8::Value>();
        }
        name_begin = name_end;
        value_begin = value_end;
    }
    if (shape == nullptr) {
        return object;
    }
    v8::Local<v8::Value> made;
    return shape->factory.Get(vm->isolate)
                   ->Call(context, v8::Undefined(vm->isolate), (int)parts.count, values)
                   .ToLocal(&made)
               ? made
               : v8::Local<v8::Value>();
}

static v8::Local<v8::Value> decode_value(struct bb_vm *vm, v8::Local<v8::Context> context,
                                         const uint8_t *data, size_t size, uint32_t depth)
{
    v8::Isolate *isolate = vm->isolate;
    uint64_t length = 0;
    size_t head;
    double number;

    bb_assert(size > 0 && depth <= BB_VALUE_DEPTH_MAX + 8);
    switch ((enum bb_tag)data[0]) {
    case BB_TAG_UNDEFINED:
        return v8::Undefined(isolate);
    case BB_TAG_NULL:
        return v8::Null(isolate);
    case BB_TAG_INT64:
        return v8::BigInt::New(isolate, (int64_t)bb_get_le64(data + 1));
    case BB_TAG_FLOAT64:
        memcpy(&number, data + 1, 8);
        return v8::Number::New(isolate, number);
    case BB_TAG_FALSE:
        return v8::False(isolate);
    case BB_TAG_TRUE:
        return v8::True(isolate);
    case BB_TAG_STRING:
        head = 1 + bb_varint_get(bb_slice(data + 1, size - 1), &length);
        return decode_string(vm, data + head, (size_t)length);
    case BB_TAG_BYTES:
        head = 1 + bb_varint_get(bb_slice(data + 1, size - 1), &length);
        return decode_bytes(vm, data + head, (size_t)length);
    case BB_TAG_ARRAY:
        return decode_array(vm, context, data, size, depth);
    case BB_TAG_OBJECT:
        return decode_object(vm, context, data, size, depth);
    }
    BB_UNREACHABLE("a value that was not validated");
}

v8::MaybeLocal<v8::Value> decode(struct bb_vm *vm, struct bb_slice value)
{
    v8::EscapableHandleScope handles(vm->isolate);
    v8::Local<v8::Value> made =
        decode_value(vm, vm->isolate->GetCurrentContext(), value.data, value.size, 0);
    return made.IsEmpty() ? v8::MaybeLocal<v8::Value>() : handles.Escape(made);
}

} // namespace bb

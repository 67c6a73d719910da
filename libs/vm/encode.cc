/*
 * JavaScript to BBV: a walk that refuses everything that is no value, and says where it stands.
 * Objects whose list of keys is known by now are read and written as a whole (js/fields.js).
 *
 * Getters of the user's objects may run here: any step can throw, and any object can change between
 * two steps. What is written is what was read once.
 */
#include "vm_internal.hh"

#include <algorithm>

namespace bb
{

namespace
{

const size_t NAME_BYTES_MAX = 1024;
const size_t NAMES_KEPT_MAX = 2048; /* of one list of keys */

struct Place {
    const Place *parent;
    v8::Local<v8::Object> object;
    v8::Local<v8::String> key; /* empty: `name` or `index` */
    uint32_t index;
    std::string_view name; /* data() == nullptr: it is an element */
};

struct Field {
    v8::Local<v8::Value> value;
    v8::Local<v8::String> key;
    size_t name_begin, name_size;
};

class Encoder
{
  public:
    Encoder(struct bb_vm *vm, const EncodeOptions &options, struct bb_buf *to, std::string *error)
        : vm_(vm), isolate_(vm->isolate), context_(vm->isolate->GetCurrentContext()),
          options_(options), to_(to), error_(error)
    {
    }
    bool value(v8::Local<v8::Value> value, const Place *place, uint32_t depth);
    bool take(const Fields &fields, const v8::FunctionCallbackInfo<v8::Value> &info);

  private:
    bool fail(const Place *place, const std::string &text);
    bool string(v8::Local<v8::String> text, const Place *place);
    bool array(v8::Local<v8::Array> array, const Place *place, uint32_t depth);
    bool object(v8::Local<v8::Object> object, const Place *place, uint32_t depth);
    bool listed(v8::Local<v8::Object> object, v8::Local<v8::Array> keys, const Place *place,
                uint32_t depth);
    bool partly(const Fields &fields, const v8::FunctionCallbackInfo<v8::Value> &info);
    bool gather(v8::Local<v8::Object> object, v8::Local<v8::Array> keys, const Place *place);
    bool other(v8::Local<v8::Value> value, const Place *place);
    bool is_plain(v8::Local<v8::Object> object);
    bool is_in_circle(v8::Local<v8::Object> object, const Place *place);
    void le32_at(size_t at, size_t number)
    {
        bb_put_le32(to_->data + at, (uint32_t)number);
    }

    struct bb_vm *vm_;
    v8::Isolate *isolate_;
    v8::Local<v8::Context> context_;
    const EncodeOptions &options_;
    struct bb_buf *to_;
    std::string *error_;
    std::vector<Field> fields_; /* a stack: one stretch for each open object */
    std::string names_;
    /* The object whose fields are asked for. */
    struct {
        v8::Local<v8::Object> object;
        const Place *place;
        uint32_t depth;
    } asked_ = {};
};

std::string place_text(v8::Isolate *isolate, const Place *place, const char *root)
{
    if (place == nullptr) {
        return root;
    }
    std::string text = place_text(isolate, place->parent, root);
    if (place->name.data() != nullptr) {
        return text + "." + std::string(place->name);
    }
    if (place->key.IsEmpty()) {
        return text + "[" + std::to_string(place->index) + "]";
    }
    return text + "." + utf8_of(isolate, place->key);
}

bool Encoder::fail(const Place *place, const std::string &text)
{
    *error_ = place_text(isolate_, place, options_.root) + ": " + text;
    return false;
}

bool Encoder::is_in_circle(v8::Local<v8::Object> object, const Place *place)
{
    for (; place != nullptr; place = place->parent) {
        if (place->object->StrictEquals(object)) {
            return true;
        }
    }
    return false;
}

bool Encoder::is_plain(v8::Local<v8::Object> object)
{
    v8::Local<v8::Value> prototype = object->GetPrototypeV2();
    const Realm *own = vm_->call == nullptr ? nullptr : vm_->call->own.get();
    return prototype->IsNull() ||
           prototype->StrictEquals(vm_->home.object_prototype.Get(isolate_)) ||
           (own != nullptr && prototype->StrictEquals(own->object_prototype.Get(isolate_)));
}

/* What is no value, in words that say what to do. */
bool Encoder::other(v8::Local<v8::Value> value, const Place *place)
{
    if (value->IsFunction()) {
        return fail(place, "a function cannot be stored");
    }
    if (value->IsSymbol()) {
        return fail(place, "a symbol cannot be stored; use a string");
    }
    if (value->IsDate()) {
        return fail(place, "a Date cannot be stored; use a number (date.getTime())");
    }
    if (value->IsMap()) {
        return fail(place, "a Map cannot be stored; use an object (Object.fromEntries(map))");
    }
    if (value->IsSet()) {
        return fail(place, "a Set cannot be stored; use an array ([...set])");
    }
    if (value->IsPromise()) {
        return fail(place, "a Promise cannot be stored; await it first");
    }
    if (value->IsRegExp()) {
        return fail(place, "a RegExp cannot be stored; use its source as a string");
    }
    if (value->IsArrayBufferView()) {
        return fail(place, "a " + utf8_of(isolate_, value.As<v8::Object>()->GetConstructorName()) +
                               " cannot be stored; use an ArrayBuffer (its .buffer)");
    }
    if (value->IsNativeError()) {
        return fail(place, "an Error cannot be stored; use its message");
    }
    if (value->IsProxy()) {
        return fail(place, "a Proxy cannot be stored; copy it to a plain object");
    }
    return fail(place, "an instance of " +
                           utf8_of(isolate_, value.As<v8::Object>()->GetConstructorName()) +
                           " cannot be stored; use a plain object");
}

bool Encoder::string(v8::Local<v8::String> text, const Place *place)
{
    const size_t begin = to_->size;

    bb_buf_append_byte(to_, BB_TAG_STRING);
    /* The size comes first and is known last: leave one byte, move when it needs more. */
    bb_buf_append_byte(to_, 0);
    if (!append_utf8(isolate_, text, to_)) {
        return fail(place, "a string with half of a surrogate pair cannot be stored");
    }
    const size_t size = to_->size - begin - 2;
    uint8_t head[10];
    const size_t head_size = bb_varint_put(head, size);
    if (head_size > 1) {
        (void)bb_buf_reserve(to_, head_size - 1);
        memmove(to_->data + begin + 1 + head_size, to_->data + begin + 2, size);
        to_->size += head_size - 1;
    }
    memcpy(to_->data + begin + 1, head, head_size);
    return true;
}

bool Encoder::array(v8::Local<v8::Array> array, const Place *place, uint32_t depth)
{
    const uint32_t count = array->Length();
    const size_t begin = to_->size;

    if (count > options_.size_max / 5) {
        return fail(place, "an array of " + std::to_string(count) + " elements is too large");
    }
    memset(bb_buf_reserve(to_, 9 + (size_t)count * 4), 0, 9 + (size_t)count * 4);
    to_->size += 9 + (size_t)count * 4;
    to_->data[begin] = BB_TAG_ARRAY;
    le32_at(begin + 5, count);
    const size_t first = to_->size;
    for (uint32_t i = 0; i < count; i++) {
        v8::HandleScope handles(isolate_);
        const Place here = { place, array, v8::Local<v8::String>(), i, {} };
        v8::Local<v8::Value> item;
        if (!array->Get(context_, i).ToLocal(&item)) {
            return false;
        }
        if (item->IsUndefined() && !options_.keeps_undefined) {
            return fail(&here, "undefined in an array cannot be stored; use null");
        }
        if (!value(item, &here, depth + 1)) {
            return false;
        }
        le32_at(begin + 9 + (size_t)i * 4, to_->size - first);
    }
    le32_at(begin + 1, to_->size - begin - 5);
    return true;
}

/* What a client would not take, or take for another value: `{"$integer": ..}` is one of JSON's
 * special values. nullptr: the name is good. */
static const char *trouble_with_name(const char *name, size_t size)
{
    if (size == 0) {
        return "a field name may not be empty";
    }
    if (size > NAME_BYTES_MAX) {
        return "a field name has at most 1,024 characters";
    }
    if (name[0] == '$') {
        return "a field name may not start with `$`";
    }
    const bool is_printable =
        std::all_of(name, name + size, [](char c) { return c >= 32 && c <= 126; });
    return is_printable ? nullptr : "a field name has printable ASCII characters only";
}

/* Pushes the object's fields, sorted by the bytes of their names. */
bool Encoder::gather(v8::Local<v8::Object> object, v8::Local<v8::Array> keys, const Place *place)
{
    const size_t first = fields_.size();
    const uint32_t count = keys->Length();
    for (uint32_t i = 0; i < count; i++) {
        v8::Local<v8::Value> key, item;
        if (!keys->Get(context_, i).ToLocal(&key) || !object->Get(context_, key).ToLocal(&item)) {
            return false;
        }
        if (item->IsUndefined() && !options_.keeps_undefined) {
            continue;
        }
        const size_t begin = names_.size();
        struct bb_buf name;
        bb_buf_init(&name);
        const bool is_good = append_utf8(isolate_, key.As<v8::String>(), &name);
        names_.append(reinterpret_cast<const char *>(name.data), name.size);
        bb_buf_fini(&name);
        if (!is_good) {
            return fail(place, "a field name with half of a surrogate pair cannot be stored");
        }
        const char *const trouble =
            options_.checks_names ? trouble_with_name(names_.data() + begin, names_.size() - begin)
                                  : nullptr;
        if (trouble != nullptr) {
            const Place here = { place, object, key.As<v8::String>(), 0, {} };
            return fail(names_.size() - begin > NAME_BYTES_MAX ? place : &here, trouble);
        }
        fields_.push_back(Field{ item, key.As<v8::String>(), begin, names_.size() - begin });
    }
    const char *names = names_.data();
    std::sort(fields_.begin() + (ptrdiff_t)first, fields_.end(),
              [names](const Field &a, const Field &b) {
                  const size_t size = std::min(a.name_size, b.name_size);
                  const int order = memcmp(names + a.name_begin, names + b.name_begin, size);
                  return order != 0 ? order < 0 : a.name_size < b.name_size;
              });
    return true;
}

/* What `take` is called for: an object of known keys, in one piece. */
bool Encoder::take(const Fields &fields, const v8::FunctionCallbackInfo<v8::Value> &info)
{
    const auto asked = asked_;
    const uint32_t count = (uint32_t)fields.order.size();
    const size_t begin = to_->size;

    for (uint32_t i = 0; i < count && !options_.keeps_undefined; i++) {
        if (info[(int)i + 1]->IsUndefined()) {
            return partly(fields, info);
        }
    }
    bb_buf_append(to_, fields.head.data(), fields.head.size());
    const size_t values = to_->size;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t name = i == 0 ? 0 : fields.ends[i - 1];
        const Place here = { asked.place, asked.object, v8::Local<v8::String>(), 0,
                             std::string_view(fields.names).substr(name, fields.ends[i] - name) };
        if (!value(info[(int)fields.order[i] + 1], &here, asked.depth + 1)) {
            return false;
        }
        le32_at(begin + 9 + (size_t)i * 8 + 4, to_->size - values);
    }
    le32_at(begin + 1, to_->size - begin - 5);
    return true;
}

/* The same without the fields that are undefined. */
bool Encoder::partly(const Fields &fields, const v8::FunctionCallbackInfo<v8::Value> &info)
{
    const auto asked = asked_;
    const size_t begin = to_->size;
    std::vector<uint32_t> present;
    size_t name_bytes = 0;

    for (uint32_t i = 0; i < fields.order.size(); i++) {
        if (!info[(int)fields.order[i] + 1]->IsUndefined()) {
            present.push_back(i);
            name_bytes += fields.ends[i] - (i == 0 ? 0 : fields.ends[i - 1]);
        }
    }
    const size_t head = 9 + present.size() * 8 + 4;
    (void)bb_buf_reserve(to_, head + name_bytes);
    to_->size += head;
    to_->data[begin] = BB_TAG_OBJECT;
    le32_at(begin + 5, present.size());
    le32_at(begin + head - 4, name_bytes);
    for (size_t i = 0; i < present.size(); i++) {
        const uint32_t name = present[i] == 0 ? 0 : fields.ends[present[i] - 1];
        bb_buf_append(to_, fields.names.data() + name, fields.ends[present[i]] - name);
        le32_at(begin + 9 + i * 8, to_->size - begin - head);
    }
    const size_t values = to_->size;
    for (size_t i = 0; i < present.size(); i++) {
        const uint32_t name = present[i] == 0 ? 0 : fields.ends[present[i] - 1];
        const Place here = {
            asked.place, asked.object, v8::Local<v8::String>(), 0,
            std::string_view(fields.names).substr(name, fields.ends[present[i]] - name)
        };
        if (!value(info[(int)fields.order[present[i]] + 1], &here, asked.depth + 1)) {
            return false;
        }
        le32_at(begin + 9 + i * 8 + 4, to_->size - values);
    }
    le32_at(begin + 1, to_->size - begin - 5);
    return true;
}

bool Encoder::object(v8::Local<v8::Object> object, const Place *place, uint32_t depth)
{
    v8::HandleScope handles(isolate_);
    v8::Local<v8::Value> arguments[] = { object }, answer;

    asked_ = { object, place, depth };
    if (!vm_->fields_of.Get(isolate_)
             ->Call(context_, v8::Undefined(isolate_), 1, arguments)
             .ToLocal(&answer)) {
        return false;
    }
    return answer->IsArray() ? listed(object, answer.As<v8::Array>(), place, depth)
                             : answer->IsTrue();
}

bool Encoder::listed(v8::Local<v8::Object> object, v8::Local<v8::Array> keys, const Place *place,
                     uint32_t depth)
{
    const size_t first = fields_.size(), first_name = names_.size(), begin = to_->size;

    if (!gather(object, keys, place)) {
        return false;
    }
    const size_t count = fields_.size() - first, name_bytes = names_.size() - first_name;
    const size_t head = 9 + count * 8 + 4;
    (void)bb_buf_reserve(to_, head + name_bytes);
    to_->size += head;
    to_->data[begin] = BB_TAG_OBJECT;
    le32_at(begin + 5, count);
    le32_at(begin + head - 4, name_bytes);
    for (size_t i = 0; i < count; i++) {
        const Field &field = fields_[first + i];
        bb_buf_append(to_, names_.data() + field.name_begin, field.name_size);
        le32_at(begin + 9 + i * 8, to_->size - begin - head);
    }
    const size_t values = to_->size;
    for (size_t i = 0; i < count; i++) {
        const Field field = fields_[first + i];
        const Place here = { place, object, field.key, 0, {} };
        if (!value(field.value, &here, depth + 1)) {
            return false;
        }
        le32_at(begin + 9 + i * 8 + 4, to_->size - values);
    }
    le32_at(begin + 1, to_->size - begin - 5);
    fields_.resize(first);
    names_.resize(first_name);
    return true;
}

bool Encoder::value(v8::Local<v8::Value> value, const Place *place, uint32_t depth)
{
    uint8_t bytes[9];

    if (to_->size > options_.size_max) {
        return fail(place, "the whole value is larger than " + std::to_string(options_.size_max) +
                               " bytes");
    }
    if (value->IsString()) {
        return string(value.As<v8::String>(), place);
    }
    if (value->IsNumber()) {
        const double number = value.As<v8::Number>()->Value();
        const uint64_t nan = 0x7ff8000000000000u;
        bytes[0] = BB_TAG_FLOAT64;
        memcpy(bytes + 1, number != number ? (const void *)&nan : (const void *)&number, 8);
        bb_buf_append(to_, bytes, 9);
        return true;
    }
    if (value->IsBoolean()) {
        bb_buf_append_byte(to_, value->IsTrue() ? BB_TAG_TRUE : BB_TAG_FALSE);
        return true;
    }
    if (value->IsNull()) {
        bb_buf_append_byte(to_, BB_TAG_NULL);
        return true;
    }
    if (value->IsUndefined()) {
        bb_buf_append_byte(to_, BB_TAG_UNDEFINED);
        return true;
    }
    if (value->IsBigInt()) {
        bool is_lossless = false;
        bytes[0] = BB_TAG_INT64;
        bb_put_le64(bytes + 1, (uint64_t)value.As<v8::BigInt>()->Int64Value(&is_lossless));
        if (!is_lossless) {
            return fail(place, "a bigint outside of int64 (-2^63 to 2^63-1) cannot be stored");
        }
        bb_buf_append(to_, bytes, 9);
        return true;
    }
    if (!value->IsObject()) {
        return other(value, place);
    }
    if (value->IsArrayBuffer()) {
        v8::Local<v8::ArrayBuffer> buffer = value.As<v8::ArrayBuffer>();
        bb_buf_append_byte(to_, BB_TAG_BYTES);
        uint8_t head[10];
        bb_buf_append(to_, head, bb_varint_put(head, buffer->ByteLength()));
        bb_buf_append(to_, buffer->Data(), buffer->ByteLength());
        return true;
    }
    if (is_in_circle(value.As<v8::Object>(), place)) {
        return fail(place, "a circular structure, one that contains itself, cannot be stored");
    }
    if (depth >= BB_VALUE_DEPTH_MAX) {
        return fail(place, "a value of more than 64 levels cannot be stored");
    }
    if (value->IsArray()) {
        return array(value.As<v8::Array>(), place, depth);
    }
    v8::Local<v8::Object> object = value.As<v8::Object>();
    if (value->IsFunction() || value->IsProxy() || value->IsDate() || value->IsNativeError() ||
        !is_plain(object)) {
        return other(value, place);
    }
    return this->object(object, place, depth);
}

} // namespace

static bool append_utf16(const uint16_t *from, size_t count, struct bb_buf *to)
{
    uint8_t *out = bb_buf_reserve(to, count * 3);
    uint8_t *const begin = out;

    for (size_t i = 0; i < count; i++) {
        uint32_t c = from[i];
        if (c < 0x80) {
            *out++ = (uint8_t)c;
            continue;
        }
        if (c < 0x800) {
            *out++ = (uint8_t)(0xc0 | c >> 6);
            *out++ = (uint8_t)(0x80 | (c & 0x3f));
            continue;
        }
        if (c >= 0xd800 && c <= 0xdfff) {
            if (c >= 0xdc00 || i + 1 == count || (from[i + 1] & 0xfc00) != 0xdc00) {
                return false;
            }
            c = 0x10000 + ((c & 0x3ff) << 10) + (from[++i] & 0x3ffu);
            *out++ = (uint8_t)(0xf0 | c >> 18);
            *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        } else {
            *out++ = (uint8_t)(0xe0 | c >> 12);
        }
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    to->size += (size_t)(out - begin);
    return true;
}

static void append_latin1(const uint8_t *from, size_t count, struct bb_buf *to)
{
    if (is_ascii(from, count)) {
        bb_buf_append(to, from, count);
        return;
    }
    uint8_t *out = bb_buf_reserve(to, count * 2);
    uint8_t *const begin = out;

    for (size_t i = 0; i < count; i++) {
        if (from[i] < 0x80) {
            *out++ = from[i];
        } else {
            *out++ = (uint8_t)(0xc0 | from[i] >> 6);
            *out++ = (uint8_t)(0x80 | (from[i] & 0x3f));
        }
    }
    to->size += (size_t)(out - begin);
}

/* False when the text has half of a surrogate pair; then nothing was appended. */
bool append_utf8(v8::Isolate *isolate, v8::Local<v8::String> text, struct bb_buf *to)
{
    v8::String::ValueView view(isolate, text);

    if (view.is_one_byte()) {
        append_latin1(view.data8(), view.length(), to);
        return true;
    }
    return append_utf16(view.data16(), view.length(), to);
}

bool encode(struct bb_vm *vm, v8::Local<v8::Value> value, const EncodeOptions &options,
            struct bb_buf *to, std::string *error)
{
    v8::HandleScope handles(vm->isolate);
    const size_t size = to->size;
    Encoder encoder(vm, options, to, error);
    void *const outer = vm->encoder;

    error->clear();
    vm->encoder = &encoder;
    const bool is_good = encoder.value(value, nullptr, 0);
    vm->encoder = outer;
    if (!is_good) {
        to->size = size;
    }
    return is_good;
}

/* ---- lists of keys ---- */

/* The names in the order of the keys; false: one of them is none that may be stored. */
static bool read_names(v8::Isolate *isolate, v8::Local<v8::Array> keys,
                       std::vector<std::string> *names)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < keys->Length(); i++) {
        v8::Local<v8::Value> key;
        struct bb_buf name;
        bb_buf_init(&name);
        const bool is_text = keys->Get(isolate->GetCurrentContext(), i).ToLocal(&key) &&
                             key->IsString() && append_utf8(isolate, key.As<v8::String>(), &name);
        names->emplace_back(reinterpret_cast<const char *>(name.data), name.size);
        bb_buf_fini(&name);
        bytes += names->back().size();
        if (!is_text || bytes > NAMES_KEPT_MAX ||
            trouble_with_name(names->back().data(), names->back().size()) != nullptr) {
            return false;
        }
    }
    return true;
}

static std::unique_ptr<Fields> make_fields(const std::vector<std::string> &names)
{
    auto made = std::make_unique<Fields>();
    const size_t count = names.size();

    for (uint32_t i = 0; i < count; i++) {
        made->order.push_back(i);
    }
    std::sort(made->order.begin(), made->order.end(),
              [&names](uint32_t a, uint32_t b) { return names[a] < names[b]; });
    made->head.assign(9 + count * 8 + 4, '\0');
    uint8_t *const head = reinterpret_cast<uint8_t *>(made->head.data());
    head[0] = BB_TAG_OBJECT;
    bb_put_le32(head + 5, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        made->names += names[made->order[i]];
        made->ends.push_back((uint32_t)made->names.size());
        bb_put_le32(head + 9 + i * 8, made->ends.back());
    }
    bb_put_le32(head + 9 + count * 8, (uint32_t)made->names.size());
    made->head += made->names;
    return made;
}

/* return (o) => take(7, o["a"], o["b"]); strict: a getter that is not would get hold of the reader
   as its `caller`. */
static std::string reader_source(size_t shape, const std::vector<std::string> &names)
{
    std::string source = "\"use strict\"; return (o) => take(" + std::to_string(shape);

    for (const std::string &name : names) {
        struct bb_buf quoted;
        bb_buf_init(&quoted);
        bb_json_string(&quoted, bb_slice(name.data(), name.size()));
        source += ", o[";
        source.append(reinterpret_cast<const char *>(quoted.data), quoted.size);
        source += "]";
        bb_buf_fini(&quoted);
    }
    return source + ");";
}

static void take(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    struct bb_vm *vm = vm_of(info.GetIsolate());
    const uint32_t shape = info[0].As<v8::Uint32>()->Value();

    bb_assert(vm->encoder != nullptr && shape < vm->fields.size());
    info.GetReturnValue().Set(static_cast<Encoder *>(vm->encoder)->take(*vm->fields[shape], info));
}

/* makeReader(keys): a function of an object, or undefined when the keys need the walk. */
static void make_reader(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    struct bb_vm *vm = vm_of(isolate);
    std::vector<std::string> names;
    v8::Local<v8::Function> taker, maker;
    v8::Local<v8::Value> reader;

    if (!vm->is_open || !read_names(isolate, info[0].As<v8::Array>(), &names)) {
        return;
    }
    const std::string source = reader_source(vm->fields.size(), names);
    v8::TryCatch quiet(isolate);
    v8::Local<v8::String> parameters[] = { str(isolate, "take") };
    v8::ScriptOrigin origin(str(isolate, "bitbend:fields"));
    v8::ScriptCompiler::Source unit(str(isolate, source.c_str()), origin);
    if (!v8::Function::New(context, take, v8::Local<v8::Value>(), 0,
                           v8::ConstructorBehavior::kThrow)
             .ToLocal(&taker) ||
        !v8::ScriptCompiler::CompileFunction(context, &unit, 1, parameters).ToLocal(&maker)) {
        return;
    }
    v8::Local<v8::Value> arguments[] = { taker };
    if (maker->Call(context, v8::Undefined(isolate), 1, arguments).ToLocal(&reader)) {
        vm->fields.push_back(make_fields(names));
        info.GetReturnValue().Set(reader);
    }
}

void install_encoder(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    set_native(vm, internals, "makeReader", make_reader);
}

} // namespace bb

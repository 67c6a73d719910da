/*
 * Documents that pages of scans hold again and again: their bytes, and beside each an object that
 * js/documents.js copies for whoever reads it. What is kept is found by its bytes alone, so it is
 * as fresh as they are, whoever wrote or sent them.
 *
 * A document is kept when it comes a second time. It must be flat, and encoding its object must
 * give its bytes again: then a copy with the same fields is encoded by copying the bytes.
 */
#include "vm_internal.hh"

#include <algorithm>

namespace bb
{

namespace
{

const size_t SIZE_MIN_KEPT = 24;
const size_t SIZE_MAX_KEPT = 4096;
const uint32_t PLACES_MAX = 16384;
const uint32_t BUCKETS = 8192;
const uint32_t SEEN = 16384;
const uint32_t NONE = UINT32_MAX;
const uint32_t GIVEN_MAX = 2048; /* as in js/documents.js */
const uint32_t HEAP_SHARE = 16;  /* bytes of documents: this part of the heap at most */

struct Place {
    uint64_t hash = 0;
    uint32_t size = 0;    /* 0: the place is free */
    uint32_t next = NONE; /* in its bucket */
    uint8_t *bytes = nullptr;
};

/* Beside a place, and close to its neighbours': all that is looked at when it is used. */
struct Mark {
    uint64_t stamp = 0; /* of what is in the place; part of notes */
    uint64_t page = 0;  /* the last one that held it */
};

} // namespace

struct Documents {
    std::vector<Place> places;
    std::vector<Mark> marks;
    std::vector<uint32_t> buckets;
    std::vector<uint32_t> seen;
    std::vector<uint32_t> free;
    size_t bytes = 0;
    uint64_t page_count = 0, keep_count = 0;
    uint64_t old_page = 0; /* when the hand began its round: what was used since stays */
    uint32_t hand = 0;
    bool has_given = false;                                /* to this call */
    int32_t *wanted = nullptr, *given_at = nullptr;        /* js/documents.js sees them, too */
    std::vector<std::shared_ptr<v8::BackingStore>> stores; /* which they lie in */
    v8::Global<v8::Function> keep, page, end_call, elements;
};

static bool is_flat(struct bb_slice document)
{
    if (document.size < SIZE_MIN_KEPT || document.size > SIZE_MAX_KEPT ||
        document.data[0] != BB_TAG_OBJECT) {
        return false;
    }
    const size_t count = bb_value_count(document);
    for (size_t i = 0; i < count; i++) {
        switch (bb_value_tag(bb_value_at(document, i))) {
        case BB_TAG_NULL:
        case BB_TAG_FALSE:
        case BB_TAG_TRUE:
        case BB_TAG_INT64:
        case BB_TAG_FLOAT64:
        case BB_TAG_STRING:
            break;
        case BB_TAG_UNDEFINED:
        case BB_TAG_BYTES:
        case BB_TAG_ARRAY:
        case BB_TAG_OBJECT:
            return false;
        }
    }
    return count > 0;
}

static uint32_t find(const Documents &documents, struct bb_slice document, uint64_t hash)
{
    uint32_t at = documents.buckets[hash % BUCKETS];

    while (at != NONE) {
        const Place &place = documents.places[at];
        if (place.hash == hash && place.size == document.size &&
            memcmp(place.bytes, document.data, document.size) == 0) {
            return at;
        }
        at = place.next;
    }
    return NONE;
}

static void drop(Documents *documents, uint32_t at)
{
    Place *place = &documents->places[at];
    uint32_t *link = &documents->buckets[place->hash % BUCKETS];

    while (*link != at) {
        link = &documents->places[*link].next;
    }
    *link = place->next;
    documents->bytes -= place->size;
    bb_free(place->bytes);
    *place = Place();
    documents->marks[at] = Mark();
    documents->free.push_back(at);
}

/* False: all is of the page that is being made. */
static bool make_room(Documents *documents, size_t bytes_max)
{
    size_t steps = 0;

    while (documents->bytes > bytes_max || documents->free.empty()) {
        if (steps++ > 2 * documents->places.size()) {
            return false;
        }
        if (++documents->hand >= documents->places.size()) {
            documents->hand = 0;
            documents->old_page = documents->page_count - 1;
        }
        if (documents->places[documents->hand].size > 0 &&
            documents->marks[documents->hand].page <= documents->old_page) {
            drop(documents, documents->hand);
        }
    }
    return true;
}

static uint32_t free_place(struct bb_vm *vm, size_t size)
{
    Documents *documents = vm->documents.get();

    if (documents->free.empty() && documents->places.size() < PLACES_MAX) {
        documents->places.emplace_back();
        documents->marks.emplace_back();
        documents->free.push_back((uint32_t)documents->places.size() - 1);
    }
    if (!make_room(documents, vm->heap_bytes / HEAP_SHARE - size)) {
        return NONE;
    }
    const uint32_t at = documents->free.back();
    documents->free.pop_back();
    return at;
}

static bool is_second(Documents *documents, uint64_t hash)
{
    uint32_t *seen = &documents->seen[hash % SEEN];
    const bool is_same = *seen == (uint32_t)(hash >> 32);

    *seen = (uint32_t)(hash >> 32);
    return is_same;
}

/* Encoding a copy must give these bytes. */
static bool is_canonical(struct bb_vm *vm, v8::Local<v8::Value> object, struct bb_slice document)
{
    const EncodeOptions options = { "document", false, true, SIZE_MAX_KEPT };
    struct bb_buf bytes;
    std::string error;

    bb_buf_init(&bytes);
    const bool is_same = encode(vm, object, options, &bytes, &error) &&
                         bb_slice_equal(bb_buf_slice(&bytes), document);
    bb_buf_fini(&bytes);
    return is_same;
}

/* NONE: it is not kept. */
static uint32_t keep(struct bb_vm *vm, v8::Local<v8::Context> context, struct bb_slice document,
                     uint64_t hash)
{
    Documents *documents = vm->documents.get();
    v8::Isolate *isolate = vm->isolate;
    v8::TryCatch quiet(isolate);
    v8::Local<v8::Value> object, is_kept;

    if (document.size > vm->heap_bytes / HEAP_SHARE || !is_flat(document) ||
        !decode(vm, document).ToLocal(&object) || !is_canonical(vm, object, document)) {
        return NONE;
    }
    const uint32_t at = free_place(vm, document.size);
    if (at == NONE) {
        return NONE;
    }
    v8::Local<v8::Value> arguments[] = { v8::Integer::NewFromUnsigned(isolate, at), object };
    if (!documents->keep.Get(isolate)
             ->Call(context, v8::Undefined(isolate), 2, arguments)
             .ToLocal(&is_kept) ||
        !is_kept->IsTrue()) {
        documents->free.push_back(at);
        return NONE;
    }
    Place *place = &documents->places[at];
    uint32_t *bucket = &documents->buckets[hash % BUCKETS];
    place->hash = hash;
    place->size = (uint32_t)document.size;
    place->next = *bucket;
    place->bytes = static_cast<uint8_t *>(bb_alloc(document.size));
    memcpy(place->bytes, document.data, document.size);
    documents->bytes += document.size;
    *bucket = at;
    documents->marks[at].stamp = ++documents->keep_count;
    return at;
}

/* By its note, which says where it was found when it was read before. */
static uint32_t noted(const Documents &documents, const uint64_t *note)
{
    if (note == nullptr || *note == 0) {
        return NONE;
    }
    const uint32_t at = (uint32_t)(*note % PLACES_MAX);
    return documents.marks[at].stamp == *note / PLACES_MAX ? at : NONE;
}

static uint32_t look_up(struct bb_vm *vm, v8::Local<v8::Context> context, struct bb_slice document)
{
    Documents *documents = vm->documents.get();

    if (document.size < SIZE_MIN_KEPT || document.size > SIZE_MAX_KEPT) {
        return NONE;
    }
    const uint64_t hash = bb_hash64(document, 0);
    const uint32_t at = find(*documents, document, hash);
    return at == NONE && is_second(documents, hash) ? keep(vm, context, document, hash) : at;
}

/* A negative number: not kept. */
static int32_t place_of(struct bb_vm *vm, v8::Local<v8::Context> context,
                        const struct bb_document &document)
{
    Documents *documents = vm->documents.get();
    uint32_t at = noted(*documents, document.note);

    if (at == NONE) {
        at = look_up(vm, context, document.bytes);
        if (at == NONE) {
            return -1;
        }
        if (document.note != nullptr) {
            *document.note = documents->marks[at].stamp * PLACES_MAX + at;
        }
    }
    documents->marks[at].page = documents->page_count;
    return (int32_t)at;
}

static v8::MaybeLocal<v8::Value> documents_of(struct bb_vm *vm, v8::Local<v8::Context> context,
                                              const struct bb_vm_page &page)
{
    Documents *documents = vm->documents.get();
    v8::Isolate *isolate = vm->isolate;
    const bool may_keep = is_home(vm, context) && page.count <= BB_VM_PAGE_MAX;
    v8::LocalVector<v8::Value> decoded(isolate);
    v8::Local<v8::Value> item;

    documents->page_count++;
    for (size_t i = 0; i < page.count; i++) {
        const int32_t at = may_keep ? place_of(vm, context, page.documents[i]) : -1;
        if (may_keep) {
            documents->wanted[i] = at;
        }
        if (at < 0 && !decode(vm, page.documents[i].bytes).ToLocal(&item)) {
            return v8::MaybeLocal<v8::Value>();
        }
        if (at < 0) {
            decoded.push_back(item);
        }
    }
    if (decoded.size() == page.count) {
        return v8::Array::New(isolate, decoded.data(), decoded.size());
    }
    documents->has_given = true;
    v8::Local<v8::Value> arguments[] = {
        v8::Integer::NewFromUnsigned(isolate, (uint32_t)page.count),
        v8::Array::New(isolate, decoded.data(), decoded.size()),
    };
    return documents->page.Get(isolate)->Call(context, v8::Undefined(isolate), 2, arguments);
}

v8::MaybeLocal<v8::Value> decode_page(struct bb_vm *vm, const struct bb_vm_page &page)
{
    v8::Isolate *isolate = vm->isolate;
    v8::EscapableHandleScope handles(isolate);
    v8::Local<v8::Value> parts[3];

    if (!documents_of(vm, isolate->GetCurrentContext(), page).ToLocal(&parts[1])) {
        return v8::MaybeLocal<v8::Value>();
    }
    parts[0] = v8::Number::New(isolate, page.scan);
    parts[2] = v8::Boolean::New(isolate, page.is_done);
    return handles.Escape(v8::Array::New(isolate, parts, 3).As<v8::Value>());
}

/* ---- results ---- */

v8::MaybeLocal<v8::Function> document_elements(struct bb_vm *vm)
{
    Documents *documents = vm->documents.get();

    if (!documents->has_given || vm->call == nullptr || vm->call->own != nullptr) {
        return v8::MaybeLocal<v8::Function>();
    }
    return documents->elements.Get(vm->isolate);
}

struct bb_slice document_given(const struct bb_vm *vm, uint32_t number)
{
    const Documents *documents = vm->documents.get();

    bb_assert(number < GIVEN_MAX);
    const Place &place = documents->places.at((size_t)documents->given_at[number]);
    return bb_slice(place.bytes, place.size);
}

void forget_given(struct bb_vm *vm)
{
    Documents *documents = vm->documents.get();
    v8::TryCatch quiet(vm->isolate);

    if (!documents->has_given) {
        return;
    }
    documents->has_given = false;
    std::ignore =
        documents->end_call.Get(vm->isolate)
            ->Call(vm->home.context.Get(vm->isolate), v8::Undefined(vm->isolate), 0, nullptr);
}

/* ---- generated code ---- */

static void append_name(std::string *source, const std::string &name)
{
    struct bb_buf quoted;

    bb_buf_init(&quoted);
    bb_json_string(&quoted, bb_slice(name.data(), name.size()));
    source->append(reinterpret_cast<const char *>(quoted.data), quoted.size);
    bb_buf_fini(&quoted);
}

/* Copies of what is in the places wanted[i..], as far as they have this shape; where it ends. */
static std::string clone_source(const std::vector<std::string> &names)
{
    std::string source = "return (i, size, made) => { for (; i < size; i++) {"
                         "const at = wanted[i]; if (at < 0 || shapes[at] !== shape) break;"
                         "const o = objects[at], copy = {";

    for (const std::string &name : names) {
        append_name(&source, name);
        source += ":o[";
        append_name(&source, name);
        source += "],";
    }
    return source + "}; made.push(copy); note(copy, at); } return i; };";
}

/* Each field is read once, in order. Undefined: all are those of `p`; else the values. Of equal
 * zeros one may be the negative one. */
static std::string same_source(const std::vector<std::string> &names)
{
    std::string source = "return (o, p) => {", tests, values;
    size_t at = 0;

    for (const std::string &name : names) {
        const std::string value = "a" + std::to_string(at++);
        source += "const " + value + "=o[";
        append_name(&source, name);
        source += "];";
        tests += (at > 1 ? "&&" : "") + value + "===p[";
        append_name(&tests, name);
        tests += "]&&(" + value + "!==0||1/" + value + "===1/p[";
        append_name(&tests, name);
        tests += "])";
        values += value + ",";
    }
    return source + "return " + tests + "?undefined:[" + values + "];};";
}

static v8::MaybeLocal<v8::Value> generate(struct bb_vm *vm, const std::string &source,
                                          const std::vector<const char *> &names,
                                          v8::LocalVector<v8::Value> *values)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::LocalVector<v8::String> parameters(isolate);
    v8::ScriptOrigin origin(str(isolate, "bitbend:documents"));
    v8::ScriptCompiler::Source unit(str(isolate, source.c_str()), origin);
    v8::Local<v8::Function> maker;

    for (const char *name : names) {
        parameters.push_back(str(isolate, name));
    }
    if (!v8::ScriptCompiler::CompileFunction(context, &unit, parameters.size(), parameters.data())
             .ToLocal(&maker)) {
        return v8::MaybeLocal<v8::Value>();
    }
    return maker->Call(context, v8::Undefined(isolate), (int)values->size(), values->data());
}

/* makeCloner(shape, keys, [objects, shapes, wanted, note]): gives the shape what works on objects
 * with these keys, or says that they need the walk. */
static void make_cloner(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    struct bb_vm *vm = vm_of(isolate);
    v8::Local<v8::Object> shape = info[0].As<v8::Object>();
    v8::Local<v8::Array> shared = info[2].As<v8::Array>();
    v8::LocalVector<v8::Value> values(isolate), none(isolate);
    std::vector<std::string> names;
    v8::Local<v8::Value> value, clone, same;
    v8::TryCatch quiet(isolate);

    if (!vm->is_open || !read_names(isolate, info[1].As<v8::Array>(), &names) ||
        std::find(names.begin(), names.end(), "__proto__") != names.end()) {
        return;
    }
    for (uint32_t i = 0; i < shared->Length(); i++) {
        if (!shared->Get(context, i).ToLocal(&value)) {
            return;
        }
        values.push_back(value);
    }
    values.push_back(shape);
    if (!generate(vm, clone_source(names), { "objects", "shapes", "wanted", "note", "shape" },
                  &values)
             .ToLocal(&clone) ||
        !generate(vm, same_source(names), {}, &none).ToLocal(&same)) {
        return;
    }
    const uint32_t fields = add_fields(vm, names);
    info.GetReturnValue().Set(
        shape->Set(context, str(isolate, "clone"), clone).FromMaybe(false) &&
        shape->Set(context, str(isolate, "same"), same).FromMaybe(false) &&
        shape->Set(context, str(isolate, "fields"), v8::Integer::NewFromUnsigned(isolate, fields))
            .FromMaybe(false));
}

/* ---- start ---- */

static int32_t *share(struct bb_vm *vm, v8::Local<v8::Object> internals, const char *name,
                      size_t count)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::ArrayBuffer> buffer = v8::ArrayBuffer::New(isolate, count * sizeof(int32_t));

    internals
        ->Set(isolate->GetCurrentContext(), str(isolate, name),
              v8::Int32Array::New(buffer, 0, count))
        .Check();
    vm->documents->stores.push_back(buffer->GetBackingStore());
    return static_cast<int32_t *>(buffer->Data());
}

void install_documents(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    vm->documents = std::make_shared<Documents>();
    vm->documents->buckets.assign(BUCKETS, NONE);
    vm->documents->seen.assign(SEEN, 0);
    vm->documents->wanted = share(vm, internals, "wanted", BB_VM_PAGE_MAX);
    vm->documents->given_at = share(vm, internals, "givenAt", GIVEN_MAX);
    set_native(vm, internals, "makeCloner", make_cloner);
}

bool take_documents(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Value> made;

    return internals->Get(isolate->GetCurrentContext(), str(isolate, "documents")).ToLocal(&made) &&
           take_function(vm, made, "keep", &vm->documents->keep) &&
           take_function(vm, made, "page", &vm->documents->page) &&
           take_function(vm, made, "endCall", &vm->documents->end_call) &&
           take_function(vm, made, "elements", &vm->documents->elements);
}

void close_documents(struct bb_vm *vm)
{
    for (Place &place : vm->documents->places) {
        bb_free(place.bytes);
    }
    vm->documents.reset();
}

} // namespace bb

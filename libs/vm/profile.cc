/*
 * What a call did, in the forms that Chrome DevTools opens: where its time went (.cpuprofile), what
 * it allocated and where (.heapprofile), what is in the heap when it ends (.heapsnapshot). Places
 * are those of the sources that were written.
 */
#include "vm_internal.hh"

#include <v8-profiler.h>

namespace bb
{

enum {
    SAMPLE_US = 100,
    SAMPLES_MAX = 200000,
    ALLOCATION_BYTES = 1024, /* one sample in so many */
    ALLOCATION_DEPTH = 48,
    PROFILE_BYTES_MAX = 40 << 20
};

/* One profile at a time: a slot runs one call. */
struct Profile {
    enum bb_vm_profile kind;
    v8::CpuProfiler *profiler = nullptr;
    v8::ProfilerId id = 0;
};

static void put_text(struct bb_buf *to, const std::string &text)
{
    bb_json_string(to, bb_slice(text.data(), text.size()));
}

/* "callFrame":{..}; lines and columns count from 0 there. */
static void put_frame(struct bb_vm *vm, struct bb_buf *to, const std::string &name,
                      const std::string &script, int script_id, int line, int column)
{
    struct vm_position found = { nullptr, (uint32_t)line, (uint32_t)column };
    const bool is_known = line > 0 && column > 0 &&
                          written_position(vm, script, (uint32_t)line, (uint32_t)column, &found);

    bb_buf_append_str(to, "\"callFrame\":{\"functionName\":");
    put_text(to, name);
    bb_buf_printf(to, ",\"scriptId\":\"%d\",\"url\":", script_id);
    put_text(to, is_known ? found.source : script);
    bb_buf_printf(to, ",\"lineNumber\":%d,\"columnNumber\":%d}", (int)found.line - 1,
                  (int)found.column - 1);
}

/* ---- time ---- */

static void put_cpu_node(struct bb_vm *vm, struct bb_buf *to, const v8::CpuProfileNode *node)
{
    bb_buf_printf(to, "{\"id\":%u,", node->GetNodeId());
    put_frame(vm, to, node->GetFunctionNameStr(), node->GetScriptResourceNameStr(),
              node->GetScriptId(), node->GetLineNumber(), node->GetColumnNumber());
    bb_buf_printf(to, ",\"hitCount\":%u,\"children\":[", node->GetHitCount());
    for (int i = 0; i < node->GetChildrenCount(); i++) {
        bb_buf_printf(to, i == 0 ? "%u" : ",%u", node->GetChild(i)->GetNodeId());
    }
    bb_buf_append_str(to, "]}");
    for (int i = 0; i < node->GetChildrenCount(); i++) {
        bb_buf_append_byte(to, ',');
        put_cpu_node(vm, to, node->GetChild(i));
    }
}

static void put_cpu_profile(struct bb_vm *vm, struct bb_buf *to, const v8::CpuProfile *profile)
{
    const int count = profile->GetSamplesCount();
    int64_t last = profile->GetStartTime();

    bb_buf_append_str(to, "{\"nodes\":[");
    put_cpu_node(vm, to, profile->GetTopDownRoot());
    bb_buf_printf(to, "],\"startTime\":%lld,\"endTime\":%lld,\"samples\":[", (long long)last,
                  (long long)profile->GetEndTime());
    for (int i = 0; i < count; i++) {
        bb_buf_printf(to, i == 0 ? "%u" : ",%u", profile->GetSample(i)->GetNodeId());
    }
    bb_buf_append_str(to, "],\"timeDeltas\":[");
    for (int i = 0; i < count; i++) {
        const int64_t now = profile->GetSampleTimestamp(i);
        bb_buf_printf(to, i == 0 ? "%lld" : ",%lld", (long long)(now - last));
        last = now;
    }
    bb_buf_append_str(to, "]}");
}

/* ---- allocations ---- */

static void put_allocation_node(struct bb_vm *vm, struct bb_buf *to,
                                const v8::AllocationProfile::Node *node)
{
    size_t bytes = 0;

    for (const v8::AllocationProfile::Allocation &allocation : node->allocations) {
        bytes += allocation.size * allocation.count;
    }
    bb_buf_append_byte(to, '{');
    put_frame(vm, to, utf8_of(vm->isolate, node->name), utf8_of(vm->isolate, node->script_name),
              node->script_id, node->line_number, node->column_number);
    bb_buf_printf(to, ",\"selfSize\":%zu,\"id\":%u,\"children\":[", bytes, node->node_id);
    for (size_t i = 0; i < node->children.size(); i++) {
        if (i > 0) {
            bb_buf_append_byte(to, ',');
        }
        put_allocation_node(vm, to, node->children[i]);
    }
    bb_buf_append_str(to, "]}");
}

static void put_heap_profile(struct bb_vm *vm, struct bb_buf *to)
{
    std::unique_ptr<v8::AllocationProfile> profile(
        vm->isolate->GetHeapProfiler()->GetAllocationProfile());
    bool is_first = true;

    if (profile == nullptr) {
        return;
    }
    bb_buf_append_str(to, "{\"head\":");
    put_allocation_node(vm, to, profile->GetRootNode());
    bb_buf_append_str(to, ",\"samples\":[");
    for (const v8::AllocationProfile::Sample &sample : profile->GetSamples()) {
        bb_buf_printf(to, "%s{\"size\":%zu,\"nodeId\":%u,\"ordinal\":%llu}", is_first ? "" : ",",
                      sample.size * sample.count, sample.node_id,
                      (unsigned long long)sample.sample_id);
        is_first = false;
    }
    bb_buf_append_str(to, "]}");
}

/* ---- the heap ---- */

namespace
{

class BufferStream : public v8::OutputStream
{
  public:
    explicit BufferStream(struct bb_buf *to) : to_(to)
    {
    }
    int GetChunkSize() override
    {
        return 1 << 16;
    }
    void EndOfStream() override
    {
    }
    WriteResult WriteAsciiChunk(char *data, int size) override
    {
        bb_buf_append(to_, data, (size_t)size);
        return to_->size > PROFILE_BYTES_MAX ? kAbort : kContinue;
    }

  private:
    struct bb_buf *to_;
};

} // namespace

static bool written_place(void *arg, uint32_t script_id, uint32_t line, uint32_t column,
                          struct vm_position *found)
{
    struct bb_vm *vm = static_cast<struct bb_vm *>(arg);

    return written_position_in(find_script(vm, script_id), line, column, found);
}

static void put_heap_snapshot(struct bb_vm *vm, struct bb_buf *to)
{
    v8::HeapProfiler *profiler = vm->isolate->GetHeapProfiler();
    struct bb_buf taken;

    bb_buf_init(&taken);
    BufferStream stream(&taken);
    profiler->TakeHeapSnapshot()->Serialize(&stream, v8::HeapSnapshot::kJSON);
    profiler->DeleteAllHeapSnapshots();
    if (taken.size <= PROFILE_BYTES_MAX) {
        (void)vm_snapshot_map(bb_buf_slice(&taken), written_place, vm, to);
    }
    bb_buf_fini(&taken);
}

/* ---- of a call ---- */

void profile_start(struct bb_vm_call *call, enum bb_vm_profile kind)
{
    v8::Isolate *isolate = call->vm->isolate;

    call->profile = new Profile{ kind };
    if (kind == BB_VM_PROFILE_CPU) {
        call->profile->profiler = v8::CpuProfiler::New(isolate);
        call->profile->profiler->SetSamplingInterval(SAMPLE_US);
        call->profile->id =
            call->profile->profiler
                ->Start(v8::CpuProfilingOptions(v8::kLeafNodeLineNumbers, SAMPLES_MAX))
                .id;
    } else if (kind == BB_VM_PROFILE_HEAP) {
        using Heap = v8::HeapProfiler;
        isolate->GetHeapProfiler()->StartSamplingHeapProfiler(
            ALLOCATION_BYTES, ALLOCATION_DEPTH,
            static_cast<Heap::SamplingFlags>(Heap::kSamplingIncludeObjectsCollectedByMajorGC |
                                             Heap::kSamplingIncludeObjectsCollectedByMinorGC));
    }
}

void profile_stop(struct bb_vm_call *call, struct bb_buf *to)
{
    struct bb_vm *vm = call->vm;
    std::unique_ptr<Profile> profile(call->profile);

    call->profile = nullptr;
    switch (profile->kind) {
    case BB_VM_PROFILE_NONE:
        break;
    case BB_VM_PROFILE_CPU: {
        v8::CpuProfile *taken = profile->profiler->Stop(profile->id);
        if (taken != nullptr) {
            put_cpu_profile(vm, to, taken);
            taken->Delete();
        }
        profile->profiler->Dispose();
        break;
    }
    case BB_VM_PROFILE_HEAP:
        put_heap_profile(vm, to);
        vm->isolate->GetHeapProfiler()->StopSamplingHeapProfiler();
        break;
    case BB_VM_PROFILE_SNAPSHOT:
        put_heap_snapshot(vm, to);
        break;
    }
    if (to->size > PROFILE_BYTES_MAX) {
        bb_buf_clear(to); /* too large for a frame: there is none */
    }
}

} // namespace bb

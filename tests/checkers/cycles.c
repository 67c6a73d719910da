/*
 * Cycles among transactions, from what clients saw alone (Adya 1999; Elle: Kingsbury, Alvaro 2020).
 *
 * List keys (l..): each append adds an element that no other one adds, so any list that was read
 * tells the order of all appends before it. Registers (g..): each write is of a value that no other
 * one writes, and a transaction that read before it wrote tells the order of these two.
 * An edge a -> b: b overwrote a (ww), read what a wrote (wr), or overwrote what a read (rw); or a
 * had ended before b began (rt), through a chain of instants so that edges stay few.
 */
#include <stdlib.h>

#include "checkers.h"

enum edge_kind {
    EDGE_WW,
    EDGE_WR,
    EDGE_RW,
    EDGE_RT
};
struct edge {
    uint32_t to;
    enum edge_kind kind;
};
struct node {
    const struct check_txn *txn; /* NULL: an instant */
    struct edge *edges;
    size_t edge_count, edge_capacity;
    uint32_t index, low;
    bool is_open;
    uint32_t component; /* 0: none yet */
};
struct writer {
    struct bb_slice key, value;
    uint32_t node;
    bool has_failed;
};
struct graph {
    struct node *nodes;
    uint32_t count;
    struct writer *writers; /* by key and value */
    size_t writer_count;
    struct check_report *report;
};

static void link_nodes(struct graph *graph, uint32_t from, uint32_t to, enum edge_kind kind)
{
    struct node *node = &graph->nodes[from];

    if (from == to)
        return;
    if (node->edge_count == node->edge_capacity) {
        node->edge_capacity = node->edge_capacity == 0 ? 8 : node->edge_capacity * 2;
        node->edges = bb_realloc(node->edges, node->edge_capacity * sizeof *node->edges);
    }
    node->edges[node->edge_count++] = (struct edge){ .to = to, .kind = kind };
}

/* ---- who wrote what ---- */

static int by_key_value(const void *a, const void *b)
{
    const struct writer *left = a;
    const struct writer *right = b;
    int order = bb_slice_compare(left->key, right->key);

    return order != 0 ? order : bb_slice_compare(left->value, right->value);
}

static const struct writer *writer_of(const struct graph *graph, struct bb_slice key,
                                      struct bb_slice value)
{
    struct writer wanted = { .key = key, .value = value };

    return value.data == NULL || graph->writer_count == 0
               ? NULL
               : bsearch(&wanted, graph->writers, graph->writer_count, sizeof wanted, by_key_value);
}

static bool is_list(struct bb_slice value)
{
    return bb_value_tag(value) == BB_TAG_ARRAY;
}

static struct bb_slice last_of(struct bb_slice list)
{
    size_t count = bb_value_count(list);

    return count == 0 ? BB_SLICE_EMPTY : bb_value_at(list, count - 1);
}

/* The step's name, key and value when it is one of a list key or register. */
static bool step_of(struct bb_slice step, char *name, struct bb_slice *key, struct bb_slice *value)
{
    struct bb_slice what = bb_value_bytes(bb_value_at(step, 0));

    if (what.size != 1 || bb_value_count(step) < 3)
        return false;
    *name = (char)what.data[0];
    *key = bb_value_bytes(bb_value_at(step, 1));
    *value = bb_value_at(step, 2);
    return (*name == 'r' || *name == 'w') && key->size > 0 &&
           (key->data[0] == 'l' || key->data[0] == 'g');
}

static void collect_writers(const struct check_history *history, struct graph *graph)
{
    size_t capacity = 0;

    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        for (size_t k = 0; txn->log.size > 0 && k < bb_value_count(txn->log); k++) {
            struct bb_slice key;
            struct bb_slice value;
            char name;
            if (!step_of(bb_value_at(txn->log, k), &name, &key, &value) || name != 'w')
                continue;
            if (graph->writer_count == capacity) {
                capacity = capacity == 0 ? 256 : capacity * 2;
                graph->writers = bb_realloc(graph->writers, capacity * sizeof *graph->writers);
            }
            graph->writers[graph->writer_count++] =
                (struct writer){ .key = key,
                                 .value = is_list(value) ? last_of(value) : value,
                                 .node = (uint32_t)i,
                                 .has_failed = txn->outcome == CHECK_FAILED };
        }
    }
    if (graph->writer_count > 0)
        qsort(graph->writers, graph->writer_count, sizeof *graph->writers, by_key_value);
}

/* ---- edges from data ---- */

static void check_aborted(struct graph *graph, const struct check_txn *reader,
                          const struct writer *writer)
{
    if (writer != NULL && writer->has_failed && graph->nodes[writer->node].txn != reader) {
        check_found(graph->report, "G1a", "%.*s read from %.*s, which had failed",
                    BB_SLICE_ARG(reader->id), BB_SLICE_ARG(graph->nodes[writer->node].txn->id));
    }
}

/* The longest list that anybody saw under a key. */
static struct bb_slice longest(const struct check_history *history, struct bb_slice wanted)
{
    struct bb_slice best = BB_SLICE_EMPTY;

    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        for (size_t k = 0;
             txn->outcome == CHECK_OK && txn->log.size > 0 && k < bb_value_count(txn->log); k++) {
            struct bb_slice key;
            struct bb_slice value;
            char name;
            if (step_of(bb_value_at(txn->log, k), &name, &key, &value) && is_list(value) &&
                bb_slice_equal(key, wanted) &&
                (best.data == NULL || bb_value_count(value) > bb_value_count(best)))
                best = value;
        }
    }
    return best;
}

static void order_list(const struct check_history *history, struct graph *graph,
                       struct bb_slice key, struct bb_slice *list)
{
    *list = longest(history, key);
    const struct writer *before = NULL;

    for (size_t i = 0; list->data != NULL && i < bb_value_count(*list); i++) {
        const struct writer *writer = writer_of(graph, key, bb_value_at(*list, i));
        if (writer != NULL && before != NULL)
            link_nodes(graph, before->node, writer->node, EDGE_WW);
        for (size_t k = 0; k < i; k++) {
            if (bb_slice_equal(bb_value_at(*list, k), bb_value_at(*list, i)))
                check_found(graph->report, "once", "list %.*s holds an element twice",
                            BB_SLICE_ARG(key));
        }
        before = writer;
    }
}

/* A list that was read is a beginning of the longest one. */
static void link_list_read(struct graph *graph, uint32_t node, struct bb_slice key,
                           struct bb_slice list, struct bb_slice read)
{
    const struct check_txn *txn = graph->nodes[node].txn;
    size_t count = is_list(read) ? bb_value_count(read) : 0;
    size_t whole = list.data == NULL ? 0 : bb_value_count(list);

    for (size_t i = 0; i < count; i++) {
        check_aborted(graph, txn, writer_of(graph, key, bb_value_at(read, i)));
        if (i >= whole || !bb_slice_equal(bb_value_at(read, i), bb_value_at(list, i))) {
            check_found(graph->report, "G2",
                        "%.*s read a list %.*s that is no beginning of another",
                        BB_SLICE_ARG(txn->id), BB_SLICE_ARG(key));
            return;
        }
    }
    const struct writer *last = count == 0 ? NULL : writer_of(graph, key, last_of(read));
    const struct writer *next =
        count < whole ? writer_of(graph, key, bb_value_at(list, count)) : NULL;
    if (last != NULL)
        link_nodes(graph, last->node, node, EDGE_WR);
    if (next != NULL)
        link_nodes(graph, node, next->node, EDGE_RW);
}

struct list_key {
    struct bb_slice key, list;
};

static struct bb_slice list_of(const struct check_history *history, struct graph *graph,
                               struct list_key *keys, size_t *count, struct bb_slice key)
{
    for (size_t i = 0; i < *count; i++) {
        if (bb_slice_equal(keys[i].key, key))
            return keys[i].list;
    }
    bb_assert(*count < 256);
    keys[*count].key = key;
    order_list(history, graph, key, &keys[*count].list);
    return keys[(*count)++].list;
}

/* Who overwrote what he read: the next version of the register. */
static void link_registers(const struct check_history *history, struct graph *graph)
{
    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        size_t steps = txn->outcome == CHECK_OK && txn->log.size > 0 ? bb_value_count(txn->log) : 0;
        for (size_t k = 1; k < steps; k++) {
            struct bb_slice key[2];
            struct bb_slice value[2];
            char name[2];
            if (!step_of(bb_value_at(txn->log, k - 1), &name[0], &key[0], &value[0]) ||
                !step_of(bb_value_at(txn->log, k), &name[1], &key[1], &value[1]) ||
                name[0] != 'r' || name[1] != 'w' || key[0].data[0] != 'g' ||
                !bb_slice_equal(key[0], key[1]))
                continue;
            const struct writer *before = writer_of(graph, key[0], value[0]);
            if (before == NULL)
                continue;
            link_nodes(graph, before->node, (uint32_t)i, EDGE_WW);
            for (size_t r = 0; r < history->txn_count; r++) {
                const struct check_txn *reader = &history->txns[r];
                for (size_t s = 0; reader->outcome == CHECK_OK && reader->log.size > 0 &&
                                   s < bb_value_count(reader->log);
                     s++) {
                    struct bb_slice read_key;
                    struct bb_slice read;
                    char what;
                    if (step_of(bb_value_at(reader->log, s), &what, &read_key, &read) &&
                        what == 'r' && bb_slice_equal(read_key, key[0]) &&
                        bb_slice_equal(read, value[0]))
                        link_nodes(graph, (uint32_t)r, (uint32_t)i, EDGE_RW);
                }
            }
        }
    }
}

static void link_data(const struct check_history *history, struct graph *graph)
{
    struct list_key keys[256];
    size_t key_count = 0;

    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        bool has_written = false;
        for (size_t k = 0;
             txn->outcome == CHECK_OK && txn->log.size > 0 && k < bb_value_count(txn->log); k++) {
            struct bb_slice key;
            struct bb_slice value;
            char name;
            if (!step_of(bb_value_at(txn->log, k), &name, &key, &value))
                continue;
            has_written |= name == 'w';
            struct bb_slice list = BB_SLICE_EMPTY;
            if (key.data[0] == 'l')
                list = list_of(history, graph, keys, &key_count, key); /* orders its writers */
            if (name == 'w' || has_written) /* its own writes are not read twice */
                continue;
            if (key.data[0] == 'l') {
                link_list_read(graph, (uint32_t)i, key, list, value);
            } else {
                const struct writer *writer = writer_of(graph, key, value);
                check_aborted(graph, txn, writer);
                if (writer != NULL)
                    link_nodes(graph, writer->node, (uint32_t)i, EDGE_WR);
            }
        }
    }
    link_registers(history, graph);
}

/* ---- edges from time ---- */

struct instant {
    uint64_t at_us;
    bool is_end; /* an end at the same time as a start is not before it */
    uint32_t node;
};

static int by_time(const void *a, const void *b)
{
    const struct instant *left = a;
    const struct instant *right = b;

    if (left->at_us != right->at_us)
        return left->at_us < right->at_us ? -1 : 1;
    return (int)left->is_end - (int)right->is_end;
}

/* txn -> instant of its end -> .. -> instant of another's start -> that txn */
static void link_time(const struct check_history *history, struct graph *graph)
{
    struct instant *instants = bb_alloc((history->txn_count * 2 + 1) * sizeof *instants);
    size_t count = 0;
    uint32_t last = UINT32_MAX;

    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        if (txn->outcome != CHECK_OK || !txn->is_newest)
            continue;
        instants[count++] = (struct instant){ .at_us = txn->start_us, .node = (uint32_t)i };
        instants[count++] =
            (struct instant){ .at_us = txn->end_us, .is_end = true, .node = (uint32_t)i };
    }
    qsort(instants, count, sizeof *instants, by_time);
    for (size_t i = 0; i < count; i++) {
        if (!instants[i].is_end) {
            if (last != UINT32_MAX)
                link_nodes(graph, last, instants[i].node, EDGE_RT);
            continue;
        }
        uint32_t instant = graph->count++;
        if (last != UINT32_MAX)
            link_nodes(graph, last, instant, EDGE_RT);
        link_nodes(graph, instants[i].node, instant, EDGE_RT);
        last = instant;
    }
    bb_free(instants);
}

/* ---- strongly connected components (Tarjan 1972), without recursion ---- */

struct frame {
    uint32_t node;
    size_t edge;
};

static void tell_component(struct graph *graph, uint32_t component)
{
    bool has[4] = { false };
    struct bb_buf ids;
    size_t told = 0;

    bb_buf_init(&ids);
    for (uint32_t i = 0; i < graph->count; i++) {
        const struct node *node = &graph->nodes[i];
        if (node->component != component)
            continue;
        if (node->txn != NULL && told++ < 8)
            bb_buf_printf(&ids, " %.*s", BB_SLICE_ARG(node->txn->id));
        for (size_t k = 0; k < node->edge_count; k++) {
            if (graph->nodes[node->edges[k].to].component == component)
                has[node->edges[k].kind] = true;
        }
    }
    check_found(graph->report,
                has[EDGE_RW]   ? "G2"
                : has[EDGE_WR] ? "G1c"
                               : "G0",
                "a cycle%s among%.*s", has[EDGE_RT] ? ", through real time," : "",
                BB_SLICE_ARG(bb_buf_slice(&ids)));
    bb_buf_fini(&ids);
}

static void close_component(struct graph *graph, uint32_t root, uint32_t *stack,
                            uint32_t *stack_count, uint32_t *component)
{
    uint32_t size = 0;
    uint32_t node;

    (*component)++;
    do {
        node = stack[--*stack_count];
        graph->nodes[node].is_open = false;
        graph->nodes[node].component = *component;
        size++;
    } while (node != root);
    if (size > 1)
        tell_component(graph, *component);
}

static void find_cycles(struct graph *graph)
{
    struct frame *frames = bb_alloc((graph->count + 1) * sizeof *frames);
    uint32_t *stack = bb_alloc((graph->count + 1) * sizeof *stack);
    uint32_t stack_count = 0;
    uint32_t next = 1;
    uint32_t component = 0;

    for (uint32_t root = 0; root < graph->count; root++) {
        size_t depth = 0;
        if (graph->nodes[root].index != 0)
            continue;
        frames[depth++] = (struct frame){ .node = root };
        while (depth > 0) {
            struct frame *frame = &frames[depth - 1];
            struct node *node = &graph->nodes[frame->node];
            if (frame->edge == 0) {
                node->index = node->low = next++;
                node->is_open = true;
                stack[stack_count++] = frame->node;
            }
            if (frame->edge < node->edge_count) {
                struct node *to = &graph->nodes[node->edges[frame->edge++].to];
                if (to->index == 0) {
                    frames[depth++] = (struct frame){ .node = (uint32_t)(to - graph->nodes) };
                } else if (to->is_open && to->index < node->low) {
                    node->low = to->index;
                }
                continue;
            }
            depth--;
            if (depth > 0 && node->low < graph->nodes[frames[depth - 1].node].low)
                graph->nodes[frames[depth - 1].node].low = node->low;
            if (node->low == node->index)
                close_component(graph, frame->node, stack, &stack_count, &component);
        }
    }
    bb_free(frames);
    bb_free(stack);
}

void check_cycles(const struct check_history *history, struct check_report *report)
{
    struct graph graph = { .count = (uint32_t)history->txn_count, .report = report };

    graph.nodes = bb_alloc_zero(history->txn_count * 2 + 1, sizeof *graph.nodes);
    for (uint32_t i = 0; i < graph.count; i++)
        graph.nodes[i].txn = &history->txns[i];
    collect_writers(history, &graph);
    link_data(history, &graph);
    link_time(history, &graph);
    find_cycles(&graph);
    for (uint32_t i = 0; i < graph.count; i++)
        bb_free(graph.nodes[i].edges);
    bb_free(graph.nodes);
    bb_free(graph.writers);
}

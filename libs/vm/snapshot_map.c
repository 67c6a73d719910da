/*
 * A snapshot is one object of flat lists: "nodes" has some numbers for each node (the second one
 * says which of "strings" is its name), "locations" four for each function: the index of its first
 * number in "nodes", script, line, column. The lists are rewritten as text; nothing else is parsed.
 */
#include "snapshot_map.h"

#include <inttypes.h>
#include <stdlib.h>

#include "bb/value.h"

enum {
    NAME_AT = 1,
    NAME_MAX = 1024,
    FIELDS_MAX = 16
};

/* Of one function. */
struct location {
    uint64_t node; /* which number of "nodes" its first one is */
    uint32_t script_id, line, column;
    uint32_t name; /* of the new strings; 0: its place is not known */
};

struct snapshot {
    struct bb_slice json, nodes, locations, strings; /* what lies between the brackets */
    uint64_t field_count;                            /* of a node */
    struct location *list;
    size_t count;
    struct bb_buf names; /* the strings that are new, with commas before them */
};

/* What lies between the brackets of the list with this head, at or after `from`. */
static bool find_list(struct bb_slice json, size_t from, const char *head, struct bb_slice *found)
{
    const uint8_t *at = memmem(json.data + from, json.size - from, head, strlen(head));

    if (at == NULL)
        return false;
    const uint8_t *begin = at + strlen(head);
    const uint8_t *end = memchr(begin, ']', json.size - (size_t)(begin - json.data));
    if (end == NULL)
        return false;
    *found = bb_slice(begin, (size_t)(end - begin));
    return true;
}

/* The next number of a list; false: no more. */
static bool next_number(struct bb_slice *list, uint64_t *number)
{
    size_t at = 0;

    while (at < list->size && (list->data[at] < '0' || list->data[at] > '9'))
        at++;
    if (at == list->size)
        return false;
    *number = 0;
    while (at < list->size && list->data[at] >= '0' && list->data[at] <= '9')
        *number = *number * 10 + (uint64_t)(list->data[at++] - '0');
    *list = bb_slice(list->data + at, list->size - at);
    return true;
}

static size_t offset_of(const struct snapshot *snapshot, struct bb_slice part)
{
    return (size_t)(part.data - snapshot->json.data);
}

static uint64_t count_of(struct bb_slice list, uint8_t separator)
{
    uint64_t count = list.size == 0 ? 0 : 1;

    for (size_t i = 0; i < list.size; i++)
        count += list.data[i] == separator;
    return count;
}

/* The strings are last, and may hold brackets. */
static bool find_parts(struct snapshot *snapshot, struct bb_slice json)
{
    static const char head[] = "\"strings\":[";
    struct bb_slice fields;

    snapshot->json = json;
    if (!find_list(json, 0, "\"node_fields\":[", &fields) ||
        !find_list(json, 0, "\"nodes\":[", &snapshot->nodes) ||
        !find_list(json, offset_of(snapshot, snapshot->nodes), "\"locations\":[",
                   &snapshot->locations))
        return false;
    snapshot->field_count = count_of(fields, ',');
    size_t from = offset_of(snapshot, snapshot->locations);
    const uint8_t *at = memmem(json.data + from, json.size - from, head, strlen(head));
    size_t end = json.size;
    while (end > 0 && json.data[end - 1] != ']')
        end--;
    if (at == NULL || end == 0 || snapshot->field_count < 2 || snapshot->field_count > FIELDS_MAX)
        return false;
    at += strlen(head);
    if (json.data + end - 1 < at)
        return false;
    snapshot->strings = bb_slice(at, (size_t)(json.data + end - 1 - at));
    return true;
}

static uint64_t count_strings(struct bb_slice strings)
{
    uint64_t quotes = 0;

    for (size_t i = 0; i < strings.size; i++) {
        if (strings.data[i] == '\\') {
            i++;
        } else {
            quotes += strings.data[i] == '"';
        }
    }
    return quotes / 2;
}

static bool read_locations(struct snapshot *snapshot)
{
    struct bb_slice list = snapshot->locations;
    uint64_t node = 0, script = 0, line = 0, column = 0;

    snapshot->list = bb_alloc_zero(count_of(list, ',') / 4 + 1, sizeof *snapshot->list);
    while (next_number(&list, &node)) {
        if (!next_number(&list, &script) || !next_number(&list, &line) ||
            !next_number(&list, &column))
            return false;
        snapshot->list[snapshot->count++] = (struct location){ .node = node,
                                                               .script_id = (uint32_t)script,
                                                               .line = (uint32_t)line,
                                                               .column = (uint32_t)column };
    }
    return true;
}

static int by_node(const void *a, const void *b)
{
    const struct location *x = a, *y = b;

    return x->node < y->node ? -1 : x->node > y->node;
}

/* Where each string of the snapshot begins, with its quote. */
static const uint8_t **index_strings(struct bb_slice strings, uint64_t count)
{
    const uint8_t **begins = bb_alloc_zero(count + 1, sizeof *begins);
    bool is_inside = false;
    uint64_t at = 0;

    for (size_t i = 0; i < strings.size; i++) {
        if (strings.data[i] == '\\') {
            i++;
        } else if (strings.data[i] == '"') {
            if (!is_inside)
                begins[at++] = strings.data + i;
            is_inside = !is_inside;
        }
    }
    return begins;
}

/* The text of a string as it stands there, without quotes. */
static struct bb_slice text_at(const struct snapshot *snapshot, const uint8_t *quote)
{
    const uint8_t *begin = quote + 1, *end = begin,
                  *limit = snapshot->strings.data + snapshot->strings.size;

    while (end < limit && *end != '"' && (size_t)(end - begin) < NAME_MAX)
        end += *end == '\\' ? 2 : 1;
    return bb_slice(begin, (size_t)((end < limit ? end : limit) - begin));
}

static void add_name(struct snapshot *snapshot, struct bb_slice name,
                     const struct vm_position *place)
{
    struct bb_buf quoted;

    bb_buf_init(&quoted);
    bb_json_string(&quoted, bb_slice_str(place->source));
    bb_buf_append_str(&snapshot->names, ",\n\"");
    bb_buf_append_slice(&snapshot->names, name);
    bb_buf_append_str(&snapshot->names, " (");
    bb_buf_append(&snapshot->names, quoted.data + 1, quoted.size - 2);
    bb_buf_printf(&snapshot->names, ":%" PRIu32 ")\"", place->line);
    bb_buf_fini(&quoted);
}

/* The names of functions as "nodes" has them, for those whose place is known. */
static void name_all(struct snapshot *snapshot, vm_place_fn *place, void *arg)
{
    uint64_t string_count = count_strings(snapshot->strings), added = 0, number, at = 0;
    const uint8_t **strings = index_strings(snapshot->strings, string_count);
    struct bb_slice nodes = snapshot->nodes;
    size_t next = 0;

    while (next < snapshot->count && next_number(&nodes, &number)) {
        struct location *location = &snapshot->list[next];
        if (at++ < location->node + NAME_AT)
            continue;
        struct vm_position found = { .source = NULL };
        if (number < string_count &&
            place(arg, location->script_id, location->line + 1, location->column + 1, &found)) {
            add_name(snapshot, text_at(snapshot, strings[number]), &found);
            location->name = (uint32_t)(string_count + added++);
            location->line = found.line - 1;
            location->column = found.column - 1;
        }
        while (next < snapshot->count && snapshot->list[next].node + NAME_AT < at)
            next++;
    }
    bb_free(strings);
}

/* The nodes are one a line, and stay so: only names are other numbers. */
static void put_nodes(const struct snapshot *snapshot, struct bb_buf *to)
{
    struct bb_slice rest = snapshot->nodes;
    const uint8_t *done = rest.data;
    uint64_t number, at = 0;
    size_t next = 0;

    while (next < snapshot->count && next_number(&rest, &number)) {
        const struct location *location = &snapshot->list[next];
        if (at++ < location->node + NAME_AT)
            continue;
        if (location->name != 0) {
            const uint8_t *begin = rest.data;
            while (begin > done && begin[-1] >= '0' && begin[-1] <= '9')
                begin--;
            bb_buf_append(to, done, (size_t)(begin - done));
            bb_buf_printf(to, "%" PRIu32, location->name);
            done = rest.data;
        }
        while (next < snapshot->count && snapshot->list[next].node + NAME_AT < at)
            next++;
    }
    bb_buf_append(to, done, (size_t)(snapshot->nodes.data + snapshot->nodes.size - done));
}

static void put_locations(const struct snapshot *snapshot, struct bb_buf *to)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct location *location = &snapshot->list[i];
        bb_buf_printf(to, "%s%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32, i == 0 ? "" : ",\n",
                      location->node, location->script_id, location->line, location->column);
    }
}

/* What stands between two parts of the snapshot. */
static void put_between(const uint8_t *from, const uint8_t *end, struct bb_buf *to)
{
    bb_buf_append(to, from, (size_t)(end - from));
}

static const uint8_t *end_of(struct bb_slice part)
{
    return part.data + part.size;
}

bool vm_snapshot_map(struct bb_slice json, vm_place_fn *place, void *arg, struct bb_buf *to)
{
    struct snapshot snapshot = { .count = 0 };
    bool is_mapped = false;

    bb_buf_init(&snapshot.names);
    if (find_parts(&snapshot, json) && read_locations(&snapshot)) {
        qsort(snapshot.list, snapshot.count, sizeof *snapshot.list, by_node);
        name_all(&snapshot, place, arg);
        put_between(json.data, snapshot.nodes.data, to);
        put_nodes(&snapshot, to);
        put_between(end_of(snapshot.nodes), snapshot.locations.data, to);
        put_locations(&snapshot, to);
        put_between(end_of(snapshot.locations), end_of(snapshot.strings), to);
        bb_buf_append_slice(to, bb_buf_slice(&snapshot.names));
        put_between(end_of(snapshot.strings), end_of(json), to);
        is_mapped = true;
    } else {
        bb_buf_append_slice(to, json);
    }
    bb_free(snapshot.list);
    bb_buf_fini(&snapshot.names);
    return is_mapped;
}

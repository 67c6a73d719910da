/*
 * Mappings are groups of base64 VLQ numbers, lines split by ";" and groups by ",". All but the
 * generated column are differences that run through the whole text.
 */
#include "source_map.h"

#include "bb/value.h"

#define NO_SOURCE UINT32_MAX

struct mapping {
    uint32_t column; /* generated, from 0 */
    uint32_t source; /* NO_SOURCE: generated code of nobody */
    uint32_t source_line, source_column;
};

struct vm_source_map {
    struct mapping *mappings;
    size_t mapping_count, mapping_capacity;
    size_t *line_begins; /* line_count + 1 */
    size_t line_count, line_capacity;
    char **sources;
    size_t source_count;
};

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One number; false at a separator, the end or garbage. */
static bool vlq_next(const char **at, int64_t *number)
{
    uint64_t bits = 0;
    unsigned shift = 0;
    int digit;

    do {
        digit = digit_of(**at);
        if (digit < 0 || shift > 40) {
            return false;
        }
        (*at)++;
        bits |= (uint64_t)(digit & 31) << shift;
        shift += 5;
    } while ((digit & 32) != 0);
    *number = (bits & 1) != 0 ? -(int64_t)(bits >> 1) : (int64_t)(bits >> 1);
    return true;
}

static void begin_line(struct vm_source_map *map)
{
    if (map->line_count + 1 >= map->line_capacity) {
        map->line_capacity = map->line_capacity == 0 ? 256 : map->line_capacity * 2;
        map->line_begins = bb_realloc(map->line_begins, map->line_capacity * sizeof(size_t));
    }
    map->line_begins[map->line_count++] = map->mapping_count;
}

static void push(struct vm_source_map *map, struct mapping mapping)
{
    if (map->mapping_count == map->mapping_capacity) {
        map->mapping_capacity = map->mapping_capacity == 0 ? 1024 : map->mapping_capacity * 2;
        map->mappings = bb_realloc(map->mappings, map->mapping_capacity * sizeof(struct mapping));
    }
    map->mappings[map->mapping_count++] = mapping;
}

static bool in_range(int64_t number)
{
    return number >= 0 && number < INT32_MAX;
}

static bool decode_mappings(struct vm_source_map *map, const char *at)
{
    int64_t column = 0, source = 0, line = 0, source_column = 0, delta;

    begin_line(map);
    while (*at != '\0') {
        if (*at == ';') {
            column = 0;
            begin_line(map);
            at++;
            continue;
        }
        if (*at == ',') {
            at++;
            continue;
        }
        if (!vlq_next(&at, &delta)) {
            return false;
        }
        column += delta;
        struct mapping mapping = { .column = (uint32_t)column, .source = NO_SOURCE };
        if (!in_range(column)) {
            return false;
        }
        if (vlq_next(&at, &delta)) {
            source += delta;
            if (!vlq_next(&at, &delta)) {
                return false;
            }
            line += delta;
            if (!vlq_next(&at, &delta)) {
                return false;
            }
            source_column += delta;
            if (vlq_next(&at, &delta)) {
                /* The name: V8 knows it better. */
            }
            if (!in_range(source) || !in_range(line) || !in_range(source_column)) {
                return false;
            }
            mapping.source = (uint32_t)source;
            mapping.source_line = (uint32_t)line;
            mapping.source_column = (uint32_t)source_column;
        }
        push(map, mapping);
    }
    map->line_begins[map->line_count] = map->mapping_count;
    return true;
}

static const char *without_dots(const char *path)
{
    for (;;) {
        if (strncmp(path, "./", 2) == 0) {
            path += 2;
        } else if (strncmp(path, "../", 3) == 0) {
            path += 3;
        } else {
            return path;
        }
    }
}

static char *text_of(struct bb_slice value)
{
    const struct bb_slice bytes = bb_value_bytes(value);
    char *text = bb_alloc(bytes.size + 1);

    if (bytes.size > 0) {
        memcpy(text, bytes.data, bytes.size);
    }
    text[bytes.size] = '\0';
    return text;
}

static bool is_text(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING;
}

static void read_sources(struct vm_source_map *map, struct bb_slice sources)
{
    map->source_count = bb_value_count(sources);
    map->sources = bb_alloc_zero(map->source_count + 1, sizeof(char *));
    for (size_t i = 0; i < map->source_count; i++) {
        const struct bb_slice source = bb_value_at(sources, i);
        char *name = is_text(source) ? text_of(source) : bb_strdup("");
        map->sources[i] = bb_strdup(without_dots(name));
        bb_free(name);
    }
}

/* The map of a decoded text; NULL when it is none. */
static struct vm_source_map *read_map(struct bb_slice root)
{
    if (bb_value_tag(root) != BB_TAG_OBJECT) {
        return NULL;
    }
    const struct bb_slice mappings = bb_value_field_str(root, "mappings");
    const struct bb_slice sources = bb_value_field_str(root, "sources");
    if (!is_text(mappings) || sources.data == NULL || bb_value_tag(sources) != BB_TAG_ARRAY) {
        return NULL;
    }
    struct vm_source_map *map = bb_alloc_zero(1, sizeof(*map));
    char *text = text_of(mappings);
    read_sources(map, sources);
    if (strlen(text) != bb_value_bytes(mappings).size || !decode_mappings(map, text)) {
        vm_source_map_free(map);
        map = NULL;
    }
    bb_free(text);
    return map;
}

struct vm_source_map *vm_source_map_parse(struct bb_slice json)
{
    struct bb_ctx ctx = { .env = NULL };
    struct vm_source_map *map = NULL;
    struct bb_buf root;

    bb_buf_init(&root);
    if (json.size > 0 && bb_json_decode(&ctx, json, false, &root) == BB_OK) {
        map = read_map(bb_buf_slice(&root));
    }
    bb_buf_fini(&root);
    return map;
}

void vm_source_map_free(struct vm_source_map *map)
{
    if (map == NULL) {
        return;
    }
    for (size_t i = 0; i < map->source_count; i++) {
        bb_free(map->sources[i]);
    }
    bb_free(map->sources);
    bb_free(map->mappings);
    bb_free(map->line_begins);
    bb_free(map);
}

bool vm_source_map_find(const struct vm_source_map *map, uint32_t line, uint32_t column,
                        struct vm_position *position)
{
    if (line == 0 || column == 0 || line > map->line_count) {
        return false;
    }
    size_t low = map->line_begins[line - 1], high = map->line_begins[line];
    const size_t first = low;
    /* The first mapping behind the column; columns of one line are sorted. */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (map->mappings[middle].column <= column - 1) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == first) {
        return false;
    }
    const struct mapping *found = &map->mappings[low - 1];
    if (found->source == NO_SOURCE || found->source >= map->source_count) {
        return false;
    }
    position->source = map->sources[found->source];
    position->line = found->source_line + 1;
    position->column = found->source_column + 1;
    return true;
}

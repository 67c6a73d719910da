#include "patterns.h"

#include <inttypes.h>

#include "bb/value.h"

enum {
    SETS = 128,
    WAYS = 4,
    PIECES_BYTES_MAX = 96,
    KEY_BYTES_MAX = 128,
    ARGS_BYTES_MAX = 4096,
    FIELDS_MAX = 16, /* of the arguments that are looked at */
    NAME_BYTES_MAX = 40,
    TEXT_BYTES_MIN = 2, /* what is shorter stands in many keys by chance */
    TEXT_BYTES_MAX = 64,
    SCORE_SURE = 3,
    SCORE_MAX = 15,
    SCORE_LOSS = 4,
    PAUSE_MAX = 4096
};

enum piece_kind {
    PIECE_TEXT = 1, /* as it stands there */
    PIECE_ARGUMENT, /* the text of the one with that name */
    PIECE_ID        /* the only piece: that argument is the document's id */
};

/* Pieces: kind u8, size u8, bytes. */
struct pattern {
    uint32_t index; /* by_id of the table */
    int score;
    size_t size; /* of the pieces; 0: the place is free */
    uint8_t pieces[PIECES_BYTES_MAX];
};
struct habit {
    uint64_t path;
    uint32_t age;           /* of the set: the lowest one goes first; 0: the place is free */
    uint32_t pause, pauses; /* calls that nothing is learnt from: still, and next time */
    struct pattern patterns[PATTERNS_MAX];
};
struct patterns {
    struct habit habits[SETS][WAYS]; /* memory of the kernel's until it is used */
    uint32_t clock;
};

struct patterns *worker_patterns_new(void)
{
    return bb_alloc_zero(1, sizeof(struct patterns));
}

void worker_patterns_free(struct patterns *patterns)
{
    bb_free(patterns);
}

static struct habit *find(struct patterns *patterns, uint64_t path)
{
    struct habit *set = patterns->habits[path % SETS];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].path == path && set[i].age > 0) {
            return &set[i];
        }
    }
    return NULL;
}

static struct habit *take(struct patterns *patterns, uint64_t path)
{
    struct habit *habit = find(patterns, path);
    if (habit == NULL) {
        struct habit *set = patterns->habits[path % SETS];
        habit = &set[0];
        for (size_t i = 1; i < WAYS; i++) {
            habit = set[i].age < habit->age ? &set[i] : habit;
        }
        *habit = (struct habit){ .path = path };
    }
    habit->age = ++patterns->clock;
    return habit;
}

/* ---- texts of arguments ---- */

/* As JavaScript writes it into a text; nothing is appended of what has none. */
static void append_text(struct bb_buf *to, struct bb_slice value)
{
    enum bb_tag tag = bb_value_tag(value);
    if (tag == BB_TAG_STRING) {
        bb_buf_append_slice(to, bb_value_bytes(value));
    } else if (tag == BB_TAG_FLOAT64) {
        bb_json_number(to, bb_value_float64(value));
    } else if (tag == BB_TAG_INT64) {
        bb_buf_printf(to, "%" PRId64, bb_value_int64(value));
    }
}

static bool are_usable(struct bb_slice args)
{
    struct bb_ctx ctx = { .status = BB_OK };
    return args.size > 0 && args.size <= ARGS_BYTES_MAX && bb_value_validate(&ctx, args) == BB_OK &&
           bb_value_tag(args) == BB_TAG_OBJECT;
}

struct text {
    struct bb_slice name;
    size_t at, size;
};
struct texts {
    struct bb_buf bytes;
    struct text list[FIELDS_MAX];
    size_t count;
};

static void texts_init(struct texts *texts, struct bb_slice args)
{
    size_t field_count = bb_value_count(args);
    texts->count = 0;
    bb_buf_init(&texts->bytes);
    for (size_t i = 0; i < field_count && i < FIELDS_MAX; i++) {
        struct text text = { .name = bb_value_name_at(args, i), .at = texts->bytes.size };
        append_text(&texts->bytes, bb_value_at(args, i));
        text.size = texts->bytes.size - text.at;
        if (text.size >= TEXT_BYTES_MIN && text.size <= TEXT_BYTES_MAX &&
            text.name.size <= NAME_BYTES_MAX) {
            texts->list[texts->count++] = text;
        }
    }
}

/* The longest one that `rest` begins with. */
static const struct text *text_at(const struct texts *texts, struct bb_slice rest)
{
    const struct text *best = NULL;
    for (size_t i = 0; i < texts->count; i++) {
        const struct text *text = &texts->list[i];
        struct bb_slice bytes = bb_slice(texts->bytes.data + text->at, text->size);
        if (bb_slice_starts_with(rest, bytes) && (best == NULL || text->size > best->size)) {
            best = text;
        }
    }
    return best;
}

/* ---- what a pattern says ---- */

struct piece {
    enum piece_kind kind;
    struct bb_slice bytes;
};

static bool next_piece(const struct pattern *pattern, size_t *at, struct piece *piece)
{
    if (*at >= pattern->size) {
        return false;
    }
    piece->kind = (enum piece_kind)pattern->pieces[*at];
    piece->bytes = bb_slice(pattern->pieces + *at + 2, pattern->pieces[*at + 1]);
    *at += 2 + piece->bytes.size;
    return true;
}

/* The id is the argument's. */
static bool parse_id(const struct pattern *pattern, struct bb_slice argument, struct bb_id *id)
{
    struct bb_ctx ctx = { .status = BB_OK };
    uint32_t table;
    return bb_value_tag(argument) == BB_TAG_STRING &&
           bb_id_parse(&ctx, bb_value_bytes(argument), &table, id) == BB_OK &&
           BB_INDEX_BY_ID(table) == pattern->index;
}

static bool id_of(const struct pattern *pattern, struct bb_slice args, struct bb_id *id)
{
    struct bb_buf text;
    struct piece piece;
    bool is_whole = true, is_parsed = false;
    bb_buf_init(&text);
    for (size_t at = 0; is_whole && !is_parsed && next_piece(pattern, &at, &piece);) {
        if (piece.kind == PIECE_TEXT) {
            bb_buf_append_slice(&text, piece.bytes);
            continue;
        }
        struct bb_slice argument = bb_value_field(args, piece.bytes);
        size_t before = text.size;
        if (argument.data != NULL && piece.kind == PIECE_ID) {
            is_parsed = is_whole = parse_id(pattern, argument, id);
        } else if (argument.data != NULL) {
            append_text(&text, argument);
            is_whole = text.size > before && text.size <= KEY_BYTES_MAX;
        } else {
            is_whole = false;
        }
    }
    if (is_whole && !is_parsed) {
        bb_id_of_key(pattern->index / 4, bb_buf_slice(&text), id);
    }
    bb_buf_fini(&text);
    return is_whole;
}

static bool key_of(const struct pattern *pattern, struct bb_slice args,
                   uint8_t key[COPIES_KEY_SIZE])
{
    struct bb_id id;
    if (!id_of(pattern, args, &id)) {
        return false;
    }
    bb_put_be32(key, pattern->index);
    memcpy(key + 4, id.bytes, sizeof(id.bytes));
    return true;
}

/* ---- learning one ---- */

static bool add_piece(struct pattern *pattern, enum piece_kind kind, struct bb_slice bytes)
{
    if (pattern->size + 2 + bytes.size > PIECES_BYTES_MAX) {
        return false;
    }
    uint8_t *to = pattern->pieces + pattern->size;
    to[0] = (uint8_t)kind;
    to[1] = (uint8_t)bytes.size;
    memcpy(to + 2, bytes.data, bytes.size);
    pattern->size += 2 + bytes.size;
    return true;
}

/* One of the arguments is the document's id. */
static bool learn_id(struct pattern *pattern, const struct texts *texts, struct bb_slice key)
{
    struct bb_id id;
    char text[BB_ID_TEXT_MAX];
    memcpy(id.bytes, key.data + 4, sizeof(id.bytes));
    size_t size = bb_id_text(pattern->index / 4, &id, text);
    const struct text *found = text_at(texts, bb_slice(text, size));
    return found != NULL && found->size == size && add_piece(pattern, PIECE_ID, found->name);
}

/* The document's key is made of arguments and what lies between them. */
static bool learn_key(struct pattern *pattern, const struct texts *texts, struct bb_slice document)
{
    struct bb_slice name = bb_value_field_str(document, "_key");
    if (name.data == NULL || bb_value_tag(name) != BB_TAG_STRING) {
        return false;
    }
    struct bb_slice rest = bb_value_bytes(name);
    bool has_argument = false, fits = rest.size <= KEY_BYTES_MAX;
    while (fits && rest.size > 0) {
        const struct text *text = NULL;
        size_t plain = 0;
        while (plain < rest.size && text == NULL) {
            text = text_at(texts, bb_slice(rest.data + plain, rest.size - plain));
            plain += text == NULL;
        }
        fits = plain == 0 || add_piece(pattern, PIECE_TEXT, bb_slice(rest.data, plain));
        if (fits && text != NULL) {
            fits = add_piece(pattern, PIECE_ARGUMENT, text->name);
            has_argument = true;
            plain += text->size;
        }
        rest = bb_slice(rest.data + plain, rest.size - plain);
    }
    return fits && has_argument;
}

static bool is_same(const struct pattern *a, const struct pattern *b)
{
    return a->index == b->index && a->size == b->size && memcmp(a->pieces, b->pieces, a->size) == 0;
}

/* False: there is no room for it. */
static bool add(struct habit *habit, const struct pattern *pattern)
{
    struct pattern *worst = NULL;
    for (size_t i = 0; i < PATTERNS_MAX; i++) {
        struct pattern *other = &habit->patterns[i];
        if (is_same(other, pattern)) {
            return true;
        }
        bool is_free = other->size == 0 || other->score < SCORE_SURE;
        if (is_free && (worst == NULL || other->score < worst->score)) {
            worst = other;
        }
    }
    if (worst != NULL) {
        *worst = *pattern;
    }
    return worst != NULL;
}

static void pause(struct habit *habit)
{
    habit->pauses = habit->pauses < PAUSE_MAX / 2 ? 2 * habit->pauses + 1 : PAUSE_MAX;
    habit->pause = habit->pauses;
}

static bool find_pattern(struct pattern *pattern, struct bb_slice args, struct bb_slice key,
                         struct bb_slice document)
{
    struct texts texts;
    uint8_t again[COPIES_KEY_SIZE];
    if (!are_usable(args)) {
        return false;
    }
    texts_init(&texts, args);
    bool is_found = learn_id(pattern, &texts, key);
    if (!is_found && document.size > 0) {
        is_found = learn_key(pattern, &texts, document);
    }
    bb_buf_fini(&texts.bytes);
    return is_found && key_of(pattern, args, again) && memcmp(again, key.data, sizeof(again)) == 0;
}

void worker_patterns_learn(struct patterns *patterns, uint64_t path, struct bb_slice args,
                           struct bb_slice key, struct bb_slice document)
{
    uint32_t index = key.size == COPIES_KEY_SIZE ? bb_get_be32(key.data) : 0;
    if (index < BB_INDEX_BY_ID(BB_TABLE_USER_MIN) || index >= BB_INDEX_DECLARED || index % 4 != 0) {
        return;
    }
    struct habit *habit = take(patterns, path);
    if (habit->pause > 0) {
        habit->pause--;
        return;
    }
    struct pattern pattern = { .index = index };
    if (!find_pattern(&pattern, args, key, document) || !add(habit, &pattern)) {
        pause(habit);
    }
}

/* ---- using them ---- */

size_t worker_patterns_of(struct patterns *patterns, uint64_t path, struct bb_slice args,
                          struct foreseen foreseen[PATTERNS_MAX])
{
    struct habit *habit = find(patterns, path);
    size_t count = 0;
    if (habit == NULL) {
        return 0;
    }
    habit->age = ++patterns->clock;
    bool is_checked = false;
    for (size_t i = 0; i < PATTERNS_MAX; i++) {
        const struct pattern *pattern = &habit->patterns[i];
        if (pattern->size == 0) {
            continue;
        }
        if (!is_checked && !are_usable(args)) {
            return 0;
        }
        is_checked = true;
        if (key_of(pattern, args, foreseen[count].key)) {
            foreseen[count].pattern = (uint8_t)i;
            foreseen[count++].is_sure = pattern->score >= SCORE_SURE;
        }
    }
    return count;
}

void worker_patterns_judge(struct patterns *patterns, uint64_t path,
                           const struct foreseen *foreseen, bool was_read)
{
    struct habit *habit = find(patterns, path);
    struct pattern *pattern = habit == NULL ? NULL : &habit->patterns[foreseen->pattern];
    if (pattern == NULL || pattern->size == 0) {
        return;
    }
    if (was_read) {
        pattern->score += pattern->score < SCORE_MAX;
        habit->pauses = pattern->score >= SCORE_SURE ? 0 : habit->pauses;
        return;
    }
    pattern->score -= SCORE_LOSS;
    if (pattern->score < 0) {
        *pattern = (struct pattern){ .size = 0 };
        pause(habit);
    }
}

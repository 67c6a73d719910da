/*
 * What a stopped node's data folder (or a copy of one) holds: the log, the data, the feed. Changes
 * nothing. A JSON object is made first; without --json it is printed as lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/feed.h"
#include "bb/replog_look.h"
#include "bb/store.h"

#include "ctl.h"

enum {
    PATH_BYTES = 4096,
    STATE_CHAIN_AT = 32, /* docs/formats/log.md: state of the machine */
    STATE_CHAIN_END = 40
};

struct inspection {
    struct bb_ctx *ctx;
    const char *dir;
    bool lists_entries;
    json_t *entries, *segments, *snapshots; /* of the part at hand */
    json_t *indexes;
    bool has_damage;
    /* Indexes of the log, for what each part may be without the others. */
    uint64_t log_first, snapshot, data, feed; /* 0: none */
};

static void path_of(const struct inspection *inspection, const char *name, char *path)
{
    (void)snprintf(path, PATH_BYTES, "%s/%s", inspection->dir, name); /* too long is not found */
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *hex(uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, value);
    return json_string(text);
}

static void set(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new(object, name, value); /* fails only without memory */
}

static void set_damage(struct inspection *inspection, json_t *object, const char *damage)
{
    if (damage != NULL) {
        set(object, "damage", json_string(damage));
        inspection->has_damage = true;
    }
}

/* ---- the log ---- */

/* A process that was killed may leave FILE.meta without FILE; a node passes over it. */
static bool has_content(const struct inspection *inspection, const char *meta)
{
    char folder[PATH_BYTES], path[PATH_BYTES];
    struct stat status;

    path_of(inspection, "raft", folder);
    return snprintf(path, sizeof path, "%s/%.*s", folder, (int)(strlen(meta) - strlen(".meta")),
                    meta) < (int)sizeof path &&
           stat(path, &status) == 0;
}

static void on_snapshot(void *arg, const struct bb_replog_look_snapshot *snapshot)
{
    struct inspection *inspection = arg;
    json_t *object = json_object();

    set(object, "file", json_string(snapshot->file));
    set(object, "term", number(snapshot->term));
    set(object, "index", number(snapshot->index));
    (void)json_array_append_new(inspection->snapshots, object);
    if (snapshot->index > inspection->snapshot && has_content(inspection, snapshot->file))
        inspection->snapshot = snapshot->index;
}

static void on_log_segment(void *arg, const struct bb_replog_look_segment *segment)
{
    struct inspection *inspection = arg;
    json_t *object = json_object();

    set(object, "file", json_string(segment->file));
    set(object, "isOpen", json_boolean(segment->is_open));
    set(object, "bytes", number(segment->bytes));
    set(object, "first", number(segment->first));
    set(object, "last", number(segment->last));
    if (inspection->log_first == 0 && segment->last >= segment->first)
        inspection->log_first = segment->first;
    set_damage(inspection, object, segment->damage);
    (void)json_array_append_new(inspection->segments, object);
}

static const char *kind_name(const struct bb_replog_look_entry *entry)
{
    switch (entry->kind) {
    case BB_REPLOG_LOOK_ENTRY:
        if (!entry->has_frame) {
            return "damaged";
        }
        return entry->frame.kind == BB_REPLOG_APPEND  ? "append"
               : entry->frame.kind == BB_REPLOG_CLAIM ? "claim"
                                                      : "member";
    case BB_REPLOG_LOOK_BARRIER:
        return "barrier";
    case BB_REPLOG_LOOK_CHANGE:
        return "change";
    case BB_REPLOG_LOOK_UNKNOWN:
        return "unknown";
    }
    BB_UNREACHABLE("all kinds are listed");
}

/* Records of a batch: each has its length in front. */
static uint64_t count_records(struct bb_slice batch)
{
    uint64_t count = 0;

    while (batch.size >= 4 && bb_get_le32(batch.data) <= batch.size - 4) {
        size_t size = 4 + bb_get_le32(batch.data);
        batch = bb_slice(batch.data + size, batch.size - size);
        count++;
    }
    return count;
}

static void on_log_entry(void *arg, const struct bb_replog_look_entry *entry)
{
    struct inspection *inspection = arg;
    json_t *object = json_object();

    set(object, "index", number(entry->index));
    set(object, "term", number(entry->term));
    set(object, "kind", json_string(kind_name(entry)));
    set(object, "bytes", number(entry->bytes));
    if (entry->has_frame) {
        set(object, "epoch", number(entry->frame.epoch));
    }
    if (entry->has_frame && entry->frame.kind == BB_REPLOG_APPEND) {
        set(object, "seq", number(entry->frame.seq));
        set(object, "afterTx", number(entry->frame.base_tx.us));
        set(object, "lastTx", number(entry->frame.last_tx.us));
        set(object, "count", number(count_records(entry->frame.payload)));
    }
    set_damage(inspection, object, entry->damage);
    (void)json_array_append_new(inspection->entries, object);
}

static json_t *inspect_log(struct inspection *inspection)
{
    char path[PATH_BYTES];
    json_t *object = json_object();
    struct bb_replog_look look = { .snapshot = on_snapshot,
                                   .segment = on_log_segment,
                                   .entry = inspection->lists_entries ? on_log_entry : NULL,
                                   .arg = inspection };

    inspection->snapshots = json_array();
    inspection->segments = json_array();
    inspection->entries = json_array();
    path_of(inspection, "raft", path);
    if (bb_replog_look(inspection->ctx, path, &look) != BB_OK) {
        set_damage(inspection, object, inspection->ctx->error);
    }
    if (look.ballot_damage[0] != 0) {
        set_damage(inspection, object, look.ballot_damage);
    }
    set(object, "term", number(look.term));
    set(object, "votedFor", number(look.voted_for));
    set(object, "snapshots", inspection->snapshots);
    set(object, "segments", inspection->segments);
    if (inspection->lists_entries) {
        set(object, "entries", inspection->entries);
    } else {
        json_decref(inspection->entries);
    }
    return object;
}

/* ---- the data ---- */

static void on_index(void *arg, uint32_t index, uint64_t entries, uint64_t bytes)
{
    struct inspection *inspection = arg;
    json_t *object = json_object();

    set(object, "index", number(index));
    set(object, "entries", number(entries));
    set(object, "bytes", number(bytes));
    (void)json_array_append_new(inspection->indexes, object);
}

static json_t *inspect_data(struct inspection *inspection)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_ctx ctx = { .env = inspection->ctx->env, .arena = arena };
    struct bb_store_look look;
    char path[PATH_BYTES];
    json_t *object = json_object();

    inspection->indexes = json_array();
    path_of(inspection, "store", path);
    if (bb_store_look(&ctx, path, &look, on_index, inspection) != BB_OK) {
        set_damage(inspection, object, ctx.error);
    }
    if (look.has_state) {
        struct bb_slice opaque = look.state.opaque;
        set(object, "index", number(look.state.index));
        inspection->data = look.state.index;
        set(object, "epoch", number(look.state.epoch));
        set(object, "seq", number(look.state.last_seq));
        set(object, "lastTx", number(look.state.last_tx.us));
        if (opaque.size >= STATE_CHAIN_END) {
            set(object, "chain", hex(bb_get_le64(opaque.data + STATE_CHAIN_AT)));
        }
    }
    set(object, "fileBytes", number(look.file_bytes));
    set(object, "usedBytes", number(look.used_bytes));
    set(object, "freeBytes", number(look.free_bytes));
    set(object, "entries", number(look.sum.entries));
    set(object, "contentBytes", number(look.sum.bytes));
    set(object, "hash", hex(look.sum.hash));
    set(object, "indexes", inspection->indexes);
    bb_arena_free(arena);
    return object;
}

/* ---- the feed ---- */

static void on_feed_segment(void *arg, const struct bb_feed_look_segment *segment)
{
    struct inspection *inspection = arg;
    json_t *object = json_object();

    set(object, "file", json_string(segment->file));
    set(object, "bytes", number(segment->bytes));
    set(object, "records", number(segment->records));
    set(object, "afterTx", number(segment->prev.us));
    set(object, "lastTx", number(segment->last.us));
    set(object, "markIndex", number(segment->mark_index));
    if (segment->mark_index > inspection->feed)
        inspection->feed = segment->mark_index;
    set(object, "beginsAnew", json_boolean(segment->begins_anew));
    if (segment->torn_at != 0) {
        set(object, "tornAt", number(segment->torn_at));
    }
    set_damage(inspection, object, segment->damage);
    (void)json_array_append_new(inspection->segments, object);
}

static void on_feed_record(void *arg, struct bb_txtime prev, struct bb_txtime tx,
                           struct bb_slice record)
{
    struct inspection *inspection = arg;
    json_t *object = json_object();

    set(object, "tx", number(tx.us));
    set(object, "afterTx", number(prev.us));
    set(object, "bytes", number(record.size));
    (void)json_array_append_new(inspection->entries, object);
}

static json_t *inspect_feed(struct inspection *inspection)
{
    char path[PATH_BYTES];
    json_t *object = json_object();
    struct bb_feed_look look = { .segment = on_feed_segment,
                                 .record = inspection->lists_entries ? on_feed_record : NULL,
                                 .arg = inspection };

    inspection->segments = json_array();
    inspection->entries = json_array();
    path_of(inspection, "feed", path);
    if (bb_feed_look(inspection->ctx, path, &look) != BB_OK) {
        set_damage(inspection, object, inspection->ctx->error);
    }
    set(object, "segments", inspection->segments);
    if (inspection->lists_entries) {
        set(object, "records", inspection->entries);
    } else {
        json_decref(inspection->entries);
    }
    return object;
}

/* ---- the parts together ---- */

/* Each part may be whole, and a node refuse them all the same: it goes on from data and feed, with
 * what the log has behind the older of the two. */
static void check_parts(struct inspection *inspection, json_t *object)
{
    uint64_t first = inspection->log_first, snapshot = inspection->snapshot;
    uint64_t reach = inspection->data < inspection->feed ? inspection->data : inspection->feed;
    char text[160] = "";

    if (first > snapshot + 1) {
        (void)snprintf(text, sizeof text,
                       "the log begins at entry %" PRIu64
                       ", its newest whole snapshot is of %" PRIu64,
                       first, snapshot);
    } else if (reach < snapshot && first > reach + 1) {
        (void)snprintf(text, sizeof text,
                       "the log begins at entry %" PRIu64 ", data and feed together reach %" PRIu64
                       " only",
                       first, reach);
    }
    if (text[0] != 0)
        set_damage(inspection, object, text);
}

/* ---- the folder ---- */

/* The file VERSION, line by line as it is. */
static int inspect_version(struct inspection *inspection, json_t *object)
{
    char path[PATH_BYTES];
    struct bb_buf text;
    int rc;

    bb_buf_init(&text);
    path_of(inspection, "VERSION", path);
    rc = bb_file_read_all(inspection->ctx, path, &text);
    if (rc == BB_OK) {
        while (text.size > 0 && text.data[text.size - 1] == '\n') {
            text.size -= 1;
        }
        set(object, "version", json_stringn((const char *)text.data, text.size));
    } else if (rc == BB_NOT_FOUND) {
        rc = bb_fail(inspection->ctx, BB_NOT_FOUND,
                     "%s is no data folder of a storage node: it has no file VERSION",
                     inspection->dir);
    }
    bb_buf_fini(&text);
    return rc;
}

/* A node that runs would change the files while they are read. */
static int check_stopped(struct inspection *inspection, int *lock_fd)
{
    char path[PATH_BYTES];

    path_of(inspection, "LOCK", path);
    *lock_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*lock_fd >= 0 && flock(*lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return bb_fail(inspection->ctx, BB_BUSY,
                       "a process has %s open: stop it, or inspect a copy of the folder",
                       inspection->dir);
    }
    return BB_OK; /* a copy may have no LOCK */
}

/* ---- printing ---- */

static void print_value(json_t *value)
{
    if (json_is_string(value)) {
        (void)printf("%s", json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    (void)printf("%s", text == NULL ? "?" : text);
    bb_free(text);
}

static void print_row(json_t *object)
{
    void *at = json_object_iter(object);

    (void)printf("   ");
    for (; at != NULL; at = json_object_iter_next(object, at)) {
        (void)printf(" %s=", json_object_iter_key(at));
        print_value(json_object_iter_value(at));
    }
    (void)printf("\n");
}

/* Plain values as "name  value", lists as one line an element. */
static void print_object(const char *title, json_t *object)
{
    void *at = json_object_iter(object);

    (void)printf("%s\n", title);
    for (; at != NULL; at = json_object_iter_next(object, at)) {
        json_t *value = json_object_iter_value(at);
        if (json_is_array(value)) {
            (void)printf("  %s\n", json_object_iter_key(at));
            for (size_t i = 0; i < json_array_size(value); i++) {
                print_row(json_array_get(value, i));
            }
        } else {
            (void)printf("  %-14s ", json_object_iter_key(at));
            print_value(value);
            (void)printf("\n");
        }
    }
}

static void print_all(json_t *object, bool is_json)
{
    void *at = json_object_iter(object);

    if (is_json) {
        char *text = json_dumps(object, JSON_COMPACT);
        (void)printf("%s\n", text == NULL ? "{}" : text);
        bb_free(text);
        return;
    }
    for (; at != NULL; at = json_object_iter_next(object, at)) {
        json_t *value = json_object_iter_value(at);
        if (json_is_object(value)) {
            print_object(json_object_iter_key(at), value);
        } else {
            (void)printf("%s ", json_object_iter_key(at));
            print_value(value);
            (void)printf("\n");
        }
    }
}

/* ---- the command ---- */

/* LMDB reads its file through a map: one that was cut short is a signal. */
static void on_bus_error(int signal_number)
{
    static const char text[] =
        "bb-ctl: data.mdb ends before its pages do: it is damaged or a copy that was cut short\n";

    (void)signal_number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1); /* nothing else can be done */
    _exit(1);
}

static bool wants(const struct bb_conf *conf, const char *part)
{
    const char *wanted = bb_conf_text(conf, "part");
    return strcmp(wanted, "all") == 0 || strcmp(wanted, part) == 0;
}

int ctl_inspect(struct bb_ctx *ctx, const struct bb_conf *conf)
{
    struct inspection inspection = { .ctx = ctx, .lists_entries = bb_conf_bool(conf, "entries") };
    json_t *object = json_object();
    int lock_fd = -1;
    int rc = BB_OK;

    if (bb_conf_rest_count(conf) != 2 ||
        !(wants(conf, "log") || wants(conf, "data") || wants(conf, "feed"))) {
        (void)fprintf(stderr,
                      "bb-ctl: inspect takes one folder, and --part log, data, feed or all\n");
        json_decref(object);
        return 2;
    }
    inspection.dir = bb_conf_rest(conf, 1);
    (void)signal(SIGBUS, on_bus_error); /* cannot fail for a known signal */
    rc = inspect_version(&inspection, object);
    if (rc == BB_OK) {
        rc = check_stopped(&inspection, &lock_fd);
    }
    if (rc == BB_OK) {
        if (wants(conf, "log")) {
            set(object, "log", inspect_log(&inspection));
        }
        if (wants(conf, "data")) {
            set(object, "data", inspect_data(&inspection));
        }
        if (wants(conf, "feed")) {
            set(object, "feed", inspect_feed(&inspection));
        }
        if (wants(conf, "log") && wants(conf, "data") && wants(conf, "feed"))
            check_parts(&inspection, json_object_get(object, "log"));
        print_all(object, bb_conf_bool(conf, "json"));
    } else {
        (void)fprintf(stderr, "bb-ctl: %s\n", ctx->error);
    }
    if (lock_fd >= 0) {
        (void)close(lock_fd); /* nothing was written to it */
    }
    json_decref(object);
    return rc == BB_OK && !inspection.has_damage ? 0 : 1;
}

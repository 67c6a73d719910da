/*
 * The disk below a replicated log, as libraft's own libuv part would use it: writes wait for each
 * other and are safe when they are told to be. A process or a machine that dies leaves the first
 * part of what was under way.
 */
#include "raft_io.h"

#include "replog_internal.h"

#define FULL_RETRY_US 50000

/* Of the library; not in its header, and what it writes at the start of a log. */
int configurationEncode(const struct raft_configuration *configuration, struct raft_buffer *to);

enum write_kind {
    APPEND,
    TRUNCATE,
    SNAPSHOT, /* taken here: the log goes on */
    INSTALL   /* a leader's: the log begins anew behind it */
};
struct write {
    struct bb_list link;
    enum write_kind kind;
    struct sim_raft_entry *entries;
    size_t count;
    raft_index index; /* APPEND: of the first one; TRUNCATE: from here on */
    bool is_written;  /* it only waits to be told so */
    unsigned trailing;
    struct sim_raft_snapshot *snapshot;
    struct raft_io_append *append;
    raft_io_append_cb append_done;
    struct raft_io_snapshot_put *put;
    raft_io_snapshot_put_cb put_done;
};

/* ---- what is on the disk ---- */

static void add_entry(struct sim_raft *disk, struct sim_raft_entry entry)
{
    if (disk->count == disk->capacity) {
        disk->capacity = disk->capacity == 0 ? 256 : disk->capacity * 2;
        disk->entries = bb_realloc(disk->entries, disk->capacity * sizeof *disk->entries);
    }
    disk->entries[disk->count++] = entry;
}

static void drop_before(struct sim_raft *disk, raft_index index)
{
    if (index <= disk->first)
        return;
    size_t count = index - disk->first < disk->count ? (size_t)(index - disk->first) : disk->count;
    memmove(disk->entries, disk->entries + count, (disk->count - count) * sizeof *disk->entries);
    disk->count -= count;
    disk->first += count;
}

static struct sim_raft_snapshot *snapshot_copy(const struct raft_snapshot *from)
{
    struct sim_raft_snapshot *copy = bb_alloc_zero(1, sizeof *copy);
    struct bb_buf bytes;

    bb_buf_init(&bytes);
    for (unsigned i = 0; i < from->n_bufs; i++)
        bb_buf_append(&bytes, from->bufs[i].base, from->bufs[i].len);
    copy->index = from->index;
    copy->term = from->term;
    copy->configuration_index = from->configuration_index;
    copy->bytes = bb_buf_slice(&bytes);
    raft_configuration_init(&copy->configuration);
    for (unsigned i = 0; i < from->configuration.n; i++) {
        const struct raft_server *server = &from->configuration.servers[i];
        int rc =
            raft_configuration_add(&copy->configuration, server->id, server->address, server->role);
        bb_assert(rc == 0);
    }
    return copy;
}

static void configuration_copy(const struct raft_configuration *from, struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        int rc = raft_configuration_add(to, from->servers[i].id, from->servers[i].address,
                                        from->servers[i].role);
        bb_assert(rc == 0);
    }
}

/* Entries that a snapshot no longer needs go; a whole file of them at a time, so some may stay. */
static void keep_trailing(struct sim_raft *disk, const struct write *write)
{
    raft_index last = write->snapshot->index;

    if (write->trailing == 0) {
        disk->count = 0;
        disk->first = last + 1;
    } else if (last > write->trailing) {
        drop_before(disk, last - write->trailing + 1);
    }
}

/* The first `parts` of a write's steps; all of them: SIZE_MAX. */
static void apply_write(struct sim_raft *disk, const struct write *write, size_t parts)
{
    switch (write->kind) {
    case APPEND:
        bb_assert(write->index == disk->first + disk->count);
        for (size_t i = 0; i < write->count && i < parts; i++)
            add_entry(disk, write->entries[i]);
        return;
    case TRUNCATE:
        if (parts > 0 && write->index >= disk->first && write->index < disk->first + disk->count)
            disk->count = (size_t)(write->index - disk->first);
        return;
    case SNAPSHOT:
    case INSTALL:
        if (parts > 0)
            disk->snapshot = write->snapshot;
        if (parts > 1)
            keep_trailing(disk, write);
        return;
    }
}

static size_t part_count(const struct write *write)
{
    return write->kind == APPEND ? write->count : write->kind == TRUNCATE ? 1 : 2;
}

/* ---- one after the other ---- */

static void write_more(struct sim_raft_life *life);

static void finish(struct write *write, int status)
{
    struct raft_io_append *append = write->append;
    raft_io_append_cb append_done = write->append_done;
    struct raft_io_snapshot_put *put = write->put;
    raft_io_snapshot_put_cb put_done = write->put_done;

    bb_list_remove(&write->link);
    bb_free(write);
    if (append_done != NULL)
        append_done(append, status);
    if (put_done != NULL)
        put_done(put, status);
}

/* Appends that gathered go together. */
static void on_written(void *arg)
{
    struct sim_raft_life *life = arg;
    size_t count = 0;

    if (life->is_closed)
        return;
    if (life->node->disk->is_full) { /* the library tries again by itself and tells nobody */
        (void)sim_after(life->node, FULL_RETRY_US, on_written, life);
        return;
    }
    sim_failpoint("raft.sync");
    bb_list_each(item, &life->writes) {
        struct write *write = bb_container(item, struct write, link);
        if (count > 0 && write->kind != APPEND)
            break;
        apply_write(life->disk, write, SIZE_MAX);
        write->is_written = true;
        count++;
        if (write->kind != APPEND)
            break;
    }
    sim_failpoint("raft.synced");
    life->is_writing = false;
    for (; count > 0 && !life->is_closed; count--)
        finish(bb_container(life->writes.next, struct write, link), 0);
    write_more(life);
    sim_loop_touch(life->node);
}

static uint64_t waiting_bytes(const struct sim_raft_life *life)
{
    uint64_t bytes = 0;

    bb_list_each(item, &life->writes) {
        const struct write *write = bb_container(item, struct write, link);
        for (size_t i = 0; i < write->count; i++)
            bytes += write->entries[i].bytes.size;
    }
    return bytes;
}

static void write_more(struct sim_raft_life *life)
{
    if (life->is_writing || life->is_closed || bb_list_is_empty(&life->writes))
        return;
    life->is_writing = true;
    (void)sim_after(life->node,
                    sim_sync_time(life->node) + sim_raft_transfer_us(waiting_bytes(life)),
                    on_written, life);
}

static struct write *add_write(struct sim_raft_life *life, enum write_kind kind)
{
    struct write *write = bb_alloc_zero(1, sizeof *write);

    write->kind = kind;
    bb_list_push_back(&life->writes, &write->link);
    write_more(life);
    return write;
}

/* ---- the methods ---- */

/* Where the next entry goes when all that was asked for is done. */
static raft_index next_index(const struct sim_raft_life *life)
{
    raft_index next = life->disk->first + life->disk->count;

    bb_list_each(item, &life->writes) {
        const struct write *write = bb_container(item, struct write, link);
        if (write->is_written)
            continue;
        if (write->kind == APPEND)
            next += write->count;
        if (write->kind == TRUNCATE)
            next = write->index;
        if (write->kind == INSTALL)
            next = write->snapshot->index + 1;
    }
    return next;
}

static int append(struct raft_io *io, struct raft_io_append *request,
                  const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    struct sim_raft_life *life = sim_raft_life_of(io);
    raft_index index = next_index(life);
    struct write *write = add_write(life, APPEND);

    request->cb = done;
    write->index = index;
    write->append = request;
    write->append_done = done;
    write->count = count;
    write->entries = bb_alloc((count + 1) * sizeof *write->entries);
    for (unsigned i = 0; i < count; i++) {
        write->entries[i] = (struct sim_raft_entry){
            .term = entries[i].term,
            .type = entries[i].type,
            .bytes = bb_slice_dup(bb_slice(entries[i].buf.base, entries[i].buf.len)),
        };
    }
    return 0;
}

static int truncate_log(struct raft_io *io, raft_index index)
{
    struct sim_raft_life *life = sim_raft_life_of(io);

    if (index < next_index(life))
        add_write(life, TRUNCATE)->index = index;
    return 0;
}

static int snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *request,
                        const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb done)
{
    struct write *write = add_write(sim_raft_life_of(io), trailing == 0 ? INSTALL : SNAPSHOT);

    request->cb = done;
    write->put = request;
    write->put_done = done;
    write->trailing = trailing;
    write->snapshot = snapshot_copy(snapshot);
    sim_trace("raft: %s at %llu, %u stay", trailing == 0 ? "install" : "snapshot", snapshot->index,
              trailing);
    return 0;
}

static struct raft_snapshot *snapshot_load(const struct sim_raft_snapshot *from)
{
    struct raft_snapshot *snapshot = raft_malloc(sizeof *snapshot);

    *snapshot = (struct raft_snapshot){ .index = from->index,
                                        .term = from->term,
                                        .configuration_index = from->configuration_index,
                                        .n_bufs = 1 };
    configuration_copy(&from->configuration, &snapshot->configuration);
    snapshot->bufs = raft_malloc(sizeof *snapshot->bufs);
    snapshot->bufs[0].len = from->bytes.size;
    snapshot->bufs[0].base = raft_malloc(from->bytes.size);
    memcpy(snapshot->bufs[0].base, from->bytes.data, from->bytes.size);
    return snapshot;
}

struct get {
    struct bb_list link;
    struct sim_raft_life *life;
    struct raft_io_snapshot_get *request;
};

static void on_got(void *arg)
{
    struct get *get = arg;
    struct sim_raft_life *life = get->life;
    struct raft_io_snapshot_get *request = get->request;

    if (request == NULL)
        return; /* the log was closed */
    bb_list_remove(&get->link);
    bb_free(get);
    request->cb(request, snapshot_load(life->disk->snapshot), 0);
    sim_loop_touch(life->node);
}

static int snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                        raft_io_snapshot_get_cb done)
{
    struct sim_raft_life *life = sim_raft_life_of(io);
    struct get *get = bb_alloc(sizeof *get);

    bb_assert(life->disk->snapshot != NULL);
    request->cb = done;
    *get = (struct get){ .life = life, .request = request };
    bb_list_push_back(&life->gets, &get->link);
    (void)sim_after(life->node, 50 + sim_below(1000), on_got, get);
    return 0;
}

static int set_term(struct raft_io *io, raft_term term)
{
    struct sim_raft *disk = sim_raft_life_of(io)->disk;

    sim_failpoint("raft.term");
    disk->term = term;
    disk->voted_for = 0;
    return 0;
}

static int set_vote(struct raft_io *io, raft_id id)
{
    sim_failpoint("raft.vote");
    sim_raft_life_of(io)->disk->voted_for = id;
    return 0;
}

static int bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    struct sim_raft *disk = sim_raft_life_of(io)->disk;
    struct raft_buffer encoded;

    if (disk->term != 0)
        return RAFT_CANTBOOTSTRAP;
    int rc = configurationEncode(configuration, &encoded);
    if (rc != 0)
        return rc;
    disk->term = 1;
    add_entry(disk, (struct sim_raft_entry){
                        .term = 1,
                        .type = RAFT_CHANGE,
                        .bytes = bb_slice_dup(bb_slice(encoded.base, encoded.len)) });
    raft_free(encoded.base);
    return 0;
}

static int recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io;
    (void)configuration;
    return RAFT_IOERR; /* a person's tool, with all nodes down */
}

/* All in one block of memory, as the library wants it. */
static struct raft_entry *entries_load(const struct sim_raft *disk)
{
    struct raft_entry *entries = raft_malloc((disk->count + 1) * sizeof *entries);
    size_t size = 8;

    for (size_t i = 0; i < disk->count; i++)
        size += disk->entries[i].bytes.size;
    uint8_t *batch = raft_malloc(size);
    uint8_t *at = batch;
    for (size_t i = 0; i < disk->count; i++) {
        const struct sim_raft_entry *from = &disk->entries[i];
        entries[i] = (struct raft_entry){ .term = from->term,
                                          .type = from->type,
                                          .buf = { .base = at, .len = from->bytes.size },
                                          .batch = batch };
        memcpy(at, from->bytes.data, from->bytes.size);
        at += from->bytes.size;
    }
    return entries;
}

static int load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                struct raft_snapshot **snapshot, raft_index *start_index,
                struct raft_entry *entries[], size_t *count)
{
    struct sim_raft *disk = sim_raft_life_of(io)->disk;
    const struct sim_raft_snapshot *last = disk->snapshot;

    if (last != NULL && disk->first + disk->count <= last->index) {
        disk->count = 0; /* all of it is behind the snapshot */
        disk->first = last->index + 1;
    }
    sim_trace("raft: term %llu, entries %llu to %llu, snapshot %llu", disk->term, disk->first,
              disk->first + disk->count - 1, last == NULL ? 0 : last->index);
    *term = disk->term;
    *voted_for = disk->voted_for;
    *snapshot = last == NULL ? NULL : snapshot_load(last);
    *start_index = disk->first;
    *count = disk->count;
    *entries = disk->count == 0 ? NULL : entries_load(disk);
    io->capacity = SIM_RAFT_CAPACITY_KB;
    return 0;
}

void sim_raft_disk_methods(struct raft_io *io)
{
    io->load = load;
    io->bootstrap = bootstrap;
    io->recover = recover;
    io->set_term = set_term;
    io->set_vote = set_vote;
    io->append = append;
    io->truncate = truncate_log;
    io->snapshot_put = snapshot_put;
    io->snapshot_get = snapshot_get;
}

/* A process that ends by itself waits for nothing: a part of it may be there. */
static void leave_a_part(struct sim_raft_life *life)
{
    bb_list_each(item, &life->writes) {
        const struct write *write = bb_container(item, struct write, link);
        if (write->is_written)
            continue; /* its process died before all were told */
        size_t parts = part_count(write);
        size_t done = (size_t)sim_below(parts + 1);
        apply_write(life->disk, write, done);
        if (done < parts)
            return;
    }
}

void sim_raft_disk_close(struct sim_raft_life *life)
{
    leave_a_part(life);
    while (!bb_list_is_empty(&life->writes))
        finish(bb_container(life->writes.next, struct write, link), RAFT_CANCELED);
    while (!bb_list_is_empty(&life->gets)) {
        struct get *get = bb_container(life->gets.next, struct get, link);
        struct raft_io_snapshot_get *request = get->request;
        bb_list_remove(&get->link);
        get->request = NULL;
        request->cb(request, NULL, RAFT_CANCELED);
    }
}

void sim_raft_died(struct sim_node *node, bool is_power_loss)
{
    (void)is_power_loss; /* the log is written past the page cache */
    if (node->raft == NULL || node->raft->life == NULL)
        return;
    leave_a_part(node->raft->life);
    node->raft->life = NULL;
}

/* The queries of a WebSocket client, and the transitions that show them. */
#include "result.h"
#include "websocket_internal.h"

#define OVERLOADED "TooManyConcurrentRequests: live queries have used up their memory"

/* ---- changes of the set ---- */

static void add_note(struct websocket_client *client, uint32_t query_id, const char *failure)
{
    struct websocket_note *note = bb_alloc_zero(1, sizeof(*note));

    note->query_id = query_id;
    note->set_version = UINT32_MAX; /* of the go that follows */
    note->failure = failure == NULL ? NULL : bb_strdup(failure);
    bb_list_push_back(&client->notes, &note->link);
    client->note_count++;
}

static void note_free(struct websocket_note *note)
{
    bb_list_remove(&note->link);
    bb_free(note->failure);
    bb_free(note);
}

static void page_free(struct websocket_page *page)
{
    bb_list_remove(&page->link);
    bb_free(page->path);
    bb_buf_fini(&page->args);
    bb_buf_fini(&page->journal);
    bb_free(page);
}

static struct websocket_page *find_page(struct websocket_client *client, uint32_t query_id)
{
    bb_list_each(item, &client->pages) {
        struct websocket_page *page = bb_container(item, struct websocket_page, link);

        if (page->query_id == query_id)
            return page;
    }
    return NULL;
}

static struct websocket_page *add_page(struct websocket_client *client, uint32_t query_id,
                                       const char *path, struct bb_slice args,
                                       struct bb_slice journal)
{
    struct websocket_page *page = bb_alloc_zero(1, sizeof(*page));

    page->query_id = query_id;
    page->path = bb_strdup(path);
    bb_buf_append_slice(&page->args, args);
    bb_buf_append_slice(&page->journal, journal);
    bb_list_push_back(&client->pages, &page->link);
    return page;
}

static int add_query(struct bb_ctx *ctx, struct websocket_client *client, struct bb_arena *arena,
                     const struct websocket_modification *add)
{
    struct bb_slice args = add->args;
    struct websocket_page *page = NULL;
    struct bb_buf with_end;
    const char *path;
    int rc = gateway_ask_path(ctx, arena, add->path, &path);

    if (rc == BB_OK && add->has_component)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "Could not find the component: there are none here.");
    if (rc != BB_OK)
        return rc;
    bb_buf_init(&with_end);
    if (gateway_websocket_page_is_open(args)) {
        page = add_page(client, add->query_id, path, args, add->journal);
        if (add->journal.size > 0) {
            gateway_websocket_page_end(args, add->journal, &with_end);
            args = bb_buf_slice(&with_end);
        }
    }
    rc = gateway_session_add(ctx, client->session, add->query_id, path, args, NULL);
    if (rc != BB_OK && page != NULL)
        page_free(page);
    bb_buf_fini(&with_end);
    return rc;
}

static void apply(struct bb_ctx *ctx, struct websocket_client *client, struct bb_arena *arena,
                  const struct websocket_modification *modification)
{
    struct websocket_page *page = find_page(client, modification->query_id);
    int rc = BB_OK;

    if (!modification->is_add) {
        (void)gateway_session_remove(client->session, modification->query_id);
        if (page != NULL)
            page_free(page);
        add_note(client, modification->query_id, NULL);
    } else {
        rc = add_query(ctx, client, arena, modification);
    }
    if (rc == BB_OVERLOADED)
        gateway_websocket_shut(client, 1013, OVERLOADED);
    else if (rc != BB_OK)
        add_note(client, modification->query_id, ctx->error);
}

/* The session's next event covers what was noted, and this version of the set. */
static void go(struct websocket_client *client)
{
    size_t index = client->set_count++;
    uint32_t version;

    if (client->set_count > client->set_capacity) {
        client->set_capacity = client->set_capacity == 0 ? 8 : client->set_capacity * 2;
        client->sets = bb_realloc(client->sets, client->set_capacity * sizeof(*client->sets));
    }
    /* An event may come from inside, so all must be there before; versions count up by one. */
    version = client->go_count + 1;
    client->go_count = version;
    client->sets[index] =
        (struct websocket_set){ .set_version = version, .query_set = client->query_set };
    bb_list_each(item, &client->notes) {
        struct websocket_note *note = bb_container(item, struct websocket_note, link);

        if (note->set_version == UINT32_MAX)
            note->set_version = version;
    }
    bb_assert(gateway_session_go(client->session) == version);
}

void gateway_websocket_modify(struct bb_ctx *ctx, struct websocket_client *client,
                              const struct websocket_message *message)
{
    size_t count = bb_value_count(message->modifications);
    struct bb_arena *arena;

    if (message->base_version != client->query_set ||
        message->new_version != message->base_version + 1) {
        gateway_websocket_shut(client, 1002,
                               "BadRequest: the version of the query set does not follow");
        return;
    }
    if (client->set_count >= WEBSOCKET_CHANGES_MAX || count > WEBSOCKET_CHANGES_MAX ||
        client->note_count + count > WEBSOCKET_NOTES_MAX) {
        gateway_websocket_shut(client, 1013,
                               "TooManyConcurrentRequests: the query set changes too often");
        return;
    }
    if (client->is_back) {
        client->is_back = false;
        client->awaits_pong = true;
        bb_http_socket_ping(client->http);
    }
    arena = bb_arena_new(0);
    for (size_t i = 0; i < count; i++) {
        struct websocket_modification modification;

        if (gateway_websocket_decode_modification(ctx, bb_value_at(message->modifications, i),
                                                  &modification) != BB_OK) {
            gateway_websocket_shut(client, 1002, ctx->error);
            bb_arena_free(arena);
            return;
        }
        apply(ctx, client, arena, &modification);
        if (client->is_closing) {
            bb_arena_free(arena);
            return;
        }
    }
    bb_arena_free(arena);
    client->query_set = message->new_version;
    go(client);
}

/* ---- transitions ---- */

/* The version of the set that an event covers. */
static uint32_t covered_set(struct websocket_client *client, uint32_t set_version)
{
    uint32_t query_set = client->version.query_set;
    size_t covered = 0;

    while (covered < client->set_count && client->sets[covered].set_version <= set_version)
        query_set = client->sets[covered++].query_set;
    client->set_count -= covered;
    if (covered > 0)
        memmove(client->sets, client->sets + covered, client->set_count * sizeof(*client->sets));
    return query_set;
}

static void add_changes(struct websocket_client *client, struct bb_buf *json,
                        const struct session_event *event)
{
    for (size_t i = 0; i < event->change_count; i++) {
        const struct session_change *change = &event->changes[i];
        struct websocket_page *page = find_page(client, change->query_id);

        if (page != NULL && page->journal.size == 0 && !change->result->is_failure) {
            bb_buf_append_slice(&page->journal, gateway_websocket_page_cursor(
                                                    bb_buf_slice(&change->result->payload)));
            page->is_due = page->journal.size > 0;
            if (page->is_due)
                gateway_websocket_later(client->websockets);
        }
        /* What the client holds when the page is fixed: the newest, if another one came before. */
        if (page != NULL && page->is_due)
            gateway_session_hash(change->result, page->hash);
        gateway_websocket_add_result(json, change->query_id, change->result->is_failure,
                                     gateway_result_json(change->result, BB_JSON_ENCODED),
                                     page == NULL ? BB_SLICE_EMPTY : bb_buf_slice(&page->journal));
        if (change->result->reference_count <= 2) /* its entry and this round */
            gateway_result_forget(NULL, change->result);
    }
}

static void add_notes(struct websocket_client *client, struct bb_buf *json, uint32_t set_version)
{
    bb_list_each_safe(item, &client->notes) {
        struct websocket_note *note = bb_container(item, struct websocket_note, link);

        if (note->set_version > set_version)
            continue;
        if (note->failure == NULL)
            gateway_websocket_add_removed(json, note->query_id);
        else
            gateway_websocket_add_failure(json, note->query_id, note->failure);
        note_free(note);
        client->note_count--;
    }
}

/* Must it wait for responses of mutations that it may show? */
static bool must_hold(struct websocket_client *client, uint64_t tx)
{
    const struct websocket_mutation *running = client->running;
    bool has_mutations = running != NULL || client->mutation_count > 0;

    if (client->hold_until_us != 0 && (has_mutations || client->awaits_pong) &&
        bb_loop_now_us(client->websockets->gateway->loop) < client->hold_until_us)
        return true;
    return running != NULL && running->committed_tx != 0 && running->committed_tx <= tx;
}

void gateway_websocket_deliver(struct sink *sink, struct session *session,
                               const struct session_event *event)
{
    struct websocket_client *client = bb_container(sink, struct websocket_client, sink);
    struct bb_buf *json = &client->websockets->gateway->json;
    struct websocket_version start = client->version;
    struct bb_http_buffer *buffer;

    (void)session;
    if (client->is_closing)
        return;
    if (event->is_resync && start.tx > event->tx) {
        gateway_websocket_shut(client, 1012, "InternalServerError: the data was replaced");
        return;
    }
    client->version.query_set = covered_set(client, event->set_version);
    client->version.identity = event->identity_version;
    client->version.tx = event->tx;
    bb_buf_clear(json);
    gateway_websocket_begin_transition(json, &start, &client->version);
    add_changes(client, json, event);
    add_notes(client, json, event->set_version);
    gateway_websocket_end_transition(json);
    buffer = gateway_websocket_pack(bb_buf_slice(json), client->takes_chunks,
                                    ++client->transition_count);
    if (json->capacity > 1u << 20) {
        bb_buf_fini(json);
        bb_buf_init(json);
    }
    bb_metric_add(client->websockets->transitions, 1);
    /* Nothing begins while one is held, so there is one at most. */
    bb_assert(client->held == NULL);
    client->held = buffer;
    if (must_hold(client, event->tx))
        return;
    client->held = NULL;
    client->hold_until_us = 0;
    client->seconds = 0;
    bb_http_stream_send(client->http, buffer);
    bb_http_buffer_release(buffer);
}

bool gateway_websocket_is_blocked(const struct sink *sink)
{
    union {
        const struct sink *in;
        struct sink *out;
    } cast = { .in = sink };
    struct websocket_client *client = bb_container(cast.out, struct websocket_client, sink);
    size_t bytes;
    bool is_blocked = client->is_closing || client->is_expired || client->held != NULL ||
                      (client->running != NULL && client->running->committed_tx != 0) ||
                      bb_http_stream_queued(client->http, &bytes) > WEBSOCKET_REPLIES_MAX ||
                      bb_http_stream_is_blocked(client->http);

    client->was_blocked = client->was_blocked || is_blocked;
    return is_blocked;
}

void gateway_websocket_release(struct websocket_client *client)
{
    if (client->is_closing || client->session == NULL)
        return;
    if (client->held != NULL && !must_hold(client, client->version.tx)) {
        struct bb_http_buffer *buffer = client->held;

        client->held = NULL;
        client->hold_until_us = 0;
        client->seconds = 0;
        bb_http_stream_send(client->http, buffer);
        bb_http_buffer_release(buffer);
    }
    if (client->was_blocked && client->held == NULL) {
        client->was_blocked = false;
        gateway_session_wake(client->session);
    }
}

/* ---- pages ---- */

/* From now on the page is run with the end that its first result had. */
static void fix_page(struct websocket_client *client, struct websocket_page *page)
{
    struct bb_ctx ctx = *client->websockets->gateway->ctx;
    struct bb_buf args;
    int rc;

    page->is_due = false;
    bb_buf_init(&args);
    gateway_websocket_page_end(bb_buf_slice(&page->args), bb_buf_slice(&page->journal), &args);
    (void)gateway_session_remove(client->session, page->query_id);
    rc = gateway_session_add(&ctx, client->session, page->query_id, page->path, bb_buf_slice(&args),
                             page->hash);
    if (rc == BB_OVERLOADED)
        gateway_websocket_shut(client, 1013, OVERLOADED);
    else if (rc != BB_OK)
        add_note(client, page->query_id, ctx.error);
    bb_buf_fini(&args);
}

void gateway_websocket_fix_pages(struct websocket_client *client)
{
    bool is_changed = false;

    if (client->is_closing)
        return;
    bb_list_each_safe(item, &client->pages) {
        struct websocket_page *page = bb_container(item, struct websocket_page, link);

        if (page->is_due) {
            fix_page(client, page);
            is_changed = true;
        }
    }
    if (is_changed && !client->is_closing)
        go(client);
}

void gateway_websocket_forget_queries(struct websocket_client *client)
{
    while (!bb_list_is_empty(&client->notes))
        note_free(bb_container(client->notes.next, struct websocket_note, link));
    while (!bb_list_is_empty(&client->pages))
        page_free(bb_container(client->pages.next, struct websocket_page, link));
    bb_http_buffer_release(client->held);
    bb_free(client->sets);
}

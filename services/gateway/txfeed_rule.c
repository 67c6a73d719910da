#include "txfeed_rule.h"

#include "subscribe.h"

#define RULE_PATH "feed:default"
#define ASK_US    10000000u

enum verdict {
    RULE_ASKED,
    RULE_ADMITS,
    RULE_REFUSES,
    RULE_IS_MISSING,
    RULE_EXPIRED
};

struct txfeed_rule {
    struct sink sink;
    struct txfeed_reader *reader;
    struct session *session;
    enum verdict verdict;
    bool is_new; /* the verdict: nobody has acted upon it */
    uint64_t until_us;
};

/* ---- what the rule says ---- */

static void judge(struct txfeed_rule *rule, enum verdict verdict)
{
    if (rule->verdict == verdict || rule->verdict == RULE_EXPIRED)
        return;
    rule->verdict = verdict;
    rule->is_new = true;
    gateway_txfeed_tick_now(rule->reader->txfeed);
}

/* Only what feedRule of bitbend/server makes admits: another query at that path is no rule. */
static enum verdict verdict_of(const struct live_result *result)
{
    struct bb_slice value = bb_buf_slice(&result->payload);
    struct bb_slice admits;

    if (result->is_failure || bb_value_tag(value) != BB_TAG_OBJECT)
        return RULE_IS_MISSING;
    admits = bb_value_field_str(value, "feedRule");
    if (admits.data == NULL)
        return RULE_IS_MISSING;
    return bb_value_tag(admits) == BB_TAG_TRUE ? RULE_ADMITS : RULE_REFUSES;
}

static void deliver(struct sink *sink, struct session *session, const struct session_event *event)
{
    struct txfeed_rule *rule = bb_container(sink, struct txfeed_rule, sink);

    (void)session;
    for (size_t i = 0; i < event->change_count; i++)
        judge(rule, verdict_of(event->changes[i].result));
}

static bool is_blocked(const struct sink *sink)
{
    (void)sink;
    return false;
}

static void on_expired(struct sink *sink, struct session *session)
{
    (void)session;
    judge(bb_container(sink, struct txfeed_rule, sink), RULE_EXPIRED);
}

/* ---- asking ---- */

static void put_tables(struct bb_value_builder *builder, struct bb_slice tables)
{
    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str("tables"));
    bb_value_begin_array(builder);
    for (size_t at = 0; at < tables.size;) {
        struct bb_slice name = bb_slice_str((const char *)tables.data + at);

        bb_value_put_string(builder, name);
        at += name.size + 1;
    }
    bb_value_end_array(builder);
    bb_value_end_object(builder);
}

int gateway_txfeed_rule_ask(struct bb_ctx *ctx, struct txfeed_reader *reader,
                            const struct caller *caller)
{
    struct gateway *gateway = reader->txfeed->gateway;
    struct txfeed_rule *rule = bb_alloc_zero(1, sizeof(*rule));
    struct bb_value_builder *builder = bb_value_builder_new();
    /* The rule is internal: it runs with the right to, in the user's name. */
    struct session_options options = { .identity = caller->identity,
                                       .is_admin = true,
                                       .expires_us = caller->expires_us,
                                       .owner = &rule->sink };
    int rc;

    rule->sink =
        (struct sink){ .deliver = deliver, .is_blocked = is_blocked, .expired = on_expired };
    rule->reader = reader;
    rule->until_us = bb_loop_now_us(gateway->loop) + ASK_US;
    reader->rule = rule;
    put_tables(builder, reader->view->view.tables);
    rule->session = gateway_session_new(gateway_sessions(gateway), &options);
    rc = gateway_session_add(ctx, rule->session, 1, RULE_PATH, bb_value_finish(builder), NULL);
    bb_value_builder_free(builder);
    if (rc == BB_OK)
        (void)gateway_session_go(rule->session);
    return rc;
}

void gateway_txfeed_rule_free(struct txfeed_rule *rule)
{
    if (rule == NULL)
        return;
    gateway_session_free(rule->session);
    bb_free(rule);
}

bool gateway_txfeed_is_admitted(const struct txfeed_reader *reader)
{
    return reader->rule == NULL || reader->rule->verdict == RULE_ADMITS;
}

/* ---- acting ---- */

static void refuse(struct txfeed_reader *reader, enum verdict verdict)
{
    switch (verdict) {
    case RULE_ASKED:
    case RULE_ADMITS:
        BB_UNREACHABLE("it is not refused");
    case RULE_REFUSES:
        gateway_txfeed_reader_fail(
            reader, BB_FORBIDDEN,
            "The application's feedRule does not admit this user to these tables.", 0);
        return;
    case RULE_IS_MISSING:
        gateway_txfeed_reader_fail(
            reader, BB_FORBIDDEN,
            "The transaction feed needs the admin key: send `Authorization: BitBend <key>`. There "
            "is no rule that admits users (feedRule in feed.ts), or it failed.",
            0);
        return;
    case RULE_EXPIRED:
        gateway_txfeed_reader_fail(reader, BB_UNAUTHORIZED,
                                   "The token has expired: connect again with a new one.", 0);
        return;
    }
    BB_UNREACHABLE("all verdicts are listed");
}

bool gateway_txfeed_rule_tick(struct txfeed_reader *reader, uint64_t now_us)
{
    struct txfeed_rule *rule = reader->rule;

    if (rule == NULL || reader->is_ended)
        return true;
    if (rule->verdict == RULE_ASKED) {
        if (now_us >= rule->until_us)
            gateway_txfeed_reader_fail(reader, BB_UNAVAILABLE,
                                       "The application's feedRule cannot be asked now; try again.",
                                       0);
        return false;
    }
    if (rule->verdict != RULE_ADMITS) {
        refuse(reader, rule->verdict);
        return false;
    }
    if (!rule->is_new)
        return true;
    rule->is_new = false;
    gateway_txfeed_go(reader);
    return false;
}

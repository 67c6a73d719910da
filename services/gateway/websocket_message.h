/*
 * What compatible clients say on the WebSocket `/api/<version>/sync`: one JSON message as BBV,
 * checked. And what the gateway answers, as JSON. Pure.
 */
#ifndef GATEWAY_WEBSOCKET_MESSAGE_H
#define GATEWAY_WEBSOCKET_MESSAGE_H

#include "bb/value.h"

#define WEBSOCKET_SESSION_ID_MAX 100u

enum websocket_kind {
    WEBSOCKET_CONNECT,
    WEBSOCKET_MODIFY,
    WEBSOCKET_MUTATION,
    WEBSOCKET_ACTION,
    WEBSOCKET_AUTHENTICATE,
    WEBSOCKET_EVENT /* telemetry */
};

enum websocket_token {
    WEBSOCKET_TOKEN_NONE,
    WEBSOCKET_TOKEN_USER,
    WEBSOCKET_TOKEN_ADMIN
};

/* Slices borrow from the message. Which fields mean something, the kind says. */
struct websocket_message {
    enum websocket_kind kind;
    struct bb_slice session_id; /* CONNECT */
    uint32_t connection_count;  /* CONNECT: of this session before; 0: this is its first */
    uint64_t max_observed;      /* CONNECT: the newest tx that the client has seen; 0: none */
    uint32_t base_version, new_version; /* MODIFY, AUTHENTICATE (base only) */
    struct bb_slice modifications;      /* MODIFY: a BBV array */
    uint32_t request_id;                /* MUTATION, ACTION */
    struct bb_slice path, args;         /* MUTATION, ACTION; args: a BBV object */
    bool has_component;                 /* it names a component, which there are none of */
    enum websocket_token token_kind;    /* AUTHENTICATE */
    struct bb_slice token;
    struct bb_slice impersonating; /* AUTHENTICATE: the user that an admin acts as; BBV or none */
};

struct websocket_modification {
    bool is_add; /* else a removal */
    uint32_t query_id;
    struct bb_slice path, args, journal;
    bool has_component;
};

/* BB_BAD_REQUEST says what is wrong. `message` is BBV that was decoded from JSON. */
int gateway_websocket_decode(struct bb_ctx *ctx, struct bb_slice value,
                             struct websocket_message *message);
int gateway_websocket_decode_modification(struct bb_ctx *ctx, struct bb_slice value,
                                          struct websocket_modification *modification);

/* ---- pages that stay gapless ---- */

/*
 * A page's journal is the cursor at which its first result ended: later runs end there, too.
 * Whether `args` ask for a page whose end is open; then `to` gets the same with the end at
 * `journal`.
 */
bool gateway_websocket_page_is_open(struct bb_slice args);
void gateway_websocket_page_end(struct bb_slice args, struct bb_slice journal, struct bb_buf *to);
/* The cursor at which a page ended; data == NULL: the result is no page. */
struct bb_slice gateway_websocket_page_cursor(struct bb_slice result);

/* ---- answers ---- */

struct websocket_version {
    uint32_t query_set, identity;
    uint64_t tx;
};

/* {"type":"Transition","startVersion":..,"endVersion":..,"modifications":[ */
void gateway_websocket_begin_transition(struct bb_buf *to, const struct websocket_version *start,
                                        const struct websocket_version *end);
/* The result as JSON: of a failure {code, errorMessage, errorData?}. `journal`: text, or empty. */
void gateway_websocket_add_result(struct bb_buf *to, uint32_t query_id, bool is_failure,
                                  struct bb_slice json, struct bb_slice journal);
void gateway_websocket_add_failure(struct bb_buf *to, uint32_t query_id, const char *message);
void gateway_websocket_add_removed(struct bb_buf *to, uint32_t query_id);
void gateway_websocket_end_transition(struct bb_buf *to);
/* `is_answer`: to an Authenticate; else the identity that followed on `base_version` has expired.
 */
void gateway_websocket_auth_error(struct bb_buf *to, const char *error, uint32_t base_version,
                                  bool is_answer);
/* base64 of a u64, little-endian, with quotes. */
void gateway_websocket_append_ts(struct bb_buf *to, uint64_t tx);

#endif

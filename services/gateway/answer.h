/* Envelopes: what a call's outcome looks like as JSON. Pure encoding. */
#ifndef GATEWAY_ANSWER_H
#define GATEWAY_ANSWER_H

#include "worker.pb-c.h"

#include "bb/value.h"

struct outcome {
    int status;
    const char *error;                 /* text for people; may be NULL */
    const Bb__Proto__CallReply *reply; /* may be NULL */
    Bb__Proto__FunctionKind kind;      /* what was asked for; the reply may know better */
    const uint8_t *request_id;         /* 16 bytes */
    enum bb_json_format format;
    struct bb_slice json; /* the value in this format, if it is there; else reply->value counts */
    bool shows_errors;    /* messages, stacks and log lines, or a request id only */
};

/* Appends `,"logLines":[..]` (without the comma behind a brace): none unless errors are shown. */
void gateway_log_lines(struct bb_buf *to, const struct outcome *outcome);
/* The text of `errorMessage`, not quoted. */
void gateway_error_message(struct bb_buf *to, const struct outcome *outcome);
/* Appends `"code":..,"errorMessage":..[,"errorData":..]`. */
void gateway_error_fields(struct bb_buf *to, const struct outcome *outcome);
/* The envelope of a success is what these append, with the value between them. */
void gateway_success_begin(struct bb_buf *to);
void gateway_success_end(struct bb_buf *to, const struct outcome *outcome);
/* The whole envelope. Returns the HTTP status it goes with. Inside a batch (`is_part`) what
 * happened outside the function takes the form of an error envelope, too. */
int gateway_envelope(struct bb_buf *to, const struct outcome *outcome, bool is_part);
/* {code, message} */
void gateway_failure(struct bb_buf *to, const char *code, const char *message);

#endif

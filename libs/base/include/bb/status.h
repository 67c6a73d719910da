/*
 * The one list of statuses. It gives the C constant, the number on the wire, the HTTP status, the
 * name users see, where the trouble lies, and whether the same request may help when sent again.
 *
 * `place` is IN for what happens inside a function (HTTP 200 with `{status:"error", code, ..}`) and
 * OUT for what happens outside (`{code, message}` with the HTTP status of the row).
 * `fault` is who can do something about it: USER (application or caller), SUITE (us), WORLD.
 * A number is never reused. tests/lint checks that libs/js agrees.
 */
#ifndef BB_STATUS_H
#define BB_STATUS_H

#include <stdbool.h>

/* X(constant, wire number, HTTP status, name, place, fault, retry helps) */
#define BB_STATUS_TABLE(X)                                                       \
    X(BB_OK, 0, 200, "Ok", OUT, SUITE, false)                                    \
    X(BB_INTERNAL, 1, 500, "InternalError", OUT, SUITE, false)                   \
    X(BB_BAD_JSON, 2, 400, "BadJson", OUT, USER, false)                          \
    X(BB_BAD_REQUEST, 3, 400, "BadRequest", OUT, USER, false)                    \
    X(BB_WRONG_KIND, 4, 400, "WrongKind", OUT, USER, false)                      \
    X(BB_UNAUTHORIZED, 5, 401, "Unauthorized", OUT, USER, false)                 \
    X(BB_FORBIDDEN, 6, 403, "Forbidden", OUT, USER, false)                       \
    X(BB_NOT_FOUND, 7, 404, "NotFound", OUT, USER, false)                        \
    X(BB_FUNCTION_NOT_FOUND, 8, 404, "FunctionNotFound", OUT, USER, false)       \
    X(BB_METHOD_NOT_ALLOWED, 9, 405, "MethodNotAllowed", OUT, USER, false)       \
    X(BB_KEY_REUSED, 10, 409, "IdempotencyKeyReused", OUT, USER, false)          \
    X(BB_TX_TRUNCATED, 11, 410, "TxTruncated", OUT, USER, false)                 \
    X(BB_BODY_TOO_LARGE, 12, 413, "BodyTooLarge", OUT, USER, false)              \
    X(BB_HEADERS_TOO_LARGE, 13, 431, "HeadersTooLarge", OUT, USER, false)        \
    X(BB_OVERLOADED, 14, 503, "Overloaded", OUT, WORLD, true)                    \
    X(BB_OUTCOME_UNKNOWN, 15, 503, "OutcomeUnknown", OUT, WORLD, true)           \
    X(BB_UNAVAILABLE, 16, 503, "Unavailable", OUT, WORLD, true)                  \
    X(BB_TX_IN_FUTURE, 17, 400, "TxInFuture", OUT, USER, false)                  \
    X(BB_NO_MEMORY, 18, 503, "NoMemory", OUT, WORLD, true)                       \
    X(BB_TIMEOUT, 19, 503, "Timeout", OUT, WORLD, true)                          \
    X(BB_CANCELLED, 20, 503, "Cancelled", OUT, WORLD, true)                      \
    X(BB_IO, 21, 500, "IoError", OUT, WORLD, false)                              \
    X(BB_CORRUPT, 22, 500, "Corrupt", OUT, SUITE, false)                         \
    X(BB_FULL, 23, 503, "Full", OUT, WORLD, true)                                \
    X(BB_EXISTS, 24, 409, "Exists", OUT, USER, false)                            \
    X(BB_NO_SPACE, 25, 503, "NoSpace", OUT, WORLD, true)                         \
    X(BB_PEER_GONE, 26, 503, "PeerGone", OUT, WORLD, true)                       \
    X(BB_BUSY, 27, 503, "Busy", OUT, WORLD, true)                                \
    X(BB_UNSUPPORTED, 28, 501, "Unsupported", OUT, USER, false)                  \
    X(BB_ADDRESS_IN_USE, 29, 500, "AddressInUse", OUT, USER, false)              \
    X(BB_WRONG_VERSION, 30, 500, "WrongVersion", OUT, USER, false)               \
    X(BB_KEY_EXPIRED, 31, 410, "IdempotencyKeyExpired", OUT, USER, false)        \
    X(BB_UNSUPPORTED_ENCODING, 32, 415, "UnsupportedEncoding", OUT, USER, false) \
    X(BB_REQUEST_TIMEOUT, 33, 408, "RequestTimeout", OUT, WORLD, true)           \
    X(BB_PENDING, 40, 500, "Pending", OUT, SUITE, false)                         \
    X(BB_CONFLICT, 41, 500, "Conflict", OUT, SUITE, true)                        \
    X(BB_FENCED, 42, 503, "Fenced", OUT, SUITE, true)                            \
    X(BB_GAP, 43, 503, "Gap", OUT, SUITE, true)                                  \
    X(BB_NOT_LEADER, 44, 503, "NotLeader", OUT, SUITE, true)                     \
    X(BB_NOT_YET, 45, 503, "NotYet", OUT, SUITE, true)                           \
    X(BB_TOO_OLD, 46, 503, "TooOld", OUT, SUITE, true)                           \
    X(BB_DUPLICATE, 47, 200, "Duplicate", OUT, SUITE, false)                     \
    X(BB_NEEDS_IDENTITY, 48, 500, "NeedsIdentity", OUT, SUITE, true)             \
    X(BB_TOO_LARGE, 49, 413, "TooLarge", OUT, USER, false)                       \
    X(BB_USER_ERROR, 60, 200, "UserError", IN, USER, false)                      \
    X(BB_SERVER_ERROR, 61, 200, "ServerError", IN, USER, false)                  \
    X(BB_BAD_ARGUMENTS, 62, 200, "ArgumentValidation", IN, USER, false)          \
    X(BB_BAD_RETURN, 63, 200, "ReturnValidation", IN, USER, false)               \
    X(BB_TABLE_NOT_FOUND, 64, 200, "TableNotFound", IN, USER, false)             \
    X(BB_INDEX_NOT_FOUND, 65, 200, "IndexNotFound", IN, USER, false)             \
    X(BB_INDEX_NOT_READY, 66, 200, "IndexNotReady", IN, USER, true)              \
    X(BB_BAD_ID, 67, 200, "BadId", IN, USER, false)                              \
    X(BB_DOCUMENT_NOT_FOUND, 68, 200, "DocumentNotFound", IN, USER, false)       \
    X(BB_DOCUMENT_TOO_LARGE, 69, 200, "DocumentTooLarge", IN, USER, false)       \
    X(BB_RESULT_TOO_LARGE, 70, 200, "ResultTooLarge", IN, USER, false)           \
    X(BB_READ_LIMIT, 71, 200, "ReadLimit", IN, USER, false)                      \
    X(BB_WRITE_LIMIT, 72, 200, "WriteLimit", IN, USER, false)                    \
    X(BB_NOT_ENCODABLE, 73, 200, "NotEncodable", IN, USER, false)                \
    X(BB_FUNCTION_TIMEOUT, 74, 200, "FunctionTimeout", IN, USER, false)          \
    X(BB_OUT_OF_MEMORY, 75, 200, "OutOfMemory", IN, USER, false)                 \
    X(BB_NEVER_RESOLVED, 76, 200, "NeverResolved", IN, USER, false)              \
    X(BB_BAD_QUERY, 77, 200, "BadQuery", IN, USER, false)                        \
    X(BB_READ_ONLY, 78, 200, "ReadOnly", IN, USER, false)                        \
    X(BB_NOT_UNIQUE, 79, 200, "NotUnique", IN, USER, false)                      \
    X(BB_KEY_TOO_LARGE, 80, 200, "IndexKeyTooLarge", IN, USER, false)            \
    X(BB_NOT_AVAILABLE_HERE, 81, 200, "NotAvailableHere", IN, USER, false)

#define BB_STATUS_ENUM(constant, wire, http, name, place, fault, retry) constant = (wire),
enum bb_status {
    BB_STATUS_TABLE(BB_STATUS_ENUM)
};
#undef BB_STATUS_ENUM

/* What a row says. All are total: an unknown number is treated as BB_INTERNAL. */
const char *bb_status_name(int status);
int bb_status_http(int status);
bool bb_status_in_function(int status);
bool bb_status_retry_helps(int status);

/* The status with this user-visible name, or -1. */
int bb_status_by_name(const char *name);

#endif

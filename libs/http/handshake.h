/* The opening handshake of a WebSocket (RFC 6455, section 4.2). */
#ifndef BB_HTTP_HANDSHAKE_H
#define BB_HTTP_HANDSHAKE_H

#include "message.h"

#define HTTP_ACCEPT_SIZE 28u /* base64 of a SHA-1 */

/* Does the request ask to become a WebSocket, rightly or wrongly? */
bool http_wants_socket(const struct http_message *message);
/* NULL: it may. Else what is wrong with it. */
const char *http_check_handshake(const struct http_message *message);
/* Appends the value of Sec-WebSocket-Accept for a key. */
void http_accept_append(struct bb_buf *to, struct bb_slice key);

#endif

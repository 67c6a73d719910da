#include "handshake.h"

/* ---- SHA-1 (FIPS 180-4): the protocol names it; nothing rests on its strength ---- */

struct sha1 {
    uint32_t state[5];
    uint32_t w[80];
};

static uint32_t rotate(uint32_t value, unsigned by)
{
    return value << by | value >> (32 - by);
}

static void sha1_block(struct sha1 *sha, const uint8_t *block)
{
    uint32_t a = sha->state[0], b = sha->state[1], c = sha->state[2], d = sha->state[3],
             e = sha->state[4];

    for (size_t i = 0; i < 80; i++) {
        uint32_t f = i < 20              ? (b & c) | (~b & d)
                     : i < 40 || i >= 60 ? b ^ c ^ d
                                         : (b & c) | (b & d) | (c & d);
        uint32_t k = i < 20   ? 0x5a827999u
                     : i < 40 ? 0x6ed9eba1u
                     : i < 60 ? 0x8f1bbcdcu
                              : 0xca62c1d6u;
        uint32_t next;

        sha->w[i] =
            i < 16 ? bb_get_be32(block + 4 * i)
                   : rotate(sha->w[i - 3] ^ sha->w[i - 8] ^ sha->w[i - 14] ^ sha->w[i - 16], 1);
        next = rotate(a, 5) + f + e + k + sha->w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    sha->state[0] += a;
    sha->state[1] += b;
    sha->state[2] += c;
    sha->state[3] += d;
    sha->state[4] += e;
}

/* Of a short text: it and its padding fill two blocks at most. */
static void sha1(struct bb_slice text, uint8_t digest[20])
{
    struct sha1 sha = { .state = { 0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u,
                                   0xc3d2e1f0u } };
    uint8_t blocks[128] = { 0 };
    size_t size = text.size < 56 ? 64 : 128;

    bb_assert(text.size <= 119);
    memcpy(blocks, text.data, text.size);
    blocks[text.size] = 0x80;
    bb_put_be64(blocks + size - 8, text.size * 8);
    sha1_block(&sha, blocks);
    if (size == 128)
        sha1_block(&sha, blocks + 64);
    for (size_t i = 0; i < 5; i++)
        bb_put_be32(digest + 4 * i, sha.state[i]);
}

/* ---- the handshake ---- */

bool http_wants_socket(const struct http_message *message)
{
    return http_list_has(http_message_field(message, "upgrade"), "websocket") &&
           http_list_has(http_message_field(message, "connection"), "upgrade");
}

const char *http_check_handshake(const struct http_message *message)
{
    struct bb_slice key = http_message_field(message, "sec-websocket-key");
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_buf bytes;
    bool is_key;

    if (message->method != BB_HTTP_GET || message->is_http_1_0)
        return "A WebSocket is opened by GET in HTTP/1.1.";
    if (message->is_chunked || message->content_length > 0)
        return "A request for a WebSocket has no body.";
    if (!http_equal_nocase(http_message_field(message, "sec-websocket-version"), "13"))
        return "The only version of WebSocket that is spoken is 13.";
    bb_buf_init(&bytes);
    is_key = bb_base64_decode(&ctx, key, &bytes) == BB_OK && bytes.size == 16;
    bb_buf_fini(&bytes);
    return is_key ? NULL : "Sec-WebSocket-Key must be 16 bytes as base64.";
}

void http_accept_append(struct bb_buf *to, struct bb_slice key)
{
    struct bb_buf text;
    uint8_t digest[20];

    bb_buf_init(&text);
    bb_buf_append_slice(&text, key);
    bb_buf_append_str(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1(bb_buf_slice(&text), digest);
    bb_base64_append(to, bb_slice(digest, sizeof(digest)));
    bb_buf_fini(&text);
}

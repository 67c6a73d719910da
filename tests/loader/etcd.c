/*
 * etcd: its gRPC calls over HTTP/2 without TLS, one at a time on each connection. etcd has no
 * functions: a change reads, then writes under the condition that what it read has not changed
 * (mod_revision), and begins again if it has.
 *
 * Of HTTP/2 there is as much as this takes: headers go out as literals, and of what comes only the
 * data is read; a call without data has failed.
 */
#include <stdio.h>

#include "loader.h"

enum {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RESET = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW = 8,
    FLAG_END = 1,
    FLAG_ACK = 1,
    FLAG_HEADERS_END = 4,
    WINDOW = 1 << 30
};
enum {
    PHASE_READS = 1, /* a read that is the operation, or the first half of a change */
    PHASE_WRITES
};

/* ---- protobuf ---- */

static void put_varint(struct bb_buf *to, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)(value & 127) | (value > 127 ? 128 : 0);
        bb_buf_append(to, &byte, 1);
        value >>= 7;
    } while (value > 0);
}
static void put_number(struct bb_buf *to, unsigned field, uint64_t value)
{
    put_varint(to, field << 3);
    put_varint(to, value);
}
static void put_bytes(struct bb_buf *to, unsigned field, const void *bytes, size_t size)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, size);
    bb_buf_append(to, bytes, size);
}
static void put_message(struct bb_buf *to, unsigned field, struct bb_buf *message)
{
    put_bytes(to, field, message->data, message->size);
    bb_buf_fini(message);
}

static uint64_t get_varint(struct bb_slice *from)
{
    uint64_t value = 0;

    for (unsigned shift = 0; from->size > 0 && shift < 64; shift += 7) {
        uint8_t byte = from->data[0];
        *from = bb_slice(from->data + 1, from->size - 1);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            break;
    }
    return value;
}
/* The next field: its number, and its value or its bytes; 0: the end. */
static unsigned get_field(struct bb_slice *from, uint64_t *value, struct bb_slice *bytes)
{
    if (from->size == 0)
        return 0;
    uint64_t tag = get_varint(from);
    *value = get_varint(from);
    *bytes = BB_SLICE_EMPTY;
    if ((tag & 7) == 2 && *value <= from->size) {
        *bytes = bb_slice(from->data, *value);
        *from = bb_slice(from->data + *value, from->size - *value);
    }
    return (unsigned)(tag >> 3);
}

/* ---- HTTP/2 ---- */

static void put_frame(struct bb_buf *to, unsigned type, unsigned flags, uint32_t stream,
                      const void *bytes, size_t size)
{
    uint8_t head[9] = { (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, (uint8_t)type,
                        (uint8_t)flags };

    bb_put_be32(head + 5, stream);
    bb_buf_append(to, head, 9);
    bb_buf_append(to, bytes, size);
}

static void put_header(struct bb_buf *to, const char *name, const char *value)
{
    const uint8_t literal = 0;
    const uint8_t name_size = (uint8_t)strlen(name);
    const uint8_t value_size = (uint8_t)strlen(value);

    bb_buf_append(to, &literal, 1);
    bb_buf_append(to, &name_size, 1);
    bb_buf_append(to, name, name_size);
    bb_buf_append(to, &value_size, 1);
    bb_buf_append(to, value, value_size);
}

/* Takes `message`. */
static void call(struct connection *connection, const char *method, struct bb_buf *message)
{
    struct bb_buf headers;
    struct bb_buf body;
    uint8_t head[5] = { 0 };

    bb_buf_init(&headers);
    bb_buf_init(&body);
    put_header(&headers, ":method", "POST");
    put_header(&headers, ":scheme", "http");
    put_header(&headers, ":path", method);
    put_header(&headers, ":authority", "127.0.0.1");
    put_header(&headers, "content-type", "application/grpc");
    put_header(&headers, "te", "trailers");
    connection->stream += connection->stream == 0 ? 1 : 2;
    connection->has_failed = true; /* until data comes */
    put_frame(&connection->out, FRAME_HEADERS, FLAG_HEADERS_END, connection->stream, headers.data,
              headers.size);
    bb_put_be32(head + 1, (uint32_t)message->size);
    bb_buf_append(&body, head, 5);
    bb_buf_append(&body, message->data, message->size);
    put_frame(&connection->out, FRAME_DATA, FLAG_END, connection->stream, body.data, body.size);
    bb_buf_fini(&headers);
    bb_buf_fini(&body);
    bb_buf_fini(message);
}

static void greet(const struct loader *loader, struct connection *connection)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    uint8_t settings[6] = { 0, 4 }; /* the window of a stream */
    uint8_t window[4];

    (void)loader;
    bb_buf_append(&connection->out, preface, sizeof preface - 1);
    bb_put_be32(settings + 2, WINDOW);
    put_frame(&connection->out, FRAME_SETTINGS, 0, 0, settings, sizeof settings);
    bb_put_be32(window, WINDOW);
    put_frame(&connection->out, FRAME_WINDOW, 0, 0, window, sizeof window);
}

/* ---- operations ---- */

static size_t key_name(const struct loader *loader, unsigned key, char *name, size_t size)
{
    const char *table = loader->work == WORK_TRANSFER ? "account"
                        : loader->work == WORK_SCAN   ? "document"
                                                      : "counter";

    return (size_t)snprintf(name, size, loader->work == WORK_SCAN ? "%s/%05u/" : "%s/%u", table,
                            key);
}

static void put_range(const struct loader *loader, struct bb_buf *to, unsigned key)
{
    char name[32];
    size_t size = key_name(loader, key, name, sizeof name);

    put_bytes(to, 1, name, size);
    if (loader->work == WORK_SCAN) {
        name[size - 1]++; /* the end of what begins so */
        put_bytes(to, 2, name, size);
        put_number(to, 3, 100);
    }
}

/* Reads of several keys are one transaction of reads. */
static void begin(const struct loader *loader, struct connection *connection)
{
    struct bb_buf message;

    bb_buf_init(&message);
    connection->phase = PHASE_READS;
    if (loader->work != WORK_TRANSFER) {
        put_range(loader, &message, connection->keys[0]);
        call(connection, "/etcdserverpb.KV/Range", &message);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct bb_buf range;
        struct bb_buf op;
        bb_buf_init(&range);
        bb_buf_init(&op);
        put_range(loader, &range, connection->keys[i]);
        put_message(&op, 1, &range);
        put_message(&message, 2, &op);
    }
    call(connection, "/etcdserverpb.KV/Txn", &message);
}

static void put_compare(struct bb_buf *to, const char *name, size_t size, uint64_t revision)
{
    struct bb_buf compare;

    bb_buf_init(&compare);
    put_number(&compare, 2, 2); /* of the mod_revision; 1, equality, is 0 */
    put_bytes(&compare, 3, name, size);
    put_number(&compare, 6, revision);
    put_message(to, 1, &compare);
}

static void put_write(struct bb_buf *to, const char *name, size_t size, uint64_t value)
{
    struct bb_buf put;
    struct bb_buf op;
    char text[24];
    int length = snprintf(text, sizeof text, "%" PRIu64, value);

    bb_buf_init(&put);
    bb_buf_init(&op);
    put_bytes(&put, 1, name, size);
    put_bytes(&put, 2, text, (size_t)length);
    put_message(&op, 2, &put);
    put_message(to, 2, &op);
}

static void write_back(const struct loader *loader, struct connection *connection)
{
    bool is_transfer = loader->work == WORK_TRANSFER;
    struct bb_buf message;

    bb_buf_init(&message);
    connection->phase = PHASE_WRITES;
    for (unsigned i = 0; i < loader_key_count(loader); i++) {
        char name[32];
        size_t size = key_name(loader, connection->keys[i], name, sizeof name);
        uint64_t value = connection->values[i];
        put_compare(&message, name, size, connection->revisions[i]);
        put_write(&message, name, size, is_transfer && i == 0 ? value - 1 : value + 1);
    }
    call(connection, "/etcdserverpb.KV/Txn", &message);
}

/* A RangeResponse: the first key's value and revision. */
static void read_range(struct bb_slice from, uint64_t *value_out, uint64_t *revision)
{
    struct bb_slice bytes;
    uint64_t value;

    *value_out = 1000;
    *revision = 0;
    for (unsigned field; (field = get_field(&from, &value, &bytes)) != 0;) {
        if (field != 2 || *revision != 0)
            continue;
        struct bb_slice pair = bytes;
        for (unsigned inner; (inner = get_field(&pair, &value, &bytes)) != 0;) {
            if (inner == 3) {
                *revision = value;
            } else if (inner == 5) {
                *value_out = 0;
                for (size_t i = 0; i < bytes.size; i++)
                    *value_out = *value_out * 10 + (uint64_t)(bytes.data[i] - '0');
            }
        }
    }
}

/* A TxnResponse of reads, or whether a change went through. */
static bool read_txn(struct connection *connection, struct bb_slice from)
{
    struct bb_slice bytes;
    uint64_t value;
    unsigned count = 0;
    bool has_succeeded = false;

    for (unsigned field; (field = get_field(&from, &value, &bytes)) != 0;) {
        if (field == 2)
            has_succeeded = value != 0;
        struct bb_slice op = bytes;
        if (field == 3 && get_field(&op, &value, &bytes) == 1 && count < 2) {
            read_range(bytes, &connection->values[count], &connection->revisions[count]);
            count++;
        }
    }
    return has_succeeded;
}

/* The data of the call, and the end of its stream. */
static enum step answered(struct loader *loader, struct connection *connection,
                          struct bb_slice message)
{
    if (connection->has_failed)
        return STEP_FAILED;
    if (loader->work == WORK_GET || loader->work == WORK_SCAN)
        return STEP_DONE;
    if (connection->phase == PHASE_READS) {
        if (loader->work == WORK_TRANSFER)
            (void)read_txn(connection, message);
        else
            read_range(message, &connection->values[0], &connection->revisions[0]);
        write_back(loader, connection);
        return STEP_MORE;
    }
    if (read_txn(connection, message))
        return STEP_DONE;
    loader->retries++;
    begin(loader, connection);
    return STEP_MORE;
}

static enum step frame(struct loader *loader, struct connection *connection, const uint8_t *head,
                       struct bb_slice bytes)
{
    struct bb_buf *message = &connection->message;
    uint8_t window[4];

    switch (head[3]) {
    case FRAME_SETTINGS:
        if ((head[4] & FLAG_ACK) != 0)
            break;
        put_frame(&connection->out, FRAME_SETTINGS, FLAG_ACK, 0, NULL, 0);
        if (connection->stream == 0)
            return STEP_READY;
        break;
    case FRAME_PING:
        if ((head[4] & FLAG_ACK) == 0)
            put_frame(&connection->out, FRAME_PING, FLAG_ACK, 0, bytes.data, bytes.size);
        break;
    case FRAME_DATA:
        connection->window += bytes.size;
        if (connection->window > WINDOW / 2) {
            bb_put_be32(window, (uint32_t)connection->window);
            put_frame(&connection->out, FRAME_WINDOW, 0, 0, window, sizeof window);
            connection->window = 0;
        }
        connection->has_failed = false;
        bb_buf_append_slice(message, bytes);
        break;
    case FRAME_RESET:
    case FRAME_GOAWAY:
        return STEP_FAILED;
    default:
        break;
    }
    bool is_end = (head[3] == FRAME_HEADERS || head[3] == FRAME_DATA) && (head[4] & FLAG_END) != 0;
    if (!is_end)
        return STEP_MORE;
    struct bb_slice whole =
        message->size < 5 ? BB_SLICE_EMPTY : bb_slice(message->data + 5, message->size - 5);
    enum step step = answered(loader, connection, whole);
    bb_buf_clear(message);
    return step;
}

static enum step look(struct loader *loader, struct connection *connection)
{
    size_t end = 0;
    size_t at = 0;
    enum step step = STEP_MORE;

    /* A call's frames are looked at together, when the last one is in. */
    while (connection->in.size - end >= 9) {
        const uint8_t *head = connection->in.data + end;
        size_t size = 9 + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
        if (connection->in.size - end < size)
            break;
        end += size;
        bool is_call = head[3] == FRAME_HEADERS || head[3] == FRAME_DATA;
        if (is_call && (head[4] & FLAG_END) == 0)
            continue;
        while (at < end && step == STEP_MORE) {
            head = connection->in.data + at;
            size = 9 + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
            step = frame(loader, connection, head, bb_slice(head + 9, size - 9));
            at += size;
        }
        if (step != STEP_MORE)
            break;
    }
    loader_take(connection, at);
    return step;
}

const struct protocol loader_etcd = {
    .name = "etcd", .greet = greet, .begin = begin, .look = look
};

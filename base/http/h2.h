/* HTTP/2 on a connection: nghttp2 between bytes and exchanges. Only the files h2*.c (and client_h2*.c, the other
 * side) include it.
 *
 *     HEADERS -> exchange_new -> fields on its arena -> END_HEADERS -> on_request
 *     DATA -> exchange_body_data; the window opens only by http_consume (no automatic update)
 *     answer: HEADERS now, DATA pulled from exchange.out by on_data_read while the turn's output is gathered
 *     at most h2_unanswered requests work without a head: the next ones wait, and begin at a turn's end
 *     END_STREAM sent, RST_STREAM or GOAWAY -> verdict -> `done` list -> on_finish after the flush
 *
 * nghttp2 1.52 enforces streams, windows, frame sizes and message shape; what it does not (decoded header
 * size, resets in both directions, control frames, empty DATA, frames that it ignores) is counted in h2_limits.c.
 * Whose DATA goes first is nghttp2's work too: by the priority field and PRIORITY_UPDATE of RFC 9218; a client that
 * says neither gets its event streams before its files.
 * A client that was silent for long is asked by PING; one that does not answer is gone.
 * Memory: sessions share one 16 kB frame block (h2_mem.h); what mem_send returns is copied at once. */
#ifndef TIDE_BASE_HTTP_H2_H
#define TIDE_BASE_HTTP_H2_H

#include "base/http/conn.h"
#include "base/http/h2_mem.h"

enum {
    H2_OUT_HIGH = 65536,
    H2_CONNECTION_WINDOW = 262144,
    H2_GOAWAY_GRACE_MS = 1000,
    H2_UNREAD_MS = CONN_LINGER_MS,
    H2_UNREAD_MAX = 8
};
struct h2_bucket {
    uint64_t milli; /* thousandths of a token spent */
    uint64_t at_ms; /* of the last look */
};

/* Where the frames of the input begin and end. nghttp2 says nothing of those that it ignores: of a stream that is gone,
 * or of types that it does not know. */
struct h2_scan {
    uint8_t head;        /* bytes of a frame's head that were seen, 0..8 */
    uint32_t length;     /* of its payload, as far as it was read */
    uint8_t type, flags; /* of the frame whose head was read last */
    uint32_t skip;       /* bytes up to the next head: of a payload, or of the preface */
};

/* A stream whose answer is whole while its request is not. */
struct h2_unread {
    int32_t stream_id;
    uint64_t until_ms;
    size_t dropped; /* bytes of it read for nothing */
};

struct h2 {
    nghttp2_session *session;
    struct h2_mem memory;
    struct conn *conn;
    struct exchange *done; /* verdict known, on_finish to come; linked by done_next */
    struct h2_bucket resets, control;
    struct h2_scan scan;
    int64_t useless;         /* frames that began, less those that meant something */
    int64_t useless_charged; /* most of it that was paid for */
    uint64_t heard_ms;       /* when the last byte came */
    uint64_t pinged_ms;      /* our PING that nothing has followed yet; 0 none */
    uint64_t head_began_ms;  /* a header block that has not ended; 0 none */
    uint64_t last_goaway_ms; /* when the final GOAWAY goes out; 0 none */
    uint32_t free_control;   /* frames that opened windows or set priorities and cost nothing */
    struct h2_unread unread[H2_UNREAD_MAX];
    uint32_t unread_count;
    uint32_t unanswered; /* exchanges that the handler works on, without a head */
    uint32_t waiting;    /* exchanges that wait for that to become less */
    bool greeted;        /* a frame came: the preface was whole */
    bool drain_wanted;   /* some paused exchange may go on */
    bool doomed;         /* no more input is looked at */
};

void h2_done(struct exchange *x, enum http_finish verdict);
void h2_begin_waiting(struct conn *c);   /* as many as may begin now */
void h2_not_waiting(struct exchange *x); /* it is answered, or has ended */
void h2_doom(struct conn *c);            /* ends all exchanges, then the connection once GOAWAY is out */
void h2_drop_data(struct h2 *h, int32_t stream_id, size_t n);  /* nobody reads these bytes: opens windows */
struct exchange *h2_exchange(struct h2 *h, int32_t stream_id); /* NULL: none, or ended */

/* h2_limits.c */
bool h2_charge(struct h2 *h, struct h2_bucket *b, uint32_t burst, uint32_t tokens); /* false: exceeded */
bool h2_count_frame_in(struct h2 *h, const nghttp2_frame_hd *hd);
void h2_count_input(struct h2 *h, struct str data); /* before nghttp2 sees it */
bool h2_count_useless(struct h2 *h);                /* after it did; false: too much */
bool h2_count_frame_out(struct h2 *h, const nghttp2_frame *frame);
bool h2_count_header(struct exchange *x, size_t name_n, size_t value_n); /* false: past all measure */
void h2_calm_down(struct h2 *h, const char *reason); /* GOAWAY, ENHANCE_YOUR_CALM, close */

#endif

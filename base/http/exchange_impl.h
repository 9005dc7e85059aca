/* The server's side of an exchange: what exchange.h shows plus framing and delivery. Only base/http includes it.
 *
 * Request body: UNASKED (held back) -> COLLECT | STREAM -> OVER. h1.c and h2.c push pieces with
 * exchange_body_data and exchange_body_end; callbacks of the handler run from there.
 * Answer: head_sent -> pieces -> ended; `verdict` is set when it is known how the exchange ends, and the
 * connection's turn end then calls on_finish and frees it (exchange_finish). */
#ifndef TIDE_BASE_HTTP_EXCHANGE_IMPL_H
#define TIDE_BASE_HTTP_EXCHANGE_IMPL_H

#include "base/buf.h"
#include "base/http/exchange.h"
#include "base/http/outq.h"
#include "base/http/slow_reader.h"

enum { EXCHANGE_WINDOW = 65536, EXCHANGE_QUEUE_MAX = 262144, EXCHANGE_OPEN = -1 };

enum exchange_body { BODY_UNASKED = 0, BODY_COLLECT = 1, BODY_STREAM = 2, BODY_OVER = 3 };

struct conn;

struct exchange {
    struct http_exchange pub; /* first: the public pointer is this pointer */
    struct conn *conn;
    struct exchange *prev, *next; /* of the connection */
    int32_t stream_id;            /* 0 on HTTP/1 */
    int verdict;                  /* enum http_finish once nothing more will happen, or EXCHANGE_OPEN */
    int failed;                   /* the same for an answer that the server itself gave; 0 = done */
    /* request body */
    enum exchange_body body_mode;
    bool body_whole;     /* the framing says that all of it came */
    bool body_delivered; /* the handler knows */
    bool held;           /* h2: data came before anybody asked */
    http_body_cb body_cb;
    http_chunk_cb chunk_cb;
    size_t body_max;
    struct buf body;        /* collected, or held back while nobody asked (h2) */
    size_t unconsumed;      /* streamed to the handler and not yet consumed */
    uint64_t body_began_ms; /* moved on by the time we did not want to read */
    uint64_t body_hold_ms;  /* since when we do not; 0: we do */
    /* answer */
    bool head_sent, ended, bodyless, chunked, paused;
    int64_t answer_left;     /* announced and not yet given; -1 unknown */
    struct outq out;         /* h2 only */
    struct slow_reader slow; /* h2: while out holds anything */
    bool deferred;           /* h2: the data source sleeps */
    size_t window_held;      /* h2: received and not yet given back to the windows */
    size_t head_bytes;       /* h2: decoded fields, as RFC 9113 6.5.2 counts them */
    uint32_t head_fields, max_fields, field_room;
    bool head_too_large;
    bool waits;        /* h2: until others on its connection are answered; the handler does not know it */
    bool unanswered;   /* h2: the handler works on it, no head is sent */
    bool has_priority; /* h2: the client said how urgent it is */
    struct exchange *done_next;
};

static inline struct exchange *exchange_of(const struct http_exchange *ex)
{
    return (struct exchange *)(void *)(uintptr_t)ex;
}

struct exchange *exchange_new(struct conn *c);
void exchange_finish(struct exchange *x, enum http_finish reason); /* on_finish, then frees */
void exchange_body_data(struct exchange *x, struct str data);
void exchange_body_end(struct exchange *x);
void exchange_deliver(struct exchange *x); /* what was held back, once a mode is set */
/* The server itself ends it: with that problem when no head was sent, by cutting otherwise. */
void exchange_fail(struct exchange *x, enum http_finish why, const char *code, const char *detail);
void exchange_drain(struct exchange *x); /* calls on_drain when the queue fell below half the high mark */
void exchange_body_hold(struct exchange *x, bool hold);    /* stops or starts the clock of the body */
uint64_t exchange_body_deadline(const struct exchange *x); /* UINT64_MAX: none now */

/* h1.c */
void h1_start(struct exchange *x, const struct http_field *fields, unsigned field_count,
              int64_t content_length);
void h1_send(struct exchange *x, const void *p, size_t n);
void h1_end(struct exchange *x);
void h1_want_body(struct exchange *x);
/* h2.c */
void h2_start(struct exchange *x, const struct http_field *fields, unsigned field_count,
              int64_t content_length);
void h2_want_body(struct exchange *x);
void h2_wake(struct exchange *x); /* there is more to send, or the end */
void h2_consume(struct exchange *x, size_t n);
void h2_reset(struct exchange *x, enum http_finish why);

bool http_field_is_clean(const struct http_field *f); /* may go out: token, no control bytes, not framing */

#endif

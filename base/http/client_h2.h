/* The client's connection of HTTP/2 over cleartext, prior knowledge: many requests of one origin. Not for others.
 *
 *     CONNECTING -> OPEN -> DRAINING (GOAWAY came: what runs may end, nothing new) -> CLOSED
 *
 * Requests are submitted at once, also while the connection is being made; nghttp2 keeps their order. All frames of a
 * turn leave in one send at its end; what a recv brought is digested whole.
 * Back pressure: a stream's window opens only by what on_data took without saying PAUSE; what comes after that waits in
 * op->held, at most the window. The connection's window is opened at once, so that one paused answer holds up no other.
 * Deadlines: each op has its own timer. The connection's timer makes it connect in time, sends a PING into silence while
 * requests run, and closes it when none has run for a while.
 * Life: a connection closed while one of its callbacks runs stays allocated (pins) until that returns.
 * Thread rule: the loop of the origin. */
#ifndef TIDE_BASE_HTTP_CLIENT_H2_H
#define TIDE_BASE_HTTP_CLIENT_H2_H

#include "base/arena.h"
#include "base/http/client_conn.h"
#include "base/http/h2_mem.h"

enum {
    CLIENT_H2_WINDOW = 32768, /* of a stream */
    CLIENT_H2_CONNECTION_WINDOW = 1 << 20,
    CLIENT_H2_OUT_HIGH = 65536,     /* frames gathered for one send */
    CLIENT_H2_STREAMS_UNTOLD = 100, /* at once, before the other side has said how many */
};

enum client_h2_state {
    CLIENT_H2_CONNECTING = 0,
    CLIENT_H2_OPEN = 1,
    CLIENT_H2_DRAINING = 2,
    CLIENT_H2_CLOSED = 3,
};

/* The head that is being received; header blocks of a connection never overlap. */
struct client_h2_head {
    struct arena arena;
    struct http_field fields[H1_RESPONSE_FIELDS];
    unsigned field_count;
    unsigned status;
    size_t bytes; /* as RFC 9113 6.5.2 counts them */
    bool too_large;
};

struct client_h2 {
    struct http_origin *origin; /* NULL once closed */
    nghttp2_session *session;
    struct h2_mem memory;
    enum client_h2_state state;
    int fd;
    unsigned pins; /* callbacks running */
    struct client_dial dial;
    struct event rd, wr;
    bool blocked;         /* the socket took less than all: wr is added */
    bool told;            /* its SETTINGS came */
    bool pinged;          /* a PING is out */
    bool writable_wanted; /* some op's on_writable may be due */
    bool heard_any;
    uint64_t heard_ms; /* monotonic, when it last sent anything */
    const char *fault; /* what it did wrong, from nghttp2; NULL: nothing */
    struct loop_task flush;
    struct loop_timer timer;
    struct buf out; /* frames of the turn */
    size_t out_sent;
    struct client_h2_head head;
    struct http_op *ops;
    unsigned op_count;
    struct client_h2 *prev, *next; /* all of the origin */
};

/* client_h2_conn.c: the socket */
bool client_h2_send(struct http_op *op); /* true: on a connection that was there before */
void client_h2_want_flush(struct client_h2 *c);
void client_h2_close(struct client_h2 *c);  /* no op may be left */
void client_h2_retire(struct client_h2 *c); /* takes no more ops: ends with those it has */
void client_h2_fail(struct client_h2 *c, int rc, const struct err *err);
void client_h2_forget(struct http_op *op); /* its stream is over: it leaves the connection */
void client_h2_leave(struct http_op *op);  /* its stream is reset, if it has one */

/* client_h2.c: requests and answers */
int client_h2_session_open(struct client_h2 *c) TIDE_CHECK;
void client_h2_op_init(struct http_op *op);
void client_h2_write_head(struct http_op *op, const struct http_client_request *req, struct str host,
                          int64_t content_length);
int client_h2_submit(struct client_h2 *c, struct http_op *op) TIDE_CHECK;
void client_h2_deadline(struct http_op *op, uint64_t after_ms, const char *what);
void client_h2_wake(struct http_op *op);
void client_h2_resume(struct http_op *op);
void client_h2_tell_writable(struct client_h2 *c);
/* The stream is gone without an answer: sends the op again where that is allowed, else ends it. untouched: the other side
 * has said that it did not look at the request. */
void client_h2_lost(struct http_op *op, bool untouched, int rc, const struct err *err);

#endif

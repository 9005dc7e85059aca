/* The inside of the HTTP client: an origin, an operation, and a connection of HTTP/1.1 with its pool. Not for others.
 * The connection of HTTP/2 is client_h2.h.
 *
 *     http_send_request: idle connection -> BUSY, or a new one: CONNECTING -> BUSY
 *     BUSY -> answer whole, both sides agree -> IDLE (pool) ; anything else -> closed
 *
 * A connection closed while one of its callbacks runs stays allocated (pins) until that returns; the same for
 * an origin freed by its user inside on_end.
 * Thread rule: the loop of the origin. */
#ifndef TIDE_BASE_HTTP_CLIENT_CONN_H
#define TIDE_BASE_HTTP_CLIENT_CONN_H

#include "base/buf.h"
#include "base/http/client.h"
#include "base/http/client_dial.h"
#include "base/http/h1_response.h"
#include "base/metrics.h"

enum {
    CLIENT_SCRATCH_BYTES = 65536, /* one read */
    CLIENT_HELD_BYTES = CLIENT_SCRATCH_BYTES,
    CLIENT_SEND_HIGH_BYTES = 65536, /* queued request body that makes http_op_send_body say PAUSE */
    CLIENT_SEND_MAX_BYTES = 1 << 20,
    CLIENT_INTERIM_MAX = 8, /* 1xx heads before the final one */
};

struct client_h2;

struct http_op {
    struct http_origin *origin;
    struct client_conn *conn; /* HTTP/1.1; NULL: waiting to be told that it failed, or ended */
    struct client_h2 *h2;     /* HTTP/2; NULL: as above, or all of the answer has come */
    const struct http_client_handler *handler;
    void *arg;
    struct buf out;     /* head, then what a streaming request has queued */
    size_t out_sent;    /* bytes */
    size_t chunk_at;    /* in `out`: where the last chunk begins */
    size_t chunk_bytes; /* of its data; 0: there is none */
    struct str body;    /* whole body: borrowed */
    size_t body_sent;   /* bytes */
    uint64_t connect_ms, head_ms, idle_ms;
    int64_t stream_left; /* announced bytes still to be given; -1: chunked */
    bool streaming;      /* more body may come */
    bool body_ended;     /* all of the request is queued */
    bool is_head_method; /* the answer has no body */
    bool reused;         /* on a pooled connection */
    bool once;           /* must not be replayed */
    bool replayed;       /* was moved to a fresh connection once */
    bool send_paused;    /* on_writable is owed */
    bool paused;         /* on_data said PAUSE */
    bool ending;         /* on_end runs: a cancel is too late */
    int fail_rc;         /* on_end's arguments, by `task` */
    struct err fail;
    struct loop_task task; /* failing or resuming, at the end of the turn */
    struct http_op *next_free;
    /* HTTP/2 only */
    int32_t stream_id;
    size_t head_bytes; /* of `out`: the head, as client_h2.c keeps it */
    bool deferred;     /* the body's source sleeps until there is more */
    bool head_done;    /* on_head was called */
    bool answer_whole; /* its end came; what is held is still to be handed over */
    bool running;      /* inside on_data from http_op_resume */
    bool canceled;     /* meanwhile: given back when that returns */
    struct buf held;   /* what came while the user paused: at most the stream's window */
    struct loop_timer timer;
    const char *deadline_what;         /* what `timer` waits for */
    struct http_op *h2_prev, *h2_next; /* of the connection */
};

enum client_conn_state {
    CLIENT_CONN_CONNECTING = 0,
    CLIENT_CONN_BUSY = 1,
    CLIENT_CONN_IDLE = 2,
    CLIENT_CONN_CLOSED = 3,
};

struct client_conn {
    struct http_origin *origin; /* NULL once closed */
    struct http_op *op;         /* NULL while idle or closed */
    enum client_conn_state state;
    int fd;
    unsigned pins; /* callbacks running */
    struct client_dial dial;
    struct event rd, wr;
    struct loop_task flush;
    struct loop_timer timer;
    const char *deadline_what; /* what `timer` waits for, for the error's text; NULL: not armed */
    struct buf head;           /* an incomplete head */
    struct buf held;           /* bytes read while the user paused */
    bool has_answer;           /* a byte of this op's answer came */
    bool head_done;
    bool keep_alive;
    bool retired;     /* ends with the op it has */
    unsigned interim; /* 1xx heads seen */
    struct h1_body body;
    struct client_conn *prev, *next; /* all of the origin */
    struct client_conn *idle_next;   /* pool, newest first */
};

struct http_origin {
    struct loop *loop;
    char target[256];
    bool is_named;             /* needs the resolver */
    struct endpoint endpoint;  /* when not */
    struct resolver *resolver; /* when named */
    enum http_origin_protocol protocol;
    uint32_t max_idle, max_connections;
    uint64_t idle_ms, ping_ms;
    struct client_dial *dials; /* waiting for the resolver */
    struct client_conn *conns;
    struct client_conn *idle;
    struct client_h2 *h2_conns;
    unsigned conn_count, idle_count; /* conn_count: of either protocol */
    struct http_op *free_ops;
    unsigned free_op_count;
    unsigned ops; /* live */
    unsigned pins;
    bool freed;
};

/* client.c */
void http_op_give_back(struct http_op *op);                          /* nothing is called any more */
void http_op_end(struct http_op *op, int rc, const struct err *err); /* calls on_end, gives the op back */
bool http_op_drain(
    struct http_op *op); /* forgets what was sent of a streamed body; true: on_writable is due */
void http_op_refuse(struct http_op *op); /* all connections are in use: fails it later */
void http_op_fail_later(struct http_op *op, int rc, const struct err *err);
void http_origin_pin(struct http_origin *o);
void http_origin_unpin_and_maybe_free(struct http_origin *o);
extern struct metric http_client_replays;

/* client_conn.c */
void client_conn_open(struct http_origin *o, struct http_op *op);
void client_conn_take(struct client_conn *c, struct http_op *op); /* a pooled one */
void client_conn_want_flush(struct client_conn *c);
void client_conn_resume(struct client_conn *c);
void client_conn_close(struct client_conn *c);
void client_conn_retire(struct client_conn *c); /* takes no more ops: closed now, or with the one it has */

/* client_read.c */
extern __thread char client_scratch[CLIENT_SCRATCH_BYTES]; /* what the recv at hand brought */
void client_conn_on_readable(evutil_socket_t fd, short what, void *arg);
void client_conn_read_held(struct client_conn *c);

/* client_conn.c, for client_read.c */
void client_conn_unpin_and_maybe_free(struct client_conn *c);
void client_conn_deadline(struct client_conn *c, uint64_t after_ms, const char *what);
void client_conn_fail(struct client_conn *c, int rc, const struct err *err);
void client_conn_done(struct client_conn *c, bool clean);
bool client_conn_replay(struct client_conn *c); /* true: the op moved to a fresh connection, c is closed */

#endif

/* One HTTP request and its answer, whatever the protocol underneath (HTTP/1.1 or HTTP/2, TLS or not).
 * Not the connection, and not what the request means: that is the handler's.
 *
 *     head complete -> server calls handler->on_request(ex)
 *         the handler may reply at once, or later from any callback on the same loop
 *         http_read_body  collects the body (<= max) and calls back once      } one of the two,
 *         http_stream_body hands it over in pieces, http_consume opens the window } or neither
 *     http_reply(...)                            a whole answer, or
 *     http_start(...) http_send(...)* http_end()  a streamed one
 *     on_finish(ex, reason)                       exactly once, always last; then ex and its arena die
 *
 * on_finish comes when the answer has been handed to the socket entirely, or when it never will be (client
 * gone, time-out, http_abort). It is never called from inside a function of this header: always from the
 * loop, so a handler cannot be freed under its own feet. After on_finish, ex must not be touched.
 * Client gone: with HTTP/1.1 a FIN counts, also while the answer is being made; with HTTP/2 RST_STREAM.
 *
 * Ownership: the server owns ex; everything a handler hangs on ex->user it frees in on_finish.
 * Texts in ex are borrowed from ex->arena. http_send and http_reply copy what the socket does not take.
 * Back pressure: http_send returns HTTP_FLOW_PAUSE above the high mark (64 KiB queued): send no more until
 * on_drain. Sending on nevertheless is accepted up to 256 KiB, then the exchange is aborted.
 * The server writes framing, date and the listener's own fields (HSTS); handlers never give connection,
 * transfer-encoding, content-length or date.
 * Errors: protocol trouble of the client is answered by the server itself.
 * Thread rule: only on ex->loop. */
#ifndef TIDE_BASE_HTTP_EXCHANGE_H
#define TIDE_BASE_HTTP_EXCHANGE_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/id.h"
#include "base/loop.h"
#include "base/str.h"

enum { HTTP_ADDED_FIELDS = 12 };

struct http_exchange;
struct http_listener;

enum http_method {
    HTTP_GET = 0,
    HTTP_HEAD = 1,
    HTTP_POST = 2,
    HTTP_PUT = 3,
    HTTP_PATCH = 4,
    HTTP_DELETE = 5,
    HTTP_OPTIONS = 6,
    HTTP_OTHER = 7,
};

struct http_field {
    struct str name; /* lower case */
    struct str value;
};

/* How an exchange ended; also the `finish` of the access log. */
enum http_finish {
    HTTP_FINISH_DONE = 0,        /* the whole answer was handed to the socket */
    HTTP_FINISH_CLIENT_GONE = 1, /* FIN, RST, RST_STREAM before that */
    HTTP_FINISH_TIMEOUT = 2,     /* a limit of time (body, send stall) ended it */
    HTTP_FINISH_PROTOCOL = 3,    /* the client broke HTTP after the head */
    HTTP_FINISH_ABORTED = 4,     /* http_abort: the answer was cut on purpose */
    HTTP_FINISH_DRAINED = 5,     /* the drain deadline of a shutdown passed */
};
const char *http_finish_name(enum http_finish f); /* "done", "client_gone", ... */

enum http_flow {
    HTTP_FLOW_GO = 0,    /* send more when you have it */
    HTTP_FLOW_PAUSE = 1, /* stop; on_drain will call */
    HTTP_FLOW_GONE = 2,  /* nobody will read it; on_finish is coming */
};

/* How errors are worded for this exchange; see problem.h. The handler's route sets it. */
enum http_dialect {
    HTTP_DIALECT_PROBLEM = 0, /* RFC 9457 */
    HTTP_DIALECT_OPENAI = 1,  /* {"error":{message,type,param,code}} */
    HTTP_DIALECT_GOTRUE = 2,  /* RFC 9457 with code and message that GoTrue clients read */
};

struct http_handler {
    void (*on_request)(struct http_exchange *ex, void *arg); /* set ex->user and the callbacks there */
    void *arg;
};

struct http_exchange {
    struct arena arena;                   /* dies after on_finish */
    struct loop *loop;                    /* borrowed */
    void *user;                           /* the handler's own; freed by it in on_finish */
    const struct http_listener *listener; /* where it came in; borrowed */

    /* What was asked. Fixed once on_request is called. */
    enum http_method method;
    struct str method_text;          /* for HTTP_OTHER and logs */
    struct str target;               /* as received: path and query, nothing decoded */
    struct str path;                 /* of target, before '?', as received (not decoded) */
    struct str query;                /* of target, after '?', empty when none */
    struct str authority;            /* host[:port] of Host or :authority */
    const struct http_field *fields; /* in order, without pseudo-fields */
    unsigned field_count;
    int64_t content_length; /* bytes; 0: no body; -1: not announced (chunked, h2 without) */
    uint8_t version;        /* 10, 11 or 20 */
    bool tls;               /* came over TLS */
    struct str ja4;         /* kind of TLS client (base/http/ja4.h); empty: unknown, or no TLS */
    struct addr peer;       /* the socket's other end (or PROXY header's); all zero on a unix socket */
    uint64_t began_us;      /* monotonic, when the first byte of the head was read */

    /* Set by the handler in on_request (all optional but on_finish when user needs freeing). */
    void (*on_drain)(struct http_exchange *ex);
    void (*on_finish)(struct http_exchange *ex, enum http_finish reason);
    enum http_dialect dialect;
    char id[ID_REQUEST_TEXT + 1]; /* request id: answered as x-request-id; a handler may adopt a trace id */

    /* What was answered, for logs. Kept by the server. */
    unsigned status;                            /* 0 until http_start or http_reply */
    uint64_t sent_bytes;                        /* of the body */
    uint64_t received_bytes;                    /* of the body */
    uint64_t first_byte_us;                     /* monotonic, when the answer's head was written; 0 before */
    const char *problem;                        /* code of the problem answered, or NULL */
    struct http_field added[HTTP_ADDED_FIELDS]; /* by http_add_field */
    unsigned added_count;
};

/* First field of that lower-case name; empty text when absent. NULL-safe test: http_field_find. */
struct str http_field_get(const struct http_exchange *ex, const char *name);
const struct http_field *http_field_find(const struct http_exchange *ex, const char *name);
/* Value of a query parameter, percent-decoded on the arena; false when absent or badly encoded. */
bool http_query_get(struct http_exchange *ex, const char *name, struct str *out);

/* A part of the path, percent-decoded on the arena; a '+' stays one. */
struct str http_path_decode(struct http_exchange *ex, struct str part);

/* rc 0: body is whole, borrowed from the arena. ERR_LIMIT: more than max came; answer and it is over
 * (problem "payload_too_large"). Client trouble never reaches the callback: on_finish does. */
typedef void (*http_body_cb)(struct http_exchange *ex, int rc, struct str body);
void http_read_body(struct http_exchange *ex, size_t max_bytes, http_body_cb cb);

/* data is borrowed until the return. `last` comes once, possibly with n = 0. */
typedef void (*http_chunk_cb)(struct http_exchange *ex, struct str data, bool last);
void http_stream_body(struct http_exchange *ex, http_chunk_cb cb);
void http_consume(struct http_exchange *ex, size_t n); /* these bytes have moved on: the window reopens */

/* Goes with the head of whatever answers (CORS, RateLimit): before http_reply or http_start. Texts are borrowed
 * until then; past HTTP_ADDED_FIELDS it is dropped (a bug: counted by WARN_ON). */
void http_add_field(struct http_exchange *ex, const char *name, struct str value);

void http_reply(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                unsigned field_count,
                struct str body); /* body is copied (not sent for HEAD, 204, 304; its length is) */
void http_start(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                unsigned field_count, int64_t content_length); /* -1: chunked or h2 without length */
enum http_flow http_send(struct http_exchange *ex, const void *p, size_t n);
size_t http_queued_bytes(const struct http_exchange *ex); /* copied and not yet taken by the socket */
void http_end(struct http_exchange *ex);
void http_abort(struct http_exchange *ex); /* h1: close; h2: RST_STREAM. on_finish follows from the loop */
void http_close_after(struct http_exchange *ex); /* h1: no keep-alive after this answer */

/* SO_PEERCRED of a unix socket's client: false on other sockets. */
bool http_peer_uid(const struct http_exchange *ex, uint32_t *uid);
/* On an mTLS listener: the allowed name that the client's certificate carries, by authorities, names and time as they are
 * now and not when it connected; empty otherwise. It costs a verification. */
struct str http_peer_name(const struct http_exchange *ex);

#endif

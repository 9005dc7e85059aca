/* The HTTP client towards workers and upstreams, one origin a loop and target. No TLS.
 *
 *     http_origin_new -> http_send_request -> on_head -> on_data* -> on_end        (exactly one on_end)
 *                                          \-> http_op_cancel: nothing is called any more; the connection is closed
 *                                              (HTTP/1.1) or the stream reset (HTTP/2)
 *
 * HTTP/1.1: a pool of keep-alive connections, one request at a time on each. HTTP/2 with prior knowledge: as many
 * requests on one connection as the other side allows, further connections beyond that; whoever is silent while
 * requests run is asked for a sign of life (PING) and given up when it gives none.
 * Requests are written with the loop turn's output; answers are read into one scratch buffer a loop and handed
 * over from there. on_data returning HTTP_FLOW_PAUSE stops the reading until http_op_resume.
 * A connection that was there before and turns out dead before any byte of the answer is replaced once, silently, when
 * the request has no body or its body is whole (`body`), and is not marked `once`. So is an HTTP/2 request of which the
 * other side says that it has not looked at it (GOAWAY, REFUSED_STREAM), even when marked. Nothing else is ever retried
 * here.
 * Framing is strict: contradicting or odd lengths end with ERR_PROTOCOL and the connection (HTTP/1.1) is not reused.
 * A paused answer holds at most CLIENT_HELD_BYTES (HTTP/1.1: one read; HTTP/2: the stream's window).
 *
 * Ownership: the op belongs to the client until on_end returns or http_op_cancel is called; the caller forgets
 * it then. Texts of the request are copied before http_send_request returns, but for `body`, which is borrowed
 * until on_end or cancel. Texts of the answer are borrowed until the callback returns.
 * Time: connect_ms, head_ms (request written to the first byte of the body, or to its end), idle_ms (between bytes of
 * the body).
 * Errors in on_end: 0, ERR_UNAVAILABLE (no connection, or not taken), ERR_IO (nothing here to connect with), ERR_TIMEOUT, ERR_CLOSED (ended early, reset, no
 * sign of life), ERR_PROTOCOL, ERR_LIMIT (head past 32 KiB).
 * Thread rule: an origin and its ops belong to one loop. */
#ifndef TIDE_BASE_HTTP_CLIENT_H
#define TIDE_BASE_HTTP_CLIENT_H

#include "base/err.h"
#include "base/http/exchange.h"
#include "base/loop.h"

struct http_origin;
struct http_op;

enum http_origin_protocol { HTTP_ORIGIN_H1 = 0, HTTP_ORIGIN_H2 = 1 };
extern const char *const http_origin_protocol_names[]; /* "h1", "h2": for a CONF_ENUM */

struct http_origin_conf {
    struct str target; /* "127.0.0.1:9001", "[::1]:80", "host.name:80" (re-resolved by TTL), "unix:/path" */
    enum http_origin_protocol protocol;
    uint32_t max_idle;        /* connections kept; 256; HTTP/1.1 */
    uint32_t max_connections; /* 1024; more answer ERR_UNAVAILABLE */
    uint64_t idle_ms;         /* a kept connection is closed after this; 30 s */
    uint64_t ping_ms;         /* HTTP/2: silence before a PING, and again until it is given up; 10 s */
};

struct http_origin *http_origin_new(struct loop *loop, const struct http_origin_conf *conf, struct err *err);
void http_origin_free(struct http_origin *o); /* no op may be left */
unsigned http_origin_connections(const struct http_origin *o);

struct http_client_request {
    struct str method;               /* "POST" */
    struct str target;               /* "/v1/chat/completions" */
    struct str host;                 /* empty: the origin's target */
    const struct http_field *fields; /* without host, connection, content-length, transfer-encoding */
    unsigned field_count;
    struct str body;        /* whole body, or the first part when `streaming` */
    bool streaming;         /* more follows by http_op_send_body until http_op_end_body */
    int64_t content_length; /* when streaming: -1 = chunked */
    bool once; /* what it does must not be done twice (a proxied POST): never sent again, on no connection */
    uint64_t connect_ms, head_ms, idle_ms;
};

struct http_client_handler {
    /* The head of a final answer (1xx are skipped). */
    void (*on_head)(struct http_op *op, unsigned status, const struct http_field *fields,
                    unsigned field_count, int64_t content_length);
    enum http_flow (*on_data)(struct http_op *op, const char *p, size_t n);
    void (*on_end)(struct http_op *op, int rc, const struct err *err);
    void (*on_writable)(struct http_op *op); /* after http_op_send_body said PAUSE; may be NULL */
};

struct http_op *http_send_request(struct http_origin *o, const struct http_client_request *req,
                                  const struct http_client_handler *handler, void *arg); /* never NULL */
void *http_op_arg(const struct http_op *op);
bool http_op_is_connecting(const struct http_op *op); /* there is no connection yet: nothing of it was sent */
enum http_flow http_op_send_body(struct http_op *op, const void *p, size_t n);
void http_op_end_body(struct http_op *op);
void http_op_resume(struct http_op *op);
void http_op_cancel(struct http_op *op);

#endif

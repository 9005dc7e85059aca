/* The HTTP/1.1 client towards workers and upstreams: keep-alive pools, one a loop and origin. No TLS.
 *
 *     http_origin_new -> http_send_request -> on_head -> on_data* -> on_end        (exactly one on_end)
 *                                          \-> http_op_cancel: nothing is called any more, connection closed
 *
 * Requests are written with the loop turn's output; answers are read into one scratch buffer a loop and handed
 * over from there. on_data returning HTTP_FLOW_PAUSE stops the reading until http_op_resume.
 * A pooled connection that turns out dead before any byte of the answer is replaced once, silently, when the
 * request has no body or its body is whole (`body`), and is not marked `once`; nothing else is ever retried here.
 * Framing is strict: contradicting or odd lengths end with ERR_PROTOCOL and the connection is not reused.
 *
 * Ownership: the op belongs to the client until on_end returns or http_op_cancel is called; the caller forgets
 * it then. Texts of the request are copied before http_send_request returns, but for `body`, which is borrowed
 * until on_end or cancel. Texts of the answer are borrowed until the callback returns.
 * Time: connect_ms, head_ms (request written to the first byte of the body, or to its end), idle_ms (between bytes of
 * the body).
 * Errors in on_end: 0, ERR_UNAVAILABLE (no connection), ERR_TIMEOUT, ERR_CLOSED (ended early), ERR_PROTOCOL,
 * ERR_LIMIT (head past 32 KiB).
 * Thread rule: an origin and its ops belong to one loop. */
#ifndef TIDE_BASE_HTTP_CLIENT_H
#define TIDE_BASE_HTTP_CLIENT_H

#include "base/err.h"
#include "base/http/exchange.h"
#include "base/loop.h"

struct http_origin;
struct http_op;

struct http_origin_conf {
    struct str target; /* "127.0.0.1:9001", "[::1]:80", "host.name:80" (re-resolved by TTL), "unix:/path" */
    uint32_t max_idle; /* connections kept; 256 */
    uint32_t max_connections; /* 1024; more answer ERR_UNAVAILABLE */
    uint64_t idle_ms;         /* a kept connection is closed after this; 30 s */
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
bool http_op_reused(const struct http_op *op); /* ran on a pooled connection */
enum http_flow http_op_send_body(struct http_op *op, const void *p, size_t n);
void http_op_end_body(struct http_op *op);
void http_op_resume(struct http_op *op);
void http_op_cancel(struct http_op *op);

#endif

/* Origins and operations: the side of the client that callers see. client_dial.c makes connections; client_conn.c and
 * client_read.c speak HTTP/1.1 on them, client_h2.c and client_h2_conn.c HTTP/2. */
#include "base/http/client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/http/client_h2.h"

enum {
    OP_HEAD_BYTES = 65536,
    DEFAULT_MAX_IDLE = 256,
    DEFAULT_MAX_CONNECTIONS = 1024,
    DEFAULT_IDLE_MS = 30000,
    DEFAULT_CONNECT_MS = 5000,
    DEFAULT_ANSWER_MS = 60000,
    DEFAULT_PING_MS = 10000,
};
/* Sanitizers see a use after the end only when nothing is recycled. */
#ifdef TIDE_DEBUG
enum { OP_CACHE = 0 };
#else
enum { OP_CACHE = 256 };
#endif

static struct metric reused =
    METRIC_COUNTER("tidegate_client_reused_total", "Upstream requests sent on a kept connection.");
struct metric http_client_replays =
    METRIC_COUNTER("tidegate_client_replays_total",
                   "Requests sent again because a connection had been closed or its peer did not take them.");
static struct metric refused = METRIC_COUNTER(
    "tidegate_client_refused_total", "Upstream requests refused because max_connections was reached.");

/* --- origins ------------------------------------------------------------------------------------------ */

const char *const http_origin_protocol_names[] = {"h1", "h2", NULL};

static bool has_departed(const struct http_origin *o, int fd)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof sa;
    return getpeername(fd, (struct sockaddr *)&sa, &n) == 0 &&
           !resolver_has(o->resolver, (const struct sockaddr *)&sa);
}

/* Connections to addresses that the name no longer has take no more requests. */
static void retire_departed(struct http_origin *o)
{
    struct client_conn *next;
    for (struct client_conn *c = o->conns; c; c = next) {
        next = c->next;
        if (has_departed(o, c->fd)) {
            client_conn_retire(c);
        }
    }
    for (struct client_h2 *c = o->h2_conns; c; c = c->next) {
        if (has_departed(o, c->fd)) {
            client_h2_retire(c);
        }
    }
}

static void on_resolved(void *arg)
{
    struct http_origin *o = arg;
    http_origin_pin(o);
    retire_departed(o);
    client_dial_resolved(o);
    http_origin_unpin_and_maybe_free(o);
}

struct http_origin *http_origin_new(struct loop *loop, const struct http_origin_conf *conf, struct err *err)
{
    if (conf->target.n == 0 || conf->target.n >= sizeof((struct http_origin *)0)->target) {
        (void)err_set(err, ERR_INVALID, "upstream target is empty or too long");
        return NULL;
    }
    struct http_origin *o = calloc(1, sizeof *o);
    BUG_ON(!o);
    o->loop = loop;
    memcpy(o->target, conf->target.p, conf->target.n);
    o->max_idle = conf->max_idle ? conf->max_idle : DEFAULT_MAX_IDLE;
    o->max_connections = conf->max_connections ? conf->max_connections : DEFAULT_MAX_CONNECTIONS;
    o->idle_ms = conf->idle_ms ? conf->idle_ms : DEFAULT_IDLE_MS;
    o->ping_ms = conf->ping_ms ? conf->ping_ms : DEFAULT_PING_MS;
    o->protocol = conf->protocol;
    if (endpoint_parse(conf->target, &o->endpoint, NULL) != 0) {
        o->is_named = true;
        o->resolver = resolver_new(loop, conf->target, on_resolved, o, err);
        if (!o->resolver) {
            free(o);
            return NULL;
        }
    }
    return o;
}

static void free_origin(struct http_origin *o)
{
    while (o->free_ops) {
        struct http_op *op = o->free_ops;
        o->free_ops = op->next_free;
        buf_clear(&op->out);
        free(op);
    }
    resolver_free(o->resolver);
    free(o);
}

void http_origin_pin(struct http_origin *o)
{
    o->pins++;
}

void http_origin_unpin_and_maybe_free(struct http_origin *o)
{
    if (--o->pins == 0 && o->freed) {
        free_origin(o);
    }
}

void http_origin_free(struct http_origin *o)
{
    if (!o) {
        return;
    }
    http_origin_pin(o);
    while (o->conns) {
        BUG_ON(o->conns->op);
        client_conn_close(o->conns);
    }
    while (o->h2_conns) {
        client_h2_close(o->h2_conns);
    }
    o->freed = true;
    http_origin_unpin_and_maybe_free(o);
}

unsigned http_origin_connections(const struct http_origin *o)
{
    return o->conn_count;
}

/* --- operations --------------------------------------------------------------------------------------- */

static void on_op_task(void *arg);

static struct http_op *take_op(struct http_origin *o)
{
    struct http_op *op = o->free_ops;
    struct buf out;
    if (op) {
        o->free_ops = op->next_free;
        o->free_op_count--;
        out = op->out;
        buf_truncate(&out);
    } else {
        op = malloc(sizeof *op);
        BUG_ON(!op);
        buf_init(&out, CLIENT_SEND_MAX_BYTES);
    }
    *op = (struct http_op){.origin = o, .out = out, .task = {.fn = on_op_task, .arg = op}};
    client_h2_op_init(op);
    o->ops++;
    return op;
}

void http_op_give_back(struct http_op *op)
{
    struct http_origin *o = op->origin;
    loop_task_cancel(o->loop, &op->task);
    loop_timer_disarm(&op->timer);
    buf_clear(&op->held);
    op->conn = NULL;
    o->ops--;
    if (o->free_op_count + 1 <= OP_CACHE && op->out.cap <= 8192) {
        op->next_free = o->free_ops;
        o->free_ops = op;
        o->free_op_count++;
        return;
    }
    buf_clear(&op->out);
    free(op);
}

void http_op_end(struct http_op *op, int rc, const struct err *err)
{
    struct http_origin *o = op->origin;
    http_origin_pin(o);
    op->conn = NULL;
    op->ending = true;
    op->handler->on_end(op, rc, err);
    http_op_give_back(op);
    http_origin_unpin_and_maybe_free(o);
}

void http_op_fail_later(struct http_op *op, int rc, const struct err *err)
{
    op->fail_rc = rc;
    op->fail = *err;
    loop_at_turn_end(op->origin->loop, &op->task);
}

static void on_op_task(void *arg)
{
    struct http_op *op = arg;
    struct http_origin *o = op->origin;
    http_origin_pin(o); /* the user may cancel, and free it */
    if (op->fail_rc != 0) {
        struct err err = op->fail;
        http_op_end(op, op->fail_rc, &err);
    } else if (op->conn) {
        client_conn_resume(op->conn);
    } else {
        client_h2_resume(op);
    }
    http_origin_unpin_and_maybe_free(o);
}

static struct str host_of(const struct http_op *op, const struct http_client_request *req)
{
    bool is_unix = strncmp(op->origin->target, "unix:", 5) == 0;
    return req->host.n ? req->host : str_from(is_unix ? "localhost" : op->origin->target);
}

/* Bytes of the body to announce; -1: none are. */
static int64_t announced(const struct http_client_request *req)
{
    bool is_plain =
        str_is(req->method, "GET") || str_is(req->method, "HEAD") || str_is(req->method, "DELETE");
    if (req->streaming) {
        return req->content_length;
    }
    return req->body.n > 0 || !is_plain ? (int64_t)req->body.n : -1;
}

static char *put(char *at, struct str s)
{
    memcpy(at, s.p, s.n);
    return at + s.n;
}

/* false: it is too long. */
static bool write_head(struct http_op *op, const struct http_client_request *req)
{
    struct str host = host_of(op, req);
    size_t most = req->method.n + req->target.n + host.n + 128; /* for what is written between and behind */
    for (unsigned i = 0; i < req->field_count; i++) {
        most += req->fields[i].name.n + req->fields[i].value.n + 4;
    }
    if (most > OP_HEAD_BYTES) {
        return false;
    }
    char *begin = buf_reserve(&op->out, most);
    char *at = put(put(begin, req->method), STR(" "));
    at = put(put(put(at, req->target), STR(" HTTP/1.1\r\nhost: ")), host);
    for (unsigned i = 0; i < req->field_count; i++) {
        at = put(put(at, STR("\r\n")), req->fields[i].name);
        at = put(put(at, STR(": ")), req->fields[i].value);
    }
    int64_t length = announced(req);
    if (req->streaming && length < 0) {
        at = put(at, STR("\r\ntransfer-encoding: chunked"));
    } else if (length >= 0) {
        at = str_put_u64(put(at, STR("\r\ncontent-length: ")), (uint64_t)length);
    }
    at = put(at, STR("\r\n\r\n"));
    buf_commit(&op->out, (size_t)(at - begin));
    return true;
}

static bool has_gap(struct str word)
{
    for (size_t i = 0; i < word.n; i++) {
        if ((uint8_t)word.p[i] <= ' ' || word.p[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool breaks_line(struct str value)
{
    return !str_is_text(value) &&
           (memchr(value.p, '\n', value.n) || memchr(value.p, '\r', value.n) || memchr(value.p, 0, value.n));
}

/* What would make two requests of one. The gateway's own server lets none of it in; this is the last door. */
static bool is_writable_text(const struct http_client_request *req)
{
    if (has_gap(req->method) || has_gap(req->target) || has_gap(req->host)) {
        return false;
    }
    for (unsigned i = 0; i < req->field_count; i++) {
        if (breaks_line(req->fields[i].value)) {
            return false;
        }
    }
    return req->method.n > 0 && req->target.n > 0;
}

static void refuse(struct http_op *op, enum err_code code, const char *why)
{
    struct err err;
    (void)err_set(&err, code, "%s: %s", op->origin->target, why);
    http_op_fail_later(op, code, &err);
}

void http_op_refuse(struct http_op *op)
{
    metric_add(&refused, 1);
    refuse(op, ERR_UNAVAILABLE, "all connections are in use");
}

/* On a connection that waits, or a new one. */
static void send_h1(struct http_op *op)
{
    struct http_origin *o = op->origin;
    if (o->idle) {
        metric_add(&reused, 1);
        client_conn_take(o->idle, op);
    } else if (o->conn_count < o->max_connections) {
        client_conn_open(o, op);
    } else {
        http_op_refuse(op);
    }
}

struct http_op *http_send_request(struct http_origin *o, const struct http_client_request *req,
                                  const struct http_client_handler *handler, void *arg)
{
    struct http_op *op = take_op(o);
    op->handler = handler;
    op->arg = arg;
    op->body = req->body;
    op->streaming = req->streaming;
    op->once = req->once;
    op->body_ended = !req->streaming;
    op->stream_left = req->streaming ? req->content_length : 0;
    op->is_head_method = str_is(req->method, "HEAD");
    op->connect_ms = req->connect_ms ? req->connect_ms : DEFAULT_CONNECT_MS;
    op->head_ms = req->head_ms ? req->head_ms : DEFAULT_ANSWER_MS;
    op->idle_ms = req->idle_ms ? req->idle_ms : DEFAULT_ANSWER_MS;
    bool is_h2 = o->protocol == HTTP_ORIGIN_H2;
    bool fits = true;
    if (is_h2) {
        client_h2_write_head(op, req, host_of(op, req), announced(req));
        fits = op->out.n <= OP_HEAD_BYTES;
    } else {
        fits = write_head(op, req);
    }
    if (!fits || !is_writable_text(req)) {
        refuse(op, ERR_INVALID, "the request's head is malformed or too long");
        return op;
    }
    if (req->streaming && req->body.n > 0) {
        op->body = STR("");
        (void)http_op_send_body(op, req->body.p, req->body.n);
    }
    if (o->is_named) {
        resolver_refresh(o->resolver); /* also while kept connections are all that is used */
    }
    if (!is_h2) {
        send_h1(op);
    } else if (client_h2_send(op)) {
        metric_add(&reused, 1);
    }
    return op;
}

void *http_op_arg(const struct http_op *op)
{
    return op->arg;
}

bool http_op_is_connecting(const struct http_op *op)
{
    return op->h2 ? op->h2->state == CLIENT_H2_CONNECTING
                  : op->conn && op->conn->state == CLIENT_CONN_CONNECTING;
}

static size_t queued(const struct http_op *op)
{
    return op->out.n - op->out_sent;
}

/* There is more of the body, or its end. */
static void wake(struct http_op *op)
{
    if (op->conn) {
        client_conn_want_flush(op->conn);
    } else if (op->h2) {
        client_h2_wake(op);
    }
}

/* What waits unsent is made one chunk: a client's thousands of small ones do not become the upstream's. */
static void add_chunk(struct http_op *op, const void *p, size_t n)
{
    char size[16];
    bool open = op->chunk_bytes > 0 && op->out_sent <= op->chunk_at;
    if (open) {
        op->out.n -= 2;
    } else {
        op->chunk_at = op->out.n;
        op->chunk_bytes = 0;
        (void)buf_add(&op->out, "000000\r\n", 8);
    }
    op->chunk_bytes += n;
    (void)buf_add(&op->out, p, n);
    (void)buf_add_cstr(&op->out, "\r\n");
    BUG_ON(op->out.overflowed); /* the caller ignored PAUSE */
    snprintf(size, sizeof size, "%06zx", op->chunk_bytes);
    memcpy(op->out.p + op->chunk_at, size, 6);
}

/* Else a source that is always late, or never told to wait, would make it grow for ever. */
static void forget_sent(struct http_op *op)
{
    buf_consume(&op->out, op->out_sent);
    op->out_sent = op->chunk_bytes = 0;
}

enum http_flow http_op_send_body(struct http_op *op, const void *p, size_t n)
{
    if (op->ending || op->body_ended || op->fail_rc != 0) {
        return HTTP_FLOW_GONE;
    }
    if (n == 0) {
        return HTTP_FLOW_GO;
    }
    if (op->out_sent > CLIENT_SEND_HIGH_BYTES) { /* more than any head, which a first send needs whole */
        forget_sent(op);
    }
    if (op->stream_left < 0 && op->origin->protocol == HTTP_ORIGIN_H2) {
        (void)buf_add(&op->out, p, n);
    } else if (op->stream_left < 0) {
        add_chunk(op, p, n);
    } else {
        BUG_ON(n > (uint64_t)op->stream_left);
        op->stream_left -= (int64_t)n;
        (void)buf_add(&op->out, p, n);
    }
    BUG_ON(op->out.overflowed); /* the caller ignored PAUSE */
    wake(op);
    op->send_paused = op->send_paused || queued(op) > CLIENT_SEND_HIGH_BYTES; /* until on_writable */
    return op->send_paused ? HTTP_FLOW_PAUSE : HTTP_FLOW_GO;
}

bool http_op_drain(struct http_op *op)
{
    if (op->streaming && queued(op) == 0) {
        buf_truncate(&op->out);
        op->out_sent = op->chunk_bytes = 0;
    }
    if (!op->send_paused || queued(op) >= CLIENT_SEND_HIGH_BYTES / 4) {
        return false;
    }
    forget_sent(op);
    op->send_paused = false;
    return true;
}

void http_op_end_body(struct http_op *op)
{
    if (op->ending || op->body_ended || op->fail_rc != 0) {
        return;
    }
    BUG_ON(op->stream_left > 0);
    if (op->stream_left < 0 && op->origin->protocol == HTTP_ORIGIN_H1) {
        (void)buf_add_cstr(&op->out, "0\r\n\r\n");
    }
    op->body_ended = true;
    wake(op);
}

void http_op_resume(struct http_op *op)
{
    if (op->paused && (op->conn || op->h2 || op->answer_whole)) {
        op->paused = false;
        loop_at_turn_end(op->origin->loop, &op->task);
    }
}

void http_op_cancel(struct http_op *op)
{
    if (!op || op->ending) {
        return;
    }
    struct http_origin *o = op->origin;
    http_origin_pin(o);
    struct client_conn *c = op->conn;
    if (c) {
        c->op = NULL;
        client_conn_close(c);
    }
    client_h2_leave(op);
    op->canceled = op->running;
    if (!op->running) {
        http_op_give_back(op);
    }
    http_origin_unpin_and_maybe_free(o);
}

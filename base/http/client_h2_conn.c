/* One HTTP/2 connection of the client: which one a request goes to, connect, one recv an event and one send a turn, signs
 * of life, the end. See client_h2.h for its life. */
#include "base/http/client_h2.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct metric ping_timeouts =
    METRIC_COUNTER("tidegate_client_ping_timeouts_total",
                   "HTTP/2 connections to upstreams given up for want of a sign of life.");

static void on_flush(void *arg);
static void on_timer(void *arg);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* --- life --------------------------------------------------------------------------------------------- */

static void free_conn(struct client_h2 *c)
{
    nghttp2_session_del(c->session);
    arena_clear(&c->head.arena);
    buf_clear(&c->out);
    free(c);
}

static void unpin_and_maybe_free(struct client_h2 *c)
{
    if (--c->pins == 0 && c->state == CLIENT_H2_CLOSED) {
        free_conn(c);
    }
}

static struct client_h2 *new_conn(struct http_origin *o)
{
    struct client_h2 *c = calloc(1, sizeof *c);
    BUG_ON(!c);
    c->origin = o;
    c->fd = c->dial.fd = -1;
    c->flush = (struct loop_task){.fn = on_flush, .arg = c};
    loop_timer_init(o->loop, &c->timer, on_timer, c);
    buf_init(&c->out, CLIENT_H2_OUT_HIGH * 2);
    arena_init(&c->head.arena);
    c->next = o->h2_conns;
    if (c->next) {
        c->next->prev = c;
    }
    o->h2_conns = c;
    o->conn_count++;
    return c;
}

/* The socket is closed and the origin forgets it; its ops are the caller's to end. */
static void cut(struct client_h2 *c)
{
    struct http_origin *o = c->origin;
    client_dial_stop(&c->dial);
    if (c->fd >= 0) {
        event_del(&c->rd);
        event_del(&c->wr);
        close(c->fd);
        c->fd = -1;
    }
    loop_task_cancel(o->loop, &c->flush);
    loop_timer_disarm(&c->timer);
    *(c->prev ? &c->prev->next : &o->h2_conns) = c->next;
    if (c->next) {
        c->next->prev = c->prev;
    }
    o->conn_count--;
    c->state = CLIENT_H2_CLOSED;
    c->origin = NULL;
}

/* A GOAWAY, so that the other side need not wonder; nothing waits for it. */
static void say_goodbye(struct client_h2 *c)
{
    const uint8_t *p;
    ssize_t n;
    if (c->fd < 0 || c->blocked || c->pins > 0 ||
        nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR) != 0) {
        return;
    }
    while ((n = nghttp2_session_mem_send(c->session, &p)) > 0) {
        (void)!send(c->fd, p, (size_t)n, MSG_NOSIGNAL);
    }
}

void client_h2_close(struct client_h2 *c)
{
    BUG_ON(c->ops);
    say_goodbye(c);
    cut(c);
    if (c->pins == 0) {
        free_conn(c);
    }
}

void client_h2_forget(struct http_op *op)
{
    struct client_h2 *c = op->h2;
    *(op->h2_prev ? &op->h2_prev->h2_next : &c->ops) = op->h2_next;
    if (op->h2_next) {
        op->h2_next->h2_prev = op->h2_prev;
    }
    op->h2_prev = op->h2_next = NULL;
    op->h2 = NULL;
    loop_timer_disarm(&op->timer);
    if (--c->op_count == 0 && c->state != CLIENT_H2_CLOSED && c->state != CLIENT_H2_CONNECTING) {
        loop_timer_arm(&c->timer, c->state == CLIENT_H2_DRAINING ? 0 : c->origin->idle_ms);
    }
}

void client_h2_retire(struct client_h2 *c)
{
    if (c->state == CLIENT_H2_OPEN) {
        c->state = CLIENT_H2_DRAINING;
        if (c->op_count == 0) {
            loop_timer_arm(&c->timer, 0);
        }
    }
}

void client_h2_fail(struct client_h2 *c, int rc, const struct err *err)
{
    c->pins++;
    cut(c);
    while (c->ops) {
        struct http_op *op = c->ops;
        client_h2_forget(op);
        client_h2_lost(op, false, rc, err);
    }
    unpin_and_maybe_free(c);
}

void client_h2_leave(struct http_op *op)
{
    struct client_h2 *c = op->h2;
    if (!c) {
        return;
    }
    client_h2_forget(op);
    if (c->state == CLIENT_H2_CLOSED) {
        return;
    }
    nghttp2_session_set_stream_user_data(c->session, op->stream_id, NULL);
    nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, op->stream_id, NGHTTP2_CANCEL);
    client_h2_want_flush(c);
}

/* --- signs of life ------------------------------------------------------------------------------------ */

static void fail_with(struct client_h2 *c, int rc, const char *what, const char *why)
{
    struct err err;
    (void)err_set(&err, rc, "%s: %s%s%s", c->origin->target, what, why ? ": " : "", why ? why : "");
    client_h2_fail(c, rc, &err);
}

static void check_silence(struct client_h2 *c)
{
    uint64_t now = loop_now_ms(c->origin->loop);
    uint64_t patience = c->origin->ping_ms;
    uint64_t silence = now - c->heard_ms;
    if (silence < patience) {
        loop_timer_arm(&c->timer, patience - silence);
    } else if (!c->pinged) {
        c->pinged = true;
        nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
        client_h2_want_flush(c);
        loop_timer_arm(&c->timer, patience);
    } else {
        metric_add(&ping_timeouts, 1);
        fail_with(c, ERR_CLOSED, "no sign of life", NULL);
    }
}

static void on_timer(void *arg)
{
    struct client_h2 *c = arg;
    struct http_origin *o = c->origin;
    http_origin_pin(o);
    if (c->state == CLIENT_H2_CONNECTING) {
        fail_with(c, ERR_UNAVAILABLE, "timed out", "connect");
    } else if (c->op_count == 0) {
        client_h2_close(c);
    } else {
        check_silence(c);
    }
    http_origin_unpin_and_maybe_free(o);
}

/* --- connecting --------------------------------------------------------------------------------------- */

static void on_dialed(void *arg, int fd, int error)
{
    struct client_h2 *c = arg;
    struct http_origin *o = c->origin;
    if (fd < 0) {
        http_origin_pin(o);
        fail_with(c, client_dial_code(error), "connect", client_dial_error(error));
        http_origin_unpin_and_maybe_free(o);
        return;
    }
    struct event_base *base = loop_event_base(o->loop);
    c->fd = fd;
    c->state = CLIENT_H2_OPEN;
    c->heard_ms = loop_now_ms(o->loop);
    event_assign(&c->rd, base, fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->wr, base, fd, EV_WRITE, on_writable, c);
    event_add(&c->rd, NULL);
    loop_timer_arm(&c->timer, c->op_count > 0 ? o->ping_ms : o->idle_ms);
    for (struct http_op *op = c->ops; op; op = op->h2_next) {
        client_h2_deadline(op, op->idle_ms, "the request is not taken");
    }
    client_h2_want_flush(c);
}

static struct client_h2 *open_conn(struct http_op *op)
{
    struct http_origin *o = op->origin;
    struct client_h2 *c = new_conn(o);
    int error = client_h2_session_open(c) == 0 ? client_dial_start(&c->dial, o, on_dialed, c) : ENOMEM;
    if (error != 0) {
        struct err err;
        int rc = client_dial_code(error);
        (void)err_set(&err, rc, "%s: connect: %s", o->target, client_dial_error(error));
        http_op_fail_later(op, rc, &err);
        client_h2_close(c);
        return NULL;
    }
    loop_timer_arm(&c->timer, op->connect_ms);
    return c;
}

/* --- which connection --------------------------------------------------------------------------------- */

static bool has_room(const struct client_h2 *c)
{
    uint32_t most =
        c->told ? nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
                : CLIENT_H2_STREAMS_UNTOLD;
    return c->state < CLIENT_H2_DRAINING && c->op_count < most &&
           nghttp2_session_check_request_allowed(c->session);
}

static void attach(struct client_h2 *c, struct http_op *op)
{
    op->h2 = c;
    op->h2_next = c->ops;
    if (c->ops) {
        c->ops->h2_prev = op;
    }
    c->ops = op;
    if (c->op_count++ == 0 && c->state == CLIENT_H2_OPEN) {
        c->heard_ms = loop_now_ms(c->origin->loop); /* nobody spoke because nobody asked */
        loop_timer_arm(&c->timer, c->origin->ping_ms);
    }
    if (c->state == CLIENT_H2_OPEN) {
        client_h2_deadline(op, op->idle_ms, "the request is not taken");
    }
}

bool client_h2_send(struct http_op *op)
{
    struct http_origin *o = op->origin;
    struct client_h2 *c = o->h2_conns;
    while (c && !has_room(c)) {
        c = c->next;
    }
    op->reused = c && c->state == CLIENT_H2_OPEN;
    if (!c && o->conn_count >= o->max_connections) {
        http_op_refuse(op);
        return false;
    }
    c = c ? c : open_conn(op);
    if (!c) {
        return false;
    }
    attach(c, op);
    if (client_h2_submit(c, op) != 0) {
        struct err err;
        (void)err_set(&err, ERR_UNAVAILABLE, "%s: takes no more requests", o->target);
        client_h2_forget(op);
        http_op_fail_later(op, ERR_UNAVAILABLE, &err);
        return false;
    }
    client_h2_want_flush(c);
    return op->reused;
}

/* --- reading and writing ------------------------------------------------------------------------------ */

/* Both directions have said all there is to say: after a GOAWAY, or an error that nghttp2 has answered. */
static bool is_over(const struct client_h2 *c)
{
    return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

static void close_if_over(struct client_h2 *c)
{
    if (c->state == CLIENT_H2_CLOSED || c->state == CLIENT_H2_CONNECTING || !is_over(c)) {
        return;
    }
    if (c->fault) {
        fail_with(c, ERR_PROTOCOL, "broke HTTP/2", c->fault);
    } else {
        fail_with(c, ERR_CLOSED, "ended the connection", NULL);
    }
}

static void digest(struct client_h2 *c, char *p, size_t n)
{
    static const char h1[] = "HTTP/1.";
    c->heard_ms = loop_now_ms(c->origin->loop);
    c->pinged = false;
    if (!c->heard_any && n >= sizeof h1 - 1 && memcmp(p, h1, sizeof h1 - 1) == 0) {
        fail_with(c, ERR_PROTOCOL, "answers in HTTP/1.1, not in HTTP/2", NULL);
        return;
    }
    c->heard_any = true;
    ssize_t used = nghttp2_session_mem_recv(c->session, (const uint8_t *)p, n);
    if (c->state == CLIENT_H2_CLOSED) {
        return;
    }
    if (used < 0) {
        fail_with(c, ERR_PROTOCOL, "broke HTTP/2", c->fault ? c->fault : nghttp2_strerror((int)used));
        return;
    }
    if (nghttp2_session_want_write(c->session)) {
        client_h2_want_flush(c);
    }
    close_if_over(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client_h2 *c = arg;
    ssize_t n = recv(fd, client_scratch, sizeof client_scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    struct http_origin *o = c->origin;
    http_origin_pin(o);
    c->pins++;
    if (n > 0) {
        digest(c, client_scratch, (size_t)n);
    } else {
        fail_with(c, ERR_CLOSED, "closed the connection", n < 0 ? strerror(errno) : NULL);
    }
    unpin_and_maybe_free(c);
    http_origin_unpin_and_maybe_free(o);
}

void client_h2_want_flush(struct client_h2 *c)
{
    if (c->state == CLIENT_H2_OPEN || c->state == CLIENT_H2_DRAINING) {
        loop_at_turn_end(c->origin->loop, &c->flush);
    }
}

/* False: nghttp2 is out of memory. */
static bool gather(struct client_h2 *c)
{
    while (c->out.n < CLIENT_H2_OUT_HIGH) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->session, &p);
        if (n <= 0) {
            return n == 0;
        }
        (void)buf_add(&c->out, p, (size_t)n);
    }
    client_h2_want_flush(c); /* the rest in the next turn */
    return true;
}

/* An error of the socket is the reading side's to tell. */
static void send_out(struct client_h2 *c)
{
    size_t left = c->out.n - c->out_sent;
    ssize_t n = left > 0 ? send(c->fd, c->out.p + c->out_sent, left, MSG_NOSIGNAL) : 0;
    if (n > 0) {
        c->out_sent += (size_t)n;
    }
    if (c->out_sent == c->out.n) {
        buf_truncate(&c->out);
        c->out_sent = 0;
    } else if (n > 0 || errno == EAGAIN || errno == EINTR) {
        c->blocked = true;
        event_add(&c->wr, NULL);
    }
}

static void on_flush(void *arg)
{
    struct client_h2 *c = arg;
    struct http_origin *o = c->origin;
    if (c->blocked) {
        return;
    }
    http_origin_pin(o);
    c->pins++;
    if (gather(c)) {
        send_out(c);
        client_h2_tell_writable(c);
        close_if_over(c);
    } else {
        fail_with(c, ERR_INTERNAL, "out of memory", NULL);
    }
    unpin_and_maybe_free(c);
    http_origin_unpin_and_maybe_free(o);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct client_h2 *c = arg;
    c->blocked = false;
    client_h2_want_flush(c);
}

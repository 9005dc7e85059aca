/* What comes back on a connection of the client: head, body, end. Bytes are read into one buffer a thread and
 * handed on from there; only an incomplete head, and what came after a PAUSE, is copied. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/http/client_conn.h"

__thread char client_scratch[CLIENT_SCRATCH_BYTES];

static bool is_gone(const struct client_conn *c, const struct http_op *op)
{
    return c->state != CLIENT_CONN_BUSY || c->op != op;
}

/* Hands one piece of the body on. False: the connection was closed by the callback. */
static bool deliver(struct client_conn *c, struct str data)
{
    struct http_op *op = c->op;
    if (op->handler->on_data(op, data.p, data.n) != HTTP_FLOW_GO && !is_gone(c, op)) {
        op->paused = true;
    }
    return !is_gone(c, op);
}

static void hold(struct client_conn *c, struct str rest)
{
    if (rest.n > 0 && buf_add_str(&c->held, rest) != 0) {
        struct err err;
        (void)err_set(&err, ERR_INTERNAL, "held bytes past their bound");
        client_conn_fail(c, ERR_INTERNAL, &err);
        return;
    }
    event_del(&c->rd);
    client_conn_deadline(c, 0, NULL);
}

static void read_body(struct client_conn *c, struct str in)
{
    struct err err;
    while (!h1_body_is_done(&c->body)) {
        if (c->op->paused) {
            hold(c, in);
            return;
        }
        if (in.n == 0) {
            return;
        }
        struct str data;
        int rc = h1_body_next(&c->body, &in, &data, &err);
        if (rc != 0) {
            client_conn_fail(c, rc, &err);
            return;
        }
        if (data.n > 0 && !deliver(c, data)) {
            return;
        }
    }
    c->op->paused = false;
    client_conn_done(c, in.n == 0);
}

/* A whole head. 0: go on with what is behind it; negative: the connection is gone. */
static int take_head(struct client_conn *c, char *p, size_t n)
{
    struct http_field fields[H1_RESPONSE_FIELDS];
    struct h1_response r;
    struct http_op *op = c->op;
    struct err err;
    int rc = h1_response_parse(p, n, fields, &r, &err);
    if (rc == 0 && r.status < 200 && ++c->interim > CLIENT_INTERIM_MAX) {
        rc = err_set(&err, ERR_PROTOCOL, "upstream: more than %d interim answers", CLIENT_INTERIM_MAX);
    }
    if (rc != 0) {
        client_conn_fail(c, rc, &err);
        return rc;
    }
    if (r.status < 200) {
        return 0;
    }
    c->head_done = true;
    c->keep_alive = r.keep_alive;
    h1_body_init(&c->body, &r, op->is_head_method);
    op->handler->on_head(op, r.status, fields, r.field_count, r.content_length);
    return is_gone(c, op) ? ERR_CANCELED : 0;
}

static void fail_long_head(struct client_conn *c)
{
    struct err err;
    (void)err_set(&err, ERR_LIMIT, "%s: the answer's head is longer than %d bytes", c->origin->target,
                  H1_RESPONSE_HEAD_BYTES);
    client_conn_fail(c, ERR_LIMIT, &err);
}

/* Looks for the head's end in what was kept plus p; keeps what is incomplete. Returns how many bytes of p belong
 * to heads already taken, or -1 when more bytes are needed or the connection is gone. */
static ssize_t read_head(struct client_conn *c, char *p, size_t n)
{
    size_t kept = c->head.n;
    if (kept == 0) {
        size_t end = h1_head_end(p, n < H1_RESPONSE_HEAD_BYTES ? n : H1_RESPONSE_HEAD_BYTES, 0);
        if (end > 0) {
            return take_head(c, p, end) == 0 ? (ssize_t)end : -1;
        }
    }
    size_t room = H1_RESPONSE_HEAD_BYTES - kept;
    size_t take = n < room ? n : room;
    (void)buf_add(&c->head, p, take);
    size_t end = h1_head_end(c->head.p, c->head.n, kept);
    if (end == 0) {
        if (c->head.n == H1_RESPONSE_HEAD_BYTES) {
            fail_long_head(c);
        }
        return -1;
    }
    c->head.n = 0; /* its memory stays until the head is used */
    return take_head(c, c->head.p, end) == 0 ? (ssize_t)(end - kept) : -1;
}

static void on_bytes(struct client_conn *c, char *p, size_t n)
{
    c->has_answer = true;
    while (!c->head_done) {
        ssize_t used = n > 0 ? read_head(c, p, n) : -1;
        if (used < 0) {
            return;
        }
        p += used;
        n -= (size_t)used;
    }
    if (n > 0 && c->op->body_ended) { /* until then the time for the head goes on */
        client_conn_deadline(c, c->op->idle_ms, "the answer stopped");
    }
    read_body(c, str_of(p, n));
}

static void on_close(struct client_conn *c, int error)
{
    if (c->state == CLIENT_CONN_IDLE) {
        client_conn_close(c);
        return;
    }
    if (c->head_done && c->body.state == H1_BODY_TO_EOF && error == 0) {
        client_conn_done(c, false);
        return;
    }
    if (client_conn_replay(c)) {
        return;
    }
    struct err err;
    (void)err_set(&err, ERR_CLOSED, "%s: closed %s%s%s", c->origin->target,
                  c->head_done ? "before the end of the answer" : "without an answer", error ? ": " : "",
                  error ? strerror(error) : "");
    client_conn_fail(c, ERR_CLOSED, &err);
}

void client_conn_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct client_conn *c = arg;
    (void)what;
    ssize_t n = recv(fd, client_scratch, sizeof client_scratch, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    struct http_origin *o = c->origin;
    http_origin_pin(o);
    c->pins++;
    if (n <= 0) {
        on_close(c, n < 0 ? errno : 0);
    } else if (c->state == CLIENT_CONN_IDLE) {
        client_conn_close(c); /* nobody asked: not to be trusted with the next request */
    } else {
        on_bytes(c, client_scratch, (size_t)n);
    }
    client_conn_unpin_and_maybe_free(c);
    http_origin_unpin_and_maybe_free(o);
}

void client_conn_read_held(struct client_conn *c)
{
    struct http_origin *o = c->origin;
    http_origin_pin(o);
    event_add(&c->rd, NULL);
    client_conn_deadline(c, c->op->idle_ms, "the answer stopped");
    struct buf held = c->held;
    buf_init(&c->held, held.max);
    read_body(c, buf_str(&held));
    buf_clear(&held);
    http_origin_unpin_and_maybe_free(o);
}

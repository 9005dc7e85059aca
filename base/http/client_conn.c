/* One connection of the client: connect, write, deadlines, pool. See client_conn.h for its life. */
#include "base/http/client_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void on_flush(void *arg);
static void on_timer(void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* --- life --------------------------------------------------------------------------------------------- */

static struct client_conn *new_conn(struct http_origin *o, struct http_op *op)
{
    struct client_conn *c = calloc(1, sizeof *c);
    BUG_ON(!c);
    c->origin = o;
    c->fd = c->dial.fd = -1;
    c->op = op;
    op->conn = c;
    c->flush = (struct loop_task){.fn = on_flush, .arg = c};
    loop_timer_init(o->loop, &c->timer, on_timer, c);
    buf_init(&c->head, H1_RESPONSE_HEAD_BYTES);
    buf_init(&c->held, CLIENT_HELD_BYTES);
    c->next = o->conns;
    if (o->conns) {
        o->conns->prev = c;
    }
    o->conns = c;
    o->conn_count++;
    return c;
}

static void free_conn(struct client_conn *c)
{
    buf_clear(&c->head);
    buf_clear(&c->held);
    free(c);
}

void client_conn_unpin_and_maybe_free(struct client_conn *c)
{
    if (--c->pins == 0 && c->state == CLIENT_CONN_CLOSED) {
        free_conn(c);
    }
}

static void leave_pool(struct client_conn *c)
{
    struct http_origin *o = c->origin;
    struct client_conn **at = &o->idle;
    while (*at && *at != c) {
        at = &(*at)->idle_next;
    }
    if (*at) {
        *at = c->idle_next;
        o->idle_count--;
    }
}

static void close_socket(struct client_conn *c)
{
    if (c->fd < 0) {
        return;
    }
    event_del(&c->rd);
    event_del(&c->wr);
    close(c->fd);
    c->fd = -1;
}

void client_conn_close(struct client_conn *c)
{
    struct http_origin *o = c->origin;
    if (c->state == CLIENT_CONN_CLOSED) {
        return;
    }
    if (c->state == CLIENT_CONN_IDLE) {
        leave_pool(c);
    }
    client_dial_stop(&c->dial);
    close_socket(c);
    loop_task_cancel(o->loop, &c->flush);
    loop_timer_disarm(&c->timer);
    *(c->prev ? &c->prev->next : &o->conns) = c->next;
    if (c->next) {
        c->next->prev = c->prev;
    }
    o->conn_count--;
    c->state = CLIENT_CONN_CLOSED;
    c->origin = NULL;
    if (c->pins == 0) {
        free_conn(c);
    }
}

void client_conn_fail(struct client_conn *c, int rc, const struct err *err)
{
    struct http_op *op = c->op;
    c->op = NULL;
    client_conn_close(c);
    if (op) {
        http_op_end(op, rc, err);
    }
}

/* --- deadlines ---------------------------------------------------------------------------------------- */

void client_conn_deadline(struct client_conn *c, uint64_t after_ms, const char *what)
{
    c->deadline_what = what;
    if (what) {
        loop_timer_arm(&c->timer, after_ms);
    } else {
        loop_timer_disarm(&c->timer);
    }
}

static void on_timer(void *arg)
{
    struct client_conn *c = arg;
    struct err err;
    int rc = c->state == CLIENT_CONN_CONNECTING ? ERR_UNAVAILABLE : ERR_TIMEOUT;
    (void)err_set(&err, rc, "%s: timed out: %s", c->origin->target, c->deadline_what);
    client_conn_fail(c, rc, &err);
}

/* --- connecting --------------------------------------------------------------------------------------- */

static void on_dialed(void *arg, int fd, int error)
{
    struct client_conn *c = arg;
    if (fd < 0) {
        struct err err;
        int rc = client_dial_code(error);
        (void)err_set(&err, rc, "%s: connect: %s", c->origin->target, client_dial_error(error));
        client_conn_fail(c, rc, &err);
        return;
    }
    struct event_base *base = loop_event_base(c->origin->loop);
    c->fd = fd;
    event_assign(&c->rd, base, fd, EV_READ | EV_PERSIST, client_conn_on_readable, c);
    event_assign(&c->wr, base, fd, EV_WRITE, on_writable, c);
    c->state = CLIENT_CONN_BUSY;
    event_add(&c->rd, NULL);
    client_conn_deadline(c, 0, NULL);
    client_conn_want_flush(c);
}

void client_conn_open(struct http_origin *o, struct http_op *op)
{
    struct client_conn *c = new_conn(o, op);
    client_conn_deadline(c, op->connect_ms, "connect");
    int error = client_dial_start(&c->dial, o, on_dialed, c);
    if (error != 0) {
        struct err err;
        int rc = client_dial_code(error);
        (void)err_set(&err, rc, "%s: connect: %s", o->target, client_dial_error(error));
        op->conn = NULL;
        c->op = NULL;
        client_conn_close(c);
        http_op_fail_later(op, rc, &err);
    }
}

/* --- writing ------------------------------------------------------------------------------------------ */

void client_conn_want_flush(struct client_conn *c)
{
    if (c->state == CLIENT_CONN_BUSY) {
        loop_at_turn_end(c->origin->loop, &c->flush);
    }
}

/* Bytes taken by the socket; -1 when it is full or broken (the reading side then hears of it). */
static ssize_t send_some(struct client_conn *c)
{
    struct http_op *op = c->op;
    struct iovec iov[2] = {
        {op->out.p + op->out_sent, op->out.n - op->out_sent},
        {(void *)(uintptr_t)(op->body.p + op->body_sent), op->body.n - op->body_sent},
    };
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = iov[1].iov_len > 0 ? sendmsg(c->fd, &msg, MSG_NOSIGNAL)
                                   : send(c->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            event_add(&c->wr, NULL);
        }
        return -1;
    }
    size_t from_out = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
    op->out_sent += from_out;
    op->body_sent += (size_t)n - from_out;
    return n;
}

static bool all_sent(const struct http_op *op)
{
    return op->out_sent == op->out.n && op->body_sent == op->body.n;
}

static void tell_writable(struct client_conn *c)
{
    struct http_op *op = c->op;
    if (http_op_drain(op) && op->handler->on_writable) {
        c->pins++;
        op->handler->on_writable(op);
        client_conn_unpin_and_maybe_free(c);
    }
}

static void on_flush(void *arg)
{
    struct client_conn *c = arg;
    struct http_op *op = c->op;
    bool has_ended = op && op->streaming && op->body_ended; /* which may leave nothing to send */
    if (!op || c->state != CLIENT_CONN_BUSY || (all_sent(op) && !has_ended)) {
        return;
    }
    bool moved = false;
    while (!all_sent(op) && send_some(c) > 0) {
        moved = true;
    }
    bool waits = all_sent(op);
    if (waits && (op->paused || !op->body_ended)) {
        client_conn_deadline(c, 0, NULL); /* who reads, and who sends the body, are someone else's to watch */
    } else if (waits && !c->head_done) {
        client_conn_deadline(c, op->head_ms, "no answer");
    } else if (waits && has_ended) {
        client_conn_deadline(c, op->idle_ms, "the answer stopped");
    } else if (moved || (!op->paused && !c->deadline_what)) { /* or the socket took nothing of it at all */
        client_conn_deadline(c, op->idle_ms, "the request is not taken");
    }
    tell_writable(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    on_flush(arg);
}

/* --- pool --------------------------------------------------------------------------------------------- */

void client_conn_take(struct client_conn *c, struct http_op *op)
{
    leave_pool(c);
    c->state = CLIENT_CONN_BUSY;
    c->op = op;
    op->conn = c;
    op->reused = true;
    client_conn_deadline(c, 0, NULL); /* that of being idle may be due in this very turn */
    client_conn_want_flush(c);
}

static void enter_pool(struct client_conn *c)
{
    struct http_origin *o = c->origin;
    c->state = CLIENT_CONN_IDLE;
    c->has_answer = false;
    c->head_done = false;
    c->interim = 0;
    buf_clear(&c->head);
    buf_clear(&c->held);
    c->idle_next = o->idle;
    o->idle = c;
    o->idle_count++;
    client_conn_deadline(c, o->idle_ms, "idle");
}

void client_conn_retire(struct client_conn *c)
{
    c->retired = true;
    if (c->state == CLIENT_CONN_IDLE) {
        client_conn_close(c);
    }
}

void client_conn_done(struct client_conn *c, bool clean)
{
    struct http_op *op = c->op;
    struct http_origin *o = c->origin;
    bool reusable = clean && c->keep_alive && !c->retired && op->body_ended && all_sent(op) &&
                    o->idle_count < o->max_idle && !o->freed;
    c->op = NULL;
    event_del(&c->wr);
    loop_task_cancel(o->loop, &c->flush);
    if (reusable) {
        enter_pool(c);
    } else {
        client_conn_close(c);
    }
    http_op_end(op, 0, NULL);
}

bool client_conn_replay(struct client_conn *c)
{
    struct http_op *op = c->op;
    struct http_origin *o = c->origin;
    if (c->has_answer || !op->reused || op->replayed || op->once || op->streaming) {
        return false;
    }
    metric_add(&http_client_replays, 1);
    op->replayed = true;
    op->reused = false;
    op->out_sent = 0;
    op->body_sent = 0;
    c->op = NULL;
    client_conn_close(c);
    client_conn_open(o, op);
    return true;
}

void client_conn_resume(struct client_conn *c)
{
    c->pins++;
    client_conn_read_held(c);
    client_conn_unpin_and_maybe_free(c);
}

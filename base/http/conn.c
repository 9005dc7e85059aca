#include "base/http/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/http/peers.h"

enum { IOV_MAX_BLOCKS = 16 };

static void conn_on_turn_end(void *arg);
static void conn_on_timer(void *arg);
static void conn_on_event(evutil_socket_t fd, short what, void *arg);
static void conn_on_writable(evutil_socket_t fd, short what, void *arg);

/* --- birth and death ------------------------------------------------------------------------------ */

/* A socket whose bytes nobody wants is not watched at all: it would report its end in every turn, and libevent tells a
 * reset only to who reads or writes. So the client is looked for now and then. */
static void set_reading(struct conn *c, bool on)
{
    if (on == c->reading) {
        return;
    }
    c->reading = on;
    if (on) {
        event_add(&c->read_ev, NULL);
    } else {
        event_del(&c->read_ev);
        c->gone_check_ms = loop_now_ms(c->server->loop) + CONN_GONE_CHECK_MS;
        conn_need_by(c, c->gone_check_ms);
    }
}

static void conn_open(struct conn *c)
{
    c->state = CONN_OPEN;
    c->open_ms = c->idle_since_ms = loop_now_ms(c->server->loop);
    conn_list_add(&c->server->open, c);
    conn_need_by(c, c->open_ms + c->server->limits.first_byte_ms);
    conn_need_by(c, c->accepted_ms + c->server->limits.max_age_ms);
    if (c->server->draining) {
        conn_go_away(c);
    }
}

void conn_begin(struct conn *c)
{
    struct http_server *s = c->server;
    if (!conn_is_tls(c)) {
        conn_open(c);
        return;
    }
    c->state = CONN_HANDSHAKE;
    conn_list_add(&s->handshaking, c);
    conn_need_by(c, c->accepted_ms + s->limits.handshake_ms);
    if (tls_open(c) != 0) {
        conn_die(c, HTTP_FINISH_ABORTED);
    }
}

void conn_new(struct attachment *at, int fd, const struct addr *peer, struct peer_slot *slot)
{
    struct http_server *s = at->server;
    struct conn *c = aligned_alloc(CONN_LINE_BYTES, sizeof(*c));
    BUG_ON(!c);
    *c = (struct conn){.server = s};
    c->at = at;
    c->fd = fd;
    c->peer = *peer;
    c->peer_slot = slot;
    c->accepted_ms = loop_now_ms(s->loop);
    c->accepted_us = clock_mono_us();
    c->task = (struct loop_task){.fn = conn_on_turn_end, .arg = c};
    buf_init(&c->in, CONN_IN_MAX);
    loop_timer_init(s->loop, &c->timer, conn_on_timer, c);
    http_count_connection(1);
    s->connections++;
    event_assign(&c->read_ev, loop_event_base(s->loop), fd, EV_READ | EV_PERSIST, conn_on_event, c);
    set_reading(c, true);
    if (at->listener->proxy_protocol) {
        c->state = CONN_PROXY;
        conn_list_add(&s->handshaking, c);
        conn_need_by(c, c->accepted_ms + s->limits.proxy_header_ms);
    } else {
        conn_begin(c);
    }
}

void conn_handshake_done(struct conn *c)
{
    http_observe_phase(HTTP_PHASE_TLS, clock_mono_us() - c->first_byte_us);
    conn_list_remove(&c->server->handshaking, c);
    conn_open(c);
}

/* To HTTP/1.0 an answer of unknown length is whole when the connection ends in order: one that is cut must not. */
static bool is_cut_unseen(const struct conn *c)
{
    const struct exchange *x = c->h1.ex;
    return x && x->head_sent && !x->bodyless && !x->chunked && x->answer_left < 0 &&
           !(x->ended && conn_is_flushed(c));
}

void conn_die(struct conn *c, enum http_finish why)
{
    if (c->state == CONN_DEAD) {
        return;
    }
    c->reset_on_close = c->reset_on_close || is_cut_unseen(c);
    conn_list_remove(c->state <= CONN_HANDSHAKE ? &c->server->handshaking : &c->server->open, c);
    conn_list_add(&c->server->dead, c);
    c->state = CONN_DEAD;
    c->death = why;
    conn_schedule(c);
}

static void close_socket(struct conn *c)
{
    if (c->pending_n > 0 && !c->blocked && !c->reset_on_close) { /* an alert that says why */
        (void)!send(c->fd, c->pending + c->pending_at, c->pending_n, MSG_NOSIGNAL);
    }
    if (c->reset_on_close) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    close(c->fd);
}

void conn_destroy(struct conn *c)
{
    struct http_server *s = c->server;
    conn_die(c, HTTP_FINISH_DRAINED);
    while (c->exchanges) {
        exchange_finish(c->exchanges, c->death);
    }
    conn_list_remove(&s->dead, c);
    loop_task_cancel(s->loop, &c->task);
    loop_timer_disarm(&c->timer);
    event_del(&c->read_ev);
    if (c->writing) {
        event_del(&c->write_ev);
    }
    if (c->h2) {
        h2_free(c);
    }
    tls_close(c);
    close_socket(c);
    outq_clear(&c->out, &s->pool);
    free(c->pending);
    buf_clear(&c->in);
    peer_release(c->peer_slot);
    http_count_connection(-1);
    free(c);
    server_conn_gone(s);
}

void conn_schedule(struct conn *c)
{
    loop_at_turn_end(c->server->loop, &c->task);
}

void conn_close_when_sent(struct conn *c)
{
    c->close_when_sent = true;
    conn_schedule(c);
}

void conn_go_away(struct conn *c)
{
    if (c->going_away || c->state == CONN_DEAD) {
        return;
    }
    c->going_away = true;
    if (c->is_h2) {
        h2_go_away(c);
    } else if (c->exchanges) {
        c->h1.close_after = true;
    } else if (c->in.n == 0 && !c->server->retired) {
        conn_close_when_sent(c);
    } /* else a request has begun, or may be on its way: it is answered as the last one */
    conn_schedule(c);
}

bool conn_is_tls(const struct conn *c)
{
    return c->at->ssl_ctx != NULL;
}

bool conn_is_idle(const struct conn *c)
{
    return !c->exchanges && (c->is_h2 || c->in.n == 0);
}

bool conn_is_flushed(const struct conn *c)
{
    return c->out.n == 0 && c->pending_n == 0;
}

/* --- the client's end ------------------------------------------------------------------------------- */

/* The kernel gave up on what the client's TCP does not acknowledge. */
static void count_if_unacknowledged(int why)
{
    if (why == ETIMEDOUT) {
        http_count_closed("unacknowledged");
    }
}

static int error_of(int fd)
{
    int why = 0;
    socklen_t n = sizeof(why);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n);
    return why;
}

static void on_end(struct conn *c)
{
    c->at_eof = true;
    if (c->state == CONN_HANDSHAKE) {
        http_count_handshake("closed");
    }
    conn_die(c, c->exchanges ? HTTP_FINISH_CLIENT_GONE : HTTP_FINISH_DONE);
}

/* --- deadlines ------------------------------------------------------------------------------------ */

void conn_need_by(struct conn *c, uint64_t at_ms)
{
    if (c->timer_at_ms != 0 && c->timer_at_ms <= at_ms) {
        return;
    }
    uint64_t now = loop_now_ms(c->server->loop);
    c->timer_at_ms = at_ms;
    loop_timer_arm(&c->timer, at_ms > now ? at_ms - now : 0);
}

bool conn_due(uint64_t at_ms, uint64_t now_ms, uint64_t *next_ms)
{
    if (now_ms >= at_ms) {
        return true;
    }
    if (at_ms < *next_ms) {
        *next_ms = at_ms;
    }
    return false;
}

static void check_gone(struct conn *c, uint64_t now, uint64_t *next)
{
    if (c->reading || !conn_due(c->gone_check_ms, now, next)) {
        return;
    }
    struct pollfd end = {.fd = c->fd, .events = POLLRDHUP};
    if (poll(&end, 1, 0) > 0) {
        count_if_unacknowledged(error_of(c->fd));
        on_end(c);
        return;
    }
    c->gone_check_ms = now + CONN_GONE_CHECK_MS;
    (void)conn_due(c->gone_check_ms, now, next);
}

static void check_open(struct conn *c, uint64_t now, uint64_t *next)
{
    const struct http_limits *limits = &c->server->limits;
    check_gone(c, now, next);
    if (c->state == CONN_DEAD) {
        return;
    }
    if (!c->going_away && conn_due(c->accepted_ms + limits->max_age_ms, now, next)) {
        conn_go_away(c);
    }
    slow_reader_check(c, now, next);
    if (c->state == CONN_DEAD) {
        return;
    }
    if (c->ssl && conn_is_flushed(c) && conn_due(c->touched_ms + CONN_QUIET_MS, now, next)) {
        tls_release_buffers(c);
        c->hot = false;
    }
    if (c->is_h2) {
        h2_check(c, now, next);
    } else {
        h1_check(c, now, next);
    }
}

static void conn_on_timer(void *arg)
{
    struct conn *c = arg;
    struct http_server *s = c->server;
    uint64_t now = loop_now_ms(s->loop);
    uint64_t next = UINT64_MAX;
    c->timer_at_ms = 0;
    if (c->state == CONN_PROXY) {
        if (conn_due(c->accepted_ms + s->limits.proxy_header_ms, now, &next)) {
            accept_no_proxy_header(c, "proxy_header_timeout");
        }
    } else if (c->state == CONN_HANDSHAKE) {
        if (conn_due(c->accepted_ms + s->limits.handshake_ms, now, &next)) {
            http_count_handshake("timeout");
            conn_die(c, HTTP_FINISH_TIMEOUT);
        }
    } else if (c->state == CONN_LINGER) {
        if (conn_due(c->linger_until_ms, now, &next)) {
            conn_die(c, HTTP_FINISH_DONE);
        }
    } else if (c->state == CONN_OPEN) {
        check_open(c, now, &next);
    }
    if (c->state != CONN_DEAD && next != UINT64_MAX) {
        conn_need_by(c, next);
    }
}

/* --- input ---------------------------------------------------------------------------------------- */

/* "PRI * HTTP/2.0": prior knowledge on a plain listener. False while too little came to tell. */
static bool choose_protocol(struct conn *c, struct str data)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    size_t n = data.n < sizeof(preface) - 1 ? data.n : sizeof(preface) - 1;
    if (conn_is_tls(c) || !c->at->listener->http2 || c->requests > 0 || c->exchanges ||
        memcmp(data.p, preface, n) != 0) {
        return true;
    }
    if (n < sizeof(preface) - 1) {
        return n == 0;
    }
    if (h2_open(c) != 0) {
        conn_die(c, HTTP_FINISH_ABORTED);
    }
    return true;
}

static size_t digest(struct conn *c, struct str data)
{
    if (c->close_when_sent || c->state != CONN_OPEN) {
        return data.n;
    }
    if (!c->is_h2 && !choose_protocol(c, data)) {
        return 0;
    }
    if (c->state != CONN_OPEN) { /* no memory for a session */
        return data.n;
    }
    if (c->is_h2) {
        h2_input(c, data);
        return data.n;
    }
    return h1_input(c, data);
}

void conn_feed(struct conn *c, struct str data)
{
    if (c->in.n > 0) {
        buf_add_str(&c->in, data);
        buf_consume(&c->in, digest(c, buf_str(&c->in)));
    } else {
        buf_add_str(&c->in, str_skip(data, digest(c, data)));
    }
    if (c->in.overflowed) {
        conn_die(c, HTTP_FINISH_PROTOCOL);
    }
    if (c->in.n == 0 && c->in.cap > 0) {
        buf_clear(&c->in);
    }
}

void conn_take_raw(struct conn *c, struct str data)
{
    if (conn_is_tls(c)) {
        tls_receive(c, data.p, data.n);
    } else {
        conn_feed(c, data);
    }
}

static void linger_take(struct conn *c, size_t n)
{
    c->lingered_bytes += n;
    if (c->lingered_bytes > CONN_LINGER_BYTES) {
        conn_die(c, HTTP_FINISH_DONE);
    }
}

/* libevent has looked at read_ev alone so far. */
static void fetch_ahead(const struct conn *c)
{
    for (size_t at = offsetof(struct conn, server); at < offsetof(struct conn, handshake);
         at += CONN_LINE_BYTES) {
        __builtin_prefetch((const char *)c + at, 1);
    }
}

static void conn_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    struct http_server *s = c->server;
    fetch_ahead(c);
    if (c->state == CONN_DEAD) {
        return;
    }
    ssize_t n = recv(c->fd, s->raw, CONN_RAW_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0 && c->first_byte_us == 0) {
        c->first_byte_us = clock_mono_us();
        http_observe_phase(HTTP_PHASE_ACCEPT, c->first_byte_us - c->accepted_us);
    }
    if (n <= 0) {
        count_if_unacknowledged(n < 0 ? errno : 0);
        on_end(c);
    } else if (c->state == CONN_LINGER) {
        linger_take(c, (size_t)n);
    } else if (c->state == CONN_PROXY) {
        accept_proxy_header(c, str_of(s->raw, (size_t)n));
    } else {
        conn_take_raw(c, str_of(s->raw, (size_t)n));
    }
    conn_schedule(c);
}

/* Reading stops while undigested input waits or the handler's window is full. */
static void update_reading(struct conn *c)
{
    bool wanted = c->state != CONN_OPEN || c->is_h2 || (c->in.n < CONN_IN_HIGH && h1_wants_read(c));
    set_reading(c, wanted);
}

/* --- output --------------------------------------------------------------------------------------- */

static void set_writing(struct conn *c, bool on)
{
    if (on == c->writing) {
        return;
    }
    c->writing = on;
    if (on) {
        event_assign(&c->write_ev, loop_event_base(c->server->loop), c->fd, EV_WRITE | EV_PERSIST,
                     conn_on_writable, c);
        event_add(&c->write_ev, NULL);
    } else {
        event_del(&c->write_ev);
    }
}

static void conn_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    c->blocked = false;
    conn_schedule(c);
}

void conn_add_pending(struct conn *c, const char *p, size_t n)
{
    char *all = malloc(c->pending_n + n);
    BUG_ON(!all);
    if (c->pending_n > 0) {
        memcpy(all, c->pending + c->pending_at, c->pending_n);
    }
    memcpy(all + c->pending_n, p, n);
    free(c->pending);
    c->pending = all;
    c->pending_at = 0;
    c->pending_n += n;
}

/* True when all n bytes left. */
static bool sent_all(struct conn *c, ssize_t sent, size_t n)
{
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        count_if_unacknowledged(errno);
        conn_die(c, HTTP_FINISH_CLIENT_GONE);
        return false;
    }
    c->sent_bytes += sent > 0 ? (uint64_t)sent : 0;
    if (sent == (ssize_t)n) {
        return true;
    }
    c->blocked = true;
    slow_reader_wait(c, sent > 0);
    return false;
}

static void plain_flush(struct conn *c)
{
    struct iovec iov[IOV_MAX_BLOCKS];
    size_t total = 0;
    int n = 0;
    for (struct outq_block *b = c->out.head; b && n < IOV_MAX_BLOCKS; b = b->next) {
        iov[n++] = (struct iovec){b->p + b->from, b->to - b->from};
        total += b->to - b->from;
    }
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    ssize_t sent = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    sent_all(c, sent, total);
    if (sent > 0) {
        outq_consume(&c->out, &c->server->pool, (size_t)sent);
    }
}

/* Sends what tls_flush staged; what the socket does not take waits in `pending`. */
static void send_stage(struct conn *c)
{
    struct http_server *s = c->server;
    ssize_t sent = send(c->fd, s->stage, s->stage_n, MSG_NOSIGNAL);
    if (!sent_all(c, sent, s->stage_n) && c->state != CONN_DEAD) {
        size_t done = sent > 0 ? (size_t)sent : 0;
        conn_add_pending(c, s->stage + done, s->stage_n - done);
    }
    s->stage_n = 0;
}

/* More waits than one send carries (a stalled reader caught up): it goes first, by itself. */
static bool send_pending(struct conn *c)
{
    ssize_t sent = send(c->fd, c->pending + c->pending_at, c->pending_n, MSG_NOSIGNAL);
    bool all = sent_all(c, sent, c->pending_n);
    if (sent > 0) {
        c->pending_at += (size_t)sent;
        c->pending_n -= (size_t)sent;
    }
    return all;
}

static void take_pending(struct conn *c)
{
    struct http_server *s = c->server;
    if (c->pending_n > CONN_STAGE_BYTES - (CONN_TURN_RECORDS + 1) * (OUTQ_BLOCK_BYTES + 64)) {
        if (!send_pending(c)) {
            return;
        }
    } else if (c->pending_n > 0) {
        memcpy(s->stage, c->pending + c->pending_at, c->pending_n);
        s->stage_n = c->pending_n;
        c->pending_n = 0;
    }
    free(c->pending);
    c->pending = NULL;
    c->pending_at = 0;
}

static void conn_flush(struct conn *c)
{
    if (c->blocked || c->state == CONN_DEAD || c->state == CONN_LINGER) {
        return;
    }
    if (!conn_is_tls(c)) {
        if (c->out.n > 0) {
            plain_flush(c);
        }
    } else {
        c->server->stage_n = 0;
        take_pending(c);
        if (!c->blocked && c->state != CONN_DEAD) {
            tls_flush(c);
            if (c->server->stage_n > 0) {
                send_stage(c);
            }
        }
    }
    if (!c->blocked) {
        slow_reader_done(c);
    }
    if (c->state != CONN_DEAD) {
        set_writing(c, c->blocked || c->out.n > 0 || c->more_output);
    }
}

/* --- the end of a turn ---------------------------------------------------------------------------- */

/* All was sent and nothing more will be. A client that may still be sending would answer a plain close with
 * a lost answer (RST): so its bytes are read and dropped for a moment. */
static void close_politely(struct conn *c)
{
    bool quiet = !c->is_h2 && c->in.n == 0 && !c->exchanges && c->h1.skip_left == 0 &&
                 (!c->h1.close_after || c->h1.client_closes);
    if (quiet || c->at_eof || shutdown(c->fd, SHUT_WR) != 0) {
        conn_die(c, HTTP_FINISH_DONE);
        return;
    }
    c->state = CONN_LINGER;
    c->linger_until_ms = loop_now_ms(c->server->loop) + CONN_LINGER_MS;
    conn_need_by(c, c->linger_until_ms);
}

static void settle_tls_memory(struct conn *c)
{
    uint64_t now = loop_now_ms(c->server->loop);
    if (!c->hot && conn_is_flushed(c)) {
        tls_release_buffers(c);
    }
    c->hot = c->requests > 2 && now - c->touched_ms < CONN_QUIET_MS;
    c->touched_ms = now;
    if (c->hot) {
        conn_need_by(c, now + CONN_QUIET_MS);
    }
}

static void conn_step(struct conn *c)
{
    if (c->state == CONN_PROXY) {
        return;
    }
    if (!c->is_h2 && (c->in.n > 0 || c->exchanges)) {
        conn_feed(c, STR(""));
    }
    if (c->is_h2) {
        h2_output(c);
    }
    conn_flush(c);
    if (c->is_h2) {
        h2_after_flush(c);
    } else {
        h1_after_flush(c);
    }
    if (c->state == CONN_OPEN && c->close_when_sent && conn_is_flushed(c) && !c->exchanges) {
        close_politely(c);
    }
    if (c->ssl && c->state == CONN_OPEN) {
        settle_tls_memory(c);
    }
    if (c->state != CONN_DEAD) {
        update_reading(c);
    }
}

static void conn_on_turn_end(void *arg)
{
    struct conn *c = arg;
    if (c->state != CONN_DEAD) {
        conn_step(c);
    }
    if (c->state == CONN_DEAD) {
        conn_destroy(c);
    }
}

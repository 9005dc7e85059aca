#include "base/http/slow_reader.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/http/h2.h"

enum slow_verdict { SLOW_NOT = 0, SLOW_STALLED = 1, SLOW_BELOW_RATE = 2 };

/* Bytes that left the kernel's buffer for good: the client's TCP has acknowledged them. */
static uint64_t bytes_taken(const struct conn *c)
{
    int queued = 0;
    if (ioctl(c->fd, SIOCOUTQ, &queued) != 0 || queued < 0 || (uint64_t)queued > c->sent_bytes) {
        return c->sent_bytes;
    }
    return c->sent_bytes - (uint64_t)queued;
}

static void begin(struct slow_reader *r, uint64_t taken, uint64_t now)
{
    *r = (struct slow_reader){.since_ms = now, .stall_ms = now, .taken = taken, .seen = taken};
}

static bool is_due(const struct slow_reader *r, const struct http_limits *limits, uint64_t now,
                   uint64_t *next)
{
    bool stall = conn_due(r->stall_ms + limits->send_stall_ms, now, next);
    return conn_due(r->since_ms + limits->send_stall_ms, now, next) || stall;
}

/* Once due. */
static enum slow_verdict judge(struct slow_reader *r, const struct http_limits *limits, uint64_t taken,
                               uint64_t now)
{
    if (taken > r->seen) {
        r->seen = taken;
        r->stall_ms = now;
    } else if (now >= r->stall_ms + limits->send_stall_ms) {
        return SLOW_STALLED;
    }
    if (now >= r->since_ms + limits->send_stall_ms) {
        if ((taken - r->taken) * 1000 < limits->send_min_rate * (now - r->since_ms)) {
            return SLOW_BELOW_RATE;
        }
        r->taken = taken;
        r->since_ms = now;
    }
    return SLOW_NOT;
}

static void count(enum slow_verdict why)
{
    http_count_closed(why == SLOW_STALLED ? "send_stall" : "send_min_rate");
}

/* --- connections -------------------------------------------------------------------------------------- */

void slow_reader_wait(struct conn *c, bool took_some)
{
    uint64_t now = loop_now_ms(c->server->loop);
    if (c->slow.since_ms == 0) {
        begin(&c->slow, bytes_taken(c), now);
    } else if (took_some) {
        c->slow.stall_ms = now;
        c->slow.seen = bytes_taken(c);
    }
    conn_need_by(c, c->slow.since_ms + c->server->limits.send_stall_ms);
}

void slow_reader_done(struct conn *c)
{
    c->slow.since_ms = 0;
}

void slow_reader_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms)
{
    const struct http_limits *limits = &c->server->limits;
    if (c->slow.since_ms == 0 || !is_due(&c->slow, limits, now_ms, next_ms)) {
        return;
    }
    enum slow_verdict verdict = judge(&c->slow, limits, bytes_taken(c), now_ms);
    if (verdict != SLOW_NOT) {
        count(verdict);
        c->reset_on_close = true;
        conn_die(c, HTTP_FINISH_TIMEOUT);
        return;
    }
    (void)is_due(&c->slow, limits, now_ms, next_ms);
}

/* --- streams ------------------------------------------------------------------------------------------ */

/* Whether the client's windows hold the stream back, not the line. */
static bool is_held_by_windows(const struct exchange *x)
{
    nghttp2_session *session = x->conn->h2->session;
    return nghttp2_session_get_remote_window_size(session) <= 0 ||
           nghttp2_session_get_stream_remote_window_size(session, x->stream_id) <= 0;
}

static uint64_t stream_taken(const struct exchange *x)
{
    return x->pub.sent_bytes - x->out.n;
}

void slow_reader_stream_wait(struct exchange *x)
{
    if (x->slow.since_ms == 0) {
        uint64_t now = loop_now_ms(x->conn->server->loop);
        begin(&x->slow, stream_taken(x), now);
        conn_need_by(x->conn, now + x->conn->server->limits.send_stall_ms);
    }
}

void slow_reader_stream_took(struct exchange *x)
{
    x->slow.seen = stream_taken(x);
    x->slow.stall_ms = loop_now_ms(x->conn->server->loop);
    if (x->out.n == 0) {
        x->slow.since_ms = 0;
    }
}

void slow_reader_stream_check(struct exchange *x, uint64_t now_ms, uint64_t *next_ms)
{
    const struct http_limits *limits = &x->conn->server->limits;
    if (x->slow.since_ms == 0 || !is_due(&x->slow, limits, now_ms, next_ms)) {
        return;
    }
    if (!is_held_by_windows(x)) {
        begin(&x->slow, stream_taken(x), now_ms);
    }
    enum slow_verdict verdict = judge(&x->slow, limits, stream_taken(x), now_ms);
    if (verdict != SLOW_NOT) {
        count(verdict);
        h2_reset(x, HTTP_FINISH_TIMEOUT);
        return;
    }
    (void)is_due(&x->slow, limits, now_ms, next_ms);
}

/* The functions of exchange.h: what is the same for HTTP/1 and HTTP/2; framing is h1.c's and h2.c's. */
#include <stdlib.h>

#include "base/http/conn.h"
#include "base/http/problem.h"

/* --- life ----------------------------------------------------------------------------------------- */

const char *http_finish_name(enum http_finish f)
{
    static const char *const names[] = {"done", "client_gone", "timeout", "protocol", "aborted", "drained"};
    return names[f];
}

struct exchange *exchange_new(struct conn *c)
{
    struct arena arena;
    arena_init(&arena);
    struct exchange *x = ARENA_NEW(&arena, struct exchange); /* it lives in its own arena */
    x->pub.arena = arena;
    x->conn = c;
    x->verdict = EXCHANGE_OPEN;
    x->answer_left = -1;
    x->next = c->exchanges;
    if (x->next) {
        x->next->prev = x;
    }
    c->exchanges = x;
    buf_init(&x->body, EXCHANGE_WINDOW);
    x->pub.loop = c->server->loop;
    x->pub.listener = c->at->listener;
    x->pub.tls = conn_is_tls(c);
    x->pub.ja4 = str_from(c->ja4.text);
    x->pub.peer = c->peer;
    x->pub.version = c->is_h2 ? 20 : 11;
    id_request(x->pub.id);
    c->requests++;
    http_count_request(x->pub.version);
    return x;
}

void exchange_finish(struct exchange *x, enum http_finish reason)
{
    struct conn *c = x->conn;
    if (x->prev) {
        x->prev->next = x->next;
    } else {
        c->exchanges = x->next;
    }
    if (x->next) {
        x->next->prev = x->prev;
    }
    x->verdict = (int)reason;
    if (x->pub.on_finish) {
        x->pub.on_finish(&x->pub, reason);
    }
    outq_clear(&x->out, &c->server->pool);
    buf_clear(&x->body);
    struct arena arena = x->pub.arena; /* x is in it */
    arena_clear(&arena);
}

static bool is_over(const struct exchange *x)
{
    return x->verdict != EXCHANGE_OPEN || x->failed != 0 || x->conn->state == CONN_DEAD;
}

/* --- what was asked ------------------------------------------------------------------------------- */

const struct http_field *http_field_find(const struct http_exchange *ex, const char *name)
{
    size_t n = strlen(name);
    for (unsigned i = 0; i < ex->field_count; i++) {
        const struct http_field *f = &ex->fields[i];
        if (f->name.n == n && memcmp(f->name.p, name, n) == 0) {
            return f;
        }
    }
    return NULL;
}

struct str http_field_get(const struct http_exchange *ex, const char *name)
{
    const struct http_field *f = http_field_find(ex, name);
    return f ? f->value : STR("");
}

/* plus: what a '+' says. */
static bool percent_decode(struct arena *a, struct str in, char plus, struct str *out)
{
    char *p = arena_alloc(a, in.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        uint8_t byte;
        if (in.p[i] == '+') {
            p[n++] = plus;
        } else if (in.p[i] != '%') {
            p[n++] = in.p[i];
        } else if (in.n - i > 2 && str_hex_decode(str_of(in.p + i + 1, 2), &byte, 1) == 1 && byte != 0) {
            p[n++] = (char)byte;
            i += 2;
        } else {
            return false;
        }
    }
    p[n] = '\0';
    *out = str_of(p, n);
    return true;
}

struct str http_path_decode(struct http_exchange *ex, struct str part)
{
    (void)percent_decode(&ex->arena, part, '+', &part); /* a path with broken escapes never came this far */
    return part;
}

bool http_query_get(struct http_exchange *ex, const char *name, struct str *out)
{
    struct str rest = ex->query;
    struct str item;
    while (str_cut(&rest, '&', &item)) {
        struct str key = item;
        struct str value = item;
        if (!str_cut(&value, '=', &key)) {
            continue;
        }
        if (str_is(key, name)) {
            return percent_decode(&ex->arena, value, ' ', out);
        }
    }
    return false;
}

bool http_peer_uid(const struct http_exchange *ex, uint32_t *uid)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);
    const struct conn *c = exchange_of(ex)->conn;
    if (c->at->listener->endpoint.sa.ss_family != AF_UNIX ||
        getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0) {
        return false;
    }
    *uid = cred.uid;
    return true;
}

struct str http_peer_name(const struct http_exchange *ex)
{
    const struct conn *c = exchange_of(ex)->conn;
    const char *name = c->ssl ? tls_client_name(c->ssl, c->at->ssl_ctx) : NULL;
    return name ? arena_dup(&exchange_of(ex)->pub.arena, str_from(name)) : STR("");
}

/* --- the body of the request ---------------------------------------------------------------------- */

/* Bytes that a handler was given and has not taken, from which on the client may have no room to send more. HTTP/2
 * opens a window when half of it was taken. */
static size_t hold_bytes(const struct exchange *x)
{
    return x->stream_id != 0 ? EXCHANGE_WINDOW / 2 : EXCHANGE_WINDOW;
}

/* While the handler does not ask or its window is full, the deadline of the body does not run. */
void exchange_body_hold(struct exchange *x, bool hold)
{
    uint64_t now = loop_now_ms(x->pub.loop);
    if (hold && x->body_hold_ms == 0) {
        x->body_hold_ms = now;
    } else if (!hold && x->body_hold_ms != 0) {
        x->body_began_ms += now - x->body_hold_ms;
        x->body_hold_ms = 0;
    }
}

uint64_t exchange_body_deadline(const struct exchange *x)
{
    const struct http_limits *limits = &x->conn->server->limits;
    if (x->body_whole || x->body_hold_ms != 0) {
        return UINT64_MAX;
    }
    uint64_t rate = limits->body_min_rate ? limits->body_min_rate : 1;
    uint64_t slow = x->body_began_ms + 5000 + x->pub.received_bytes * 1000 / rate;
    uint64_t whole = x->body_began_ms + limits->body_ms;
    bool is_small = x->pub.content_length >= 0 && x->pub.content_length <= 1 << 20;
    return is_small && whole < slow ? whole : slow;
}

/* Announced to be longer than the handler takes. */
static bool is_past_limit(const struct exchange *x)
{
    return x->body_mode == BODY_COLLECT && x->pub.content_length > 0 &&
           (uint64_t)x->pub.content_length > x->body_max;
}

static void ask_body(struct exchange *x, enum exchange_body mode)
{
    BUG_ON(x->body_mode != BODY_UNASKED);
    x->body_mode = mode;
    if (is_over(x)) {
        return;
    }
    exchange_body_hold(x, false);
    if (!x->body_whole) {
        if (!is_past_limit(x)) {
            (x->stream_id != 0 ? h2_want_body : h1_want_body)(x);
        }
        conn_need_by(x->conn, exchange_body_deadline(x));
    }
    x->conn->deliver_wanted = true;
    conn_schedule(x->conn);
}

void http_read_body(struct http_exchange *ex, size_t max_bytes, http_body_cb cb)
{
    struct exchange *x = exchange_of(ex);
    x->body_max = max_bytes;
    x->body_cb = cb;
    if (x->body.max < max_bytes) {
        x->body.max = max_bytes;
    }
    ask_body(x, BODY_COLLECT);
}

void http_stream_body(struct http_exchange *ex, http_chunk_cb cb)
{
    struct exchange *x = exchange_of(ex);
    x->chunk_cb = cb;
    ask_body(x, BODY_STREAM);
}

void http_consume(struct http_exchange *ex, size_t n)
{
    struct exchange *x = exchange_of(ex);
    if (WARN_ON(n > x->unconsumed)) {
        n = x->unconsumed;
    }
    x->unconsumed -= n;
    if (is_over(x)) {
        return;
    }
    if (x->stream_id != 0) {
        h2_consume(x, n);
    }
    if (x->unconsumed < hold_bytes(x) && x->body_mode == BODY_STREAM && x->body_hold_ms != 0) {
        exchange_body_hold(x, false);
        conn_need_by(x->conn, exchange_body_deadline(x));
    }
    conn_schedule(x->conn);
}

static void body_past_limit(struct exchange *x)
{
    http_body_cb cb = x->body_cb;
    x->body_mode = BODY_OVER;
    x->body_delivered = true;
    buf_clear(&x->body);
    cb(&x->pub, ERR_LIMIT, STR(""));
}

static void collect(struct exchange *x, struct str data)
{
    if (x->stream_id != 0) {
        h2_consume(x, data.n);
    }
    if (x->body.n + data.n > x->body_max || buf_add_str(&x->body, data) != 0) {
        body_past_limit(x);
    }
}

static void stream(struct exchange *x, struct str data)
{
    x->unconsumed += data.n;
    if (x->unconsumed >= hold_bytes(x)) {
        exchange_body_hold(x, true);
    }
    x->chunk_cb(&x->pub, data, false);
}

void exchange_body_data(struct exchange *x, struct str data)
{
    x->pub.received_bytes += data.n;
    if (is_over(x)) {
        if (x->stream_id != 0) {
            h2_consume(x, data.n);
        }
        return;
    }
    switch (x->body_mode) {
    case BODY_UNASKED: /* only h2: the window bounds it */
        x->held = true;
        buf_add_str(&x->body, data);
        break;
    case BODY_COLLECT:
        collect(x, data);
        break;
    case BODY_STREAM:
        stream(x, data);
        break;
    case BODY_OVER:
        if (x->stream_id != 0) {
            h2_consume(x, data.n);
        }
        break;
    }
}

static void deliver_end(struct exchange *x)
{
    x->body_delivered = true;
    if (x->body_mode == BODY_COLLECT) {
        x->body_mode = BODY_OVER;
        x->body_cb(&x->pub, 0, buf_str(&x->body));
    } else {
        x->body_mode = BODY_OVER;
        x->chunk_cb(&x->pub, STR(""), true);
    }
}

void exchange_body_end(struct exchange *x)
{
    x->body_whole = true;
    if (!is_over(x) && !x->body_delivered && (x->body_mode == BODY_COLLECT || x->body_mode == BODY_STREAM)) {
        deliver_end(x);
    }
}

static void deliver_held(struct exchange *x)
{
    struct buf held = x->body;
    buf_init(&x->body, held.max);
    if (x->body_mode == BODY_STREAM) {
        stream(x, buf_str(&held));
    } else {
        collect(x, buf_str(&held));
    }
    buf_clear(&held);
}

void exchange_deliver(struct exchange *x)
{
    bool asked = x->body_mode == BODY_COLLECT || x->body_mode == BODY_STREAM;
    if (!asked || x->body_delivered || is_over(x)) {
        return;
    }
    if (is_past_limit(x)) {
        body_past_limit(x);
        return;
    }
    if (x->held) {
        x->held = false;
        deliver_held(x);
    }
    if (x->body_whole && !x->body_delivered && !is_over(x)) {
        exchange_body_end(x);
    }
}

/* --- the answer ----------------------------------------------------------------------------------- */

void http_add_field(struct http_exchange *ex, const char *name, struct str value)
{
    if (WARN_ON(ex->added_count == HTTP_ADDED_FIELDS)) {
        return;
    }
    ex->added[ex->added_count++] = (struct http_field){str_from(name), value};
}

static bool is_framing(struct str name)
{
    switch (name.n) {
    case 4:
        return str_eq(name, STR("date"));
    case 10:
        return str_eq(name, STR("connection")) || str_eq(name, STR("keep-alive"));
    case 14:
        return str_eq(name, STR("content-length"));
    case 17:
        return str_eq(name, STR("transfer-encoding"));
    default:
        return false;
    }
}

bool http_field_is_clean(const struct http_field *f)
{
    if (f->name.n == 0 || is_framing(f->name)) {
        return false;
    }
    for (size_t i = 0; i < f->name.n; i++) {
        uint8_t ch = (uint8_t)f->name.p[i];
        if (ch <= ' ' || ch == ':' || ch >= 0x7f || (ch >= 'A' && ch <= 'Z')) {
            return false;
        }
    }
    return str_is_text(f->value);
}

void http_start(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                unsigned field_count, int64_t content_length)
{
    struct exchange *x = exchange_of(ex);
    if (is_over(x) || WARN_ON(x->head_sent)) {
        return;
    }
    x->head_sent = true;
    x->bodyless = ex->method == HTTP_HEAD || status == 204 || status == 304;
    x->answer_left = content_length;
    ex->status = status;
    ex->first_byte_us = clock_mono_us();
    if (x->stream_id != 0) {
        h2_start(x, fields, field_count, content_length);
    } else {
        h1_start(x, fields, field_count, content_length);
    }
    conn_schedule(x->conn);
}

size_t http_queued_bytes(const struct http_exchange *ex)
{
    const struct exchange *x = exchange_of(ex);
    return x->stream_id != 0 ? x->out.n : x->conn->out.n + x->conn->pending_n;
}

/* A body shorter or longer than announced would shift the framing of what follows: the excess is dropped. */
static size_t allowed(struct exchange *x, size_t n)
{
    if (x->bodyless) {
        return 0;
    }
    if (x->answer_left < 0) {
        return n;
    }
    if (WARN_ON((uint64_t)x->answer_left < n)) {
        n = (size_t)x->answer_left;
    }
    x->answer_left -= (int64_t)n;
    return n;
}

static void put_body(struct exchange *x, const void *p, size_t n)
{
    n = allowed(x, n);
    if (n == 0) {
        return;
    }
    x->pub.sent_bytes += n;
    if (x->stream_id != 0) {
        outq_add(&x->out, &x->conn->server->pool, p, n);
    } else {
        h1_send(x, p, n);
    }
}

enum http_flow http_send(struct http_exchange *ex, const void *p, size_t n)
{
    struct exchange *x = exchange_of(ex);
    if (is_over(x)) {
        return HTTP_FLOW_GONE;
    }
    if (WARN_ON(!x->head_sent || x->ended)) {
        return HTTP_FLOW_GO;
    }
    put_body(x, p, n);
    if (x->stream_id != 0) {
        h2_wake(x);
    }
    conn_schedule(x->conn);
    size_t queued = http_queued_bytes(ex);
    if (queued > EXCHANGE_QUEUE_MAX) {
        http_count_closed("send_queue");
        http_abort(ex);
        return HTTP_FLOW_GONE;
    }
    if (queued >= x->conn->server->limits.send_high_bytes) {
        x->paused = true;
        return HTTP_FLOW_PAUSE;
    }
    return HTTP_FLOW_GO;
}

void http_end(struct http_exchange *ex)
{
    struct exchange *x = exchange_of(ex);
    if (is_over(x) || x->ended || WARN_ON(!x->head_sent)) {
        return;
    }
    if (!x->bodyless && x->answer_left > 0) { /* shorter than announced: the client must see it as cut */
        http_abort(ex);
        return;
    }
    x->ended = true;
    if (x->stream_id != 0) {
        h2_wake(x);
    } else {
        h1_end(x);
    }
    conn_schedule(x->conn);
}

void http_reply(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                unsigned field_count, struct str body)
{
    struct exchange *x = exchange_of(ex);
    if (is_over(x) || WARN_ON(x->head_sent)) {
        return;
    }
    http_start(ex, status, fields, field_count, (int64_t)body.n);
    put_body(x, body.p, body.n);
    http_end(ex);
}

void http_abort(struct http_exchange *ex)
{
    struct exchange *x = exchange_of(ex);
    if (is_over(x)) {
        return;
    }
    if (x->stream_id != 0) {
        h2_reset(x, HTTP_FINISH_ABORTED);
    } else {
        conn_die(x->conn, HTTP_FINISH_ABORTED);
    }
}

void http_close_after(struct http_exchange *ex)
{
    struct exchange *x = exchange_of(ex);
    if (x->stream_id == 0) {
        x->conn->h1.close_after = true;
    }
}

void exchange_fail(struct exchange *x, enum http_finish why, const char *code, const char *detail)
{
    if (is_over(x)) {
        return;
    }
    http_count_closed(code);
    if (x->head_sent) {
        if (x->stream_id != 0) {
            h2_reset(x, why);
        } else {
            conn_die(x->conn, why);
        }
        return;
    }
    http_close_after(&x->pub);
    http_reply_error(&x->pub, code, "%s", detail);
    x->failed = (int)why;
}

void exchange_drain(struct exchange *x)
{
    if (x->paused && !is_over(x) &&
        http_queued_bytes(&x->pub) <= x->conn->server->limits.send_high_bytes / 2) {
        x->paused = false;
        if (x->pub.on_drain) {
            x->pub.on_drain(&x->pub);
        }
    }
}

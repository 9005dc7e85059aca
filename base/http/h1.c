/* HTTP/1.0 and 1.1 on a connection: one request after another, answered in order.
 *
 *     between requests (h1.ex NULL): bytes are a head -> on_request
 *     body: framed by length or chunks, pushed to the exchange
 *     body whole: what follows waits in conn->in (pipelining) until the answer has left
 *
 * Anything odd is answered once (400, 413, 414, 431, 408) and the connection closes. */
#include <stdlib.h>

#include "base/http/conn.h"
#include "base/http/problem.h"

enum { H1_SKIP_BYTES = 65536 };

/* --- requests ------------------------------------------------------------------------------------- */

static struct exchange *begin_exchange(struct conn *c)
{
    struct exchange *x = exchange_new(c);
    x->pub.began_us = c->h1.head_began_us;
    x->pub.path = x->pub.target = x->pub.query = x->pub.authority = x->pub.method_text = STR("");
    x->body_began_ms = x->body_hold_ms = loop_now_ms(c->server->loop);
    x->body_whole = true;
    c->h1.ex = x;
    c->h1.body_left = 0;
    c->h1.chunked = false;
    c->h1.expect_continue = false;
    c->h1.scanned = 0;
    c->h1.leading_crlf = false;
    c->h1.head_began_us = 0;
    return x;
}

/* Answers what never became a request. */
static void refuse(struct conn *c, struct h1_refusal why)
{
    struct exchange *x = begin_exchange(c);
    x->pub.method = HTTP_OTHER;
    exchange_fail(x, HTTP_FINISH_PROTOCOL, why.code, why.why);
}

static void begin_body(struct conn *c, struct exchange *x, const struct h1_head *head)
{
    x->pub.content_length = head->content_length;
    x->body_whole = head->content_length == 0;
    c->h1.chunked = head->content_length < 0;
    c->h1.chunk = (struct h1_chunked){0};
    c->h1.body_left = head->content_length;
    c->h1.expect_continue = head->expect_continue && !x->body_whole;
}

/* Room for as many fields as there are lines, so that the arena of a small request stays in its first chunk. */
static unsigned fields_at_most(struct str head, unsigned limit)
{
    unsigned n = 0;
    const char *lf;
    while (n < limit && (lf = memchr(head.p, '\n', head.n)) != NULL) {
        head = str_skip(head, (size_t)(lf - head.p) + 1);
        n++;
    }
    return n;
}

static void begin_request(struct conn *c, struct str text)
{
    struct http_limits *limits = &c->server->limits;
    struct h1_refusal why;
    struct exchange *x = begin_exchange(c);
    struct str copy = arena_dup(&x->pub.arena, text);
    struct h1_head head = {.max_fields = limits->fields, .max_target = limits->target_bytes};
    unsigned room = fields_at_most(copy, limits->fields);
    head.fields = arena_alloc(&x->pub.arena, room * sizeof(struct http_field));
    if (h1_request_parse((char *)(uintptr_t)copy.p, copy.n, &head, &why) != 0) {
        x->pub.method = HTTP_OTHER;
        exchange_fail(x, HTTP_FINISH_PROTOCOL, why.code, why.why);
        return;
    }
    x->pub.method = head.method;
    x->pub.method_text = head.method_text;
    x->pub.target = head.target;
    x->pub.path = head.path;
    x->pub.query = head.query;
    x->pub.authority = head.host;
    x->pub.fields = head.fields;
    x->pub.field_count = head.field_count;
    x->pub.version = head.minor == 0 ? 10 : 11;
    begin_body(c, x, &head);
    if (head.upgrade_websocket) { /* and closes: what follows may be frames already */
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "not_implemented", "WebSocket is not offered");
        return;
    }
    if (head.close || c->going_away || c->server->shed != HTTP_SHED_NOTHING ||
        c->requests >= limits->requests_per_connection) {
        c->h1.close_after = true;
        c->h1.client_closes = head.close;
    }
    c->at->handler.on_request(&x->pub, c->at->handler.arg);
}

/* Bytes of the head taken; 0 when it is not complete yet. */
static size_t take_head(struct conn *c, struct str data)
{
    size_t limit = c->server->limits.h1_head_bytes;
    if (c->h1.head_began_us == 0) {
        c->h1.head_began_us = clock_mono_us();
    }
    if (!c->h1.leading_crlf && c->h1.scanned == 0 && data.n >= 2 && data.p[0] == '\r' && data.p[1] == '\n') {
        c->h1.leading_crlf = true; /* RFC 9112 2.2: one empty line before the request line */
        return 2;
    }
    int64_t end = h1_request_end(data.p, data.n, &c->h1.scanned);
    if (end < 0) {
        refuse(c, (struct h1_refusal){"bad_request", "a line ends without CR"});
        return data.n;
    }
    if (end > (int64_t)limit || (end == 0 && data.n > limit)) {
        bool in_target = !memchr(data.p, '\n', limit);
        refuse(c, in_target ? (struct h1_refusal){"uri_too_long", "the request line is too long"}
                            : (struct h1_refusal){"header_fields_too_large", "the header is too long"});
        return data.n;
    }
    if (end == 0) {
        conn_need_by(c, loop_now_ms(c->server->loop) + c->server->limits.header_ms);
        return 0;
    }
    begin_request(c, str_of(data.p, (size_t)end));
    return (size_t)end;
}

/* --- bodies --------------------------------------------------------------------------------------- */

static bool body_is_wanted(const struct exchange *x)
{
    switch (x->body_mode) {
    case BODY_UNASKED:
        return x->failed != 0 || x->ended;
    case BODY_STREAM:
        return x->unconsumed < EXCHANGE_WINDOW;
    default:
        return true;
    }
}

bool h1_wants_read(const struct conn *c)
{
    const struct exchange *x = c->h1.ex;
    return !x || x->body_whole || c->in.n == 0 || body_is_wanted(x);
}

static size_t take_sized(struct conn *c, struct exchange *x, struct str data)
{
    size_t n = (int64_t)data.n < c->h1.body_left ? data.n : (size_t)c->h1.body_left;
    c->h1.body_left -= (int64_t)n;
    if (n > 0) {
        exchange_body_data(x, str_of(data.p, n));
    }
    if (c->h1.body_left == 0) {
        exchange_body_end(x);
    }
    return n;
}

/* One chunk piece at a time, so that the handler's window is looked at in between. */
static size_t take_chunked(struct conn *c, struct exchange *x, struct str data)
{
    struct str in = data;
    struct str piece;
    switch (h1_chunked_next(&c->h1.chunk, &in, &piece)) {
    case H1_CHUNK_HAS_DATA:
        exchange_body_data(x, piece);
        break;
    case H1_CHUNK_DONE:
        exchange_body_end(x);
        break;
    case H1_CHUNK_BAD:
        x->body_whole = true; /* nothing after this is a body, or a request */
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "bad_request", "malformed chunk");
        return data.n;
    case H1_CHUNK_MORE:
        break;
    }
    return data.n - in.n;
}

static size_t take_body(struct conn *c, struct exchange *x, struct str data)
{
    if (data.n == 0 || !body_is_wanted(x)) {
        return 0;
    }
    c->h1.expect_continue = false;
    return c->h1.chunked ? take_chunked(c, x, data) : take_sized(c, x, data);
}

static size_t skip_body(struct conn *c, struct str data)
{
    size_t n = (int64_t)data.n < c->h1.skip_left ? data.n : (size_t)c->h1.skip_left;
    c->h1.skip_left -= (int64_t)n;
    return n;
}

size_t h1_input(struct conn *c, struct str data)
{
    size_t used = 0;
    while (c->state == CONN_OPEN) {
        struct str rest = str_skip(data, used);
        struct exchange *x = c->h1.ex;
        size_t took = 0;
        if (!x) {
            if (c->h1.close_after) {
                return data.n;
            }
            took = rest.n == 0 ? 0 : c->h1.skip_left > 0 ? skip_body(c, rest) : take_head(c, rest);
        } else {
            exchange_deliver(x);
            took = x->body_whole ? 0 : take_body(c, x, rest);
        }
        if (took == 0) {
            break;
        }
        used += took;
    }
    return used;
}

void h1_want_body(struct exchange *x)
{
    struct conn *c = x->conn;
    if (c->h1.expect_continue && !x->head_sent) {
        c->h1.expect_continue = false;
        outq_add(&c->out, &c->server->pool, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
}

/* --- answers -------------------------------------------------------------------------------------- */

static const char *reason_phrase(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } phrases[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
        if (phrases[i].status == status) {
            return phrases[i].text;
        }
    }
    return "Status";
}

static char *put(char *at, const char *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

static char *put_str(char *at, struct str s)
{
    return put(at, s.p, s.n);
}

static char *put_fields(char *at, const struct http_field *fields, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (WARN_ON(!http_field_is_clean(&fields[i]))) {
            continue;
        }
        at = put_str(at, fields[i].name);
        at = put(at, ": ", 2);
        at = put_str(at, fields[i].value);
        at = put(at, "\r\n", 2);
    }
    return at;
}

/* Reading a little to the end is cheaper than a new connection. A body that waits for 100 Continue may never
 * come. */
static bool can_skip_body(const struct conn *c)
{
    return !c->h1.chunked && !c->h1.expect_continue && c->h1.body_left <= H1_SKIP_BYTES;
}

static char *put_framing(char *at, struct exchange *x, int64_t content_length)
{
    struct conn *c = x->conn;
    if (content_length >= 0) {
        if (x->pub.status != 204 && x->pub.status != 304) {
            at = str_put_u64(put_str(at, STR("content-length: ")), (uint64_t)content_length);
            at = put_str(at, STR("\r\n"));
        }
    } else if (x->pub.version == 11 && !x->bodyless) {
        x->chunked = true;
        at = put_str(at, STR("transfer-encoding: chunked\r\n"));
    } else if (!x->bodyless) {
        c->h1.close_after = true;
    }
    bool is_read = x->body_mode == BODY_STREAM || x->body_mode == BODY_COLLECT;
    if (!x->body_whole && !is_read && !can_skip_body(c)) {
        c->h1.close_after = true; /* nobody will read the rest of the request */
    }
    if (c->h1.close_after || c->going_away) {
        c->h1.close_after = true;
        at = put_str(at, STR("connection: close\r\n"));
    }
    return at;
}

static size_t fields_bytes(const struct http_field *fields, unsigned n)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        bytes += fields[i].name.n + fields[i].value.n + 4;
    }
    return bytes;
}

static char *put_head(char *at, struct exchange *x, const struct http_field *fields, unsigned field_count,
                      int64_t content_length)
{
    struct conn *c = x->conn;
    if (x->pub.status == 200) {
        at = put_str(at, STR("HTTP/1.1 200 OK\r\ndate: "));
    } else {
        at += snprintf(at, 64, "HTTP/1.1 %03u %s\r\ndate: ", x->pub.status, reason_phrase(x->pub.status));
    }
    at = put_str(at, server_date(c->server));
    at = put_str(at, STR("\r\n"));
    at = put_framing(at, x, content_length);
    if (conn_is_tls(c) && c->at->listener->hsts) {
        at = put_str(at, STR("strict-transport-security: " HTTP_HSTS_VALUE "\r\n"));
    }
    at = put_str(at, STR("x-request-id: "));
    at = put_str(at, str_from(x->pub.id));
    at = put_str(at, STR("\r\n"));
    at = put_fields(at, x->pub.added, x->pub.added_count);
    at = put_fields(at, fields, field_count);
    return put_str(at, STR("\r\n"));
}

void h1_start(struct exchange *x, const struct http_field *fields, unsigned field_count,
              int64_t content_length)
{
    struct conn *c = x->conn;
    struct outq_pool *pool = &c->server->pool;
    size_t bound = 512 + fields_bytes(fields, field_count) + fields_bytes(x->pub.added, x->pub.added_count);
    if (bound <= OUTQ_BLOCK_BYTES) {
        char *p = outq_reserve(&c->out, pool, bound);
        outq_commit(&c->out, (size_t)(put_head(p, x, fields, field_count, content_length) - p));
        return;
    }
    char *p = malloc(bound);
    BUG_ON(!p);
    outq_add(&c->out, pool, p, (size_t)(put_head(p, x, fields, field_count, content_length) - p));
    free(p);
}

void h1_send(struct exchange *x, const void *p, size_t n)
{
    struct conn *c = x->conn;
    struct outq_pool *pool = &c->server->pool;
    if (!x->chunked) {
        outq_add(&c->out, pool, p, n);
        return;
    }
    char size[20];
    char *end = size + sizeof(size);
    char *at = end - 2;
    memcpy(at, "\r\n", 2);
    for (size_t left = n; left > 0; left >>= 4) { /* snprintf would be a twentieth of all an event costs */
        *--at = "0123456789abcdef"[left & 15];
    }
    outq_add(&c->out, pool, at, (size_t)(end - at));
    outq_add(&c->out, pool, p, n);
    outq_add(&c->out, pool, "\r\n", 2);
}

void h1_end(struct exchange *x)
{
    if (x->chunked) {
        outq_add(&x->conn->out, &x->conn->server->pool, "0\r\n\r\n", 5);
    }
}

/* --- the end of a turn ---------------------------------------------------------------------------- */

void h1_after_flush(struct conn *c)
{
    struct exchange *x = c->h1.ex;
    if (!x || c->state != CONN_OPEN) {
        return;
    }
    if (!x->ended || !conn_is_flushed(c)) {
        exchange_drain(x);
        return;
    }
    if (!x->body_whole) {
        c->h1.close_after = c->h1.close_after || !can_skip_body(c);
        c->h1.skip_left = c->h1.body_left;
    }
    c->h1.ex = NULL;
    exchange_finish(x, x->failed ? (enum http_finish)x->failed : HTTP_FINISH_DONE);
    c->idle_since_ms = loop_now_ms(c->server->loop);
    if (c->h1.close_after || c->going_away) {
        c->h1.close_after = true;
        conn_close_when_sent(c);
    } else if (c->in.n > 0) {
        conn_schedule(c);
    } else {
        conn_need_by(c, c->idle_since_ms + c->server->limits.idle_ms);
    }
}

static void check_between_requests(struct conn *c, uint64_t now, uint64_t *next)
{
    const struct http_limits *limits = &c->server->limits;
    if (c->h1.head_began_us != 0) {
        if (conn_due(c->h1.head_began_us / 1000 + limits->header_ms, now, next)) {
            refuse(c, (struct h1_refusal){"request_timeout", "the header took too long"});
        }
        return;
    }
    bool first = c->requests == 0;
    if (conn_due(first ? c->open_ms + limits->first_byte_ms : c->idle_since_ms + limits->idle_ms, now,
                 next)) {
        http_count_closed(first ? "first_byte" : "idle");
        conn_close_when_sent(c);
    }
}

void h1_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms)
{
    struct exchange *x = c->h1.ex;
    if (c->state != CONN_OPEN || c->close_when_sent) {
        return;
    }
    if (!x) {
        check_between_requests(c, now_ms, next_ms);
    } else if (!x->ended && conn_due(exchange_body_deadline(x), now_ms, next_ms)) {
        exchange_fail(x, HTTP_FINISH_TIMEOUT, "request_timeout", "the body took too long");
    }
}

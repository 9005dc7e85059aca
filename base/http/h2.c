#include "base/http/h2.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/http/problem.h"

static nghttp2_session_callbacks *callbacks; /* of the process, never freed */
static nghttp2_option *options;
static pthread_once_t setup_once = PTHREAD_ONCE_INIT;

struct exchange *h2_exchange(struct h2 *h, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(h->session, stream_id);
}

void h2_done(struct exchange *x, enum http_finish verdict)
{
    struct h2 *h = x->conn->h2;
    if (x->verdict == EXCHANGE_OPEN) {
        x->verdict = (int)verdict;
        x->done_next = h->done;
        h->done = x;
        conn_schedule(x->conn);
    }
}

/* --- the head of a request ------------------------------------------------------------------------ */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    struct h2 *h = c->h2;
    h->useless--;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct exchange *x = exchange_new(c);
    x->stream_id = frame->hd.stream_id;
    x->pub.path = x->pub.target = x->pub.query = x->pub.authority = x->pub.method_text = STR("");
    x->pub.method = HTTP_OTHER;
    x->pub.began_us = clock_mono_us();
    x->body_began_ms = x->body_hold_ms = loop_now_ms(c->server->loop);
    x->max_fields = c->server->limits.fields;
    x->pub.fields = NULL;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, x);
    return 0;
}

static void take_pseudo(struct exchange *x, struct str name, struct str value)
{
    struct http_exchange *ex = &x->pub;
    if (str_eq(name, STR(":method"))) {
        ex->method_text = value;
        ex->method = http_method_of(value);
    } else if (str_eq(name, STR(":path"))) {
        ex->target = value;
        const char *mark = memchr(value.p, '?', value.n);
        ex->path = mark ? str_of(value.p, (size_t)(mark - value.p)) : value;
        ex->query = mark ? str_skip(value, ex->path.n + 1) : STR("");
    } else if (str_eq(name, STR(":authority"))) {
        ex->authority = value;
    }
}

enum { FIELDS_FIRST = 16 }; /* room for fields of a request, doubled as they come */

/* Room for one more; the arena of a small request stays in its first chunk. */
static void make_field_room(struct exchange *x)
{
    struct http_exchange *ex = &x->pub;
    if (ex->field_count < x->field_room) {
        return;
    }
    uint32_t room = x->field_room ? 2 * x->field_room : FIELDS_FIRST;
    struct http_field *fields = arena_alloc(&ex->arena, room * sizeof(*fields));
    if (ex->field_count > 0) {
        memcpy(fields, ex->fields, ex->field_count * sizeof(*fields));
    }
    ex->fields = fields;
    x->field_room = room;
}

static void take_field(struct exchange *x, struct str name, struct str value)
{
    struct http_exchange *ex = &x->pub;
    if (name.p[0] == ':') {
        take_pseudo(x, name, value);
        return;
    }
    if (ex->field_count < x->max_fields) {
        make_field_room(x);
        struct http_field *fields = (struct http_field *)(uintptr_t)ex->fields;
        fields[ex->field_count++] = (struct http_field){name, value};
    } else {
        x->head_too_large = true;
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct conn *c = arg;
    struct exchange *x = h2_exchange(c->h2, frame->hd.stream_id);
    if (!x) {
        return 0;
    }
    if (!h2_count_header(x, name_n, value_n)) {
        h2_calm_down(c->h2, "h2_header_bytes");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !x->head_too_large) {
        char *copy = arena_alloc(&x->pub.arena, name_n + value_n);
        memcpy(copy, name, name_n);
        memcpy(copy + name_n, value, value_n);
        take_field(x, str_of(copy, name_n), str_of(copy + name_n, value_n));
    }
    return 0;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM instead of looking away */
}

/* Content-Length itself was checked by nghttp2, also against the body. */
static int64_t announced_length(const struct http_exchange *ex)
{
    const struct http_field *f = http_field_find(ex, "content-length");
    uint64_t n;
    return f && str_u64(f->value, &n) && n <= INT64_MAX ? (int64_t)n : -1;
}

static bool check_head(struct exchange *x)
{
    struct http_exchange *ex = &x->pub;
    const struct http_field *host = http_field_find(ex, "host");
    const struct http_field *expect = http_field_find(ex, "expect");
    if (x->head_too_large) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "header_fields_too_large",
                      "too many or too long header fields");
    } else if (ex->target.n > x->conn->server->limits.target_bytes) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "uri_too_long", "the request target is too long");
    } else if (str_is(ex->method_text, "CONNECT")) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "not_implemented", "CONNECT is not offered");
    } else if (!http_target_is_valid(ex->target) ||
               (ex->target.p[0] != '/' && !(ex->method == HTTP_OPTIONS && str_is(ex->target, "*")))) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "bad_request", "malformed request target");
    } else if (!http_path_is_plain(ex->path)) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "bad_request", HTTP_PATH_IS_ODD);
    } else if (expect && !str_eq_nocase(expect->value, STR("100-continue"))) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "expectation_failed", "only 100-continue can be expected");
    } else if (host && ex->authority.n && !str_eq_nocase(host->value, ex->authority)) {
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "bad_request", "host and :authority differ");
    } else {
        ex->authority = ex->authority.n || !host ? ex->authority : host->value;
        if (http_host_is_valid(ex->authority)) {
            return true;
        }
        exchange_fail(x, HTTP_FINISH_PROTOCOL, "bad_request", "malformed :authority");
    }
    return false;
}

static void begin(struct exchange *x)
{
    struct conn *c = x->conn;
    x->unanswered = true;
    c->h2->unanswered++;
    c->at->handler.on_request(&x->pub, c->at->handler.arg);
}

/* The one that came first; NULL: all that wait have been reset. */
static struct exchange *first_waiting(const struct conn *c)
{
    struct exchange *first = NULL;
    for (struct exchange *x = c->exchanges; x; x = x->next) { /* the newest is the first */
        first = x->waits && x->verdict == EXCHANGE_OPEN ? x : first;
    }
    return first;
}

void h2_begin_waiting(struct conn *c)
{
    struct h2 *h = c->h2;
    while (h->waiting > 0 && h->unanswered < c->server->limits.h2_unanswered && !h->doomed &&
           c->state == CONN_OPEN) {
        struct exchange *x = first_waiting(c);
        if (!x) {
            break;
        }
        h2_not_waiting(x);
        begin(x);
        exchange_deliver(x);
    }
}

void h2_not_waiting(struct exchange *x)
{
    struct h2 *h = x->conn->h2;
    h->waiting -= x->waits;
    h->unanswered -= x->unanswered;
    x->waits = x->unanswered = false;
}

static void on_head(struct conn *c, struct exchange *x, bool end_stream)
{
    x->body_whole = end_stream;
    x->pub.content_length = end_stream ? 0 : announced_length(&x->pub);
    if (c->requests >= c->server->limits.requests_per_connection) {
        conn_go_away(c);
    }
    if (!check_head(x)) {
        return;
    }
    if (c->h2->unanswered < c->server->limits.h2_unanswered) {
        begin(x);
    } else {
        x->waits = true;
        c->h2->waiting++;
        http_count_waited();
    }
}

/* --- frames --------------------------------------------------------------------------------------- */

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct conn *c = arg;
    c->h2->greeted = true;
    return h2_count_frame_in(c->h2, hd) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int note_priority(struct conn *c, const nghttp2_ext_priority_update *update)
{
    struct exchange *x = h2_exchange(c->h2, update->stream_id);
    if (x) {
        x->has_priority = true;
    }
    return update->stream_id != 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE; /* RFC 9218 7.1: a connection error */
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    bool end_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_PRIORITY_UPDATE) {
        return note_priority(c, frame->ext.payload);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    struct exchange *x = h2_exchange(c->h2, frame->hd.stream_id);
    if (!x) {
        return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        on_head(c, x, end_stream);
        exchange_deliver(x);
    } else if (end_stream) {
        exchange_body_end(x);
    }
    return 0;
}

void h2_drop_data(struct h2 *h, int32_t stream_id, size_t n)
{
    for (uint32_t i = 0; i < h->unread_count; i++) {
        if (h->unread[i].stream_id == stream_id && h->unread[i].dropped < CONN_LINGER_BYTES) {
            h->unread[i].dropped += n;
            nghttp2_session_consume(h->session, stream_id, n);
            return;
        }
    }
    nghttp2_session_consume_connection(h->session, n);
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *p,
                         size_t n, void *arg)
{
    struct conn *c = arg;
    struct exchange *x = h2_exchange(c->h2, stream_id);
    if (!x) {
        h2_drop_data(c->h2, stream_id, n);
        return 0;
    }
    x->window_held += n;
    exchange_body_data(x, str_of((const char *)p, n));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *arg)
{
    struct conn *c = arg;
    struct exchange *x = h2_exchange(c->h2, stream_id);
    if (x) {
        h2_done(x, error_code == NGHTTP2_CANCEL || error_code == NGHTTP2_NO_ERROR ? HTTP_FINISH_CLIENT_GONE
                                                                                  : HTTP_FINISH_PROTOCOL);
    }
    return 0;
}

/* RFC 9113 8.1: RST_STREAM with NO_ERROR asks the client to stop sending. Later, since some clients (curl 7.88)
 * drop the answer when both arrive at once, and others look at no answer before all was sent: as much as on
 * HTTP/1 is read and dropped. */
static void leave_unread(struct conn *c, int32_t stream_id)
{
    struct h2 *h = c->h2;
    uint64_t until = loop_now_ms(c->server->loop) + H2_UNREAD_MS;
    if (h->unread_count == H2_UNREAD_MAX) {
        nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_NO_ERROR);
        return;
    }
    h->unread[h->unread_count++] = (struct h2_unread){stream_id, until, 0};
    conn_need_by(c, until);
}

static void check_unread(struct conn *c, uint64_t now, uint64_t *next)
{
    struct h2 *h = c->h2;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < h->unread_count; i++) {
        struct h2_unread u = h->unread[i];
        if (nghttp2_session_get_stream_remote_close(h->session, u.stream_id) != 0) {
            continue; /* it has ended by itself */
        }
        if (conn_due(u.until_ms, now, next)) {
            nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, u.stream_id, NGHTTP2_NO_ERROR);
            conn_schedule(c);
        } else {
            h->unread[kept++] = u;
        }
    }
    h->unread_count = kept;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    if (!h2_count_frame_out(c->h2, frame)) {
        return 0; /* GOAWAY is queued */
    }
    bool ends = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    struct exchange *x = ends ? h2_exchange(c->h2, frame->hd.stream_id) : NULL;
    if (x) {
        if (!x->body_whole) {
            leave_unread(c, x->stream_id);
        }
        h2_done(x, x->failed ? (enum http_finish)x->failed : HTTP_FINISH_DONE);
    }
    return 0;
}

/* --- life ----------------------------------------------------------------------------------------- */

static void setup(void)
{
    BUG_ON(nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&options) != 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_option_set_builtin_recv_extension_type(options, NGHTTP2_PRIORITY_UPDATE);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
}

int h2_open(struct conn *c)
{
    const struct http_limits *limits = &c->server->limits;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->h2_streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->h2_head_bytes},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    pthread_once(&setup_once, setup);
    struct h2 *h = calloc(1, sizeof(*h));
    BUG_ON(!h);
    h->conn = c;
    h->free_control = 20;
    h->scan.skip = NGHTTP2_CLIENT_MAGIC_LEN;
    h->control.at_ms = h->resets.at_ms = h->heard_ms = loop_now_ms(c->server->loop);
    c->h2 = h;
    c->is_h2 = true;
    nghttp2_mem memory = h2_mem_of(&h->memory);
    if (nghttp2_session_server_new3(&h->session, callbacks, c, options, &memory) != 0 ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                sizeof(settings) / sizeof(settings[0])) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW) != 0) {
        return ERR_NOMEM;
    }
    if (limits->h2_ping_ms > 0) {
        conn_need_by(c, h->heard_ms + limits->h2_ping_ms);
    }
    if (c->going_away) { /* since before it was known to be HTTP/2 */
        h2_go_away(c);
    }
    conn_schedule(c);
    return 0;
}

void h2_free(struct conn *c)
{
    nghttp2_session_del(c->h2->session);
    free(c->h2);
    c->h2 = NULL;
}

/* After this no exchange is open: what the peer did cost it the connection. */
void h2_doom(struct conn *c)
{
    c->h2->doomed = true;
    for (struct exchange *x = c->exchanges; x; x = x->next) {
        h2_done(x, HTTP_FINISH_PROTOCOL);
    }
    conn_close_when_sent(c);
}

void h2_input(struct conn *c, struct str data)
{
    struct h2 *h = c->h2;
    if (h->doomed || data.n == 0) {
        return;
    }
    h->heard_ms = loop_now_ms(c->server->loop);
    h->pinged_ms = 0;
    h2_count_input(h, data);
    if (h->head_began_ms != 0) {
        conn_need_by(c, h->head_began_ms + c->server->limits.header_ms);
    }
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)data.p, data.n);
    if (n >= 0 && !h2_count_useless(h)) {
        n = NGHTTP2_ERR_FLOODED;
    }
    if (n < 0 && !h->doomed) {
        http_count_closed("h2_protocol");
        nghttp2_session_terminate_session(h->session, n == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM
                                                                               : NGHTTP2_PROTOCOL_ERROR);
    }
    if (n < 0) {
        h2_doom(c);
    }
}

void h2_go_away(struct conn *c)
{
    if (!c->h2->doomed) {
        nghttp2_submit_shutdown_notice(c->h2->session);
        c->h2->last_goaway_ms = loop_now_ms(c->server->loop) + H2_GOAWAY_GRACE_MS;
        conn_need_by(c, c->h2->last_goaway_ms);
    }
}

/* --- deadlines ------------------------------------------------------------------------------------ */

static void check_exchange(struct exchange *x, uint64_t now, uint64_t *next)
{
    if (x->verdict != EXCHANGE_OPEN) {
        return;
    }
    slow_reader_stream_check(x, now, next);
    if (x->verdict == EXCHANGE_OPEN && !x->ended && conn_due(exchange_body_deadline(x), now, next)) {
        exchange_fail(x, HTTP_FINISH_TIMEOUT, "request_timeout", "the body took too long");
    }
}

/* Bytes of ours are on their way and some arrived of late: a slow line, on which a PING waits its turn. */
static bool is_line_busy(const struct conn *c)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof(info);
    int queued = 0;
    return ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued > 0 &&
           getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
           info.tcpi_last_ack_recv < c->server->limits.h2_ping_ack_ms;
}

/* Keeps the state of NATs on the way alive, and finds out that a phone is gone, whose kernel says nothing more. */
static void check_ping(struct conn *c, uint64_t now, uint64_t *next)
{
    const struct http_limits *limits = &c->server->limits;
    struct h2 *h = c->h2;
    if (h->pinged_ms != 0 && now >= h->pinged_ms + limits->h2_ping_ack_ms) {
        if (conn_is_flushed(c) && !is_line_busy(c)) {
            http_count_closed("h2_ping");
            c->reset_on_close = true;
            conn_die(c, HTTP_FINISH_CLIENT_GONE);
            return;
        }
        h->pinged_ms = now;
    } else if (h->pinged_ms == 0 && limits->h2_ping_ms != 0 &&
               conn_due(h->heard_ms + limits->h2_ping_ms, now, next)) {
        nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
        http_count_ping();
        h->pinged_ms = now;
        conn_schedule(c);
    }
    if (h->pinged_ms != 0) {
        conn_due(h->pinged_ms + limits->h2_ping_ack_ms, now, next);
    }
}

void h2_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms)
{
    const struct http_limits *limits = &c->server->limits;
    struct h2 *h = c->h2;
    if (h->doomed || c->state != CONN_OPEN) {
        return;
    }
    if (h->head_began_ms != 0 && conn_due(h->head_began_ms + limits->header_ms, now_ms, next_ms)) {
        h2_calm_down(h, "h2_header_timeout");
        h2_doom(c);
        return;
    }
    if (!h->greeted && conn_due(c->open_ms + limits->first_byte_ms, now_ms, next_ms)) {
        http_count_closed("first_byte");
        h2_doom(c);
        return;
    }
    if (h->last_goaway_ms != 0 && conn_due(h->last_goaway_ms, now_ms, next_ms)) {
        h->last_goaway_ms = 0;
        nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL, 0);
        conn_schedule(c);
    }
    if (!c->exchanges && conn_due(c->idle_since_ms + limits->idle_ms, now_ms, next_ms)) {
        http_count_closed("idle");
        nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
        conn_schedule(c);
    }
    check_ping(c, now_ms, next_ms);
    check_unread(c, now_ms, next_ms);
    for (struct exchange *x = c->exchanges; x && c->state == CONN_OPEN; x = x->next) {
        check_exchange(x, now_ms, next_ms);
    }
}

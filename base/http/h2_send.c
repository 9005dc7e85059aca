/* Answers on HTTP/2: heads, data pulled by nghttp2, and the gathering of a turn's frames. */
#include "base/http/h2.h"

/* --- heads ---------------------------------------------------------------------------------------- */

static nghttp2_nv pair(struct str name, struct str value, uint8_t flags)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n, flags};
}

static size_t put_fields(nghttp2_nv *nv, const struct http_field *fields, unsigned n)
{
    size_t put = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!WARN_ON(!http_field_is_clean(&fields[i]))) {
            nv[put++] = pair(fields[i].name, fields[i].value, NGHTTP2_NV_FLAG_NONE);
        }
    }
    return put;
}

static ssize_t on_data_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                            uint32_t *data_flags, nghttp2_data_source *source, void *arg)
{
    struct conn *c = arg;
    struct exchange *x = h2_exchange(c->h2, stream_id);
    if (!x) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    size_t n = outq_read(&x->out, &c->server->pool, buf, length);
    slow_reader_stream_took(x);
    if (x->paused) {
        c->h2->drain_wanted = true;
    }
    if (x->out.n == 0 && x->ended) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n == 0) {
        x->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static bool is_event_stream(const struct http_field *fields, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (fields[i].name.n == 12 && str_eq(fields[i].name, STR("content-type"))) {
            return str_starts(fields[i].value, STR("text/event-stream"));
        }
    }
    return false;
}

/* RFC 9218 8: who says nothing would wait for its tokens until a file that was asked for before is whole. */
static void prefer_events(struct exchange *x, const struct http_field *fields, unsigned n)
{
    static const nghttp2_extpri sooner = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY - 1, .inc = 1};
    if (!x->has_priority && is_event_stream(fields, n) && !http_field_find(&x->pub, "priority")) {
        nghttp2_session_change_extpri_stream_priority(x->conn->h2->session, x->stream_id, &sooner, 0);
    }
}

void h2_start(struct exchange *x, const struct http_field *fields, unsigned field_count,
              int64_t content_length)
{
    struct conn *c = x->conn;
    struct http_exchange *ex = &x->pub;
    nghttp2_nv few[40];
    nghttp2_nv *nv = few;
    size_t n = 0;
    char status[3];
    char length[20];
    if (field_count + ex->added_count + 6 > sizeof(few) / sizeof(few[0])) {
        nv = arena_alloc(&ex->arena, (field_count + ex->added_count + 6) * sizeof(*nv));
    }
    str_put_digits(status, ex->status, sizeof(status));
    nv[n++] = pair(STR(":status"), str_of(status, sizeof(status)), NGHTTP2_NV_FLAG_NO_COPY_NAME);
    nv[n++] = pair(STR("date"), server_date(c->server), NGHTTP2_NV_FLAG_NO_COPY_NAME);
    if (content_length >= 0 && ex->status != 204 && ex->status != 304) {
        char *end = str_put_u64(length, (uint64_t)content_length);
        nv[n++] =
            pair(STR("content-length"), str_of(length, (size_t)(end - length)), NGHTTP2_NV_FLAG_NO_COPY_NAME);
    }
    if (conn_is_tls(c) && c->at->listener->hsts) {
        nv[n++] = pair(STR("strict-transport-security"), STR(HTTP_HSTS_VALUE),
                       NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
    }
    nv[n++] =
        pair(STR("x-request-id"), str_from(ex->id), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX);
    n += put_fields(nv + n, ex->added, ex->added_count);
    n += put_fields(nv + n, fields, field_count);
    h2_not_waiting(x);
    const nghttp2_data_provider data = {.read_callback = on_data_read};
    if (nghttp2_submit_response(c->h2->session, x->stream_id, nv, n, x->bodyless ? NULL : &data) != 0) {
        h2_reset(x, HTTP_FINISH_ABORTED);
        return;
    }
    prefer_events(x, fields, field_count);
}

void h2_want_body(struct exchange *x)
{
    nghttp2_nv status = pair(STR(":status"), STR("100"), NGHTTP2_NV_FLAG_NONE);
    if (!x->head_sent && x->pub.received_bytes == 0 && http_field_find(&x->pub, "expect")) {
        nghttp2_submit_headers(x->conn->h2->session, NGHTTP2_FLAG_NONE, x->stream_id, NULL, &status, 1, NULL);
    }
}

/* --- bodies --------------------------------------------------------------------------------------- */

void h2_wake(struct exchange *x)
{
    if (x->out.n > 0) {
        slow_reader_stream_wait(x);
    }
    if (x->deferred) {
        x->deferred = false;
        nghttp2_session_resume_data(x->conn->h2->session, x->stream_id);
    }
}

void h2_consume(struct exchange *x, size_t n)
{
    if (n > x->window_held) {
        n = x->window_held;
    }
    x->window_held -= n;
    nghttp2_session_consume(x->conn->h2->session, x->stream_id, n);
}

void h2_reset(struct exchange *x, enum http_finish why)
{
    nghttp2_submit_rst_stream(x->conn->h2->session, NGHTTP2_FLAG_NONE, x->stream_id, NGHTTP2_CANCEL);
    h2_done(x, why);
}

/* --- the end of a turn ---------------------------------------------------------------------------- */

void h2_output(struct conn *c)
{
    struct h2 *h = c->h2;
    for (struct exchange *x = c->exchanges; x && c->deliver_wanted; x = x->next) {
        exchange_deliver(x);
    }
    c->deliver_wanted = false;
    h2_begin_waiting(c);
    while (c->out.n < H2_OUT_HIGH) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n <= 0) {
            c->more_output = false;
            if (n < 0) {
                conn_die(c, HTTP_FINISH_ABORTED);
            }
            return;
        }
        outq_add(&c->out, &c->server->pool, p, (size_t)n);
    }
    c->more_output = true;
}

/* Once on_finish has run, the stream knows nothing of the exchange any more. */
static void finish(struct exchange *x)
{
    struct h2 *h = x->conn->h2;
    if (x->window_held > 0) {
        h2_drop_data(h, x->stream_id, x->window_held);
        x->window_held = 0;
    }
    h2_not_waiting(x);
    nghttp2_session_set_stream_user_data(h->session, x->stream_id, NULL);
    exchange_finish(x, (enum http_finish)x->verdict);
}

static void finish_done(struct conn *c)
{
    struct h2 *h = c->h2;
    while (h->done) {
        struct exchange *x = h->done;
        h->done = x->done_next;
        finish(x);
    }
    if (h->waiting > 0) {
        conn_schedule(c); /* there may be room now */
    }
    if (!c->exchanges) {
        c->idle_since_ms = loop_now_ms(c->server->loop);
        conn_need_by(c, c->idle_since_ms + c->server->limits.idle_ms);
    }
}

void h2_after_flush(struct conn *c)
{
    struct h2 *h = c->h2;
    if (c->state != CONN_OPEN) {
        return;
    }
    if (h->doomed && !c->close_when_sent) {
        h2_doom(c); /* counted while frames went out */
    }
    if (h->done) {
        finish_done(c);
    }
    if (h->drain_wanted) {
        h->drain_wanted = false;
        for (struct exchange *x = c->exchanges; x; x = x->next) {
            exchange_drain(x);
        }
    }
    if (!c->close_when_sent && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session)) {
        h2_doom(c); /* the last GOAWAY is out: ours after the last stream, or nghttp2's for an error */
    }
}

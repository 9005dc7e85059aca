/* Requests and answers on an HTTP/2 connection of the client: nghttp2 between frames and operations. */
#include "base/http/client_h2.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static nghttp2_session_callbacks *callbacks; /* of the process, never freed */
static nghttp2_option *options;
static pthread_once_t setup_once = PTHREAD_ONCE_INIT;

static struct http_op *op_of(struct client_h2 *c, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(c->session, stream_id);
}

/* --- deadlines ---------------------------------------------------------------------------------------- */

void client_h2_deadline(struct http_op *op, uint64_t after_ms, const char *what)
{
    op->deadline_what = what;
    if (what) {
        loop_timer_arm(&op->timer, after_ms);
    } else {
        loop_timer_disarm(&op->timer);
    }
}

static void on_op_timer(void *arg)
{
    struct http_op *op = arg;
    struct err err;
    (void)err_set(&err, ERR_TIMEOUT, "%s: timed out: %s", op->origin->target, op->deadline_what);
    client_h2_leave(op);
    http_op_end(op, ERR_TIMEOUT, &err);
}

void client_h2_op_init(struct http_op *op)
{
    buf_init(&op->held, CLIENT_HELD_BYTES);
    loop_timer_init(op->origin->loop, &op->timer, on_op_timer, op);
}

/* --- the request -------------------------------------------------------------------------------------- */

/* A field in op->out: two lengths, then name and value. Kept as long as the op, which may be sent again. */
struct field_bytes {
    uint32_t name_n, value_n;
};

static void put_field(struct buf *b, struct str name, struct str value)
{
    struct field_bytes n = {(uint32_t)name.n, (uint32_t)value.n};
    (void)buf_add(b, &n, sizeof n);
    (void)buf_add_str(b, name);
    (void)buf_add_str(b, value);
}

void client_h2_write_head(struct http_op *op, const struct http_client_request *req, struct str host,
                          int64_t content_length)
{
    struct buf *b = &op->out;
    put_field(b, STR(":method"), req->method);
    put_field(b, STR(":scheme"), STR("http"));
    put_field(b, STR(":authority"), host);
    put_field(b, STR(":path"), req->target);
    for (unsigned i = 0; i < req->field_count; i++) {
        put_field(b, req->fields[i].name, req->fields[i].value);
    }
    if (content_length >= 0) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)content_length);
        put_field(b, STR("content-length"), str_from(text));
    }
    op->head_bytes = op->out_sent = b->n;
}

/* The fields of op->out, borrowed from there; *out is to be freed. Returns how many. */
static size_t read_head(const struct http_op *op, nghttp2_nv **out)
{
    uint8_t *p = (uint8_t *)op->out.p;
    uint8_t *end = p + op->head_bytes;
    nghttp2_nv *nv = NULL;
    size_t n = 0;
    while (p < end) {
        struct field_bytes size;
        if (n % 16 == 0) {
            nv = reallocarray(nv, n + 16, sizeof *nv);
            BUG_ON(!nv);
        }
        memcpy(&size, p, sizeof size);
        p += sizeof size;
        nv[n++] = (nghttp2_nv){p, p + size.name_n, size.name_n, size.value_n, NGHTTP2_NV_FLAG_NONE};
        p += size.name_n + size.value_n;
    }
    *out = nv;
    return n;
}

static size_t body_left(const struct http_op *op)
{
    return op->out.n - op->out_sent + op->body.n - op->body_sent;
}

/* What was streamed goes before a whole body; a request has only one of them. */
static ssize_t on_body_read(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct client_h2 *c = arg;
    struct http_op *op = op_of(c, stream_id);
    if (!op) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    size_t n = op->out.n - op->out_sent;
    n = n < room ? n : room;
    memcpy(to, op->out.p + op->out_sent, n);
    op->out_sent += n;
    size_t m = op->body.n - op->body_sent;
    m = m < room - n ? m : room - n;
    if (m > 0) {
        memcpy(to + n, op->body.p + op->body_sent, m);
        op->body_sent += m;
    }
    c->writable_wanted = c->writable_wanted || op->send_paused;
    if (body_left(op) == 0 && op->body_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n + m == 0) {
        op->deferred = true;
        client_h2_deadline(op, 0, NULL); /* the sender of the body is someone else's to watch */
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)(n + m);
}

int client_h2_submit(struct client_h2 *c, struct http_op *op)
{
    const nghttp2_data_provider body = {.read_callback = on_body_read};
    bool has_body = op->streaming || op->body.n > 0;
    nghttp2_nv *nv;
    size_t n = read_head(op, &nv);
    op->stream_id = nghttp2_submit_request(c->session, NULL, nv, n, has_body ? &body : NULL, op);
    free(nv);
    return op->stream_id > 0 ? 0 : ERR_UNAVAILABLE;
}

void client_h2_wake(struct http_op *op)
{
    if (op->deferred) {
        op->deferred = false;
        if (!op->paused) { /* else going on sets one */
            client_h2_deadline(op, op->idle_ms, "the request is not taken");
        }
        nghttp2_session_resume_data(op->h2->session, op->stream_id);
    }
    client_h2_want_flush(op->h2);
}

/* Each call may add or end requests: so the list is looked at from its start again. */
void client_h2_tell_writable(struct client_h2 *c)
{
    while (c->writable_wanted && c->state != CLIENT_H2_CLOSED) {
        struct http_op *op = c->ops;
        while (op && !http_op_drain(op)) {
            op = op->h2_next;
        }
        if (!op) {
            c->writable_wanted = false;
        } else if (op->handler->on_writable) {
            op->handler->on_writable(op);
        }
    }
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct client_h2 *c = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        c->fault = nghttp2_http2_strerror(frame->goaway.error_code);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    struct http_op *op = op_of(c, frame->hd.stream_id);
    if (!op || op->paused || op->deferred) {
        return 0;
    }
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        client_h2_deadline(op, op->idle_ms, "the request is not taken");
    } else if (!op->head_done) {
        client_h2_deadline(op, op->head_ms, "no answer");
    }
    return 0;
}

/* --- the end of an answer ----------------------------------------------------------------------------- */

void client_h2_lost(struct http_op *op, bool untouched, int rc, const struct err *err)
{
    bool may = !op->head_done && !op->replayed && !op->streaming && (untouched || (op->reused && !op->once));
    if (!may) {
        http_op_end(op, rc, err);
        return;
    }
    metric_add(&http_client_replays, 1);
    op->replayed = true;
    op->body_sent = 0;
    (void)client_h2_send(op);
}

static void fail(struct http_op *op, int rc, const char *what)
{
    struct err err;
    (void)err_set(&err, rc, "%s: %s", op->origin->target, what);
    client_h2_leave(op);
    http_op_end(op, rc, &err);
}

/* END_STREAM came. A request that is not sent to its end will not be: nobody reads it. */
static void on_answer_end(struct client_h2 *c, struct http_op *op)
{
    bool is_sent = op->body_ended && body_left(op) == 0;
    nghttp2_session_set_stream_user_data(c->session, op->stream_id, NULL);
    if (is_sent) {
        client_h2_forget(op);
    } else {
        client_h2_leave(op);
    }
    if (op->held.n > 0) {
        op->answer_whole = true;
    } else {
        http_op_end(op, 0, NULL);
    }
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *arg)
{
    struct client_h2 *c = arg;
    struct http_op *op = op_of(c, stream_id);
    if (!op) {
        return 0;
    }
    struct err err;
    bool untouched = error_code == NGHTTP2_REFUSED_STREAM;
    int rc = untouched ? ERR_UNAVAILABLE : error_code == NGHTTP2_PROTOCOL_ERROR ? ERR_PROTOCOL : ERR_CLOSED;
    (void)err_set(&err, rc, "%s: stream reset: %s", op->origin->target, nghttp2_http2_strerror(error_code));
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    client_h2_forget(op);
    client_h2_lost(op, untouched, rc, &err);
    return 0;
}

/* --- the head of an answer ---------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct client_h2_head *h = &((struct client_h2 *)arg)->head;
    arena_clear(&h->arena);
    h->field_count = h->status = 0;
    h->bytes = 0;
    h->too_large = false;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct client_h2_head *h = &((struct client_h2 *)arg)->head;
    struct str n = str_of((const char *)name, name_n);
    struct str v = str_of((const char *)value, value_n);
    h->bytes += name_n + value_n + 32;
    h->too_large = h->too_large || h->bytes > H1_RESPONSE_HEAD_BYTES || h->field_count == H1_RESPONSE_FIELDS;
    if (h->bytes > 8 * H1_RESPONSE_HEAD_BYTES) {
        return NGHTTP2_ERR_CALLBACK_FAILURE; /* it costs the connection */
    }
    uint64_t status;
    if (str_is(n, ":status")) { /* nghttp2 has checked it */
        h->status = str_u64(v, &status) ? (unsigned)status : 0;
    } else if (!h->too_large) {
        h->fields[h->field_count++] = (struct http_field){arena_dup(&h->arena, n), arena_dup(&h->arena, v)};
    }
    return 0;
}

static int64_t announced_length(const struct client_h2_head *h)
{
    uint64_t n;
    for (unsigned i = 0; i < h->field_count; i++) {
        if (str_is(h->fields[i].name, "content-length") && str_u64(h->fields[i].value, &n) &&
            n <= INT64_MAX) {
            return (int64_t)n;
        }
    }
    return -1;
}

static void on_head(struct client_h2 *c, struct http_op *op)
{
    const struct client_h2_head *h = &c->head;
    if (h->too_large) {
        fail(op, ERR_LIMIT, "the answer's head is too long");
    } else if (h->status >= 200) {
        op->head_done = true;
        op->handler->on_head(op, h->status, h->fields, h->field_count, announced_length(h));
    }
}

/* --- the body of an answer ---------------------------------------------------------------------------- */

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *p,
                         size_t n, void *arg)
{
    struct client_h2 *c = arg;
    struct http_op *op = op_of(c, stream_id);
    nghttp2_session_consume_connection(session, n);
    if (!op) {
        return 0;
    }
    if (op->paused || op->held.n > 0) {
        if (buf_add(&op->held, p, n) != 0) { /* more than the window it was given */
            fail(op, ERR_PROTOCOL, "sends past its window");
        }
        return 0;
    }
    nghttp2_session_consume_stream(session, stream_id, n);
    client_h2_deadline(op, op->idle_ms, "the answer stopped");
    if (op->handler->on_data(op, (const char *)p, n) != HTTP_FLOW_GO && op_of(c, stream_id) == op) {
        op->paused = true;
        client_h2_deadline(op, 0, NULL);
    }
    return 0;
}

/* Hands over what came while the user paused; new bytes wait behind it until now. */
void client_h2_resume(struct http_op *op)
{
    struct buf held = op->held;
    buf_init(&op->held, held.max);
    if (op->h2) {
        client_h2_deadline(op, op->idle_ms, "the answer stopped");
        nghttp2_session_consume_stream(op->h2->session, op->stream_id, held.n);
        client_h2_want_flush(op->h2);
    }
    op->running = true;
    if (held.n > 0 && op->handler->on_data(op, held.p, held.n) != HTTP_FLOW_GO) {
        op->paused = true;
    }
    op->running = false;
    buf_clear(&held);
    if (op->canceled) {
        http_op_give_back(op);
    } else if (op->answer_whole) {
        http_op_end(op, 0, NULL);
    } else if (op->paused && op->h2) {
        client_h2_deadline(op, 0, NULL);
    }
}

/* --- frames ------------------------------------------------------------------------------------------- */

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct client_h2 *c = arg;
    int32_t id = frame->hd.stream_id;
    struct http_op *op;
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        c->told = true;
        break;
    case NGHTTP2_GOAWAY:
        c->state = c->state == CLIENT_H2_OPEN ? CLIENT_H2_DRAINING : c->state;
        break;
    case NGHTTP2_HEADERS:
        op = op_of(c, id);
        if (op && !op->head_done) { /* else trailers: dropped */
            on_head(c, op);
        }
        break;
    default:
        break;
    }
    bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    op = ends ? op_of(c, id) : NULL;
    if (op) {
        on_answer_end(c, op);
    }
    return 0;
}

static void setup(void)
{
    BUG_ON(nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&options) != 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
}

int client_h2_session_open(struct client_h2 *c)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CLIENT_H2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H1_RESPONSE_HEAD_BYTES},
    };
    const uint8_t *magic;
    pthread_once(&setup_once, setup);
    nghttp2_mem memory = h2_mem_of(&c->memory);
    if (nghttp2_session_client_new3(&c->session, callbacks, c, options, &memory) != 0) {
        return ERR_NOMEM;
    }
    /* It lies in the frame buffer from the start: taken out before another session uses that. */
    ssize_t n = nghttp2_session_mem_send(c->session, &magic);
    bool ok = n > 0 && buf_add(&c->out, magic, (size_t)n) == 0 &&
              nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings,
                                      sizeof settings / sizeof settings[0]) == 0 &&
              nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                                    CLIENT_H2_CONNECTION_WINDOW) == 0;
    return ok ? 0 : ERR_NOMEM;
}

/* What the tests of the client's HTTP/2 side share: a scripted server on the same loop (an nghttp2 session a connection, or
 * plain bytes), and a client that notes what it is told. Everything is static. */
#ifndef TIDE_TESTS_H2_SERVER_H
#define TIDE_TESTS_H2_SERVER_H

#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/http/client.h"

enum { PEERS = 6, ASKS = 128, GUARD_MS = 5000 };

struct rig;

/* A request as it came to the server. */
struct asked {
    struct peer *peer;
    int32_t id;
    char head[600]; /* "name=value;"... */
    struct buf body;
    bool whole;
    bool reset;
    uint32_t reset_code;
    size_t to_send; /* bytes of the answer's body still to be made */
    size_t sent;
    bool open_end; /* no END_STREAM behind them */
};

struct peer { /* one accepted connection */
    struct rig *rig;
    int fd;
    struct event ev;
    nghttp2_session *session;
    bool got_goaway;
};

struct rig {
    struct loop *loop;
    int fd;
    struct event ev;
    char target[32];
    struct http_origin *origin;
    struct loop_timer guard;
    /* script */
    const char *bytes; /* instead of HTTP/2: what every connection is sent at once */
    size_t bytes_n;
    bool deaf;                                        /* nothing is read */
    uint32_t max_streams;                             /* 0: not told */
    void (*on_asked)(struct rig *r, struct asked *a); /* a whole request is there */
    /* what happened at the server */
    struct peer peers[PEERS];
    unsigned peer_count;
    struct asked asks[ASKS];
    unsigned ask_count;
    unsigned steps;
};

/* What the client said of one request. */
struct call {
    struct rig *rig;
    struct http_op *op;
    unsigned heads, ends, writables;
    unsigned status;
    int64_t content_length;
    char fields[400];
    struct buf body;
    int rc;
    struct err err;
    bool pause, resume_at_once, cancel_in_head, cancel_in_data, stop_at_data;
    bool free_in_data; /* the origin, after the cancel */
    struct loop_task resume;
};

/* --- the server --------------------------------------------------------------------------------------- */

static inline struct asked *asked_of(struct peer *p, int32_t id)
{
    return nghttp2_session_get_stream_user_data(p->session, id);
}

static inline int srv_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct peer *p = arg;
    struct rig *r = p->rig;
    assert_in_range(r->ask_count, 0, ASKS - 1);
    struct asked *a = &r->asks[r->ask_count++];
    *a = (struct asked){.peer = p, .id = frame->hd.stream_id};
    buf_init(&a->body, 4 << 20);
    nghttp2_session_set_stream_user_data(session, a->id, a);
    return 0;
}

static inline int srv_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct asked *a = asked_of(arg, frame->hd.stream_id);
    size_t at = strlen(a->head);
    snprintf(a->head + at, sizeof a->head - at, "%.*s=%.*s;", (int)name_n, name, (int)value_n, value);
    return 0;
}

static inline int srv_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                           void *arg)
{
    struct asked *a = asked_of(arg, id);
    buf_add(&a->body, p, n);
    return 0;
}

static inline int srv_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct peer *p = arg;
    struct asked *a = frame->hd.stream_id ? asked_of(p, frame->hd.stream_id) : NULL;
    p->got_goaway = p->got_goaway || frame->hd.type == NGHTTP2_GOAWAY;
    if (frame->hd.type == NGHTTP2_RST_STREAM && a) {
        a->reset = true;
        a->reset_code = frame->rst_stream.error_code;
    } else if (a && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        a->whole = true;
        p->rig->on_asked(p->rig, a);
    }
    return 0;
}

static inline ssize_t srv_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                               uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct asked *a = asked_of(arg, id);
    size_t n = a->to_send < room ? a->to_send : room;
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)('a' + (a->sent + i) % 26);
    }
    a->to_send -= n;
    a->sent += n;
    if (a->to_send == 0 && !a->open_end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static inline void flush_peer(struct peer *p)
{
    const uint8_t *bytes;
    ssize_t n;
    while (p->fd >= 0 && (n = nghttp2_session_mem_send(p->session, &bytes)) > 0) {
        assert_int_equal(send(p->fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
    }
}

#define NV(n_, v_)                                                                                           \
    {                                                                                                        \
        (uint8_t *)(n_), (uint8_t *)(v_), strlen(n_), strlen(v_), 0                                          \
    }

/* Answers 200 with so many bytes of abc...; -1: without body. */
static inline void answer(struct asked *a, long bytes, const char *length)
{
    nghttp2_nv nv[] = {NV(":status", "200"), NV("x-up", "v"), NV("content-length", length ? length : "")};
    nghttp2_data_provider data = {.read_callback = srv_read};
    a->to_send = bytes > 0 ? (size_t)bytes : 0;
    assert_int_equal(
        nghttp2_submit_response(a->peer->session, a->id, nv, length ? 3 : 2, bytes >= 0 ? &data : NULL), 0);
}

static inline void answer_hello(struct rig *r, struct asked *a)
{
    answer(a, 5, NULL);
}

static inline void answer_never(struct rig *r, struct asked *a)
{
}

static inline void close_peer(struct peer *p)
{
    if (p->fd >= 0) {
        event_del(&p->ev);
        close(p->fd);
        p->fd = -1;
    }
}

static inline void on_peer(evutil_socket_t fd, short what, void *arg)
{
    static uint8_t bytes[1 << 18];
    struct peer *p = arg;
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) {
        close_peer(p);
        return;
    }
    if (!p->rig->bytes) {
        ssize_t used = nghttp2_session_mem_recv(p->session, bytes, (size_t)n);
        flush_peer(p);
        if (used != n) { /* it has said GOAWAY and looks no more */
            close_peer(p);
        }
    }
}

static inline void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct rig *r = arg;
    assert_in_range(r->peer_count, 0, PEERS - 1);
    struct peer *p = &r->peers[r->peer_count++];
    nghttp2_session_callbacks *cb;
    nghttp2_settings_entry streams = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, r->max_streams};
    *p = (struct peer){.rig = r, .fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK)};
    int on = 1;
    assert_true(p->fd >= 0);
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, srv_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, srv_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, srv_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, srv_frame);
    nghttp2_session_server_new(&p->session, cb, p);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(p->session, 0, &streams, r->max_streams ? 1 : 0);
    event_assign(&p->ev, loop_event_base(r->loop), p->fd, EV_READ | EV_PERSIST, on_peer, p);
    if (r->bytes) {
        assert_int_equal(send(p->fd, r->bytes, r->bytes_n, MSG_NOSIGNAL), r->bytes_n);
    }
    if (!r->deaf) {
        event_add(&p->ev, NULL);
    }
}

static inline void on_guard(void *arg)
{
    fail_msg("the test took too long");
}

/* --- the client --------------------------------------------------------------------------------------- */

static inline int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->loop = loop_new("test", 0);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    assert_int_equal(bind(r->fd, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(listen(r->fd, 16), 0);
    getsockname(r->fd, (struct sockaddr *)&sa, &n);
    snprintf(r->target, sizeof r->target, "127.0.0.1:%u", ntohs(sa.sin_port));
    event_assign(&r->ev, loop_event_base(r->loop), r->fd, EV_READ | EV_PERSIST, on_accept, r);
    event_add(&r->ev, NULL);
    loop_timer_init(r->loop, &r->guard, on_guard, r);
    r->on_asked = answer_hello;
    struct http_origin_conf conf = {
        .target = str_from(r->target), .protocol = HTTP_ORIGIN_H2, .max_connections = 2, .ping_ms = 40};
    r->origin = http_origin_new(r->loop, &conf, NULL);
    assert_non_null(r->origin);
    *state = r;
    return 0;
}

static inline int teardown(void **state)
{
    struct rig *r = *state;
    http_origin_free(r->origin);
    loop_timer_disarm(&r->guard);
    for (unsigned i = 0; i < r->peer_count; i++) {
        close_peer(&r->peers[i]);
        nghttp2_session_del(r->peers[i].session);
    }
    for (unsigned i = 0; i < r->ask_count; i++) {
        buf_clear(&r->asks[i].body);
    }
    event_del(&r->ev);
    close(r->fd);
    loop_free(r->loop);
    free(r);
    return 0;
}

static inline void on_head(struct http_op *op, unsigned status, const struct http_field *fields,
                           unsigned count, int64_t content_length)
{
    struct call *c = http_op_arg(op);
    assert_false(http_op_is_connecting(op));
    c->heads++;
    c->status = status;
    c->content_length = content_length;
    for (unsigned i = 0; i < count; i++) {
        size_t at = strlen(c->fields);
        snprintf(c->fields + at, sizeof c->fields - at, STR_FMT "=" STR_FMT ";", STR_ARG(fields[i].name),
                 STR_ARG(fields[i].value));
    }
    if (c->cancel_in_head) {
        http_op_cancel(op);
        loop_stop(c->rig->loop);
    }
}

static inline void on_resume(void *arg)
{
    struct call *c = arg;
    if (c->op) { /* else it has ended meanwhile */
        http_op_resume(c->op);
    }
}

static inline enum http_flow on_data(struct http_op *op, const char *p, size_t n)
{
    struct call *c = http_op_arg(op);
    buf_add(&c->body, p, n);
    if (c->stop_at_data) {
        loop_stop(c->rig->loop);
    }
    if (c->cancel_in_data) {
        http_op_cancel(op);
        if (c->free_in_data) {
            http_origin_free(c->rig->origin);
            c->rig->origin = NULL;
        }
        loop_stop(c->rig->loop);
        return HTTP_FLOW_GONE;
    }
    if (c->pause && c->resume_at_once) {
        c->resume = (struct loop_task){.fn = on_resume, .arg = c};
        loop_at_turn_end(c->rig->loop, &c->resume);
    }
    return c->pause ? HTTP_FLOW_PAUSE : HTTP_FLOW_GO;
}

static inline void on_end(struct http_op *op, int rc, const struct err *err)
{
    struct call *c = http_op_arg(op);
    c->ends++;
    c->rc = rc;
    c->op = NULL;
    if (err) {
        c->err = *err;
    }
    loop_stop(c->rig->loop);
}

static inline void on_writable(struct http_op *op)
{
    struct call *c = http_op_arg(op);
    c->writables++;
    loop_stop(c->rig->loop);
}

static const struct http_client_handler handler = {
    .on_head = on_head, .on_data = on_data, .on_end = on_end, .on_writable = on_writable};

static const struct http_field one_field[] = {{STR_INIT("x-a"), STR_INIT("1")}};

static inline void start_request(struct rig *r, struct call *c, const struct http_client_request *req)
{
    struct http_client_request full = *req;
    full.target = STR("/p?q=1");
    full.fields = one_field;
    full.field_count = 1;
    full.connect_ms = 300;
    full.head_ms = full.head_ms ? full.head_ms : 1000;
    full.idle_ms = full.idle_ms ? full.idle_ms : 1000;
    c->rig = r;
    buf_init(&c->body, 4 << 20);
    c->op = http_send_request(r->origin, &full, &handler, c);
    assert_non_null(c->op);
    assert_int_equal(c->ends, 0);
}

static inline void start(struct rig *r, struct call *c)
{
    start_request(r, c, &(struct http_client_request){.method = STR("GET")});
}

static inline void run(struct rig *r)
{
    loop_timer_arm(&r->guard, GUARD_MS);
    loop_run(r->loop);
}

static inline void run_to_end(struct rig *r, struct call *c)
{
    while (c->ends == 0) {
        run(r);
    }
    buf_clear(&c->body);
}

static inline void on_step(void *arg)
{
    struct rig *r = arg;
    if (r->steps-- == 0) {
        loop_stop(r->loop);
    } else {
        loop_call(r->loop, on_step, r);
    }
}

/* Lets both sides do what they have to do now. */
static inline void settle(struct rig *r)
{
    r->steps = 30;
    loop_call(r->loop, on_step, r);
    run(r);
}

static inline void expect(struct rig *r, struct call *c, int rc)
{
    start(r, c);
    run_to_end(r, c);
    if (c->rc != rc) {
        fail_msg("rc %s (%s) instead of %s", err_name(c->rc), c->err.msg, err_name(rc));
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif

/* The client against a scripted server on the same loop: what it sends is kept, what it answers is a text. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/http/client.h"
#include "base/http/client_dial.h"

enum { PEERS = 8, STEPS = 8 };

struct rig;
struct peer { /* one accepted connection */
    struct rig *rig;
    int fd;
    struct event ev;
    unsigned step; /* next of rig->answers */
};

struct rig {
    struct loop *loop;
    int fd;
    struct event ev;
    char target[32];
    struct http_origin *origin;
    struct loop_timer guard, drip;
    /* script */
    const char *answers[STEPS]; /* to the nth request of all; NULL: close instead */
    bool close_after[STEPS];
    bool byte_by_byte;
    bool silent;
    bool reads_nothing;
    /* what happened at the server */
    struct peer peers[PEERS];
    unsigned peer_count, step;
    char got[1 << 16];
    size_t got_n;
    const char *drip_text;
    struct peer *drip_peer;
    /* what the client said */
    struct http_op *op;
    unsigned heads, ends;
    unsigned status;
    int64_t content_length;
    char fields[512];
    struct buf body;
    int rc;
    struct err err;
    bool pause_each;
    bool cancel_in_data;
    bool cancel_in_head;
    struct loop_task resume;
};

static void set_step_done(struct peer *p)
{
    struct rig *r = p->rig;
    unsigned step = r->step++;
    if (r->close_after[step]) {
        event_del(&p->ev);
        close(p->fd);
        p->fd = -1;
    }
}

static void on_drip(void *arg)
{
    struct rig *r = arg;
    if (r->drip_peer->fd < 0 || !*r->drip_text) {
        set_step_done(r->drip_peer);
        return;
    }
    if (send(r->drip_peer->fd, r->drip_text++, 1, MSG_NOSIGNAL) == 1) { /* else: refused half-way */
        loop_timer_arm(&r->drip, 0);
    }
}

static void answer(struct peer *p)
{
    struct rig *r = p->rig;
    const char *text = r->answers[r->step];
    if (!text) {
        event_del(&p->ev);
        close(p->fd);
        p->fd = -1;
        r->step++;
        return;
    }
    if (r->byte_by_byte) {
        r->drip_peer = p;
        r->drip_text = text;
        loop_timer_arm(&r->drip, 0);
        return;
    }
    assert_int_equal(send(p->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    set_step_done(p);
}

static void on_peer(evutil_socket_t fd, short what, void *arg)
{
    struct peer *p = arg;
    struct rig *r = p->rig;
    ssize_t n = recv(fd, r->got + r->got_n, sizeof r->got - r->got_n - 1, 0);
    if (n <= 0) {
        event_del(&p->ev);
        close(p->fd);
        p->fd = -1;
        return;
    }
    r->got_n += (size_t)n;
    r->got[r->got_n] = 0;
    if (!r->silent && memmem(r->got, r->got_n, "\r\n\r\n", 4)) {
        answer(p);
    }
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct rig *r = arg;
    assert_in_range(r->peer_count, 0, PEERS - 1);
    struct peer *p = &r->peers[r->peer_count++];
    p->rig = r;
    p->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
    assert_true(p->fd >= 0);
    event_assign(&p->ev, loop_event_base(r->loop), p->fd, EV_READ | EV_PERSIST, on_peer, p);
    if (!r->reads_nothing) {
        event_add(&p->ev, NULL);
    }
}

static void on_guard(void *arg)
{
    fail_msg("the test took too long");
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->loop = loop_new("test", 0);
    buf_init(&r->body, 1 << 22);
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
    loop_timer_init(r->loop, &r->drip, on_drip, r);
    struct http_origin_conf conf = {.target = str_from(r->target), .max_connections = 3};
    r->origin = http_origin_new(r->loop, &conf, NULL);
    assert_non_null(r->origin);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    http_origin_free(r->origin);
    loop_timer_disarm(&r->guard);
    loop_timer_disarm(&r->drip);
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].fd >= 0) {
            event_del(&r->peers[i].ev);
            close(r->peers[i].fd);
        }
    }
    event_del(&r->ev);
    close(r->fd);
    buf_clear(&r->body);
    loop_free(r->loop);
    free(r);
    return 0;
}

static void on_head(struct http_op *op, unsigned status, const struct http_field *fields, unsigned count,
                    int64_t content_length)
{
    struct rig *r = http_op_arg(op);
    assert_false(http_op_is_connecting(op));
    r->heads++;
    r->status = status;
    r->content_length = content_length;
    r->fields[0] = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t at = strlen(r->fields);
        snprintf(r->fields + at, sizeof r->fields - at, STR_FMT "=" STR_FMT ";", STR_ARG(fields[i].name),
                 STR_ARG(fields[i].value));
    }
    if (r->cancel_in_head) {
        http_op_cancel(op);
        loop_stop(r->loop);
    }
}

static void on_resume(void *arg)
{
    struct rig *r = arg;
    http_op_resume(r->op);
}

static enum http_flow on_data(struct http_op *op, const char *p, size_t n)
{
    struct rig *r = http_op_arg(op);
    buf_add(&r->body, p, n);
    if (r->cancel_in_data) {
        http_op_cancel(op);
        loop_stop(r->loop);
        return HTTP_FLOW_GONE;
    }
    if (r->pause_each) {
        loop_at_turn_end(r->loop, &r->resume);
        return HTTP_FLOW_PAUSE;
    }
    return HTTP_FLOW_GO;
}

static void on_end(struct http_op *op, int rc, const struct err *err)
{
    struct rig *r = http_op_arg(op);
    r->ends++;
    r->rc = rc;
    if (err) {
        r->err = *err;
    }
    loop_stop(r->loop);
}

static const struct http_client_handler handler = {.on_head = on_head, .on_data = on_data, .on_end = on_end};

static void start(struct rig *r, const char *method, struct str body)
{
    struct http_field fields[] = {{STR("x-a"), STR("1")}};
    struct http_client_request req = {.method = str_from(method),
                                      .target = STR("/p?q=1"),
                                      .fields = fields,
                                      .field_count = 1,
                                      .body = body,
                                      .connect_ms = 300,
                                      .head_ms = 150,
                                      .idle_ms = 150};
    r->heads = 0;
    r->ends = 0;
    r->rc = 1;
    r->resume = (struct loop_task){.fn = on_resume, .arg = r};
    buf_truncate(&r->body);
    r->op = http_send_request(r->origin, &req, &handler, r);
    assert_non_null(r->op);
    assert_int_equal(r->ends, 0);
}

static void run(struct rig *r)
{
    loop_timer_arm(&r->guard, 5000);
    loop_run(r->loop);
}

static void stop(void *arg)
{
    struct rig *r = arg;
    loop_stop(r->loop);
}

static void ask(struct rig *r, const char *method)
{
    start(r, method, STR(""));
    run(r);
}

static void a_get_is_written_as_it_should(void **state)
{
    struct rig *r = *state;
    char want[128];
    r->answers[0] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Up:  v \r\n\r\nhello";
    ask(r, "GET");
    snprintf(want, sizeof want, "GET /p?q=1 HTTP/1.1\r\nhost: %s\r\nx-a: 1\r\n\r\n", r->target);
    assert_string_equal(r->got, want);
    assert_int_equal(r->rc, 0);
    assert_int_equal(r->status, 200);
    assert_int_equal(r->content_length, 5);
    assert_string_equal(r->fields, "content-length=5;x-up=v;");
    assert_string_equal(r->body.p, "hello");
}

static void a_post_carries_its_body(void **state)
{
    struct rig *r = *state;
    r->answers[0] = "HTTP/1.1 204 No Content\r\n\r\n";
    start(r, "POST", STR("{\"a\":1}"));
    assert_true(http_op_is_connecting(r->op));
    run(r);
    assert_int_equal(r->rc, 0);
    assert_non_null(strstr(r->got, "\r\ncontent-length: 7\r\n\r\n{\"a\":1}"));
}

struct vector {
    const char *answer;
    bool close;
    int rc;
    const char *body;
    bool kept; /* the connection is used again */
};
static const struct vector vectors[] = {
    {"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", false, 0, "abc", true},
    {"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", false, 0, "", true},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", false, 0,
     "abcde", true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0A\r\n0123456789\r\n0\r\nT: v\r\n\r\n", false, 0,
     "0123456789", true},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 "
     "OK\r\ncontent-length: "
     "1\r\n\r\nz",
     false, 0, "z", true},
    {"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", false, 0, "", true},
    {"HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 1\r\n\r\nq", false, 0, "q", false},
    {"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nq", false, 0, "q", false},
    {"HTTP/1.1 200 OK\r\n\r\nuntil the end", true, 0, "until the end", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", true, ERR_CLOSED, "abc", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", true, ERR_CLOSED, "abc", false},
    {"HTTP/1.1 200 OK\r\ncontent-le", true, ERR_CLOSED, "", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nqEXTRA", false, 0, "q", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nq", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\nq", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nq", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nq", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false,
     ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false,
     ERR_PROTOCOL, "", false},
    {"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\na : b\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\na: b\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 101 Switching\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 999 X\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/2 200 OK\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"ICY 200 OK\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n", false, ERR_PROTOCOL, "", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n", false, ERR_PROTOCOL, "abc", false},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", false, ERR_PROTOCOL, "",
     false},
};

static void check_vectors(void **state, bool byte_by_byte)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        assert_int_equal(setup(state), 0);
        struct rig *r = *state;
        r->byte_by_byte = byte_by_byte;
        r->answers[0] = v->answer;
        r->close_after[0] = v->close;
        ask(r, "GET");
        if (r->rc != v->rc || strcmp(r->body.p, v->body) != 0) {
            fail_msg("vector %zu: rc %s (%s), body \"%s\"", i, err_name(r->rc), r->err.msg, r->body.p);
        }
        assert_int_equal(r->ends, 1);
        if (!byte_by_byte || !strstr(v->answer, "EXTRA")) {
            assert_int_equal(http_origin_connections(r->origin), v->kept ? 1 : 0);
        }
        teardown(state);
    }
    setup(state);
}

static void framing_is_strict(void **state)
{
    teardown(state);
    check_vectors(state, false);
}

static void framing_is_the_same_byte_by_byte(void **state)
{
    teardown(state);
    check_vectors(state, true);
}

static void a_head_answer_has_no_body(void **state)
{
    struct rig *r = *state;
    r->answers[0] = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    ask(r, "HEAD");
    assert_int_equal(r->rc, 0);
    assert_int_equal(r->content_length, 100);
    assert_int_equal(http_origin_connections(r->origin), 1);
}

static void a_long_head_is_refused(void **state)
{
    struct rig *r = *state;
    static char text[40000];
    size_t n = (size_t)snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nx: ");
    memset(text + n, 'y', sizeof text - n - 1);
    r->answers[0] = text;
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_LIMIT);
}

static void connections_are_kept_and_used_again(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3; i++) {
        r->answers[i] = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nq";
        ask(r, "GET");
        assert_int_equal(r->rc, 0);
    }
    assert_int_equal(r->peer_count, 1);
}

static void a_kept_connection_that_is_dead_is_replaced_once(void **state)
{
    struct rig *r = *state;
    r->answers[0] = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nq";
    ask(r, "GET");
    r->answers[1] = NULL; /* the kept connection dies when the request comes */
    r->answers[2] = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nr";
    ask(r, "GET");
    assert_int_equal(r->rc, 0);
    assert_string_equal(r->body.p, "r");
    assert_int_equal(r->peer_count, 2);
    r->answers[3] = NULL;
    r->step = 3;
    ask(r, "GET"); /* dies, is replaced, and then nobody listens any more */
    assert_int_equal(r->ends, 1);
    assert_int_not_equal(r->rc, 0);
}

static void what_may_happen_only_once_is_not_replayed(void **state)
{
    struct rig *r = *state;
    r->answers[0] = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nq";
    ask(r, "GET");
    r->answers[1] = NULL;
    struct http_client_request req = {
        .method = STR("POST"), .target = STR("/"), .body = STR("x"), .once = true};
    r->op = http_send_request(r->origin, &req, &handler, r);
    run(r);
    assert_int_equal(r->rc, ERR_CLOSED);
    assert_int_equal(r->peer_count, 1);
}

static void a_fresh_connection_that_dies_is_not_tried_again(void **state)
{
    struct rig *r = *state;
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_CLOSED);
    assert_int_equal(r->peer_count, 1);
}

static void nobody_listening_is_unavailable(void **state)
{
    struct rig *r = *state;
    struct http_origin_conf conf = {.target = STR("unix:/nonexistent/sock")};
    struct http_origin *mine = r->origin;
    r->origin = http_origin_new(r->loop, &conf, NULL);
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_UNAVAILABLE);
    assert_int_equal(r->heads, 0);
    http_origin_free(r->origin);
    r->origin = mine;
}

static void only_what_concerns_every_peer_is_ours(void **state)
{
    static const int ours[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};
    static const int theirs[] = {EADDRNOTAVAIL, ECONNREFUSED, ENETUNREACH, CLIENT_DIAL_NO_ADDRESS};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(client_dial_code(ours[i]), ERR_IO);
        assert_int_equal(client_dial_code(theirs[i]), ERR_UNAVAILABLE);
    }
}

static void a_name_is_looked_up(void **state)
{
    struct rig *r = *state;
    char target[40];
    snprintf(target, sizeof target, "localhost%s", strchr(r->target, ':'));
    struct http_origin_conf conf = {.target = str_from(target)};
    struct http_origin *mine = r->origin;
    r->origin = http_origin_new(r->loop, &conf, NULL);
    assert_non_null(r->origin);
    r->answers[0] = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nq";
    ask(r, "GET");
    assert_int_equal(r->rc, 0);
    http_origin_free(r->origin);
    r->origin = mine;
    struct err err;
    conf.target = STR("no port");
    assert_null(http_origin_new(r->loop, &conf, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

static void too_many_connections_are_refused(void **state)
{
    struct rig *r = *state;
    r->silent = true;
    struct http_op *ops[3];
    for (unsigned i = 0; i < 3; i++) {
        start(r, "GET", STR(""));
        ops[i] = r->op;
    }
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_UNAVAILABLE);
    for (unsigned i = 0; i < 3; i++) {
        http_op_cancel(ops[i]);
    }
    assert_int_equal(http_origin_connections(r->origin), 0);
}

static void silence_times_out(void **state)
{
    struct rig *r = *state;
    r->silent = true;
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_TIMEOUT);
    r->silent = false;
    r->answers[0] = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_TIMEOUT);
    assert_string_equal(r->body.p, "abc");
    r->answers[1] = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"; /* a head, and no byte of the body */
    ask(r, "GET");
    assert_int_equal(r->rc, ERR_TIMEOUT);
    assert_int_equal(r->heads, 1);
}

static void a_paused_answer_waits_and_loses_nothing(void **state)
{
    struct rig *r = *state;
    r->pause_each = true;
    r->answers[0] = "HTTP/1.1 200 OK\r\ntransfer-encoding: "
                    "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
    ask(r, "GET");
    assert_int_equal(r->rc, 0);
    assert_string_equal(r->body.p, "abcdef");
    assert_int_equal(http_origin_connections(r->origin), 1);
}

static void a_canceled_operation_says_nothing_more(void **state)
{
    struct rig *r = *state;
    r->cancel_in_data = true;
    r->answers[0] = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    ask(r, "GET");
    assert_string_equal(r->body.p, "abc");
    assert_int_equal(r->ends, 0);
    assert_int_equal(http_origin_connections(r->origin), 0);
    r->cancel_in_data = false;
    r->cancel_in_head = true;
    r->answers[1] = r->answers[0];
    ask(r, "GET");
    assert_int_equal(r->heads, 1);
    assert_int_equal(r->ends, 0);
    assert_int_equal(r->body.n, 0);
    assert_int_equal(http_origin_connections(r->origin), 0);
}

static void a_streamed_body_is_chunked(void **state)
{
    struct rig *r = *state;
    struct http_client_request req = {.method = STR("PUT"),
                                      .target = STR("/"),
                                      .body = STR("first"),
                                      .streaming = true,
                                      .content_length = -1};
    r->silent = true;
    r->op = http_send_request(r->origin, &req, &handler, r);
    assert_int_equal(http_op_send_body(r->op, "second!", 7), HTTP_FLOW_GO);
    http_op_end_body(r->op);
    r->silent = false;
    r->answers[0] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    run(r);
    assert_int_equal(r->rc, 0);
    assert_non_null(strstr(r->got, "transfer-encoding: chunked\r\n\r\n00000c\r\nfirstsecond!\r\n0\r\n\r\n"));
    assert_null(strstr(r->got, "content-length"));
}

/* The last bytes are sent, and a turn later the body is said to have ended: nothing is left to send then. */
static void silence_after_a_streamed_body_times_out(void **state)
{
    struct rig *r = *state;
    struct http_client_request req = {.method = STR("PUT"),
                                      .target = STR("/"),
                                      .body = STR("12345"),
                                      .streaming = true,
                                      .content_length = 5,
                                      .head_ms = 150};
    r->silent = true;
    r->rc = 0;
    r->op = http_send_request(r->origin, &req, &handler, r);
    while (!strstr(r->got, "\r\n\r\n12345")) {
        loop_call(r->loop, stop, r);
        run(r);
    }
    http_op_end_body(r->op);
    run(r);
    assert_int_equal(r->rc, ERR_TIMEOUT);
}

/* Small pieces are taken whole or not at all, so the first one past what the sockets hold finds no deadline running. */
static void a_body_that_nobody_takes_times_out(void **state)
{
    struct rig *r = *state;
    char piece[256] = "";
    struct http_client_request req = {.method = STR("PUT"),
                                      .target = STR("/"),
                                      .body = STR("1"),
                                      .streaming = true,
                                      .content_length = 1 << 30,
                                      .idle_ms = 150};
    r->reads_nothing = true;
    r->op = http_send_request(r->origin, &req, &handler, r);
    while (!r->ends && http_op_send_body(r->op, piece, sizeof piece) == HTTP_FLOW_GO) {
        loop_call(r->loop, stop, r);
        run(r);
    }
    if (!r->ends) {
        run(r);
    }
    assert_int_equal(r->rc, ERR_TIMEOUT);
    assert_non_null(strstr(r->err.msg, "not taken"));
}

static void a_request_that_would_be_two_is_refused(void **state)
{
    struct rig *r = *state;
    struct http_field bad = {STR("x-a"), STR("1\r\nx-b: 2")};
    struct http_client_request req = {
        .method = STR("GET"), .target = STR("/"), .fields = &bad, .field_count = 1};
    r->op = http_send_request(r->origin, &req, &handler, r);
    run(r);
    assert_int_equal(r->rc, ERR_INVALID);
    req = (struct http_client_request){.method = STR("GET"), .target = STR("/ HTTP/1.1\r\n")};
    r->op = http_send_request(r->origin, &req, &handler, r);
    run(r);
    assert_int_equal(r->rc, ERR_INVALID);
    assert_int_equal(r->peer_count, 0);
}

/* Who sends a body learns of a failure at the end of the turn: until then he may go on, and end it. */
static void a_body_for_a_request_that_failed_at_once_is_dropped(void **state)
{
    struct rig *r = *state;
    struct http_client_request req = {
        .method = STR("PUT"), .target = STR("/ two"), .streaming = true, .content_length = 5};
    r->op = http_send_request(r->origin, &req, &handler, r);
    assert_int_equal(http_op_send_body(r->op, "12345", 5), HTTP_FLOW_GONE);
    http_op_end_body(r->op);
    run(r);
    assert_int_equal(r->ends, 1);
    assert_int_equal(r->rc, ERR_INVALID);
    assert_int_equal(r->peer_count, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_get_is_written_as_it_should),
        CASE(a_post_carries_its_body),
        CASE(framing_is_strict),
        CASE(framing_is_the_same_byte_by_byte),
        CASE(a_head_answer_has_no_body),
        CASE(a_long_head_is_refused),
        CASE(connections_are_kept_and_used_again),
        CASE(a_kept_connection_that_is_dead_is_replaced_once),
        CASE(what_may_happen_only_once_is_not_replayed),
        CASE(a_fresh_connection_that_dies_is_not_tried_again),
        CASE(nobody_listening_is_unavailable),
        cmocka_unit_test(only_what_concerns_every_peer_is_ours),
        CASE(a_name_is_looked_up),
        CASE(too_many_connections_are_refused),
        CASE(silence_times_out),
        CASE(a_paused_answer_waits_and_loses_nothing),
        CASE(a_canceled_operation_says_nothing_more),
        CASE(a_streamed_body_is_chunked),
        CASE(silence_after_a_streamed_body_times_out),
        CASE(a_body_that_nobody_takes_times_out),
        CASE(a_request_that_would_be_two_is_refused),
        CASE(a_body_for_a_request_that_failed_at_once_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

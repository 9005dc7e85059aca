/* What a client sends to a whole server (base/http/server.h) over a unix socket: HTTP/1.1, or HTTP/2 when it begins with
 * the preface. The client says all, then ends its side and reads until the server ends the other.
 *
 * Every request that reaches the handler must finish once, no connection may stay, and an answer begins like one. */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/http/problem.h"
#include "base/http/server.h"
#include "tests/fuzz/fuzz.h"

enum { PIECE = 4096, TOO_LONG_MS = 20000 };

static struct loop *loop;
static struct http_server *server;
static struct http_listener *listener;
static struct http_listener_conf conf = {.http2 = true, .name = "fuzz", .unix_mode = 0600};
static int live; /* requests that have not finished */
static struct buf answer;
static bool is_answered;
static char filler[PIECE];
static const struct http_field text_plain = {STR_INIT("content-type"), STR_INIT("text/plain")};

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    MUST(ex->user == &live && live > 0 && http_finish_name(reason));
    ex->user = NULL;
    live--;
}

static void on_body(struct http_exchange *ex, int rc, struct str body)
{
    if (rc == ERR_LIMIT) {
        http_reply_error(ex, "payload_too_large", "too much");
    } else {
        MUST(ex->content_length < 0 || body.n == (size_t)ex->content_length);
        http_reply(ex, 200, &text_plain, 1, body);
    }
}

static void on_chunk(struct http_exchange *ex, struct str data, bool last)
{
    if (!ex->status) {
        http_start(ex, 200, &text_plain, 1, -1);
    }
    http_send(ex, data.p, data.n);
    if (data.n > 0) {
        http_consume(ex, data.n);
    }
    if (last) {
        http_end(ex);
    }
}

/* What the handler does depends on the second byte of the path: the input chooses. */
static void on_request(struct http_exchange *ex, void *arg)
{
    ex->user = &live;
    ex->on_finish = on_finish;
    live++;
    switch (ex->path.n > 1 ? ex->path.p[1] : 0) {
    case 'b':
        http_read_body(ex, 65536, on_body);
        break;
    case 'p':
        http_stream_body(ex, on_chunk);
        break;
    case 's':
        http_start(ex, 200, &text_plain, 1, -1);
        http_send(ex, filler, sizeof(filler));
        http_end(ex);
        break;
    case 'a':
        http_start(ex, 200, &text_plain, 1, 100);
        http_abort(ex);
        break;
    case 'h':
        break; /* never answers */
    case 'e':
        http_reply_error(ex, "not_found", "nothing here");
        break;
    default:
        http_reply(ex, 200, &text_plain, 1, STR("hello"));
        break;
    }
}

static void stop(void)
{
    http_server_free(server);
    http_listener_close(listener);
    loop_free(loop);
    buf_clear(&answer);
}

static void start(void)
{
    static const struct http_handler handler = {.on_request = on_request};
    struct err err = {0};
    char address[64];
    signal(SIGPIPE, SIG_IGN);
    snprintf(address, sizeof(address), "unix:/tmp/tide-fuzz-%d.sock", getpid());
    MUST(endpoint_parse(str_from(address), &conf.endpoint, &err) == 0);
    buf_init(&answer, 1 << 26);
    loop = loop_new("fuzz", 0);
    listener = http_listener_open(&conf, 1, &err);
    MUST(listener);
    server = http_server_new(loop, &http_limits_default, &handler);
    MUST(http_server_attach(server, listener, 0, NULL, NULL, &err) == 0);
    atexit(stop);
}

static void on_client_readable(evutil_socket_t fd, short what, void *arg)
{
    char piece[PIECE];
    ssize_t n = read(fd, piece, sizeof(piece));
    if (n > 0) {
        buf_add(&answer, piece, (size_t)n);
    } else {
        is_answered = true;
        loop_stop(loop);
    }
}

static void on_too_long(void *arg)
{
    err_bug("a connection that does not end", TIDE_WHERE);
}

static void end_turn(void *arg)
{
    loop_stop(loop);
}

static int connect_to_server(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0);
    MUST(connect(fd, (const struct sockaddr *)&conf.endpoint.sa, conf.endpoint.sa_len) == 0);
    return fd;
}

static void say(const uint8_t *data, size_t n)
{
    struct loop_timer too_long;
    int fd = connect_to_server();
    struct event *readable =
        event_new(loop_event_base(loop), fd, EV_READ | EV_PERSIST, on_client_readable, NULL);
    MUST(readable && event_add(readable, NULL) == 0);
    MUST(send(fd, data, n, MSG_DONTWAIT) == (ssize_t)n);
    shutdown(fd, SHUT_WR);
    loop_timer_init(loop, &too_long, on_too_long, NULL);
    loop_timer_arm(&too_long, TOO_LONG_MS);
    buf_truncate(&answer);
    is_answered = false;
    while (!is_answered || live > 0 || http_server_connections(server) > 0) {
        if (is_answered) {
            loop_call(loop, end_turn, NULL);
        }
        loop_run(loop);
    }
    loop_timer_disarm(&too_long);
    event_free(readable);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (!loop) {
        start();
    }
    if (n > 32768) {
        return 0;
    }
    say(data, n);
    MUST(live == 0);
    if (n >= sizeof(preface) - 1 && memcmp(data, preface, sizeof(preface) - 1) == 0) {
        MUST(answer.n < 9 || answer.p[3] == 4); /* SETTINGS come first */
    } else if (answer.n > 0) {
        MUST(str_starts(buf_str(&answer), STR("HTTP/1.1 ")));
    }
    return 0;
}

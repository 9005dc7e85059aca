/* An upstream for the benches that speaks HTTP/1.1 and HTTP/2 (prior knowledge) on one port: a worker that needs no time.
 *
 *     sse_stub PORT        on 127.0.0.1, until SIGTERM
 *
 *   POST with "stream":true   events of about 200 bytes, so many and so far apart as x-chunks and x-delay-ms say (or
 *                             "stub:n=64,d=20" in the body); each carries "ts": CLOCK_MONOTONIC ns when it was made
 *   POST .../completions      a chat completion of about 300 bytes
 *   /v1/models, /health       what a gateway asks of a worker; model "mock"
 *   anything else             200 bytes of JSON
 *
 * Events that are due in the same millisecond leave in one write of their connection, as those of one forward pass do. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/http/server.h"

enum { BODY_MAX = 1 << 20, EVENTS = 64, DELAY_MS = 20, BURST = 16 };

struct stream {
    struct http_exchange *ex;
    struct loop_timer timer;
    uint64_t due_ms;
    uint32_t events, made, delay_ms;
    bool paused;
};

static const struct http_field json_type[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};

static void reply_json(struct http_exchange *ex, const char *text)
{
    http_reply(ex, 200, json_type, 1, str_from(text));
}

/* --- streams ------------------------------------------------------------------------------------------ */

static enum http_flow send_event(struct stream *s)
{
    char text[512];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int n =
        snprintf(text, sizeof text,
                 "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\","
                 "\"created\":1700000000,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                 "\" tok%05u\"},\"finish_reason\":null}],\"ts\":%lld}\n\n",
                 s->made++, (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    return http_send(s->ex, text, (size_t)n);
}

static void end_stream(struct stream *s)
{
    static const char end[] =
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","
        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    static const char done[] = "data: [DONE]\n\n";
    bool is_chat = str_ends(s->ex->path, STR("/chat/completions")) && s->events == 0;
    (void)http_send(s->ex, is_chat ? end : done, is_chat ? sizeof end - 1 : sizeof done - 1);
    http_end(s->ex);
}

static void on_due(void *arg)
{
    struct stream *s = arg;
    enum http_flow flow = HTTP_FLOW_GO;
    for (unsigned i = 0; s->made < s->events && flow == HTTP_FLOW_GO && i < (s->delay_ms ? 1 : BURST); i++) {
        flow = send_event(s);
    }
    s->paused = flow == HTTP_FLOW_PAUSE;
    if (s->made >= s->events) {
        end_stream(s);
    } else if (flow == HTTP_FLOW_GO) {
        uint64_t now = loop_now_ms(s->ex->loop);
        s->due_ms += s->delay_ms;
        loop_timer_arm(&s->timer, s->due_ms > now ? s->due_ms - now : 0);
    }
}

static void on_drain(struct http_exchange *ex)
{
    struct stream *s = ex->user;
    if (s->paused) {
        s->due_ms = loop_now_ms(ex->loop);
        loop_timer_arm(&s->timer, s->delay_ms);
    }
}

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct stream *s = ex->user;
    loop_timer_disarm(&s->timer);
}

static uint32_t knob(const struct http_exchange *ex, const char *name, uint32_t preset)
{
    uint64_t n;
    return str_u64(http_field_get(ex, name), &n) && n <= UINT32_MAX ? (uint32_t)n : preset;
}

static void body_knobs(struct stream *s, struct str body)
{
    unsigned n, d;
    const char *at = memmem(body.p, body.n, "stub:n=", 7);
    if (at && sscanf(at, "stub:n=%u,d=%u", &n, &d) == 2) { /* the body ends with a NUL */
        s->events = n;
        s->delay_ms = d;
    }
}

static void start_stream(struct http_exchange *ex, struct str body)
{
    static const struct http_field type[] = {{STR_INIT("content-type"), STR_INIT("text/event-stream")}};
    struct stream *s = ARENA_NEW(&ex->arena, struct stream);
    s->ex = ex;
    s->events = knob(ex, "x-chunks", EVENTS);
    s->delay_ms = knob(ex, "x-delay-ms", DELAY_MS);
    body_knobs(s, body);
    s->due_ms = loop_now_ms(ex->loop) + s->delay_ms;
    loop_timer_init(ex->loop, &s->timer, on_due, s);
    ex->user = s;
    ex->on_drain = on_drain;
    ex->on_finish = on_finish;
    http_start(ex, 200, type, 1, -1);
    loop_timer_arm(&s->timer, s->delay_ms);
}

/* --- requests ----------------------------------------------------------------------------------------- */

static void on_body(struct http_exchange *ex, int rc, struct str body)
{
    if (rc != 0) {
        http_abort(ex);
    } else if (memmem(body.p, body.n, "\"stream\":true", 13) ||
               memmem(body.p, body.n, "\"stream\": true", 14)) {
        start_stream(ex, body);
    } else {
        reply_json(
            ex,
            "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1700000000,"
            "\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
            "\"The tide answers in one short line.\"},\"finish_reason\":\"stop\"}],\"usage\":{"
            "\"prompt_tokens\":9,\"completion_tokens\":9,\"total_tokens\":18}}");
    }
}

static void on_request(struct http_exchange *ex, void *arg)
{
    static char small[201];
    if (!small[0]) {
        memset(small, 'x', sizeof small - 1);
        memcpy(small, "{\"pad\":\"", 8);
        memcpy(small + sizeof small - 3, "\"}", 2);
    }
    if (ex->method == HTTP_POST) {
        http_read_body(ex, BODY_MAX, on_body);
    } else if (str_is(ex->path, "/v1/models")) {
        reply_json(ex, "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\"}]}");
    } else {
        reply_json(ex, str_is(ex->path, "/health") ? "{}" : small);
    }
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    loop_stop(arg);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    char address[32];
    struct http_listener_conf conf = {
        .plaintext = true, .http2 = true, .shards = 1, .backlog = 4096, .name = "stub"};
    snprintf(address, sizeof address, "127.0.0.1:%s", argc == 2 ? argv[1] : "");
    if (argc != 2 || endpoint_parse(str_from(address), &conf.endpoint, &err) != 0) {
        fputs("usage: sse_stub PORT\n", stderr);
        return 2;
    }
    struct loop *loop = loop_new("stub", 0);
    struct http_limits limits = http_limits_default;
    limits.requests_per_connection = limits.h2_streams = limits.h2_unanswered = UINT32_MAX / 2;
    limits.h2_resets_burst = limits.h2_control_burst = 1000000;
    struct http_handler handler = {on_request, NULL};
    struct http_listener *l = http_listener_open(&conf, 1, &err);
    struct http_server *s = l ? http_server_new(loop, &limits, &handler) : NULL;
    if (!s || http_server_attach(s, l, 0, NULL, NULL, &err) != 0) {
        fprintf(stderr, "sse_stub: %s\n", err.msg);
        return 1;
    }
    struct event *term = evsignal_new(loop_event_base(loop), SIGTERM, on_signal, loop);
    event_add(term, NULL);
    loop_run(loop);
    event_free(term);
    http_server_free(s);
    http_listener_close(l);
    loop_free(loop);
    return 0;
}

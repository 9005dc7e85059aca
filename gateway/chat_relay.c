/* What the client of a chat request is sent. Events pass as the worker wrote them, whole; they are held back until one
 * carries content, so that up to there another worker can take over without a trace. */
#include "gateway/chat_call.h"
#include "gateway/chat_event.h"

static void start(struct chat_call *c)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("text/event-stream; charset=utf-8")},
        {STR_INIT("cache-control"), STR_INIT("no-cache")},
        {STR_INIT("x-accel-buffering"), STR_INIT("no")},
    };
    if (!c->started) {
        c->started = true;
        http_start(c->r->ex, 200, fields, 3, -1);
    }
}

static enum http_flow commit(struct chat_call *c)
{
    enum http_flow flow = HTTP_FLOW_GO;
    if (!c->committed) {
        c->committed = true;
        loop_timer_disarm(&c->keep_alive);
        start(c);
        if (c->held.n > 0) {
            flow = http_send(c->r->ex, c->held.p, c->held.n);
        }
        buf_clear(&c->held);
    }
    return flow;
}

static enum http_flow pass(struct chat_call *c, struct str text)
{
    if (!c->committed && buf_add_str(&c->held, text) == 0) {
        return HTTP_FLOW_GO;
    }
    enum http_flow flow = commit(c); /* or so much came before any content that it cannot be held */
    enum http_flow sent = http_send(c->r->ex, text.p, text.n);
    return sent != HTTP_FLOW_GO ? sent : flow;
}

static void note_usage(struct chat_call *c, const struct chat_event *e)
{
    if (e->has_usage) {
        c->r->prompt_tokens = e->prompt_tokens;
        c->r->completion_tokens = e->completion_tokens;
    }
}

enum http_flow chat_relay_event(struct chat_call *c, struct str event)
{
    struct chat_event e;
    if (c->has_done || c->has_error) {
        return HTTP_FLOW_GO; /* nothing counts any more */
    }
    if (c->committed && chat_event_is_plain(event)) {
        c->content_events++;
        return http_send(c->r->ex, event.p, event.n);
    }
    chat_event_read(event, &c->scratch, &c->text, &e);
    note_usage(c, &e);
    c->has_error = e.is_error;
    c->is_late = e.is_late;
    c->has_done = e.is_done;
    c->has_finish = c->has_finish || e.has_finish;
    c->content_events += e.has_content;
    if (e.is_error || e.is_done || e.is_comment) {
        return HTTP_FLOW_GO; /* told at the end, by us; keep-alives are ours as well */
    }
    if (e.is_usage_only && !c->body.wants_usage) {
        return HTTP_FLOW_GO;
    }
    if (e.has_content || e.has_finish) {
        enum http_flow flow = commit(c);
        enum http_flow sent = http_send(c->r->ex, e.text.p, e.text.n);
        return sent != HTTP_FLOW_GO ? sent : flow;
    }
    return pass(c, e.text);
}

void chat_relay_keep_alive(struct chat_call *c)
{
    static const char comment[] = ": keep-alive\n\n";
    start(c);
    if (http_queued_bytes(c->r->ex) == 0) {
        (void)http_send(c->r->ex, comment, sizeof comment - 1);
    }
}

void chat_relay_end(struct chat_call *c)
{
    static const char done[] = "data: [DONE]\n\n";
    (void)commit(c);
    (void)http_send(c->r->ex, done, sizeof done - 1);
    http_end(c->r->ex);
}

void chat_relay_error(struct chat_call *c, const struct problem *p)
{
    struct http_exchange *ex = c->r->ex;
    if (!c->started) {
        http_reply_problem(ex, p);
        return;
    }
    struct buf event;
    buf_init(&event, CHAT_HELD_BYTES);
    (void)buf_add_cstr(&event, "data: ");
    problem_write(ex, p, &event);
    (void)buf_add_cstr(&event, "\n\n");
    ex->problem = p->code;
    (void)http_send(ex, event.p, event.n);
    buf_clear(&event);
    http_end(ex);
}

void chat_relay_answer(struct chat_call *c, struct str json)
{
    static const struct http_field type[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};
    static const struct chat_failure unusable = {.problem = "bad_gateway",
                                                 .detail = "the worker's answer is not a completion"};
    struct chat_event e;
    chat_answer_read(json, &c->text, &e);
    note_usage(c, &e);
    if (e.is_error) {
        upstream_spoil(c->up);
        c->up = NULL;
        chat_call_fail(c, &unusable);
        return;
    }
    http_reply(c->r->ex, 200, type, 1, e.text);
    c->up = NULL;
    chat_call_release(c);
}

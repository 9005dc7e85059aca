#include "inference/worker/load_report.h"

#include <stdlib.h>

#include "base/json.h"

enum { PERIOD_MS = 100, EVENT_MAX = 512 };

struct load_report {
    struct http_exchange *ex;
    struct engine *engine;
    const bool *draining;
    struct loop_timer timer;
    bool paused; /* the socket is full: this event is left out */
};

static void write_event(struct buf *out, const struct load_report *r)
{
    struct engine_load load = engine_load(r->engine);
    struct json_writer w = {.out = out};
    buf_add_cstr(out, "data: ");
    json_open(&w, '{');
    json_i64_at(&w, "running", load.running);
    json_i64_at(&w, "waiting", load.waiting);
    json_i64_at(&w, "slots", load.slots);
    json_i64_at(&w, "kv_blocks_used", load.kv_blocks_used);
    json_i64_at(&w, "kv_blocks", load.kv_blocks);
    json_bool_at(&w, "draining", *r->draining);
    json_close(&w, '}');
    buf_add_cstr(out, "\n\n");
}

static void on_time(void *arg)
{
    struct load_report *r = arg;
    struct buf event;
    buf_init(&event, EVENT_MAX);
    loop_timer_arm(&r->timer, PERIOD_MS);
    if (!r->paused) {
        write_event(&event, r);
        r->paused = http_send(r->ex, event.p, event.n) == HTTP_FLOW_PAUSE;
    }
    buf_clear(&event);
    if (*r->draining) {
        loop_timer_disarm(&r->timer);
        http_end(r->ex); /* the last word; it must not hold up the drain */
    }
}

static void on_drain(struct http_exchange *ex)
{
    struct load_report *r = ex->user;
    r->paused = false;
}

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct load_report *r = ex->user;
    loop_timer_disarm(&r->timer);
    free(r);
}

void load_report_start(struct http_exchange *ex, struct engine *engine, const bool *draining)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT(LOAD_REPORT_TYPE)},
        {STR_INIT("cache-control"), STR_INIT("no-cache")},
    };
    struct load_report *r = calloc(1, sizeof *r);
    BUG_ON(!r);
    *r = (struct load_report){.ex = ex, .engine = engine, .draining = draining};
    loop_timer_init(ex->loop, &r->timer, on_time, r);
    ex->user = r;
    ex->on_drain = on_drain;
    ex->on_finish = on_finish;
    http_start(ex, 200, fields, 2, -1);
    on_time(r);
}

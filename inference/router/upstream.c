#include "inference/router/upstream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "inference/router/queue.h"

enum { UPSTREAM_FIELDS = 16, PROGRESS_MS = 1000 };

static struct metric ttft =
    METRIC_HISTOGRAM("tidegate_upstream_first_byte_seconds",
                     "From the request to a worker to the first byte of its answer's body.");

struct head {
    unsigned status;
    uint32_t retry_after_s; /* 0: none */
    bool is_stream;         /* text/event-stream with status 200 */
};

struct upstream {
    struct worker_origins *origins;
    struct worker_origin *origin; /* NULL: the target was malformed */
    struct worker_grant grant;
    struct http_op *op; /* NULL: not begun, or ended */
    const struct upstream_handler *handler;
    void *arg;
    struct sse_scanner scanner;
    struct buf body;
    struct head head;
    uint64_t began_us;
    uint64_t progress_ms; /* when progress was last noted */
    bool has_head;
    bool has_bytes;
    bool is_spoilt;
    bool is_excused;
    bool was_held;    /* our client has let it wait: who waits too long may be cut */
    bool is_canceled; /* inside a callback: the caller unwinds */
    unsigned pins;
    struct loop_task fail; /* on_end when there never was an op */
    struct err err;
};

/* --- end ---------------------------------------------------------------------------------------------- */

static uint64_t now_ms(const struct upstream *u)
{
    return loop_now_ms(u->origins->loop);
}

static void free_upstream(struct upstream *u)
{
    sse_clear(&u->scanner);
    buf_clear(&u->body);
    free(u);
}

static void unpin_and_maybe_free(struct upstream *u)
{
    if (--u->pins == 0) {
        free_upstream(u);
    }
}

/* Gives slot and connection back. The struct lives on until its last pin. */
static void let_go(struct upstream *u)
{
    struct worker_origins *o = u->origins;
    uint64_t now = now_ms(u);
    struct worker *w = u->grant.worker; /* a reference until the grant ends, then compared only */
    atomic_fetch_add_explicit(&w->requests, 1, memory_order_relaxed);
    u->op = NULL;
    loop_task_cancel(o->loop, &u->fail);
    worker_grant_end(&u->grant, now);
    if (u->origin) {
        worker_origin_give_back_and_maybe_free(o, u->origin);
    }
    queue_pump_freed(o->table, w, now);
}

static enum breaker_result verdict(const struct upstream *u, int rc)
{
    if (rc == ERR_UNAVAILABLE) {
        return BREAKER_CONNECT_FAIL;
    }
    bool is_long = rc == ERR_LIMIT && !u->head.is_stream;
    bool is_unread = rc == ERR_CLOSED && u->was_held;
    if (is_long || is_unread || u->is_excused || rc == ERR_IO) { /* its client's doing, or ours */
        return BREAKER_NO_VERDICT;
    }
    if (rc != 0 || u->is_spoilt || (u->has_head && u->head.status >= 500)) {
        return BREAKER_FAIL;
    }
    return u->head.status == 429 ? BREAKER_NO_VERDICT : BREAKER_OK;
}

static void end(struct upstream *u, int rc, const struct err *err)
{
    struct worker *w = u->grant.worker;
    u->op = NULL;
    struct upstream_end e = {.rc = rc,
                             .has_head = u->has_head,
                             .status = u->head.status,
                             .retry_after_s = u->head.retry_after_s,
                             .body = buf_str(&u->body),
                             .err = err};
    u->pins++;
    u->is_canceled = true; /* from here on a cancel comes too late */
    u->handler->on_end(u->arg, &e);
    enum breaker_result v = verdict(u, rc);
    if (v == BREAKER_FAIL || v == BREAKER_CONNECT_FAIL) {
        atomic_fetch_add_explicit(&w->failures, 1, memory_order_relaxed);
        log_warn("worker name=%s failed=%s text=\"%s\"", w->name, rc ? err_name(rc) : "answer",
                 err ? err->msg : "");
    }
    if (rc == ERR_IO) {
        log_warn("worker name=%s not_asked=%s text=\"%s\"", w->name, err_name(rc), err->msg);
    }
    if (v == BREAKER_CONNECT_FAIL || (v == BREAKER_FAIL && rc == ERR_CLOSED)) {
        worker_suspect(w);
    }
    worker_grant_note(&u->grant, now_ms(u), v);
    let_go(u);
    u->pins--;
    unpin_and_maybe_free(u);
}

void upstream_cancel(struct upstream *u)
{
    if (!u || u->is_canceled) {
        return;
    }
    u->is_canceled = true;
    if (u->op) {
        http_op_cancel(u->op);
    }
    let_go(u);
    unpin_and_maybe_free(u);
}

bool upstream_is_connecting(const struct upstream *u)
{
    return u->op && http_op_is_connecting(u->op);
}

void upstream_spoil(struct upstream *u)
{
    u->is_spoilt = true;
}

void upstream_excuse(struct upstream *u)
{
    u->is_excused = true;
}

bool upstream_refuse(struct upstream *u)
{
    u->is_excused = true;
    return worker_note_refusal(u->grant.worker);
}

static void on_fail(void *arg)
{
    struct upstream *u = arg;
    end(u, u->err.code, &u->err);
}

/* --- the answer --------------------------------------------------------------------------------------- */

static bool has_prefix(struct str s, const char *prefix)
{
    struct str p = str_from(prefix);
    return s.n >= p.n && str_eq_nocase(str_of(s.p, p.n), p);
}

static void read_fields(struct head *head, const struct http_field *fields, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t seconds = 0;
        if (str_is(fields[i].name, "content-type")) {
            head->is_stream = head->status == 200 && has_prefix(fields[i].value, "text/event-stream");
        } else if (str_is(fields[i].name, "retry-after") && str_u64(fields[i].value, &seconds)) {
            head->retry_after_s = seconds < 3600 ? (uint32_t)seconds : 3600;
        }
    }
}

static void on_head(struct http_op *op, unsigned status, const struct http_field *fields, unsigned count,
                    int64_t content_length)
{
    struct upstream *u = http_op_arg(op);
    u->has_head = true;
    u->head = (struct head){.status = status};
    read_fields(&u->head, fields, count);
    if (status == 200 && worker_note_answer(u->grant.worker)) {
        log_info("worker name=%s text=\"it takes our key: it answered a request\"", u->grant.worker->name);
    }
    if (status == 200 && u->grant.is_probe) {
        worker_grant_note(&u->grant, now_ms(u),
                          BREAKER_OK); /* it is back: do not keep others out till the end */
    }
}

static void note_progress(struct upstream *u)
{
    uint64_t now = now_ms(u);
    if (now - u->progress_ms >= PROGRESS_MS) {
        u->progress_ms = now;
        worker_note_progress(u->grant.worker, now);
    }
    if (!u->has_bytes) {
        uint64_t us = clock_mono_us() - u->began_us;
        u->has_bytes = true;
        worker_note_ttft(u->grant.worker, us);
        metric_observe_us(&ttft, us);
    }
}

enum { STOP_CANCELED = 1 };
struct feed {
    struct upstream *u;
    enum http_flow flow;
};

static int on_event(void *arg, struct str event)
{
    struct feed *f = arg;
    struct upstream *u = f->u;
    enum http_flow flow = u->handler->on_event(u->arg, event);
    f->flow = flow != HTTP_FLOW_GO ? flow : f->flow;
    return u->is_canceled ? STOP_CANCELED : 0;
}

static void fail_now(struct upstream *u, const char *what, size_t limit)
{
    struct err err;
    (void)err_set(&err, ERR_LIMIT, "%s: %s is longer than %zu bytes", u->grant.worker->name, what, limit);
    http_op_cancel(u->op);
    end(u, ERR_LIMIT, &err);
}

/* One read may hold several events: all are handed over, also after a PAUSE; the read is at most 64 KiB. */
static enum http_flow on_data(struct http_op *op, const char *p, size_t n)
{
    struct upstream *u = http_op_arg(op);
    note_progress(u);
    if (!u->head.is_stream) {
        if (buf_add(&u->body, p, n) != 0) {
            fail_now(u, "an answer", u->body.max);
            return HTTP_FLOW_GONE;
        }
        return HTTP_FLOW_GO;
    }
    struct feed f = {.u = u, .flow = HTTP_FLOW_GO};
    u->pins++;
    int rc = sse_feed(&u->scanner, str_of(p, n), on_event, &f);
    if (rc == ERR_LIMIT) {
        fail_now(u, "an event", u->scanner.held.max);
        f.flow = HTTP_FLOW_GONE;
    }
    u->was_held |= f.flow == HTTP_FLOW_PAUSE;
    unpin_and_maybe_free(u);
    return f.flow;
}

static void on_end(struct http_op *op, int rc, const struct err *err)
{
    end(http_op_arg(op), rc, err);
}

/* --- begin -------------------------------------------------------------------------------------------- */

static const struct http_client_handler client_handler = {
    .on_head = on_head, .on_data = on_data, .on_end = on_end};

static void send_request(struct upstream *u, const struct upstream_request *req)
{
    struct http_field fields[UPSTREAM_FIELDS];
    unsigned n = 0;
    for (; n < req->field_count && n + 1 < UPSTREAM_FIELDS; n++) {
        fields[n] = req->fields[n];
    }
    if (u->grant.worker->authorization[0]) {
        fields[n++] = (struct http_field){STR("authorization"), str_from(u->grant.worker->authorization)};
    }
    struct http_client_request cr = {.method = STR("POST"),
                                     .target = req->target,
                                     .fields = fields,
                                     .field_count = n,
                                     .body = req->body,
                                     .connect_ms = req->connect_ms,
                                     .head_ms = req->head_ms,
                                     .idle_ms = req->idle_ms};
    u->op = http_send_request(u->origin->http, &cr, &client_handler, u);
}

struct upstream *upstream_start(struct worker_origins *o, struct worker_grant grant,
                                const struct upstream_request *req, const struct upstream_handler *handler,
                                void *arg)
{
    struct upstream *u = calloc(1, sizeof *u);
    BUG_ON(!u);
    u->origins = o;
    u->grant = grant;
    u->handler = handler;
    u->arg = arg;
    u->pins = 1;
    u->began_us = clock_mono_us();
    u->fail = (struct loop_task){.fn = on_fail, .arg = u};
    sse_init(&u->scanner, req->event_bytes);
    buf_init(&u->body, req->answer_bytes);
    u->origin = worker_origin_take(o, grant.worker, &u->err);
    if (u->origin) {
        send_request(u, req);
    } else {
        loop_at_turn_end(o->loop, &u->fail);
    }
    return u;
}

void upstream_resume(struct upstream *u)
{
    if (u->op) {
        http_op_resume(u->op);
    }
}

/* One chat request: which worker, when, and what when it fails. Callbacks stand in the order of time. */
#include "gateway/chat_call.h"

#include <sodium.h>

#include "base/jws.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/chat_event.h"
#include "gateway/config.h"
#include "gateway/identify.h"

enum { TEXT_BYTES = 1 << 20, RETRY_AFTER_S = 5 };

static struct metric queued =
    METRIC_COUNTER("tidegate_chat_queued_total", "Requests that waited for a worker.");
static struct metric queue_refused = METRIC_COUNTER(
    "tidegate_chat_queue_refused_total", "Requests refused because the queue was full or too slow.");
static struct metric queue_wait =
    METRIC_HISTOGRAM("tidegate_chat_queue_seconds", "Time in the queue of those who got a worker.");
static struct metric retries =
    METRIC_COUNTER("tidegate_chat_retries_total", "Requests sent to a second worker.");
static struct metric broken = METRIC_COUNTER("tidegate_chat_broken_streams_total",
                                             "Streams that a worker broke after content had gone out.");

static void choose(struct chat_call *c, const struct chat_failure *before);

void chat_call_init(struct chat_call *c, struct request *r, enum chat_kind kind)
{
    c->r = r;
    c->cl = r->gl->chat;
    c->conf = &r->conf->set->chat;
    c->kind = kind;
    buf_init(&c->held, CHAT_HELD_BYTES);
    buf_init(&c->scratch, TEXT_BYTES);
    buf_init(&c->text, c->conf->answer_bytes + TEXT_BYTES);
}

int64_t chat_call_reserved(const struct chat_call *c)
{
    int64_t answer = c->body.max_tokens > 0 ? c->body.max_tokens : c->conf->expected_tokens;
    return answer * c->body.choices;
}

void chat_call_release(struct chat_call *c)
{
    struct request *r = c->r;
    r->cancel = NULL;
    loop_timer_disarm(&c->queue_timer);
    loop_timer_disarm(&c->keep_alive);
    buf_clear(&c->held);
    buf_clear(&c->scratch);
    buf_clear(&c->text);
    if (r->completion_tokens < 0) { /* it broke off: one event is about one token */
        r->prompt_tokens = c->body.prompt_tokens;
        r->completion_tokens = c->content_events;
    }
}

/* Who asks; never 0. */
static uint64_t user_of(const struct request *r)
{
    struct str account = identify_account(r);
    return (r->who ? id_siphash(account.p, account.n) : id_siphash(r->client.b, sizeof r->client.b)) | 1;
}

static void charge(struct chat_call *c, int64_t prompt_tokens, int64_t completion_tokens)
{
    c->r->prompt_tokens = prompt_tokens;
    c->r->completion_tokens = completion_tokens;
}

/* --- trouble ------------------------------------------------------------------------------------------ */

static void tell(struct chat_call *c, const struct chat_failure *f)
{
    struct problem p = {.code = f->problem,
                        .detail = str_from(f->detail),
                        .param = STR(""),
                        .message = STR(""),
                        .retry_after_s = f->retry_after_s,
                        .extra = STR("")};
    if (c->committed) {
        p.code = "stream_interrupted";
        metric_add(&broken, 1);
    } else {
        charge(c, 0, 0);
    }
    chat_relay_error(c, &p);
    chat_call_release(c);
}

static bool take_retry(struct chat_call *c, const struct chat_failure *f)
{
    if (!f->may_retry || c->committed || c->attempts >= CHAT_ATTEMPTS ||
        c->cl->retry_credit < CHAT_RETRY_COST) {
        return false;
    }
    c->cl->retry_credit -= CHAT_RETRY_COST;
    return true;
}

void chat_call_fail(struct chat_call *c, const struct chat_failure *f)
{
    if (!take_retry(c, f)) {
        tell(c, f);
        return;
    }
    buf_truncate(&c->held);
    c->has_finish = c->has_done = c->has_error = c->is_late = false;
    c->content_events = 0;
    choose(c, f);
}

/* --- the worker's answer ------------------------------------------------------------------------------ */

static enum http_flow on_event(void *arg, struct str event)
{
    struct chat_call *c = arg;
    return c->body.is_stream ? chat_relay_event(c, event) : HTTP_FLOW_GO;
}

static const struct chat_failure unreachable = {.problem = "service_unavailable",
                                                .may_retry = true,
                                                .detail = "the worker cannot be reached",
                                                .retry_after_s = 2};
static const struct chat_failure short_here = {.problem = "service_unavailable",
                                               .may_retry = true,
                                               .detail = "this gateway has no connection left to ask with",
                                               .retry_after_s = RETRY_AFTER_S};
static const struct chat_failure lost = {
    .problem = "bad_gateway", .may_retry = true, .detail = "the worker ended the connection"};
static const struct chat_failure slow = {.problem = "gateway_timeout",
                                         .detail = "the worker did not answer in time"};
static const struct chat_failure odd = {.problem = "bad_gateway",
                                        .detail = "the worker's answer is unusable"};
static const struct chat_failure sick = {.problem = "bad_gateway", .detail = "the worker failed"};
static const struct chat_failure unpaid = {
    .problem = "bad_gateway", .may_retry = true, .detail = "the worker failed"};
static const struct chat_failure forbidden = {
    .problem = "bad_request", .may_retry = true, .detail = "the worker refused the request"};
static const struct chat_failure overloaded = {.problem = "model_overloaded",
                                               .may_retry = true,
                                               .detail = "the worker is overloaded",
                                               .retry_after_s = RETRY_AFTER_S};

static const struct chat_failure *failure_of(int rc)
{
    switch (rc) {
    case ERR_UNAVAILABLE:
        return &unreachable;
    case ERR_IO:
        return &short_here;
    case ERR_CLOSED:
        return &lost;
    case ERR_TIMEOUT:
        return &slow;
    default:
        return &odd;
    }
}

/* The worker understood and refused: its own words go to the client. */
static void pass_refusal(struct chat_call *c, const struct upstream_end *end)
{
    static const struct http_field type[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};
    struct str body = str_trim(end->body);
    bool is_json = body.n > 2 && body.p[0] == '{';
    charge(c, 0, 0);
    if (is_json && !c->started) {
        http_reply(c->r->ex, end->status, type, 1, body);
        chat_call_release(c);
        return;
    }
    static const struct chat_failure refused = {.problem = "bad_request",
                                                .detail = "the worker refused the request"};
    tell(c, &refused);
}

/* For our key or our bill, or for the request: some filter content so. Their words may tell of the key, and stay here.
 * Nothing that anybody asks counts against the worker: the router finds out by a question of its own. */
static void on_refusal(struct chat_call *c, struct upstream *up, unsigned status)
{
    bool is_key = upstream_refuse(up) || status != 403;
    chat_call_fail(c, is_key ? &unpaid : &forbidden);
}

/* The worker works, but not as long as this answer would take. */
static void fail_late(struct chat_call *c)
{
    upstream_excuse(c->up);
    c->up = NULL;
    chat_call_fail(c, &slow);
}

static bool is_late(struct chat_call *c, const struct upstream_end *end)
{
    struct chat_event e;
    if (end->status != 504) {
        return false;
    }
    chat_answer_read(end->body, &c->text, &e);
    return e.is_late;
}

static void on_status(struct chat_call *c, const struct upstream_end *end)
{
    struct upstream *up = c->up;
    c->up = NULL;
    switch (end->status) {
    case 429:
    case 502:
    case 503: {
        struct chat_failure f = overloaded;
        f.retry_after_s = end->retry_after_s ? end->retry_after_s : RETRY_AFTER_S;
        chat_call_fail(c, &f);
        break;
    }
    default:
        if (worker_status_is_refusal(end->status)) {
            on_refusal(c, up, end->status);
        } else if (end->status >= 400 && end->status < 500) {
            pass_refusal(c, end);
        } else {
            chat_call_fail(c, &sick);
        }
    }
}

static void on_stream_end(struct chat_call *c)
{
    if ((c->has_done || c->has_finish) && !c->has_error) {
        c->up = NULL;
        chat_relay_end(c);
        chat_call_release(c);
    } else if (c->is_late) {
        fail_late(c);
    } else {
        upstream_spoil(c->up);
        c->up = NULL;
        chat_call_fail(c, &lost);
    }
}

static void on_end(void *arg, const struct upstream_end *end)
{
    struct chat_call *c = arg;
    if (c->has_done && !c->has_error) { /* how the connection ends after [DONE] does not matter */
        on_stream_end(c);
    } else if (end->rc != 0) {
        c->up = NULL;
        chat_call_fail(c, failure_of(end->rc));
    } else if (is_late(c, end)) {
        fail_late(c);
    } else if (end->status != 200) {
        on_status(c, end);
    } else if (c->body.is_stream && end->body.n == 0) {
        on_stream_end(c);
    } else if (!c->body.is_stream && end->body.n > 0) {
        chat_relay_answer(c, end->body);
    } else { /* a stream that nobody asked for, or none where one was asked for */
        upstream_spoil(c->up);
        c->up = NULL;
        chat_call_fail(c, &odd);
    }
}

static const struct upstream_handler upstream_handler = {.on_event = on_event, .on_end = on_end};

/* --- to a worker -------------------------------------------------------------------------------------- */

/* Workers share what they computed of a prompt, and take turns, within a tenant: 64 bits of the account's hash,
 * the same from every gateway. */
static struct str tenant_of(const struct chat_call *c)
{
    struct str account = identify_account(c->r);
    unsigned char hash[crypto_hash_sha256_BYTES];
    char *text = arena_alloc(&c->r->ex->arena, 17);
    /* OpenSSL would look its hash up by name each time. */
    crypto_hash_sha256(hash, (const unsigned char *)account.p, account.n);
    str_hex_encode(hash, 8, text);
    return str_of(text, 16);
}

static unsigned own_fields(const struct chat_call *c, struct http_field out[6])
{
    unsigned n = 0;
    out[n++] = (struct http_field){STR("x-tide-tenant"), tenant_of(c)};
    out[n++] = (struct http_field){STR("content-type"), STR("application/json")};
    out[n++] = (struct http_field){STR("accept"),
                                   c->body.is_stream ? STR("text/event-stream") : STR("application/json")};
    out[n++] = (struct http_field){STR("x-request-id"), str_from(c->r->ex->id)};
    return n + trace_context_fields(c->r->ex, &c->r->trace, out + n);
}

static void attempt(struct chat_call *c, struct worker_grant grant)
{
    struct http_field fields[6];
    struct upstream_request req = {.target = c->kind == CHAT_KIND_CHAT ? STR("/v1/chat/completions")
                                                                       : STR("/v1/completions"),
                                   .body = c->body.upstream,
                                   .fields = fields,
                                   .field_count = own_fields(c, fields),
                                   .connect_ms = c->conf->connect_ms,
                                   .head_ms = c->conf->first_byte_ms,
                                   .idle_ms = c->conf->idle_ms,
                                   .event_bytes = c->conf->event_bytes,
                                   .answer_bytes = c->conf->answer_bytes};
    c->attempts++;
    if (c->attempts > 1) {
        metric_add(&retries, 1);
    }
    c->failed = grant.worker;
    c->r->worker = arena_cstr(&c->r->ex->arena, str_from(grant.worker->name));
    c->up = upstream_start(&c->cl->origins, grant, &req, &upstream_handler, c);
}

static void on_queue_timeout(void *arg)
{
    static const struct chat_failure f = {.problem = "queue_timeout",
                                          .retry_after_s = RETRY_AFTER_S,
                                          .detail = "no worker became free in time"};
    struct chat_call *c = arg;
    queue_leave(c->waiter);
    c->waiter = NULL;
    metric_add(&queue_refused, 1);
    tell(c, &f);
}

static void on_grant(void *arg, struct worker_grant grant)
{
    struct chat_call *c = arg;
    c->waiter = NULL;
    uint64_t waited_ms = loop_now_ms(c->r->gl->loop) - c->queued_ms;
    metric_observe_us(&queue_wait, waited_ms * 1000);
    c->r->queue_us += waited_ms * 1000;
    loop_timer_disarm(&c->queue_timer);
    attempt(c, grant);
}

static int64_t expected_tokens(const struct chat_call *c)
{
    int64_t answer = c->body.max_tokens > 0 && c->body.max_tokens < c->conf->expected_tokens
                         ? c->body.max_tokens
                         : c->conf->expected_tokens;
    return c->body.prompt_tokens + answer * c->body.choices;
}

static void wait_for_slot(struct chat_call *c, struct table_model *m)
{
    static const struct chat_failure full = {.problem = "queue_full",
                                             .retry_after_s = RETRY_AFTER_S,
                                             .detail = "too many requests wait for this model"};
    static const struct chat_failure greedy = {.problem = "concurrency_limit",
                                               .retry_after_s = RETRY_AFTER_S,
                                               .detail = "too many of your requests wait already"};
    struct loop *loop = c->r->gl->loop;
    struct queue_limits limits = {.length = c->conf->queue_length, .per_user = c->conf->queue_per_user};
    struct queue_request req = {.loop = loop,
                                .user = user_of(c->r),
                                .tokens = expected_tokens(c),
                                .exclude = c->failed,
                                .on_grant = on_grant,
                                .arg = c};
    enum queue_refusal why;
    c->waiter = queue_enter(m->queue, &limits, &req, &why);
    if (!c->waiter) {
        metric_add(&queue_refused, 1);
        tell(c, why == QUEUE_FULL ? &full : &greedy);
        return;
    }
    metric_add(&queued, 1);
    c->queued_ms = loop_now_ms(loop);
    loop_timer_arm(&c->queue_timer, c->conf->queue_ms);
    queue_pump(m, c->queued_ms);
}

/* before: why the first attempt failed; told when there is no second worker. */
static void choose(struct chat_call *c, const struct chat_failure *before)
{
    static const struct chat_failure none = {.problem = "service_unavailable",
                                             .retry_after_s = RETRY_AFTER_S,
                                             .detail = "no worker of this model is available"};
    struct table_model *m = worker_table_model(c->cl->origins.table, c->body.model);
    struct worker_grant grant = {0};
    enum choose_result res =
        m ? worker_choose(m, c->failed, expected_tokens(c), loop_now_ms(c->r->gl->loop), &grant)
          : CHOOSE_NONE;
    if (res == CHOOSE_OK) {
        attempt(c, grant);
    } else if (res == CHOOSE_BUSY) {
        wait_for_slot(c, m);
    } else {
        tell(c, before ? before : &none);
    }
}

/* --- begin and cancel --------------------------------------------------------------------------------- */

static void on_keep_alive(void *arg)
{
    struct chat_call *c = arg;
    chat_relay_keep_alive(c);
    loop_timer_arm(&c->keep_alive, c->conf->keep_alive_ms);
}

static void on_drain(struct http_exchange *ex)
{
    struct request *r = ex->user;
    struct chat_call *c = r->handler;
    if (c->up) {
        upstream_resume(c->up);
    }
}

/* The client left. A worker that wrote no stream has not said how far it came: all that was reserved is used. */
static void on_cancel(struct request *r)
{
    struct chat_call *c = r->handler;
    if (c->waiter || (c->up && upstream_is_connecting(c->up))) {
        charge(c, 0, 0);
    } else if (c->up && !c->body.is_stream && r->completion_tokens < 0) {
        charge(c, c->body.prompt_tokens, chat_call_reserved(c));
    }
    if (c->waiter) {
        queue_leave(c->waiter);
        c->waiter = NULL;
    }
    upstream_cancel(c->up);
    c->up = NULL;
    chat_call_release(c);
}

void chat_call_run(struct chat_call *c)
{
    struct request *r = c->r;
    uint32_t credit = c->cl->retry_credit + c->conf->retry_percent;
    c->cl->retry_credit = credit < CHAT_RETRY_CREDIT_MAX ? credit : CHAT_RETRY_CREDIT_MAX;
    r->cancel = on_cancel;
    r->ex->on_drain = on_drain;
    loop_timer_init(r->gl->loop, &c->queue_timer, on_queue_timeout, c);
    loop_timer_init(r->gl->loop, &c->keep_alive, on_keep_alive, c);
    if (c->body.is_stream) {
        loop_timer_arm(&c->keep_alive, c->conf->keep_alive_ms);
    }
    choose(c, NULL);
}

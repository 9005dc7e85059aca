#include "inference/worker/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "inference/worker/openai_reply.h"
#include "inference/worker/worker_metrics.h"

enum {
    EVENT_MAX = 1 << 20,
    WHOLE_MAX = 16 << 20,
    LOGPROBS_MAX = 64 << 20,
    BODY_MAX = 512 << 20, /* with 21 named tokens at each place */
    PENDING_MAX = 256 << 10,
    DRAIN_PIECE = 32 << 10, /* given to the socket at once after a pause */
};

struct answer {
    struct http_exchange *ex; /* NULL after on_finish */
    struct loop *loop;
    struct engine *engine;
    uint64_t job;
    bool job_runs; /* the last output has not come */
    bool streams;
    bool includes_usage;
    bool started; /* the head is sent */
    bool ended;   /* nothing more will be written */
    bool paused;  /* the socket is full: write to pending */
    struct openai_answer reply;
    struct buf text;     /* whole answers: gathered; streams: what waits for the socket */
    struct buf thought;  /* whole answers: reasoning, gathered */
    struct buf logprobs; /* whole answers: gathered, struct token_logprob */
    uint64_t began_us;
    uint64_t first_us; /* first output; 0: none yet */
    enum engine_finish finish;
};

/* An output on its way to the loop. */
struct output_msg {
    struct loop_msg m;
    struct answer *answer;
    uint32_t answer_tokens;
    uint32_t reasoning_tokens;
    uint32_t cached_tokens;
    enum engine_finish finish;
    struct token_logprob *logprobs; /* NULL: none; owned */
    size_t logprob_n;
    size_t reasoning_n;
    size_t n;    /* bytes of content */
    char text[]; /* reasoning, then content */
};

static void free_when_over(struct answer *a)
{
    if (!a->ex && !a->job_runs) {
        buf_clear(&a->text);
        buf_clear(&a->thought);
        buf_clear(&a->logprobs);
        free(a);
    }
}

/* --- to the client ----------------------------------------------------------------------------------- */

static void cut(struct answer *a, const char *why)
{
    log_info("answer id=%s state=cut reason=%s", a->reply.id, why);
    metric_child_add(metric_child(&worker_refused, why), 1);
    a->ended = true;
    if (a->job_runs) {
        engine_cancel(a->engine, a->job);
    }
    http_abort(a->ex);
}

static void write_events(struct answer *a, const struct buf *events)
{
    if (a->ended || !a->ex) {
        return;
    }
    if (!a->paused) {
        a->paused = http_send(a->ex, events->p, events->n) == HTTP_FLOW_PAUSE;
    } else if (buf_add_str(&a->text, buf_str(events))) {
        cut(a, "slow_client");
    }
}

static void end_when_written(struct answer *a)
{
    if (!a->job_runs && !a->ended && a->ex && a->text.n == 0) {
        a->ended = true;
        http_end(a->ex);
    }
}

static void on_drain(struct http_exchange *ex)
{
    struct answer *a = ex->user;
    a->paused = false;
    while (!a->paused && a->streams && a->text.n > 0) {
        size_t n = a->text.n < DRAIN_PIECE ? a->text.n : DRAIN_PIECE;
        a->paused = http_send(ex, a->text.p, n) != HTTP_FLOW_GO;
        buf_consume(&a->text, n);
    }
    if (a->streams && a->started) {
        end_when_written(a);
    }
}

static void start_stream(struct answer *a)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("text/event-stream; charset=utf-8")},
        {STR_INIT("cache-control"), STR_INIT("no-cache")},
    };
    struct buf event;
    a->started = true;
    http_start(a->ex, 200, fields, 2, -1);
    buf_init(&event, EVENT_MAX);
    if (a->reply.is_chat) {
        openai_write_first(&event, &a->reply);
        write_events(a, &event);
    }
    buf_clear(&event);
}

static struct problem failure(enum engine_finish finish)
{
    switch (finish) {
    case ENGINE_FINISH_CANCELED:
        return (struct problem){.code = "draining", .detail = STR("The worker is stopping.")};
    case ENGINE_FINISH_LATE:
        return (struct problem){.code = "answer_timeout",
                                .detail = STR("The answer was not finished within --request-timeout.")};
    default:
        return (struct problem){.code = "internal_error",
                                .detail = STR("The model could not compute the answer.")};
    }
}

static bool has_failed(enum engine_finish finish)
{
    return finish == ENGINE_FINISH_CANCELED || finish == ENGINE_FINISH_FAILED || finish == ENGINE_FINISH_LATE;
}

static void finish_stream(struct answer *a, struct buf *events)
{
    if (has_failed(a->finish)) {
        struct problem p = failure(a->finish);
        buf_add_cstr(events, "data: ");
        problem_write(a->ex, &p, events);
        buf_add_cstr(events, "\n\n");
    } else {
        openai_write_finish(events, &a->reply, a->finish);
        if (a->includes_usage) {
            openai_write_usage(events, &a->reply);
        }
    }
    openai_write_done(events);
}

static void stream_output(struct answer *a, const struct openai_piece *piece)
{
    struct buf events;
    if (!a->started && has_failed(a->finish)) {
        struct problem p = failure(a->finish);
        a->ended = true;
        http_reply_problem(a->ex, &p);
        return;
    }
    if (!a->started) {
        start_stream(a);
    }
    buf_init(&events, EVENT_MAX);
    if (piece->text.n || piece->reasoning.n || piece->logprob_n) {
        openai_write_piece(&events, &a->reply, piece);
    }
    if (a->finish != ENGINE_FINISH_NONE) {
        finish_stream(a, &events);
    }
    write_events(a, &events);
    buf_clear(&events);
    end_when_written(a);
}

static void reply_whole(struct answer *a)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};
    struct buf body;
    a->ended = true;
    if (has_failed(a->finish)) {
        struct problem p = failure(a->finish);
        http_reply_problem(a->ex, &p);
        return;
    }
    struct openai_piece all = {.text = buf_str(&a->text),
                               .reasoning = buf_str(&a->thought),
                               .logprobs = (const void *)a->logprobs.p,
                               .logprob_n = a->logprobs.n / sizeof *all.logprobs};
    buf_init(&body, BODY_MAX);
    openai_write_whole(&body, &a->reply, &all, a->finish);
    http_reply(a->ex, 200, fields, 1, buf_str(&body));
    buf_clear(&body);
}

/* --- from the engine --------------------------------------------------------------------------------- */

static void take_output(struct answer *a, const struct output_msg *out)
{
    a->reply.answer_tokens = out->answer_tokens;
    a->reply.reasoning_tokens = out->reasoning_tokens;
    a->reply.cached_tokens = out->cached_tokens;
    a->finish = out->finish;
    a->job_runs = out->finish == ENGINE_FINISH_NONE;
    a->first_us = a->first_us ? a->first_us : clock_mono_us();
    if (!a->ex || a->ended) {
        return;
    }
    if (a->streams) {
        struct openai_piece piece = {.text = str_of(out->text + out->reasoning_n, out->n),
                                     .reasoning = str_of(out->text, out->reasoning_n),
                                     .logprobs = out->logprobs,
                                     .logprob_n = out->logprob_n};
        stream_output(a, &piece);
        return;
    }
    buf_add(&a->thought, out->text, out->reasoning_n);
    buf_add(&a->text, out->text + out->reasoning_n, out->n);
    buf_add(&a->logprobs, out->logprobs, out->logprob_n * sizeof *out->logprobs);
    if (!a->job_runs) {
        reply_whole(a);
    }
}

static void on_output_msg(struct loop_msg *m, bool canceled)
{
    struct output_msg *out = (struct output_msg *)m;
    struct answer *a = out->answer;
    if (!canceled) {
        take_output(a, out);
    } else if (out->finish != ENGINE_FINISH_NONE) {
        a->job_runs = false;
    }
    free(out->logprobs);
    free(out);
    free_when_over(a);
}

/* On the engine's thread: only what never changes in the answer may be read here. The loop is woken once for all
 * answers of a step: main.c, on_told. */
static void on_output(void *arg, const struct engine_output *out)
{
    struct answer *a = arg;
    struct output_msg *msg = malloc(sizeof *msg + out->reasoning.n + out->text.n);
    BUG_ON(!msg);
    *msg = (struct output_msg){.m = {.fn = on_output_msg},
                               .answer = a,
                               .answer_tokens = out->answer_tokens,
                               .reasoning_tokens = out->reasoning_tokens,
                               .cached_tokens = out->cached_tokens,
                               .finish = out->finish,
                               .logprob_n = out->logprob_n,
                               .reasoning_n = out->reasoning.n,
                               .n = out->text.n};
    memcpy(msg->text, out->reasoning.p, out->reasoning.n);
    memcpy(msg->text + out->reasoning.n, out->text.p, out->text.n);
    if (out->logprob_n) {
        size_t bytes = out->logprob_n * sizeof *out->logprobs;
        msg->logprobs = malloc(bytes);
        BUG_ON(!msg->logprobs);
        memcpy(msg->logprobs, out->logprobs, bytes);
    }
    loop_post_quietly(a->loop, &msg->m);
}

/* --- life -------------------------------------------------------------------------------------------- */

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct answer *a = ex->user;
    uint64_t now = clock_mono_us();
    log_info("request id=%s answer=%s status=%u finish=%s stop=%s prompt_tokens=%u cached_tokens=%u "
             "answer_tokens=%u "
             "first_ms=%llu total_ms=%llu",
             ex->id, a->reply.id, ex->status, http_finish_name(reason), engine_finish_name(a->finish),
             a->reply.prompt_tokens, a->reply.cached_tokens, a->reply.answer_tokens,
             (unsigned long long)(a->first_us ? (a->first_us - a->began_us) / 1000 : 0),
             (unsigned long long)(now - a->began_us) / 1000);
    if (a->job_runs) {
        engine_cancel(a->engine, a->job);
    }
    a->ex = NULL;
    free_when_over(a);
}

static struct engine_job make_job(struct answer *a, struct openai_request *q)
{
    struct engine_job job = {.prompt = q->prompt.p,
                             .prompt_n = (uint32_t)q->prompt.n,
                             .max_tokens = q->max_tokens,
                             .tenant = q->tenant,
                             .payer = q->payer,
                             .logprobs = q->logprobs,
                             .top_logprobs = q->top_logprobs,
                             .json = q->json,
                             .sampling = q->sampling,
                             .ignore_end = q->ignore_end,
                             .thinks = q->thinks,
                             .opens_thinking = q->opens_thinking,
                             .stop_count = q->stop_count,
                             .stop_id_count = q->stop_id_count,
                             .on_output = on_output,
                             .arg = a};
    q->prompt = (struct token_list){0};
    memcpy(job.stop_ids, q->stop_ids, sizeof job.stop_ids);
    if (job.sampling.bias_n) { /* out of the request's arena */
        size_t bytes = job.sampling.bias_n * sizeof *job.sampling.bias;
        void *copy = malloc(bytes);
        BUG_ON(!copy);
        job.sampling.bias = memcpy(copy, job.sampling.bias, bytes);
    } else {
        job.sampling.bias = NULL;
    }
    buf_init(&job.stops, STOPPER_MAX_STOPS * STOPPER_MAX_BYTES);
    for (unsigned i = 0; i < q->stop_count; i++) {
        buf_add_str(&job.stops, q->stops[i]);
        job.stop_n[i] = (uint32_t)q->stops[i].n;
    }
    return job;
}

static struct answer *answer_new(struct http_exchange *ex, struct engine *engine, struct str model,
                                 const struct openai_request *q)
{
    struct answer *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    a->ex = ex;
    a->loop = ex->loop;
    a->engine = engine;
    a->streams = q->stream;
    a->includes_usage = q->include_usage;
    a->began_us = clock_mono_us();
    a->reply = (struct openai_answer){.is_chat = q->is_chat,
                                      .model = model,
                                      .created = clock_wall_s(),
                                      .prompt_tokens = (uint32_t)q->prompt.n,
                                      .tokenizer = engine_tokenizer(engine),
                                      .thinks = q->thinks,
                                      .logprobs = q->logprobs};
    snprintf(a->reply.id, sizeof a->reply.id, "%s-%s", q->is_chat ? "chatcmpl" : "cmpl", ex->id);
    buf_init(&a->text, q->stream ? PENDING_MAX : WHOLE_MAX);
    buf_init(&a->thought, WHOLE_MAX);
    buf_init(&a->logprobs, LOGPROBS_MAX);
    ex->user = a;
    ex->on_drain = on_drain;
    ex->on_finish = on_finish;
    return a;
}

void answer_start(struct http_exchange *ex, struct engine *engine, struct str model, uint32_t within_ms,
                  struct openai_request *q)
{
    struct answer *a = answer_new(ex, engine, model, q);
    struct engine_job job = make_job(a, q);
    job.deadline_us = a->began_us + 1000ULL * within_ms;
    a->job_runs = true;
    if (engine_submit(engine, &job, &a->job)) {
        struct problem p = {
            .code = "queue_full", .retry_after_s = 1, .detail = STR("Too many requests wait.")};
        a->job_runs = false;
        a->ended = true;
        metric_child_add(metric_child(&worker_refused, "queue_full"), 1);
        http_reply_problem(ex, &p);
    }
}

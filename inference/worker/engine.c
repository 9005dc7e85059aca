#include "inference/worker/engine.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "inference/worker/cpu/kernels.h"
#include "inference/worker/scheduler.h"
#include "inference/worker/worker_metrics.h"

enum { CONTEXT_DEFAULT_MAX = 4096, TEMPLATE_LINE_MAX = 256 << 10 };

struct cancel_list {
    uint64_t *ids;
    size_t n;
    size_t cap;
};

struct engine {
    struct engine_conf conf;
    pthread_t thread;

    /* under the mutex: what other threads leave for the engine */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct sequence *inbox_head; /* new ones, in order */
    struct sequence *inbox_tail;
    struct cancel_list cancels;
    uint32_t inbox_n;
    struct scheduler_load load; /* after the last step */
    uint64_t next_id;
    bool ending;

    /* made by the engine's thread, then read-only */
    struct model *model;
    struct graph *graph;
    struct device device;
    struct tokenizer *tokenizer;
    const struct chat_template *chat;
    uint32_t context;

    /* the engine's thread only */
    struct scheduler *scheduler;
    struct sampler *sampler;
    struct json_mask *json;
};

const char *engine_finish_name(enum engine_finish f)
{
    static const char *const names[] = {"none", "stop", "length", "abort", "error", "timeout"};
    return names[f];
}

/* --- from other threads ------------------------------------------------------------------------------ */

int engine_submit(struct engine *e, struct engine_job *job, uint64_t *id)
{
    pthread_mutex_lock(&e->mutex);
    if (e->inbox_n + e->load.waiting >= e->conf.queue || e->ending) {
        pthread_mutex_unlock(&e->mutex);
        engine_job_clear(job);
        return ERR_AGAIN;
    }
    *id = ++e->next_id;
    struct sequence *s = sequence_new(job, *id, e->tokenizer);
    if (e->inbox_tail) {
        e->inbox_tail->next = s;
    } else {
        e->inbox_head = s;
    }
    e->inbox_tail = s;
    e->inbox_n++;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    return 0;
}

void engine_cancel(struct engine *e, uint64_t job)
{
    pthread_mutex_lock(&e->mutex);
    struct cancel_list *c = &e->cancels;
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 16;
        c->ids = realloc(c->ids, c->cap * sizeof *c->ids);
        BUG_ON(!c->ids);
    }
    c->ids[c->n++] = job;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->mutex);
}

struct engine_load engine_load(struct engine *e)
{
    pthread_mutex_lock(&e->mutex);
    struct engine_load load = {.running = e->load.running,
                               .waiting = e->load.waiting + e->inbox_n,
                               .slots = e->conf.slots,
                               .kv_blocks_used = e->load.kv.used,
                               .kv_blocks = e->load.kv.blocks};
    pthread_mutex_unlock(&e->mutex);
    return load;
}

/* --- ends -------------------------------------------------------------------------------------------- */

static void count_end(const struct sequence *s, enum engine_finish finish)
{
    metric_child_add(metric_child(&worker_finished, engine_finish_name(finish)), 1);
    metric_observe_us(&worker_whole_request, clock_mono_us() - s->submitted_us);
}

/* Ends a sequence that the scheduler has given back; NULL: there was none. */
static bool end(struct sequence *s, enum engine_finish finish)
{
    if (s) {
        count_end(s, finish);
        sequence_end(s, finish);
        sequence_free(s);
    }
    return s != NULL;
}

static void end_all(struct engine *e, enum engine_finish finish)
{
    while (end(scheduler_take_first(e->scheduler), finish)) {
    }
}

/* --- what came in since the last step ---------------------------------------------------------------- */

static bool has_work(const struct engine *e)
{
    struct scheduler_load load = scheduler_load(e->scheduler);
    return e->ending || e->inbox_head || e->cancels.n > 0 || load.running > 0 || load.waiting > 0;
}

/* What was put out by now goes to those who wait for it. */
static void tell(const struct engine *e)
{
    if (e->conf.on_told) {
        e->conf.on_told(e->conf.arg);
    }
}

/* Waits for work when there is none. False: the engine ends. */
static bool take_inbox(struct engine *e)
{
    pthread_mutex_lock(&e->mutex);
    while (!has_work(e)) {
        pthread_cond_wait(&e->wake, &e->mutex);
    }
    bool goes_on = !e->ending;
    struct sequence *head = e->inbox_head;
    struct cancel_list cancels = e->cancels;
    e->inbox_head = NULL;
    e->inbox_tail = NULL;
    e->load.waiting += e->inbox_n;
    e->inbox_n = 0;
    e->cancels = (struct cancel_list){0};
    pthread_mutex_unlock(&e->mutex);

    while (head) {
        struct sequence *s = head;
        head = s->next;
        scheduler_add(e->scheduler, s);
    }
    for (size_t i = 0; i < cancels.n; i++) {
        end(scheduler_take(e->scheduler, cancels.ids[i]), ENGINE_FINISH_CANCELED);
    }
    free(cancels.ids);
    while (end(scheduler_take_late(e->scheduler, clock_mono_us()), ENGINE_FINISH_LATE)) {
    }
    tell(e);
    return goes_on;
}

static void show_load(struct engine *e)
{
    struct scheduler_load load = scheduler_load(e->scheduler);
    pthread_mutex_lock(&e->mutex);
    e->load = load;
    pthread_mutex_unlock(&e->mutex);
    metric_set(&worker_running, load.running);
    metric_set(&worker_waiting, load.waiting);
    metric_set(&worker_kv_usage, (double)load.kv.used / load.kv.blocks);
    metric_set(&worker_window_blocks, load.kv.window_blocks);
    metric_set(&worker_window_used, load.kv.window_used);
}

/* --- one step ---------------------------------------------------------------------------------------- */

static void count_token(struct sequence *s)
{
    uint64_t now = clock_mono_us();
    if (s->last_us) {
        metric_observe_us(&worker_between_tokens, now - s->last_us);
    } else {
        metric_observe_us(&worker_first_token, now - s->submitted_us);
    }
    s->last_us = now;
    metric_add(&worker_answer_tokens, 1);
}

static void note_logprob(struct engine *e, struct sequence *s, const float *logits, token_id id)
{
    struct token_logprob l;
    sampler_logprob(e->sampler, logits, id, s->job.top_logprobs, &l);
    buf_add(&s->logprobs, &l, sizeof l);
}

static enum engine_finish fail(struct sequence *s, const char *why)
{
    log_error("answer state=failed reason=\"%s\"", why);
    count_end(s, ENGINE_FINISH_FAILED);
    sequence_end(s, ENGINE_FINISH_FAILED);
    return ENGINE_FINISH_FAILED;
}

static const char not_a_number[] = "no logit is a number: are the model's weights damaged?";

/* Takes the chosen token. */
static enum engine_finish accept(struct engine *e, struct sequence *s, token_id id, bool whole)
{
    count_token(s);
    enum engine_finish finish = sequence_accept(s, e->tokenizer, id, whole);
    if (finish != ENGINE_FINISH_NONE) {
        count_end(s, finish);
    }
    return finish;
}

/* The new token of one sequence; its finish, or NONE while it goes on. */
static enum engine_finish sample(struct engine *e, struct sequence *s, const float *logits)
{
    const uint64_t *allowed = s->job.json ? json_mask_allowed(e->json, &s->json) : NULL;
    if (s->job.json && !allowed) {
        return fail(s, "the vocabulary cannot say what has to come in JSON");
    }
    struct sampler_params sampling = s->job.sampling;
    sampling.prompt = s->tokens.p;
    sampling.prompt_n = s->job.prompt_n;
    token_id id = sampler_pick(e->sampler, &sampling, logits, s->tokens.p + s->job.prompt_n,
                               sequence_answer_n(s), allowed);
    if (id == SAMPLER_NONE) {
        return fail(s, not_a_number);
    }
    bool whole = s->job.json && json_mask_accept(e->json, &s->json, id);
    if (s->job.logprobs) {
        note_logprob(e, s, logits, id);
    }
    return accept(e, s, id, whole);
}

/* The same of candidates, which is as good where a sequence has asked for them. */
static enum engine_finish sample_among(struct engine *e, struct sequence *s, const struct candidates *c)
{
    struct token_logprob l;
    token_id id = sampler_pick_among(e->sampler, &s->job.sampling, c, sequence_answer_n(s));
    if (id == SAMPLER_NONE) {
        return fail(s, not_a_number);
    }
    if (s->job.logprobs) {
        sampler_logprob_among(c, id, s->job.top_logprobs, &l);
        buf_add(&s->logprobs, &l, sizeof l);
    }
    return accept(e, s, id, false);
}

/* Logits stand in the order of the batch, which is the order of the tokens that wanted them. */
static void use_logits(struct engine *e, const struct batch *batch, float *logits)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        struct sequence *s = scheduler_sequence(e->scheduler, batch->tokens[i].sequence);
        if (s->computed < s->job.prompt_n) {
            metric_add(&worker_prompt_tokens, 1);
        }
        scheduler_computed(e->scheduler, s);
        if (!batch->tokens[i].wants_logits) {
            continue;
        }
        struct candidates c;
        enum engine_finish finish = device_candidates(&e->device, row, &c)
                                        ? sample_among(e, s, &c)
                                        : sample(e, s, logits + (size_t)row * e->model->sizes.vocab);
        if (finish != ENGINE_FINISH_NONE) {
            sequence_free(scheduler_take(e->scheduler, s->id));
        }
        row++;
    }
}

/* False: the device failed. */
static bool step(struct engine *e)
{
    struct err err;
    float *logits;
    uint64_t began = clock_mono_us();
    struct batch batch = scheduler_plan(e->scheduler);
    show_load(e);
    if (batch.n == 0) {
        return true;
    }
    uint64_t planned = clock_mono_us();
    if (device_run(&e->device, &batch, &logits, &err)) {
        log_error("engine state=failed reason=\"%s\"", err.msg);
        return false;
    }
    metric_observe_us(&worker_backend_time, clock_mono_us() - planned);
    metric_add(&worker_steps, 1);
    metric_add(&worker_step_tokens, batch.n);
    use_logits(e, &batch, logits);
    tell(e);
    show_load(e);
    metric_observe_us(&worker_step_time, clock_mono_us() - began);
    return true;
}

static void refuse_more(struct engine *e)
{
    pthread_mutex_lock(&e->mutex);
    e->ending = true;
    pthread_mutex_unlock(&e->mutex);
    take_inbox(e); /* what came before that */
}

static void serve(struct engine *e)
{
    bool works = true;
    show_load(e);
    while (works && take_inbox(e)) {
        works = step(e);
    }
    if (!works) {
        refuse_more(e);
    }
    end_all(e, ENGINE_FINISH_CANCELED);
    tell(e);
    show_load(e);
    if (!works && e->conf.on_failed) {
        e->conf.on_failed(e->conf.arg);
    }
}

/* --- loading ----------------------------------------------------------------------------------------- */

/* The operator shall see what was refused, where that is the template. */
static void log_unknown_template(const struct gguf *file)
{
    const struct chat_template *chat;
    struct str text;
    struct buf line;
    if (chat_template_find(file, &chat, &text, NULL) != ERR_INVALID || text.n == 0) {
        return;
    }
    buf_init(&line, TEMPLATE_LINE_MAX);
    json_escape(&line, str_is_utf8(text) ? text : STR("(not UTF-8)"));
    log_error("model chat_template=unknown text=\"%s\"", line.p);
    buf_clear(&line);
}

int engine_read_text(const struct model *m, struct tokenizer **tokenizer, const struct chat_template **chat,
                     struct err *err)
{
    struct str template_text;
    *chat = NULL;
    int rc = tokenizer_new(m->file, tokenizer, err);
    if (rc) {
        return rc;
    }
    if (tokenizer_size(*tokenizer) != m->sizes.vocab) {
        return err_set(err, ERR_INVALID, "model: %u tokens in the vocabulary, %u in the embedding",
                       tokenizer_size(*tokenizer), m->sizes.vocab);
    }
    rc = chat_template_find(m->file, chat, &template_text, err);
    if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    return rc ? rc : chat_template_check(*chat, *tokenizer, err);
}

int engine_choose_context(const struct model *m, uint32_t context, uint32_t kv_tokens, uint32_t *out,
                          struct err *err)
{
    uint32_t trained = m->sizes.context;
    *out = context ? context : trained < CONTEXT_DEFAULT_MAX ? trained : CONTEXT_DEFAULT_MAX;
    if (*out > trained) {
        return err_set(err, ERR_INVALID, "--context %u is more than the %u the model was made for", *out,
                       trained);
    }
    if (kv_tokens && kv_tokens < *out) {
        return err_set(err, ERR_INVALID, "--kv-tokens %u is less than one --context of %u", kv_tokens, *out);
    }
    return 0;
}

static int load_backend(struct engine *e, struct err *err)
{
    struct scheduler_conf plan = {
        .kv = {.slots = e->conf.slots, .context = e->context, .window = e->model->sizes.window},
        .step_tokens = e->conf.step_tokens > e->conf.slots ? e->conf.step_tokens : e->conf.slots};
    kv_tables_plan(&plan.kv, e->conf.kv_tokens, plan.step_tokens);
    struct backend_conf conf = {.kv_blocks = plan.kv.blocks,
                                .kv_window_blocks = plan.kv.window_blocks,
                                .context = e->context,
                                .batch_tokens = plan.step_tokens,
                                .batch_logits = e->conf.slots,
                                .threads = e->conf.threads,
                                .packed = e->conf.packed,
                                .portable = e->conf.portable,
                                .no_amx = e->conf.no_amx};
    e->graph = graph_new(e->model);
    e->sampler =
        sampler_new(e->model->sizes.vocab, e->conf.portable ? &cpu_kernels_portable : cpu_kernels_best());
    e->json = json_mask_new(e->tokenizer);
    if (!e->graph || !e->sampler || !e->json) {
        return err_set(err, ERR_NOMEM, "engine: no memory");
    }
    int rc = scheduler_new(&plan, &e->scheduler, err);
    return rc ? rc : device_open(&e->conf.device, e->graph, &conf, &e->device, err);
}

static int load(struct engine *e, struct err *err)
{
    uint64_t began = clock_mono_ms();
    int rc = model_open(e->conf.model, &e->model, err);
    if (!rc) {
        rc = engine_read_text(e->model, &e->tokenizer, &e->chat, err);
        if (rc) {
            log_unknown_template(e->model->file);
        } else if (!e->chat) {
            log_info("model chat_template=none serves=completions");
        }
    }
    if (!rc) {
        rc = engine_choose_context(e->model, e->conf.context, e->conf.kv_tokens, &e->context, err);
    }
    if (!rc) {
        rc = load_backend(e, err);
    }
    if (!rc) {
        char text[256];
        device_describe(&e->device, text, sizeof text);
        log_info("model state=ready after_ms=%llu layers=%u context=%u slots=%u chat=%s %s",
                 (unsigned long long)(clock_mono_ms() - began), e->model->sizes.layers, e->context,
                 e->conf.slots, e->chat ? chat_template_name(e->chat) : "none", text);
    }
    return rc;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    struct err err = {0};
    int rc = load(e, &err);
    metric_set(&worker_slots, e->conf.slots);
    e->conf.on_loaded(e->conf.arg, rc, &err);
    if (!rc) {
        serve(e);
    }
    return NULL;
}

int engine_new(const struct engine_conf *conf, struct engine **out, struct err *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e) {
        return err_set(err, ERR_NOMEM, "engine: no memory");
    }
    e->conf = *conf;
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->wake, NULL);
    *out = e; /* on_loaded may look at it before pthread_create returns */
    int rc = pthread_create(&e->thread, NULL, engine_main, e);
    if (rc) {
        *out = NULL;
        free(e);
        return err_set(err, ERR_IO, "engine: cannot start its thread: %s", strerror(rc));
    }
    pthread_setname_np(e->thread, "engine");
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e) {
        return;
    }
    pthread_mutex_lock(&e->mutex);
    e->ending = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->thread, NULL);
    device_close(&e->device);
    graph_free(e->graph);
    json_mask_free(e->json);
    tokenizer_free(e->tokenizer);
    sampler_free(e->sampler);
    model_close(e->model);
    scheduler_free(e->scheduler);
    free(e->cancels.ids);
    pthread_mutex_destroy(&e->mutex);
    pthread_cond_destroy(&e->wake);
    free(e);
}

struct tokenizer *engine_tokenizer(struct engine *e)
{
    return e->tokenizer;
}

const struct chat_template *engine_template(const struct engine *e)
{
    return e->chat;
}

uint32_t engine_context(const struct engine *e)
{
    return e->context;
}

const struct model *engine_model(const struct engine *e)
{
    return e->model;
}

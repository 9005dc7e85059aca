/* What tests of the engine share: one that is loaded, jobs, and what becomes of them. */
#ifndef TIDE_TESTS_ENGINE_RIG_H
#define TIDE_TESTS_ENGINE_RIG_H

#include "tests/unit/tiny_models.h"

#include <pthread.h>

#include "inference/worker/engine.h"

struct result {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct buf text;
    struct buf reasoning;
    uint32_t tokens;
    uint32_t reasoning_tokens;
    uint32_t cached;
    double logprobs; /* of the answer's tokens and of the best at their places, added up */
    unsigned ends;   /* outputs with a finish: must be exactly one */
    enum engine_finish finish;
};

struct loading {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool over;
    int rc;
    struct err err;
};

static char model_path[128]; /* where a conf names none */

static void on_loaded(void *arg, int rc, const struct err *err)
{
    struct loading *l = arg;
    pthread_mutex_lock(&l->mutex);
    l->over = true;
    l->rc = rc;
    l->err = *err;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

static int open_engine(struct engine_conf conf, struct engine **out, struct err *err)
{
    struct loading l = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    conf.model = conf.model ? conf.model : model_path;
    conf.on_loaded = on_loaded;
    conf.arg = &l;
    assert_int_equal(engine_new(&conf, out, err), 0);
    pthread_mutex_lock(&l.mutex);
    while (!l.over) {
        pthread_cond_wait(&l.changed, &l.mutex);
    }
    pthread_mutex_unlock(&l.mutex);
    *err = l.err;
    return l.rc;
}

__attribute__((unused)) static struct engine *ready_engine(struct engine_conf conf)
{
    struct engine *e;
    struct err err;
    assert_int_equal(open_engine(conf, &e, &err), 0);
    return e;
}

static void on_output(void *arg, const struct engine_output *out)
{
    struct result *r = arg;
    pthread_mutex_lock(&r->mutex);
    buf_add_str(&r->text, out->text);
    buf_add_str(&r->reasoning, out->reasoning);
    r->reasoning_tokens = out->reasoning_tokens;
    r->tokens = out->answer_tokens;
    r->cached = out->cached_tokens;
    for (uint32_t i = 0; i < out->logprob_n; i++) {
        r->logprobs += (double)out->logprobs[i].logprob;
        for (uint32_t k = 0; k < out->logprobs[i].top_n; k++) {
            r->logprobs += (double)out->logprobs[i].top[k].logprob;
        }
    }
    r->finish = out->finish;
    r->ends += out->finish != ENGINE_FINISH_NONE;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

__attribute__((unused)) static void result_init(struct result *r)
{
    *r = (struct result){.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    buf_init(&r->text, 1 << 20);
    buf_init(&r->reasoning, 1 << 20);
}

/* Job i: a prompt of its own length and letters, sampled with its own seed. */
__attribute__((unused)) static struct engine_job make_job(unsigned i, uint32_t max_tokens, struct result *r)
{
    struct engine_job job = {
        .prompt_n = 3 + 17 * i % 60,
        .max_tokens = max_tokens,
        .sampling = {.temperature = i % 3 ? 1.0F : 0.0F, .top_p = i % 2 ? 0.9F : 1.0F, .seed = i},
        .ignore_end = true,
        .on_output = on_output,
        .arg = r};
    job.prompt = malloc(job.prompt_n * sizeof *job.prompt);
    for (uint32_t k = 0; k < job.prompt_n; k++) {
        job.prompt[k] = (token_id)(1 + (i * 31 + k * 7) % 250);
    }
    buf_init(&job.stops, 1000);
    return job;
}

__attribute__((unused)) static void wait_end(struct result *r)
{
    pthread_mutex_lock(&r->mutex);
    while (!r->ends) {
        pthread_cond_wait(&r->changed, &r->mutex);
    }
    pthread_mutex_unlock(&r->mutex);
}

#endif

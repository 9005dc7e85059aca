/* The engine on an emulated device says what it says on the CPU, with a model of each family: greedy, among the largest, of
 * the whole row, with log-probabilities; while two answers run and one gives way, after a cancel, and where a prompt is
 * known. Steps that only continue answers are replayed graphs here (decode_test.c). */
#include "tests/unit/engine_rig.h"

#include <sched.h>

#include "inference/worker/cuda/cuda_backend.h"
#include "inference/worker/worker_metrics.h"
#include "kernels/emu/emu.h"

enum {
    CONTEXT = 48,   /* three blocks */
    KV_TOKENS = 48, /* three blocks for all */
    PROMPT = 14,    /* two answers of five and more tokens pass the end of their first block */
    KNOWN = 20,     /* a prompt whose first block is found again */
    JOBS = 5,
};

/* A job of its own way to sample; those of one number are the same. */
static struct engine_job way(unsigned i, struct result *r)
{
    struct engine_job job = make_job(i, i < 2 ? 6 : 3, r);
    job.prompt_n = i < 2 ? PROMPT : KNOWN;
    job.prompt = realloc(job.prompt, job.prompt_n * sizeof *job.prompt);
    assert_non_null(job.prompt);
    for (uint32_t k = 0; k < job.prompt_n; k++) {
        job.prompt[k] = (token_id)(1 + (i * 31 + k * 7) % 250);
    }
    job.sampling = (struct sampler_params){
        .temperature = i ? 1.5F : 0.0F, .top_p = 0.95F, .top_k = i == 1 || i == 3 ? 20 : 0, .seed = i};
    job.logprobs = i != 1;
    job.top_logprobs = 4 * (i % 2);
    return job;
}

static uint64_t submit(struct engine *e, struct engine_job job)
{
    uint64_t id;
    assert_int_equal(engine_submit(e, &job, &id), 0);
    return id;
}

static void end_one(struct engine *e, unsigned i, struct result *r)
{
    result_init(r);
    submit(e, way(i, r));
    wait_end(r);
}

/* The first cannot say its first token before the second is there. */
static void end_two_at_once(struct engine *e, struct result r[2])
{
    result_init(&r[0]);
    result_init(&r[1]);
    pthread_mutex_lock(&r[0].mutex);
    submit(e, way(0, &r[0]));
    submit(e, way(1, &r[1]));
    pthread_mutex_unlock(&r[0].mutex);
    wait_end(&r[0]);
    wait_end(&r[1]);
}

static void wait_running(struct engine *e, uint32_t n)
{
    while (engine_load(e).running != n) {
        sched_yield();
    }
}

/* Taken back while its first token is on its way. */
static void cancel_one(struct engine *e)
{
    struct result r;
    result_init(&r);
    wait_running(e, 0); /* the one before has left */
    pthread_mutex_lock(&r.mutex);
    uint64_t id = submit(e, make_job(1, 20, &r));
    wait_running(e, 1);
    engine_cancel(e, id);
    pthread_mutex_unlock(&r.mutex);
    wait_end(&r);
    assert_int_equal(r.finish, ENGINE_FINISH_CANCELED);
    assert_true(r.tokens > 0);
    buf_clear(&r.text);
}

/* All of it; the results are in r. */
static void converse(struct engine_conf conf, struct result r[JOBS])
{
    double before = metric_child_value(metric_child(&worker_preemptions, NULL));
    struct engine *e = ready_engine(conf);
    end_two_at_once(e, r);
    assert_true(metric_child_value(metric_child(&worker_preemptions, NULL)) > before);
    end_one(e, 2, &r[2]);
    cancel_one(e);
    end_one(e, 3, &r[3]);
    end_one(e, 3, &r[4]);
    assert_int_equal(r[4].cached, KV_BLOCK);
    engine_free(e);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(r[i].finish, ENGINE_FINISH_LENGTH);
    }
}

static void compare(const char *name, uint32_t layers)
{
    struct tiny_spec spec = *tiny_spec_find(name);
    struct result cpu[JOBS];
    struct result cuda[JOBS];
    spec.layers = layers;
    struct engine_conf conf = {.model = write_tiny_spec(&spec, false),
                               .slots = 2,
                               .context = CONTEXT,
                               .kv_tokens = KV_TOKENS,
                               .threads = 1,
                               .step_tokens = 32,
                               .queue = 4,
                               .portable = true};
    emu_reset(NULL);
    converse(conf, cpu);
    conf.portable = false;
    conf.device = (struct device_wish){.choice = DEVICE_CUDA, .cuda = &backend_cuda};
    converse(conf, cuda);
    for (unsigned i = 0; i < JOBS; i++) {
        if (!str_eq(buf_str(&cuda[i].text), buf_str(&cpu[i].text))) {
            fail_msg("%s: job %u: \"%s\", the CPU says \"%s\"", name, i, cuda[i].text.p, cpu[i].text.p);
        }
        assert_float_equal(cuda[i].logprobs, cpu[i].logprobs, 1e-2);
        assert_true((cpu[i].logprobs < 0) == (i != 1));
        buf_clear(&cpu[i].text);
        buf_clear(&cuda[i].text);
    }
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_llama(void **state)
{
    compare("llama3", 1);
}

static void test_qwen2(void **state)
{
    compare("qwen2", 1);
}

static void test_qwen3(void **state)
{
    compare("qwen3", 1);
}

static void test_gemma3(void **state)
{
    compare("gemma3", 2);
}

static void test_deepseek2(void **state)
{
    compare("deepseek2-v3", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),  cmocka_unit_test(test_qwen2),     cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_gemma3), cmocka_unit_test(test_deepseek2),
    };
    return cmocka_run_group_tests_name("engine", tests, temp_make, temp_remove);
}

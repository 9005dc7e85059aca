/* The engine on a tiny random model: an answer does not depend on what else runs, how a prompt is cut into
 * chunks, or how many threads compute; cancels free slots; the queue has an end. */
#include "tests/unit/engine_rig.h"

#include "base/clock.h"
#include "inference/worker/worker_metrics.h"

enum { JOBS = 12, ANSWER = 24 };

/* One of each family besides the plain one, quantized: what must hold for any. */
static const char *const families[] = {"qwen2", "qwen3-yarn", "gemma3", "deepseek2-lite", "deepseek2-v3"};
enum { MODELS = 1 + sizeof families / sizeof *families };
static char models[MODELS][128];

/* Runs all jobs, `together` of them at once, and gives their texts. */
static void run_jobs(struct engine_conf conf, unsigned together, struct buf texts[JOBS])
{
    struct engine *e = ready_engine(conf);
    struct result results[JOBS];
    for (unsigned i = 0; i < JOBS; i++) {
        uint64_t id;
        struct engine_job job = make_job(i, ANSWER, &results[i]);
        result_init(&results[i]);
        assert_int_equal(engine_submit(e, &job, &id), 0);
        if (i + 1 >= together) {
            wait_end(&results[i + 1 - together]);
        }
    }
    for (unsigned i = 0; i < JOBS; i++) {
        wait_end(&results[i]);
    }
    engine_free(e);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(results[i].finish, ENGINE_FINISH_LENGTH);
        assert_int_equal(results[i].tokens, ANSWER);
        assert_int_equal(results[i].ends, 1);
        texts[i] = results[i].text;
    }
}

static void expect_same(struct engine_conf conf, unsigned together, const struct buf expected[JOBS])
{
    struct buf texts[JOBS];
    run_jobs(conf, together, texts);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(texts[i].n, expected[i].n);
        assert_memory_equal(texts[i].p, expected[i].p, expected[i].n);
        buf_clear(&texts[i]);
    }
}

static void check_batches(const char *model)
{
    struct engine_conf conf = {
        .model = model, .slots = 8, .context = 128, .threads = 2, .step_tokens = 16, .queue = 100};
    struct buf alone[JOBS];
    run_jobs(conf, 1, alone);
    expect_same(conf, JOBS, alone);
    conf.step_tokens = 1;
    expect_same(conf, JOBS, alone);
    conf.step_tokens = 100;
    conf.slots = 3;
    expect_same(conf, JOBS, alone);
    conf.threads = 1;
    expect_same(conf, 5, alone);
    conf.threads = 5;
    expect_same(conf, 5, alone);
    bool differ = false;
    for (unsigned i = 0; i < JOBS; i++) {
        differ =
            differ || i == 0 || alone[i].n != alone[0].n || memcmp(alone[i].p, alone[0].p, alone[0].n) != 0;
        buf_clear(&alone[i]);
    }
    assert_true(differ);
}

static void answers_do_not_depend_on_the_batch(void **state)
{
    for (unsigned i = 0; i < MODELS; i++) {
        check_batches(models[i]);
    }
}

static uint64_t preemptions(void)
{
    return (uint64_t)metric_child_value(metric_child(&worker_preemptions, NULL));
}

/* With room for one and a half sequences, answers give way to each other and are computed again, to the same end. */
static void check_preemption(const char *model)
{
    struct engine_conf conf = {
        .model = model, .slots = 8, .context = 96, .threads = 2, .step_tokens = 32, .queue = 100};
    struct buf alone[JOBS];
    run_jobs(conf, 1, alone);
    uint64_t before = preemptions();
    conf.kv_tokens = 160;
    expect_same(conf, JOBS, alone);
    assert_true(preemptions() > before);
    for (unsigned i = 0; i < JOBS; i++) {
        buf_clear(&alone[i]);
    }
}

static void answers_survive_preemption(void **state)
{
    for (unsigned i = 0; i < MODELS; i++) {
        check_preemption(models[i]);
    }
}

static double window_blocks(void)
{
    return metric_child_value(metric_child(&worker_window_blocks, NULL));
}

/* Layers that see 8 positions give blocks back; answers are those of an engine that keeps all positions. */
static void windows_change_no_answer(void **state)
{
    struct engine_conf conf = {.model = temp_path("gemma3.gguf"),
                               .slots = 1,
                               .context = 128,
                               .threads = 1,
                               .step_tokens = 64,
                               .queue = 100};
    struct buf kept[JOBS];
    run_jobs(conf, 1, kept);
    assert_true(window_blocks() == 0);
    conf.slots = 8;
    conf.step_tokens = 16;
    expect_same(conf, JOBS, kept);
    assert_true(window_blocks() == 2 * (8 * 3 + 1));
    assert_true(metric_child_value(metric_child(&worker_window_used, NULL)) == 0);
    for (unsigned i = 0; i < JOBS; i++) {
        buf_clear(&kept[i]);
    }
}

static uint32_t run_one(struct engine *e, struct engine_job job, struct result *r)
{
    uint64_t id;
    result_init(r);
    assert_int_equal(engine_submit(e, &job, &id), 0);
    wait_end(r);
    return r->cached;
}

/* A second turn finds the first one's prompt and answer; it says the same as an engine that never saw them. */
static void check_prefix(const char *model)
{
    struct engine_conf conf = {
        .model = model, .slots = 2, .context = 128, .threads = 1, .step_tokens = 16, .queue = 10};
    struct engine *warm = ready_engine(conf);
    struct engine *cold = ready_engine(conf);
    struct result r[5];
    assert_int_equal(run_one(warm, make_job(3, ANSWER, &r[0]), &r[0]), 0);
    assert_int_equal(run_one(warm, make_job(3, ANSWER, &r[1]), &r[1]),
                     48); /* of 54: the last part is its own */
    struct engine_job other = make_job(3, ANSWER, &r[2]);
    other.tenant = 77;
    assert_int_equal(run_one(warm, other, &r[2]), 0);
    struct engine_job longer = make_job(3, ANSWER, &r[3]);
    longer.prompt = realloc(longer.prompt, 70 * sizeof *longer.prompt);
    for (; longer.prompt_n < 70; longer.prompt_n++) {
        longer.prompt[longer.prompt_n] = 9;
    }
    struct engine_job same = longer;
    same.prompt = malloc(70 * sizeof *same.prompt);
    memcpy(same.prompt, longer.prompt, 70 * sizeof *same.prompt);
    buf_init(&same.stops, 1000);
    same.arg = &r[4];
    assert_int_equal(run_one(warm, longer, &r[3]), 48);
    assert_int_equal(run_one(cold, same, &r[4]), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(r[i].text.n, r[0].text.n);
        assert_memory_equal(r[i].text.p, r[0].text.p, r[0].text.n);
    }
    assert_int_equal(r[3].text.n, r[4].text.n);
    assert_memory_equal(r[3].text.p, r[4].text.p, r[4].text.n);
    for (unsigned i = 0; i < 5; i++) {
        buf_clear(&r[i].text);
    }
    engine_free(warm);
    engine_free(cold);
}

static void a_known_prefix_is_not_computed_again(void **state)
{
    for (unsigned i = 0; i < MODELS; i++) {
        check_prefix(models[i]);
    }
}

/* One who floods the queue waits for himself, also under many names for his prefixes: a newcomer is next in turn. */
static void check_turns(bool is_salted)
{
    struct engine_conf conf = {.slots = 1, .context = 128, .threads = 1, .step_tokens = 16, .queue = 100};
    struct engine *e = ready_engine(conf);
    struct result flood[20];
    struct result newcomer;
    uint64_t id;
    for (unsigned i = 0; i < 20; i++) {
        struct engine_job job = make_job(i, 60, &flood[i]);
        job.tenant = is_salted ? 100 + i : 1;
        job.payer = is_salted ? 1 : 0;
        result_init(&flood[i]);
        assert_int_equal(engine_submit(e, &job, &id), 0);
    }
    wait_end(&flood[0]);
    struct engine_job job = make_job(5, 3, &newcomer);
    job.tenant = 2;
    result_init(&newcomer);
    assert_int_equal(engine_submit(e, &job, &id), 0);
    wait_end(&newcomer);
    pthread_mutex_lock(&flood[19].mutex);
    assert_int_equal(flood[19].ends, 0);
    pthread_mutex_unlock(&flood[19].mutex);
    engine_free(e);
    for (unsigned i = 0; i < 20; i++) {
        buf_clear(&flood[i].text);
    }
    buf_clear(&newcomer.text);
}

static void tenants_take_turns(void **state)
{
    check_turns(false);
    check_turns(true);
}

static void a_deadline_ends_an_answer(void **state)
{
    struct engine_conf conf = {.slots = 1, .context = 256, .threads = 1, .step_tokens = 16, .queue = 10};
    struct engine *e = ready_engine(conf);
    struct result r[2];
    uint64_t id;
    for (unsigned i = 0; i < 2; i++) { /* one runs, one waits */
        struct engine_job job = make_job(i, 190, &r[i]);
        job.deadline_us = clock_mono_us() + 1;
        result_init(&r[i]);
        assert_int_equal(engine_submit(e, &job, &id), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        wait_end(&r[i]);
        assert_int_equal(r[i].finish, ENGINE_FINISH_LATE);
        buf_clear(&r[i].text);
    }
    engine_free(e);
}

static void cancels_free_slots(void **state)
{
    struct engine_conf conf = {.slots = 2, .context = 256, .threads = 1, .step_tokens = 16, .queue = 100};
    struct engine *e = ready_engine(conf);
    struct result results[20];
    uint64_t ids[20];
    for (unsigned i = 0; i < 20; i++) {
        struct engine_job job = make_job(i, 190, &results[i]);
        result_init(&results[i]);
        assert_int_equal(engine_submit(e, &job, &ids[i]), 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        engine_cancel(e, ids[i == 0 ? 0 : 20 - i]);
    }
    engine_cancel(e, 999999);
    unsigned canceled = 0;
    for (unsigned i = 0; i < 20; i++) {
        wait_end(&results[i]);
        canceled += results[i].finish == ENGINE_FINISH_CANCELED;
        assert_true(results[i].finish == ENGINE_FINISH_CANCELED || results[i].finish == ENGINE_FINISH_LENGTH);
        buf_clear(&results[i].text);
    }
    assert_true(canceled > 0);
    struct result last;
    result_init(&last);
    struct engine_job job = make_job(1, 3, &last);
    assert_int_equal(engine_submit(e, &job, &ids[0]), 0);
    wait_end(&last);
    assert_int_equal(last.finish, ENGINE_FINISH_LENGTH);
    engine_free(e);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(results[i].ends, 1);
    }
    assert_true(metric_child_value(metric_child(&worker_kv_usage, NULL)) == 0); /* every block came back */
    buf_clear(&last.text);
}

static void the_queue_ends(void **state)
{
    struct engine_conf conf = {.slots = 1, .context = 256, .threads = 1, .step_tokens = 16, .queue = 2};
    struct engine *e = ready_engine(conf);
    struct result results[10];
    unsigned accepted = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint64_t id;
        struct engine_job job = make_job(i, 190, &results[accepted]);
        result_init(&results[accepted]);
        int rc = engine_submit(e, &job, &id);
        assert_true(rc == 0 || rc == ERR_AGAIN);
        accepted += rc == 0;
        if (rc) {
            buf_clear(&results[accepted].text);
        }
    }
    assert_true(accepted >= 2 && accepted < 10);
    engine_free(e); /* ends what runs and what waits */
    for (unsigned i = 0; i < accepted; i++) {
        assert_int_equal(results[i].ends, 1);
        buf_clear(&results[i].text);
    }
}

static void stop_strings_end_an_answer(void **state)
{
    struct engine_conf conf = {.slots = 2, .context = 128, .threads = 1, .step_tokens = 16, .queue = 10};
    struct engine *e = ready_engine(conf);
    struct result whole;
    struct result cut;
    uint64_t id;
    struct engine_job job = make_job(4, ANSWER, &whole);
    result_init(&whole);
    assert_int_equal(engine_submit(e, &job, &id), 0);
    wait_end(&whole);
    assert_true(whole.text.n > 8);
    job = make_job(4, ANSWER, &cut);
    result_init(&cut);
    buf_add(&job.stops, whole.text.p + 4, 4);
    job.stop_n[0] = 4;
    job.stop_count = 1;
    assert_int_equal(engine_submit(e, &job, &id), 0);
    wait_end(&cut);
    assert_int_equal(cut.finish, ENGINE_FINISH_STOP);
    assert_true(cut.text.n <= 4 && memcmp(cut.text.p, whole.text.p, cut.text.n) == 0);
    engine_free(e);
    buf_clear(&whole.text);
    buf_clear(&cut.text);
}

/* One answer of five tokens, all of them `token`. */
static void answer_with(struct engine *e, token_id token, bool thinks, bool opens, struct result *r)
{
    uint64_t id;
    struct engine_job job = make_job(0, 5, r);
    struct sampler_bias *bias = malloc(sizeof *bias);
    assert_non_null(bias);
    *bias = (struct sampler_bias){token, 100.0F};
    job.sampling.bias = bias;
    job.sampling.bias_n = 1;
    job.thinks = thinks;
    job.opens_thinking = opens;
    result_init(r);
    assert_int_equal(engine_submit(e, &job, &id), 0);
    wait_end(r);
    assert_int_equal(r->tokens, 5);
}

static void expect_thought(struct engine *e, token_id token, bool opens, const char *reasoning,
                           const char *text, uint32_t reasoning_tokens)
{
    struct result r;
    answer_with(e, token, true, opens, &r);
    assert_true(str_is(buf_str(&r.reasoning), reasoning));
    assert_true(str_is(buf_str(&r.text), text));
    assert_int_equal(r.reasoning_tokens, reasoning_tokens);
    buf_clear(&r.reasoning);
    buf_clear(&r.text);
}

static void reasoning_is_told_apart(void **state)
{
    enum { THINK = 254, END_THINK = 255 };
    struct engine *e = ready_engine(
        (struct engine_conf){.slots = 1, .context = 64, .threads = 1, .step_tokens = 64, .queue = 4});
    struct result r;
    expect_thought(e, 'a', true, "aaaaa", "", 5);
    expect_thought(e, 'a', false, "", "aaaaa", 0);
    expect_thought(e, THINK, false, "<think><think><think><think>", "", 4); /* the first is the tag */
    expect_thought(e, END_THINK, true, "", "</think></think></think></think>", 0);
    expect_thought(e, END_THINK, false, "", "</think></think></think></think></think>", 0);
    answer_with(e, THINK, false, false, &r); /* a completion shows what the model says */
    assert_true(str_is(buf_str(&r.text), "<think><think><think><think><think>"));
    buf_clear(&r.text);
    engine_free(e);
}

/* A file may hold numbers that are none: what has to be JSON then ends as failed. */
static void logits_that_are_no_numbers(void **state)
{
    struct engine_conf conf = {.slots = 1, .context = 128, .threads = 1, .step_tokens = 64, .queue = 10};
    struct builder b;
    build_tiny_model(&b);
    assert_string_equal(b.tensors[1].name, "output_norm.weight");
    memset(b.data.p + b.tensors[1].offset, 0xFF, b.tensors[1].bytes); /* NaN, each of them */
    struct buf file = built_file(&b);
    conf.model = write_bytes("nan.gguf", file.p, file.n);
    buf_clear(&file);
    builder_clear(&b);
    struct engine *e = ready_engine(conf);
    struct result r;
    uint64_t id;
    result_init(&r);
    struct engine_job job = make_job(0, ANSWER, &r);
    job.json = true;
    assert_int_equal(engine_submit(e, &job, &id), 0);
    wait_end(&r);
    assert_int_equal(r.finish, ENGINE_FINISH_FAILED);
    buf_clear(&r.text);
    buf_clear(&r.reasoning);
    engine_free(e);
}

static void models_that_cannot_be_loaded(void **state)
{
    struct engine_conf conf = {.slots = 1, .context = 128, .threads = 1, .step_tokens = 16, .queue = 10};
    struct engine *e;
    struct err err;
    conf.model = temp_path("none.gguf");
    assert_int_equal(open_engine(conf, &e, &err), ERR_IO);
    engine_free(e);
    conf.model = NULL;
    conf.context = 100000;
    assert_int_equal(open_engine(conf, &e, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "100000"));
    engine_free(e);
}

static int make(void **state)
{
    if (temp_make(state)) {
        return -1;
    }
    snprintf(model_path, sizeof model_path, "%s", write_tiny_model("tiny.gguf"));
    memcpy(models[0], model_path, sizeof model_path);
    for (unsigned i = 1; i < MODELS; i++) {
        const char *path = write_tiny_spec(tiny_spec_find(families[i - 1]), true);
        snprintf(models[i], sizeof models[i], "%s", path);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_depend_on_the_batch),
        cmocka_unit_test(answers_survive_preemption),
        cmocka_unit_test(windows_change_no_answer),
        cmocka_unit_test(a_known_prefix_is_not_computed_again),
        cmocka_unit_test(tenants_take_turns),
        cmocka_unit_test(a_deadline_ends_an_answer),
        cmocka_unit_test(cancels_free_slots),
        cmocka_unit_test(the_queue_ends),
        cmocka_unit_test(stop_strings_end_an_answer),
        cmocka_unit_test(reasoning_is_told_apart),
        cmocka_unit_test(logits_that_are_no_numbers),
        cmocka_unit_test(models_that_cannot_be_loaded),
    };
    return cmocka_run_group_tests(tests, make, temp_remove);
}

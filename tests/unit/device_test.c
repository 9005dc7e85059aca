/* Which machine computes: a device that cannot be opened is passed over or ends the start, and one that fails later ends
 * the engine; with a backend that stands for a device (the real one's failures: tests/kernels). */
#include "tests/unit/tiny_models.h"

#include <pthread.h>

#include "inference/worker/engine.h"

static char model_path[128];
static const char *open_fault;    /* what the device says when it is opened; NULL: nothing */
static int runs_left;             /* of the device */
static struct backend_conf asked; /* of the device, when it was opened last */

/* --- a device of our own: the CPU's backend under another name -------------------------------------------------- */

static int fake_open(const struct graph *g, const struct backend_conf *conf, struct backend **out,
                     struct err *err)
{
    asked = *conf;
    return open_fault ? err_set(err, ERR_UNAVAILABLE, "cuda: %s", open_fault)
                      : backend_cpu.open(g, conf, out, err);
}

static int fake_run(struct backend *b, const struct batch *batch, float **logits, struct err *err)
{
    return runs_left-- > 0 ? backend_cpu.run(b, batch, logits, err)
                           : err_set(err, ERR_UNAVAILABLE, "cuda: a step: the device is gone");
}

static void fake_describe(const struct backend *b, char *out, size_t n)
{
    snprintf(out, n, "backend=fake");
}

static void fake_close(struct backend *b)
{
    backend_cpu.close(b);
}

static bool fake_candidates(const struct backend *b, uint32_t row, struct candidates *out)
{
    return backend_cpu.candidates(b, row, out);
}

static const struct backend_kind fake = {.name = "fake",
                                         .open = fake_open,
                                         .run = fake_run,
                                         .candidates = fake_candidates,
                                         .describe = fake_describe,
                                         .close = fake_close};

/* --- opening ----------------------------------------------------------------------------------------------------- */

struct opened {
    int rc;
    char name[16];
    struct err err;
};

static struct opened open_devices(enum device_choice choice, const struct backend_kind *cuda, uint32_t ranks)
{
    const struct device_wish wish = {choice, cuda, ranks, 700};
    const struct backend_conf conf = {
        .kv_blocks = 2, .context = 16, .batch_tokens = 4, .batch_logits = 4, .threads = 1};
    struct opened o = {.name = "none"};
    struct device device;
    struct model *model;
    assert_int_equal(model_open(model_path, &model, &o.err), 0);
    struct graph *graph = graph_new(model);
    o.rc = device_open(&wish, graph, &conf, &device, &o.err);
    if (!o.rc) {
        snprintf(o.name, sizeof o.name, "%s", device.kind->name);
    }
    device_close(&device);
    device_close(&device); /* twice is once */
    graph_free(graph);
    model_close(model);
    return o;
}

static struct opened open_device(enum device_choice choice, const struct backend_kind *cuda)
{
    return open_devices(choice, cuda, 1);
}

static void test_auto_takes_what_there_is(void **state)
{
    open_fault = NULL;
    assert_string_equal(open_device(DEVICE_AUTO, NULL).name, "cpu");
    assert_string_equal(open_device(DEVICE_AUTO, &fake).name, "fake");
    open_fault = "no device is detected";
    assert_string_equal(open_device(DEVICE_AUTO, &fake).name, "cpu");
}

static void test_the_cpu_asks_no_device(void **state)
{
    open_fault = NULL;
    assert_string_equal(open_device(DEVICE_CPU, &fake).name, "cpu");
}

static void test_cuda_is_a_device_or_an_error(void **state)
{
    open_fault = NULL;
    assert_string_equal(open_device(DEVICE_CUDA, &fake).name, "fake");
    open_fault = "no device is detected";
    struct opened o = open_device(DEVICE_CUDA, &fake);
    assert_int_equal(o.rc, ERR_UNAVAILABLE);
    assert_string_equal(o.err.msg, "cuda: no device is detected");
    o = open_device(DEVICE_CUDA, NULL);
    assert_int_equal(o.rc, ERR_INVALID);
    assert_non_null(strstr(o.err.msg, "built without CUDA"));
}

static void test_several_devices_are_devices_or_an_error(void **state)
{
    open_fault = NULL;
    assert_string_equal(open_devices(DEVICE_AUTO, &fake, 2).name, "fake");
    assert_int_equal(asked.ranks, 2);
    assert_int_equal(asked.collective_ms, 700);
    open_fault = "2 devices are wanted, 1 can be used";
    struct opened o = open_devices(DEVICE_AUTO, &fake, 2);
    assert_int_equal(o.rc, ERR_UNAVAILABLE);
    o = open_devices(DEVICE_CPU, &fake, 2);
    assert_int_equal(o.rc, ERR_INVALID);
    assert_string_equal(o.err.msg, "--tensor-parallel-size 2: the CPU is one device");
    o = open_devices(DEVICE_AUTO, NULL, 3);
    assert_int_equal(o.rc, ERR_INVALID);
    assert_string_equal(o.err.msg, "--tensor-parallel-size 3: this tide-worker was built without CUDA");
}

/* --- failing ------------------------------------------------------------------------------------------------------ */

struct watch {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool loaded;
    bool failed;
    unsigned ends;     /* of jobs */
    unsigned canceled; /* of these */
    unsigned late;     /* outputs after on_failed */
};

static void note(struct watch *w, bool *what)
{
    pthread_mutex_lock(&w->mutex);
    *what = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void on_loaded(void *arg, int rc, const struct err *err)
{
    struct watch *w = arg;
    assert_int_equal(rc, 0);
    note(w, &w->loaded);
}

static void on_failed(void *arg)
{
    struct watch *w = arg;
    note(w, &w->failed);
}

static void on_output(void *arg, const struct engine_output *out)
{
    struct watch *w = arg;
    pthread_mutex_lock(&w->mutex);
    w->ends += out->finish != ENGINE_FINISH_NONE;
    w->canceled += out->finish == ENGINE_FINISH_CANCELED;
    w->late += w->failed;
    pthread_mutex_unlock(&w->mutex);
}

static void wait_for(struct watch *w, const bool *what)
{
    pthread_mutex_lock(&w->mutex);
    while (!*what) {
        pthread_cond_wait(&w->changed, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
}

static int submit(struct engine *e, struct watch *w)
{
    enum { PROMPT = 5 };
    uint64_t id;
    struct engine_job job = {.prompt_n = PROMPT,
                             .max_tokens = 60,
                             .sampling = {.top_p = 1.0F},
                             .ignore_end = true,
                             .on_output = on_output,
                             .arg = w};
    job.prompt = malloc(PROMPT * sizeof *job.prompt);
    for (int i = 0; i < PROMPT; i++) {
        job.prompt[i] = 1 + i;
    }
    buf_init(&job.stops, 100);
    return engine_submit(e, &job, &id);
}

/* One that runs, one that waits for its slot: both end once, then on_failed comes, and nothing is taken any more. */
static void test_a_device_that_fails_ends_the_engine(void **state)
{
    struct watch w = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const struct engine_conf conf = {.model = model_path,
                                     .slots = 1,
                                     .context = 128,
                                     .threads = 1,
                                     .step_tokens = 16,
                                     .queue = 8,
                                     .device = {.choice = DEVICE_CUDA, .cuda = &fake},
                                     .on_loaded = on_loaded,
                                     .on_failed = on_failed,
                                     .arg = &w};
    struct engine *e;
    struct err err;
    open_fault = NULL;
    runs_left = 7;
    assert_int_equal(engine_new(&conf, &e, &err), 0);
    wait_for(&w, &w.loaded);
    assert_int_equal(submit(e, &w), 0);
    int second = submit(e, &w); /* or the first has met the end already */
    wait_for(&w, &w.failed);
    assert_int_equal(submit(e, &w), ERR_AGAIN);
    assert_int_equal(w.ends, second ? 1 : 2);
    assert_int_equal(w.canceled, w.ends);
    engine_free(e);
    assert_int_equal(w.late, 0);
}

static int make_model(void **state)
{
    temp_make(state);
    snprintf(model_path, sizeof model_path, "%s", write_tiny_spec(tiny_spec_find("llama3"), true));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_takes_what_there_is),
        cmocka_unit_test(test_the_cpu_asks_no_device),
        cmocka_unit_test(test_cuda_is_a_device_or_an_error),
        cmocka_unit_test(test_several_devices_are_devices_or_an_error),
        cmocka_unit_test(test_a_device_that_fails_ends_the_engine),
    };
    return cmocka_run_group_tests_name("device", tests, make_model, temp_remove);
}

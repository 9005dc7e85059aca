/* Steps replayed as CUDA graphs: the logits of the same steps launched one operation after the other, to the bit, in any
 * size, from few graphs; and what an error meanwhile leaves. */
#include "tests/unit/tiny_models.h"

#include <cuda_runtime.h>

#include "inference/worker/cuda/cuda_backend.h"
#include "kernels/emu/emu.h"

enum {
    CONTEXT = 288,
    SEQUENCES = 5,
    WIDTH = CONTEXT / KV_BLOCK,
    PROMPT = 3,
    LOGITS = SEQUENCES * TINY_VOCAB
};

struct machine {
    struct model *model;
    struct graph *graph;
    struct backend *backend;
};

static int machine_open(struct machine *m, const char *path, bool without_graphs, struct err *err)
{
    const struct backend_conf conf = {.kv_blocks = SEQUENCES * WIDTH,
                                      .context = CONTEXT,
                                      .batch_tokens = 64,
                                      .batch_logits = SEQUENCES,
                                      .portable = without_graphs};
    *m = (struct machine){0};
    assert_int_equal(model_open(path, &m->model, err), 0);
    m->graph = graph_new(m->model);
    return backend_cuda.open(m->graph, &conf, &m->backend, err);
}

static void machine_close(struct machine *m)
{
    backend_cuda.close(m->backend);
    graph_free(m->graph);
    model_close(m->model);
}

static int run(struct machine *m, const struct batch_token *tokens, uint32_t n, float *rows, uint32_t wanted,
               struct err *err)
{
    uint32_t tables[SEQUENCES][WIDTH];
    for (uint32_t i = 0; i < SEQUENCES * WIDTH; i++) {
        tables[i / WIDTH][i % WIDTH] = (i * 7 + 3) % (SEQUENCES * WIDTH); /* each block once */
    }
    const struct batch batch = {.tokens = tokens, .n = n, .tables = tables[0], .table_width = WIDTH};
    float *logits;
    int rc = backend_cuda.run(m->backend, &batch, &logits, err);
    if (!rc) {
        memcpy(rows, logits, (size_t)wanted * TINY_VOCAB * sizeof *rows);
    }
    return rc;
}

static struct batch_token token_at(uint32_t sequence, uint32_t position, bool wants_logits)
{
    return (struct batch_token){.token = (int32_t)((position * 31 + sequence * 7 + 1) % 250),
                                .sequence = sequence,
                                .position = position,
                                .wants_logits = wants_logits};
}

static void prompt(struct machine *m, uint32_t sequence, uint32_t n)
{
    static float rows[LOGITS];
    struct batch_token tokens[64];
    struct err err;
    for (uint32_t at = 0; at < n;) {
        uint32_t part = 0;
        for (; part < 64 && at < n; at++) {
            tokens[part++] = token_at(sequence, at, false);
        }
        assert_int_equal(run(m, tokens, part, rows, 0, &err), 0);
    }
}

/* One token of each of the first n sequences. */
static int decode(struct machine *m, uint32_t n, uint32_t position, float *rows, struct err *err)
{
    struct batch_token tokens[SEQUENCES];
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = token_at(i, position, true);
    }
    return run(m, tokens, n, rows, n, err);
}

static void expect_the_same(struct machine *a, struct machine *b, uint32_t n, uint32_t position)
{
    static float rows[2][LOGITS];
    struct err err;
    if (decode(a, n, position, rows[0], &err) || decode(b, n, position, rows[1], &err)) {
        fail_msg("%u rows at %u: %s: %s", n, position, err.msg, emu_fault_text());
    }
    if (memcmp(rows[0], rows[1], (size_t)n * TINY_VOCAB * sizeof **rows) != 0) {
        fail_msg("%u rows at position %u differ from those without a graph", n, position);
    }
}

static void compare(const char *name)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, 4, 3, 1, 5};
    struct machine with;
    struct machine without;
    struct err err;
    const char *path = write_tiny_spec(tiny_spec_find(name), true);
    emu_reset(NULL);
    assert_int_equal(machine_open(&with, path, false, &err), 0);
    assert_int_equal(machine_open(&without, path, true, &err), 0);
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        prompt(&with, s, PROMPT);
        prompt(&without, s, PROMPT);
    }
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        expect_the_same(&with, &without, sizes[i], PROMPT + i);
    }
    assert_int_equal(with.backend->graphs.count, 4); /* of 1, 2, 4 and 5 rows, the most there are */
    assert_int_equal(without.backend->graphs.count, 0);
    machine_close(&with);
    machine_close(&without);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_a_graph_gives_the_same_bits(void **state)
{
    compare("llama3");
    compare("gemma3");
}

/* Past ATTEND_SPLIT positions another graph serves. */
static void test_a_longer_answer(void **state)
{
    struct machine with;
    struct machine without;
    struct err err;
    struct tiny_spec least = *tiny_spec_find("llama3");
    least.layers = 1;
    least.heads = 1;
    least.kv_heads = 1;
    least.head_dim = 32;
    const char *path = write_tiny_spec(&least, true);
    emu_reset(NULL);
    assert_int_equal(machine_open(&with, path, false, &err), 0);
    assert_int_equal(machine_open(&without, path, true, &err), 0);
    prompt(&with, 0, 254);
    prompt(&without, 0, 254);
    for (uint32_t position = 254; position < 259; position++) {
        expect_the_same(&with, &without, 1, position);
    }
    assert_int_equal(with.backend->graphs.count, 2);
    machine_close(&with);
    machine_close(&without);
}

/* The first step is recorded, so its kernels run when the graph is launched: the words are those of a step. */
static void test_a_kernel_that_faults_in_a_graph(void **state)
{
    static float rows[LOGITS];
    struct machine m;
    struct err err;
    emu_reset(NULL);
    assert_int_equal(machine_open(&m, write_tiny_spec(tiny_spec_find("llama3"), true), false, &err), 0);
    assert_int_equal(decode(&m, 3, 0, rows, &err), 0);
    emu_fail(EMU_KERNEL_FAULT, 4);
    assert_int_equal(decode(&m, 3, 1, rows, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "illegal memory access"));
    assert_int_equal(decode(&m, 3, 2, rows, &err), ERR_UNAVAILABLE);
    assert_int_equal(decode(&m, 2, 2, rows, &err), ERR_UNAVAILABLE); /* a size that has no graph yet */
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_graph_gives_the_same_bits),
        cmocka_unit_test(test_a_longer_answer),
        cmocka_unit_test(test_a_kernel_that_faults_in_a_graph),
    };
    return cmocka_run_group_tests_name("decode", tests, temp_make, temp_remove);
}

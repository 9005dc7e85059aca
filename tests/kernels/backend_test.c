/* The CUDA backend on the emulator gives the CPU backend's logits and tokens, on tiny models of the architectures that it
 * has kernels for; out of memory, no device and a kernel that faults end in the device's words. */
#include "tests/unit/tiny_models.h"

#include <math.h>

#include <cuda_runtime.h>

#include "inference/worker/cuda/cuda_backend.h"
#include "kernels/emu/emu.h"

enum { POSITIONS = 24, SEQUENCES = 2, BLOCKS = 8 };

struct machine {
    struct model *model;
    struct graph *graph;
    const struct backend_kind *kind;
    struct backend *backend;
};

static int machine_open(struct machine *m, const char *path, const struct backend_kind *kind, struct err *err)
{
    struct backend_conf conf = {.kv_blocks = BLOCKS,
                                .context = POSITIONS,
                                .batch_tokens = SEQUENCES * POSITIONS,
                                .batch_logits = SEQUENCES * POSITIONS,
                                .threads = 1,
                                .portable = true};
    *m = (struct machine){.kind = kind};
    if (model_open(path, &m->model, err)) {
        fail_msg("%s", err->msg);
    }
    m->graph = graph_new(m->model);
    assert_non_null(m->graph);
    return kind->open(m->graph, &conf, &m->backend, err);
}

static void machine_close(struct machine *m)
{
    m->kind->close(m->backend);
    graph_free(m->graph);
    model_close(m->model);
}

/* Computes positions [from, to) of both sequences; rows gets the logits of the last two of each, as far as there are. */
static int machine_run(struct machine *m, uint32_t from, uint32_t to, float *rows, struct err *err)
{
    static const uint32_t tables[SEQUENCES][4] = {{3, 0, 6, 0}, {1, 7, 2, 0}};
    struct batch_token tokens[SEQUENCES * POSITIONS];
    uint32_t n = 0;
    uint32_t wanted = 0;
    float *logits;
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        for (uint32_t i = from; i < to; i++) {
            tokens[n++] = (struct batch_token){(int32_t)((i * 31 + s * 7 + 1) % 250), s, i, i + 2 >= to};
            wanted += i + 2 >= to;
        }
    }
    struct batch b = {.tokens = tokens, .n = n, .tables = tables[0], .table_width = 4};
    int rc = m->kind->run(m->backend, &b, &logits, err);
    if (!rc) {
        memcpy(rows, logits, (size_t)wanted * TINY_VOCAB * sizeof *rows);
    }
    return rc;
}

static uint32_t best(const float *row)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < TINY_VOCAB; i++) {
        at = row[i] > row[at] ? i : at;
    }
    return at;
}

/* Logits within `tolerance` of the row's largest, and the same best token unless its lead is within it. */
static void expect_same_rows(const char *name, const float *is, const float *wanted, uint32_t rows,
                             double tolerance)
{
    double worst = 0;
    uint32_t near_ties = 0;
    for (uint32_t r = 0; r < rows; r++, is += TINY_VOCAB, wanted += TINY_VOCAB) {
        double largest = 0;
        double difference = 0;
        for (uint32_t i = 0; i < TINY_VOCAB; i++) {
            double d = fabs((double)is[i] - (double)wanted[i]);
            largest = fmax(largest, fabs((double)wanted[i]));
            difference = d <= difference ? difference : d;
        }
        uint32_t a = best(is);
        uint32_t b = best(wanted);
        double lead = (double)(wanted[b] - wanted[a]);
        if (!(difference <= tolerance * largest) || lead > 2 * tolerance * largest) {
            fail_msg("%s: row %u: off by %.3g of %.3g, best token %u, expected %u", name, r, difference,
                     largest, a, b);
        }
        near_ties += a != b;
        worst = fmax(worst, difference / largest);
    }
    print_message("%s: largest difference %.2g, %u near-ties\n", name, worst, near_ties);
}

static void compare(const struct tiny_spec *spec, bool is_quantized)
{
    static float cpu_rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    const char *path = write_tiny_spec(spec, is_quantized);
    const uint32_t cuts[] = {0, 1, 2, 17, POSITIONS};
    struct machine cpu;
    struct machine cuda;
    struct err err;
    emu_reset(NULL);
    assert_int_equal(machine_open(&cpu, path, &backend_cpu, &err), 0);
    if (machine_open(&cuda, path, &backend_cuda, &err)) {
        fail_msg("%s: %s", spec->name, err.msg);
    }
    for (unsigned i = 0; i + 1 < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(machine_run(&cpu, cuts[i], cuts[i + 1], cpu_rows, &err), 0);
        if (machine_run(&cuda, cuts[i], cuts[i + 1], rows, &err)) {
            fail_msg("%s: %s: %s", spec->name, err.msg, emu_fault_text());
        }
        /* int8 activations that are rounded to the other side cost most */
        expect_same_rows(spec->name, rows, cpu_rows, SEQUENCES * (cuts[i + 1] - cuts[i]),
                         is_quantized ? 2e-2 : 1e-3);
    }
    machine_close(&cpu);
    machine_close(&cuda);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_logits_are_the_cpus(void **state)
{
    static const char *const names[] = {"llama2", "llama3", "qwen2", "qwen3", "qwen3-yarn", "gemma3"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        compare(tiny_spec_find(names[i]), false);
    }
    compare(tiny_spec_find("llama3"), true);
    compare(tiny_spec_find("gemma3"), true);
}

static void expect_refused(const char *name, enum emu_failure failure, uint32_t after, int code,
                           const char *text)
{
    struct machine m;
    struct err err;
    emu_reset(NULL);
    emu_fail(failure, after);
    assert_int_equal(machine_open(&m, write_tiny_spec(tiny_spec_find(name), true), &backend_cuda, &err),
                     code);
    assert_non_null(strstr(err.msg, text));
    print_message("%s\n", err.msg);
    machine_close(&m);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_what_open_refuses(void **state)
{
    expect_refused("llama3", EMU_NO_DEVICE, 0, ERR_UNAVAILABLE, "no CUDA-capable device is detected");
    expect_refused("llama3", EMU_OLD_DRIVER, 0, ERR_UNAVAILABLE, "driver version is insufficient");
    expect_refused("deepseek2-v3", EMU_NO_FAILURE, 0, ERR_INVALID, "which this model needs");
    for (uint32_t after = 0; after < 60; after += 19) {
        expect_refused("llama3", EMU_OUT_OF_MEMORY, after, ERR_NOMEM, "out of memory");
    }
}

static void test_weights_without_a_kernel(void **state)
{
    static const enum tensor_type types[] = {TENSOR_Q5_1, TENSOR_BF16};
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        struct tiny_builder t;
        struct machine m;
        struct err err;
        char text[64];
        emu_reset(NULL);
        tiny_build(&t, tiny_spec_find("llama3"), true);
        add_tensor(&t.b, "output.weight", types[i], TINY_FAMILY_WIDTH, TINY_VOCAB);
        struct buf file = built_file(&t.b);
        const char *path = write_bytes("head.gguf", file.p, file.n);
        snprintf(text, sizeof text, "no kernel for tensor output.weight of type %s",
                 quant_type_name(types[i]));
        assert_int_equal(machine_open(&m, path, &backend_cuda, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, text));
        machine_close(&m);
        assert_int_equal(emu_bytes_allocated(), 0);
        buf_clear(&file);
        builder_clear(&t.b);
    }
}

static void expect_failed_run(enum emu_failure failure, const char *text)
{
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    struct machine m;
    struct err err;
    emu_reset(NULL);
    assert_int_equal(machine_open(&m, write_tiny_spec(tiny_spec_find("llama3"), true), &backend_cuda, &err),
                     0);
    assert_int_equal(machine_run(&m, 0, 3, rows, &err), 0);
    emu_fail(failure, 5);
    assert_int_equal(machine_run(&m, 3, 5, rows, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, text));
    assert_int_equal(machine_run(&m, 5, 6, rows, &err), ERR_UNAVAILABLE); /* and it stays so */
    print_message("%s\n", err.msg);
    machine_close(&m);
}

static void test_a_device_that_fails(void **state)
{
    expect_failed_run(EMU_KERNEL_FAULT, "illegal memory access");
    expect_failed_run(EMU_DEVICE_LOST, "busy or unavailable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_are_the_cpus),
        cmocka_unit_test(test_what_open_refuses),
        cmocka_unit_test(test_weights_without_a_kernel),
        cmocka_unit_test(test_a_device_that_fails),
    };
    return cmocka_run_group_tests_name("backend", tests, temp_make, temp_remove);
}

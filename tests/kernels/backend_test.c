/* The CUDA backend on the emulator gives the CPU backend's logits and tokens, on tiny models of every architecture and type
 * of weights; out of memory, no device and a kernel that faults end in the device's words. */
#include "tests/kernels/machines.h"

#include <cuda_runtime.h>

static void compare_file(const char *name, const char *path, double tolerance)
{
    static float cpu_rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    const uint32_t cuts[] = {0, 1, 2, 17, POSITIONS};
    struct machine cpu;
    struct machine cuda;
    struct err err;
    emu_reset(NULL);
    assert_int_equal(machine_open(&cpu, path, &backend_cpu, &err), 0);
    if (machine_open(&cuda, path, &backend_cuda, &err)) {
        fail_msg("%s: %s", name, err.msg);
    }
    for (unsigned i = 0; i + 1 < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(machine_run(&cpu, cuts[i], cuts[i + 1], cpu_rows, &err), 0);
        if (machine_run(&cuda, cuts[i], cuts[i + 1], rows, &err)) {
            fail_msg("%s: %s: %s", name, err.msg, emu_fault_text());
        }
        expect_same_rows(name, rows, cpu_rows, SEQUENCES * (cuts[i + 1] - cuts[i]), tolerance);
    }
    machine_close(&cpu);
    machine_close(&cuda);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void compare(const struct tiny_spec *spec, bool is_quantized)
{
    /* int8 activations that are rounded to the other side cost most, more where they decide about experts too */
    double tolerance = !is_quantized ? 1e-3 : spec->experts ? 5e-2 : 2e-2;
    compare_file(spec->name, write_tiny_spec(spec, is_quantized), tolerance);
}

static void test_logits_are_the_cpus(void **state)
{
    static const char *const names[] = {"llama2",         "llama3",       "qwen2",
                                        "qwen3",          "qwen3-yarn",   "gemma3",
                                        "deepseek2-lite", "deepseek2-v2", "deepseek2-v3"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        compare(tiny_spec_find(names[i]), false);
    }
    compare(tiny_spec_find("llama3"), true);
    compare(tiny_spec_find("gemma3"), true);
    compare(tiny_spec_find("deepseek2-v3"), true);
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
    expect_refused("llama3", EMU_KERNEL_FAULT, 0, ERR_UNAVAILABLE, "trying a kernel");
    for (uint32_t after = 0; after < 60; after += 19) {
        expect_refused("llama3", EMU_OUT_OF_MEMORY, after, ERR_NOMEM, "out of memory");
    }
}

static void test_weights_of_other_types(void **state)
{
    static const enum tensor_type types[] = {TENSOR_Q5_1, TENSOR_BF16};
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        struct tiny_builder t;
        tiny_build(&t, tiny_spec_find("llama3"), true);
        add_tensor(&t.b, "output.weight", types[i], TINY_FAMILY_WIDTH, TINY_VOCAB);
        struct buf file = built_file(&t.b);
        compare_file(quant_type_name(types[i]), write_bytes("head.gguf", file.p, file.n), 2e-2);
        buf_clear(&file);
        builder_clear(&t.b);
    }
}

enum { TURN = 3, STEPS = 4 };

/* What a token wants: the whole row, the best only, or more. In the last step nobody wants a row. */
static uint8_t wanted_at(uint32_t step, uint32_t sequence, uint32_t position)
{
    static const uint8_t wanted[] = {0, 1, CANDIDATES_MAX, 0, 7};
    return step == STEPS - 1 ? 1 : wanted[(2 * sequence + position + step) % 5];
}

static void run_step(struct machine *m, uint32_t step, bool wants, float **logits)
{
    static const uint32_t tables[SEQUENCES][2] = {{3, 0}, {1, 7}};
    struct batch_token tokens[SEQUENCES * TURN];
    struct batch b = {.tokens = tokens, .tables = tables[0], .table_width = 2};
    struct err err;
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        for (uint32_t i = 0; i < (step ? 1 : TURN); i++) {
            uint32_t position = step ? TURN - 1 + step : i;
            tokens[b.n++] = (struct batch_token){.token = (int32_t)((position * 31 + s * 7 + 1) % 250),
                                                 .sequence = s,
                                                 .position = position,
                                                 .wants_logits = true,
                                                 .candidates = wants ? wanted_at(step, s, position) : 0};
        }
    }
    if (m->kind->run(m->backend, &b, logits, &err)) {
        fail_msg("%s: %s", err.msg, emu_fault_text());
    }
}

static void expect_candidates(const struct candidates *c, const float *row)
{
    double sum = 0;
    bool taken[TINY_VOCAB] = {false};
    for (uint32_t i = 0; i < TINY_VOCAB; i++) {
        sum += exp((double)row[i]);
    }
    assert_float_equal(c->log_sum, log(sum), 1e-4);
    for (uint32_t k = 0; k < c->n; k++) {
        uint32_t at = TINY_VOCAB;
        for (uint32_t i = 0; i < TINY_VOCAB; i++) {
            at = !taken[i] && (at == TINY_VOCAB || row[i] > row[at]) ? i : at;
        }
        taken[at] = true;
        assert_int_equal(c->ids[k], at);
        assert_memory_equal(&c->logits[k], &row[at], sizeof *row);
    }
}

/* The candidates of a row are the largest of the row that another machine gives whole; also after a replayed graph. */
static void compare_candidates(uint32_t ranks)
{
    const struct emu_conf devices = {.devices = ranks};
    struct tiny_spec least = *tiny_spec_find("llama3");
    least.layers = 1;
    const char *path = write_tiny_spec(&least, false);
    struct machine whole;
    struct machine few;
    struct err err;
    emu_reset(&devices);
    machine_uses_graphs = true;
    assert_int_equal(machine_open_on(&whole, path, &backend_cuda, ranks, &err), 0);
    assert_int_equal(machine_open_on(&few, path, &backend_cuda, ranks, &err), 0);
    for (uint32_t step = 0; step < STEPS; step++) {
        float *rows;
        float *logits;
        struct candidates c;
        run_step(&whole, step, false, &rows);
        run_step(&few, step, true, &logits);
        for (uint32_t row = 0; row < SEQUENCES * (step ? 1 : TURN); row++, rows += TINY_VOCAB) {
            uint8_t n = step ? wanted_at(step, row, TURN - 1 + step) : wanted_at(0, row / TURN, row % TURN);
            assert_false(backend_cuda.candidates(whole.backend, row, &c));
            assert_int_equal(backend_cuda.candidates(few.backend, row, &c), n > 0);
            if (n) {
                assert_in_range(c.n, n, CANDIDATES_MAX);
                expect_candidates(&c, rows);
            } else {
                assert_memory_equal(logits + (size_t)row * TINY_VOCAB, rows, TINY_VOCAB * sizeof *rows);
            }
        }
    }
    machine_uses_graphs = false;
    machine_close(&whole);
    machine_close(&few);
}

static void test_candidates_are_the_rows_largest(void **state)
{
    compare_candidates(1);
    compare_candidates(4); /* the vocabulary is filled up */
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
        cmocka_unit_test(test_logits_are_the_cpus),    cmocka_unit_test(test_what_open_refuses),
        cmocka_unit_test(test_weights_of_other_types), cmocka_unit_test(test_candidates_are_the_rows_largest),
        cmocka_unit_test(test_a_device_that_fails),
    };
    return cmocka_run_group_tests_name("backend", tests, temp_make, temp_remove);
}

/* Tensor parallel on emulated devices: 1, 2 and 4 ranks give the CPU backend's logits and tokens, all ranks the same bits; what
 * does not divide is refused; a rank that is lost, a collective that hangs or fails ends a run with the rank's words; devices
 * that do not even answer an abort end the process. */
#include "tests/kernels/machines.h"

#include <sys/wait.h>
#include <unistd.h>

enum { DEVICES = 5, PATIENCE_MS = 3000 };

/* Everything divides by four, quantized blocks too. */
static const struct tiny_spec wide = {.name = "wide",
                                      .family = "qwen2",
                                      .layers = 2,
                                      .heads = 8,
                                      .kv_heads = 4,
                                      .head_dim = 16,
                                      .ff = 128,
                                      .has_own_head = true,
                                      .rope_base = 10000};

static void reset_devices(uint64_t seed)
{
    struct emu_conf conf = {.devices = DEVICES, .seed = seed};
    emu_reset(&conf);
}

static void *copy_buffer(const struct machine *m, uint32_t rank, enum graph_buffer buffer, size_t bytes)
{
    const struct backend *b = ranks_backend(m->backend->ranks, rank);
    void *host = malloc(bytes);
    assert_non_null(host);
    assert_int_equal(cudaSetDevice((int)rank), cudaSuccess);
    assert_int_equal(cudaMemcpy(host, b->buffers[buffer], bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
}

static void expect_same_bits(const struct machine *m, uint32_t ranks, enum graph_buffer buffer, size_t rows)
{
    size_t bytes = rows * ranks_backend(m->backend->ranks, 0)->graph->widths[buffer] * sizeof(float);
    void *first = copy_buffer(m, 0, buffer, bytes);
    for (uint32_t i = 1; i < ranks; i++) {
        void *other = copy_buffer(m, i, buffer, bytes);
        assert_memory_equal(other, first, bytes);
        free(other);
    }
    free(first);
}

/* Cuts: positions where one step ends and the next begins, the first 0. */
static void compare_cut(const struct tiny_spec *spec, bool is_quantized, uint32_t ranks, const uint32_t *cuts,
                        unsigned steps)
{
    static float cpu_rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    const char *path = write_tiny_spec(spec, is_quantized);
    bool has_graphs = machine_uses_graphs;
    struct machine cpu;
    struct machine cuda;
    struct err err;
    char name[64];
    /* int8 activations that are rounded to the other side cost most, more where they decide about experts too */
    double tolerance = !is_quantized ? 1e-3 : spec->experts ? 5e-2 : 2e-2;
    snprintf(name, sizeof name, "%s on %u", spec->name, ranks);
    reset_devices(ranks);
    assert_int_equal(machine_open(&cpu, path, &backend_cpu, &err), 0);
    if (machine_open_on(&cuda, path, &backend_cuda, ranks, &err)) {
        fail_msg("%s: %s", name, err.msg);
    }
    for (unsigned i = 0; i < steps; i++) {
        assert_int_equal(machine_run(&cpu, cuts[i], cuts[i + 1], cpu_rows, &err), 0);
        if (machine_run(&cuda, cuts[i], cuts[i + 1], rows, &err)) {
            fail_msg("%s: %s: %s", name, err.msg, emu_fault_text());
        }
        uint32_t wanted = cuts[i + 1] - cuts[i] > 1 ? 2 : 1;
        expect_same_rows(name, rows, cpu_rows, SEQUENCES * wanted, tolerance);
        expect_same_bits(&cuda, ranks, GRAPH_LOGITS, SEQUENCES * (size_t)wanted);
        expect_same_bits(&cuda, ranks, GRAPH_STREAM, SEQUENCES * (size_t)(cuts[i + 1] - cuts[i]));
    }
    for (uint32_t i = 0; i < ranks; i++) {
        assert_int_equal(ranks_backend(cuda.backend->ranks, i)->graphs.count, has_graphs);
    }
    machine_close(&cpu);
    machine_close(&cuda);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void compare(const struct tiny_spec *spec, bool is_quantized, uint32_t ranks)
{
    static const uint32_t cuts[] = {0, 1, 7, 9};
    compare_cut(spec, is_quantized, ranks, cuts, 3);
}

static void test_logits_are_the_cpus(void **state)
{
    static const char *const names[] = {"llama2", "llama3", "qwen2", "qwen3", "gemma3"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        compare(tiny_spec_find(names[i]), false, 4); /* more ranks than key heads, but for the first */
    }
    compare(tiny_spec_find("llama3"), false, 2);
    compare(&wide, true, 2);
    compare(&wide, true, 4);
}

/* Latents and their cache are every rank's; heads, experts and what is shared are cut. */
static void test_logits_of_experts_are_the_cpus(void **state)
{
    static const char *const names[] = {"deepseek2-lite", "deepseek2-v2", "deepseek2-v3"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        struct tiny_spec blocks = *tiny_spec_find(names[i]); /* whole quantized blocks on each of four */
        compare(&blocks, false, i % 2 ? 4 : 2);
        blocks.ff = blocks.expert_ff = 128;
        compare(&blocks, true, 4);
    }
    struct tiny_spec alone = *tiny_spec_find("deepseek2-v2");
    alone.shared = 0;
    compare(&alone, false, 2);
}

/* Steps of one size are recorded once and replayed, their collectives too. */
static void test_graphs_replay_the_collectives(void **state)
{
    static const uint32_t cuts[] = {0, 1, 2, 3, 4};
    machine_uses_graphs = true;
    compare_cut(tiny_spec_find("llama3"), false, 2, cuts, 4);
    machine_uses_graphs = false;
}

static void expect_refused(const struct tiny_spec *spec, bool is_quantized, uint32_t ranks, int code,
                           const char *text)
{
    struct machine m;
    struct err err;
    assert_int_equal(machine_open_on(&m, write_tiny_spec(spec, is_quantized), &backend_cuda, ranks, &err),
                     code);
    print_message("%s\n", err.msg);
    assert_non_null(strstr(err.msg, text));
    machine_close(&m);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_what_open_refuses(void **state)
{
    struct tiny_spec odd = wide;
    reset_devices(1);
    expect_refused(&wide, true, 6, ERR_INVALID, "6 devices are wanted, 5 can be used");
    expect_refused(&wide, true, 3, ERR_INVALID, "8 query heads do not divide among 3 devices");
    odd.heads = 6;
    odd.kv_heads = 2;
    expect_refused(&odd, true, 3, ERR_INVALID, "2 key heads do not divide among 3 devices");
    odd = wide;
    odd.heads = odd.kv_heads = 5;
    odd.head_dim = 32;
    expect_refused(&odd, false, 5, ERR_INVALID, "128 feed-forward values do not divide among 5 devices");
    odd = *tiny_spec_find("deepseek2-v2");
    odd.heads = 5;
    odd.ff = 160;
    expect_refused(&odd, false, 5, ERR_INVALID, "32 values of an expert do not divide among 5 devices");
    odd = *tiny_spec_find("deepseek2-v2");
    odd.ff = 128;
    expect_refused(&odd, true, 2, ERR_INVALID,
                   "blk.1.ffn_down_exps.weight: 32 columns are not whole blocks of 32 on each device");
    odd = wide;
    odd.ff = 96;
    expect_refused(&odd, true, 2, ERR_INVALID, "96 columns are not whole blocks of 32 on each device");
    for (uint32_t after = 0; after < 150; after += 37) {
        reset_devices(1);
        emu_fail(EMU_OUT_OF_MEMORY, after);
        expect_refused(&wide, true, 4, ERR_NOMEM, "of 4: cuda: ");
    }
    reset_devices(1);
    emu_fail(EMU_OLD_DRIVER, 0);
    expect_refused(&wide, true, 2, ERR_UNAVAILABLE, "driver version is insufficient");
}

/* A step that begins at `from`, after as many of one position each. */
static void expect_failed_step(int device, enum emu_failure failure, uint32_t from, const char *text)
{
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    struct machine m;
    struct err err;
    reset_devices(3);
    assert_int_equal(machine_open_on(&m, write_tiny_spec(&wide, true), &backend_cuda, 4, &err), 0);
    for (uint32_t i = 0; i < from; i++) {
        assert_int_equal(machine_run(&m, i, i + 1, rows, &err), 0);
    }
    emu_fail_on(device, failure, 5);
    assert_int_equal(machine_run(&m, from, from ? from + 1 : 2, rows, &err), ERR_UNAVAILABLE);
    print_message("%s\n", err.msg);
    assert_non_null(strstr(err.msg, text));
    emu_fail(EMU_NO_FAILURE, 0);
    assert_int_equal(machine_run(&m, from + 2, from + 3, rows, &err), ERR_UNAVAILABLE); /* and it stays so */
    assert_non_null(strstr(err.msg, text));
    machine_close(&m);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void expect_failed_run(int device, enum emu_failure failure, const char *text)
{
    expect_failed_step(device, failure, 0, text);
}

/* By CUDA's next call on that device or by NCCL's: whichever comes first. */
static void test_a_rank_that_is_lost(void **state)
{
    expect_failed_run(1, EMU_DEVICE_LOST, "rank 1 of 4: ");
    expect_failed_run(3, EMU_DEVICE_LOST, "busy or unavailable");
}

static void test_collectives_that_fail(void **state)
{
    expect_failed_run(-1, EMU_COLLECTIVE_FAILS, "remote process exited or there was a network error");
    machine_collective_ms = PATIENCE_MS;
    expect_failed_run(-1, EMU_COLLECTIVE_HANGS, "no end after 3000 ms: all 4 ranks wait for collective");
    machine_collective_ms = 0;
}

/* A graph that is recorded, and one that is replayed: NCCL's abort waits until both are gone. */
static void test_failures_in_a_graph(void **state)
{
    machine_uses_graphs = true;
    for (uint32_t from = 0; from <= 2; from += 2) {
        expect_failed_step(1, EMU_DEVICE_LOST, from, "rank 1 of 4: ");
        expect_failed_step(-1, EMU_COLLECTIVE_FAILS, from,
                           "remote process exited or there was a network error");
    }
    machine_collective_ms = PATIENCE_MS;
    expect_failed_step(-1, EMU_COLLECTIVE_HANGS, 2, "no end after 3000 ms: all 4 ranks wait for collective");
    machine_collective_ms = 0;
    machine_uses_graphs = false;
}

static void run_where_aborts_hang(void)
{
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    struct machine m;
    struct err err;
    alarm(300); /* where it never ends */
    reset_devices(3);
    emu_patience(600000); /* the emulator itself waits for longer than ranks.c does */
    machine_collective_ms = PATIENCE_MS;
    if (machine_open_on(&m, write_tiny_spec(&wide, true), &backend_cuda, 2, &err) == 0) {
        emu_fail(EMU_ABORT_HANGS, 5);
        (void)!machine_run(&m, 0, 2, rows, &err);
    }
    _exit(77); /* it was to end in there */
}

static void test_devices_that_answer_nothing_end_the_process(void **state)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run_where_aborts_hang();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_are_the_cpus),
        cmocka_unit_test(test_logits_of_experts_are_the_cpus),
        cmocka_unit_test(test_graphs_replay_the_collectives),
        cmocka_unit_test(test_what_open_refuses),
        cmocka_unit_test(test_a_rank_that_is_lost),
        cmocka_unit_test(test_collectives_that_fail),
        cmocka_unit_test(test_failures_in_a_graph),
        cmocka_unit_test(test_devices_that_answer_nothing_end_the_process),
    };
    return cmocka_run_group_tests_name("ranks", tests, temp_make, temp_remove);
}

/* FP8 experts of many columns against their reference; for devices that have such instructions. */
#include "tests/kernels/experts.h"

#include "kernels/matmul.h"

/* Many columns of each become FP8 where tiles of 64 rows begin with each expert; else they meet the weights as floats. */
static void test_fp8_experts(void **state)
{
    static const struct experts_case cases[] = {
        {MATRIX_E4M3, 64, 160, 30, 5, 3,
         true}, /* the second begins within a scale's rows; a stage of one block */
        {MATRIX_E4M3, 128, 128, 18, 3, 2, false}, /* its second tile has the first one's scale */
        {MATRIX_E4M3, 192, 288, 110, 3, 2,
         true}, /* more than a tile of columns; the next begins where the last one ended */
        {MATRIX_E4M3, 96, 64, 30, 5, 3, true}, /* a tile would have rows of two scales */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        compare_experts(&cases[i]);
    }
}

static void test_which_pieces_take_fp8(void **state)
{
    const struct expert_uses uses = {0};
    const struct pieces_params takes = {.w = {.kind = MATRIX_E4M3, .rows = 4 * 64, .columns = 32},
                                        .pieces = 4,
                                        .count = 4 * MATMUL_LEAST,
                                        .uses = &uses,
                                        .uses_of_row = 2,
                                        .x_pitch = 32};
    struct pieces_params p = takes;
    assert_true(pieces_take_fp8(&p));
    p.w.rows = 4 * 32;
    assert_false(pieces_take_fp8(&p));
    p = takes;
    p.w.kind = MATRIX_8BIT;
    assert_false(pieces_take_fp8(&p));
    p = takes;
    p.x_pitch = 64; /* more between rows */
    assert_false(pieces_take_fp8(&p));
    p = takes;
    p.uses = NULL; /* heads */
    assert_false(pieces_take_fp8(&p));
    p = takes;
    p.count--;
    assert_false(pieces_take_fp8(&p));
    p.x_fp8.q = device_bytes(1);
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
}

enum { FP8_EXPERTS = 2, FP8_ROWS = 64, FP8_COLUMNS = 512 };

/* What two FP8 experts ask memory for, both used by each of so many tokens. */
static struct emu_traffic traffic_of_fp8_experts(uint32_t tokens)
{
    struct route_params router = {.count = tokens,
                                  .experts = FP8_EXPERTS,
                                  .used = FP8_EXPERTS,
                                  .groups = 1,
                                  .groups_used = 1,
                                  .scale = 1.0F};
    float *scores = random_floats((size_t)tokens * FP8_EXPERTS, 4.0F);
    struct routed r = run_route(router, scores, NULL);
    struct matrix w = random_matrix(MATRIX_E4M3, FP8_EXPERTS * FP8_ROWS, FP8_COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x_fp8 = device_fp8_rows(tokens, FP8_COLUMNS),
                              .out = device_bytes((size_t)tokens * FP8_EXPERTS * FP8_ROWS * sizeof(float)),
                              .pieces = FP8_EXPERTS,
                              .count = tokens * FP8_EXPERTS,
                              .uses = &r.device.by_expert,
                              .uses_of_row = FP8_EXPERTS,
                              .x_pitch = FP8_COLUMNS,
                              .out_pitch = FP8_ROWS};
    struct quantize_fp8_params q = {device_floats((size_t)tokens * FP8_COLUMNS, 1.0F), p.x_fp8, tokens,
                                    FP8_COLUMNS};
    assert_int_equal(quantize_fp8_launch(&q, device_stream), cudaSuccess);
    device_wait();
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    matrix_free(&w);
    routed_free(&r);
    free(scores);
    return emu_traffic_stop();
}

/* Weights, columns and their scales are read once, without a bank conflict; a full tile is followed by none. */
static void test_fp8_expert_traffic(void **state)
{
    enum { TOKENS = 64 };
    struct emu_traffic t = traffic_of_fp8_experts(TOKENS);
    size_t groups = FP8_COLUMNS / FP8_BLOCK * sizeof(float);
    size_t of_expert = FP8_ROWS * FP8_COLUMNS + groups + TOKENS * sizeof(uint32_t); /* and which tokens */
    size_t least = FP8_EXPERTS * of_expert + TOKENS * (FP8_COLUMNS + groups);
    print_message("fp8 experts: %zu bytes read, at least %zu; %zu bank conflicts\n", (size_t)t.read_bytes,
                  least, (size_t)t.bank_conflicts);
    assert_true((double)t.read_bytes <= 1.05 * (double)least);
    assert_int_equal(t.bank_conflicts, 0);
    assert_int_equal(t.shared_requests, traffic_of_fp8_experts(40).shared_requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fp8_experts, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_which_pieces_take_fp8, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_fp8_expert_traffic, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("fp8_experts", tests, NULL, NULL);
}

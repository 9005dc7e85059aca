/* Products of pieces (heads and experts) and the sum of experts against their references. */
#include "tests/kernels/experts.h"

#include "kernels/combine.h"
#include "kernels/matmul.h"

/* --- pieces -------------------------------------------------------------------------------------------------- */

/* A head's part begins a piece of x and of out that is longer than what is multiplied. */
static void compare_heads(enum matrix_kind kind, uint32_t rows, uint32_t columns, uint32_t count)
{
    enum { HEADS = 3 };
    uint32_t x_piece = columns + 32;
    uint32_t out_piece = rows + 5;
    struct pieces_params p = {.w = {.kind = kind, .rows = HEADS * rows, .columns = columns},
                              .pieces = HEADS,
                              .count = count,
                              .uses_of_row = 1,
                              .x_pitch = (size_t)HEADS * x_piece,
                              .x_piece = x_piece,
                              .out_pitch = (size_t)HEADS * out_piece,
                              .out_piece = out_piece};
    char what[96];
    snprintf(what, sizeof what, "heads, %s, %u x %u, %u columns", matrix_names[kind], rows, columns, count);
    compare_pieces(what, p, count * p.x_pitch, count * p.out_pitch, NULL);
}

static void test_heads(void **state)
{
    static const uint32_t counts[] = {1, 3, 8, 70};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
            if (counts[i] < MATMUL_LEAST ? kind % 4 == i
                                         : kind == MATRIX_F16 || matmul_takes(kind, counts[i])) {
                compare_heads(kind, counts[i] < MATMUL_LEAST ? 7 : 66, 96, counts[i]);
            }
        }
    }
}

static void test_experts(void **state)
{
    static const struct experts_case cases[] = {
        {MATRIX_4BIT, 37, 64, 1, 16, 3, true},
        {MATRIX_8BIT, 37, 64, 1, 16, 3, false},
        {MATRIX_F32, 37, 64, 5, 8, 2, true},
        {MATRIX_E4M3, 37, 64, 5, 8, 2, true}, /* scales of 128 rows, whichever piece they are of */
        {MATRIX_4BIT, 37, 64, 12, 8, 3, false},
        {MATRIX_8BIT_FINE, 37, 64, 7, 4, 4, true},
        {MATRIX_4BIT, 37, 64, 30, 5, 3, true}, /* eighteen columns each: tensor cores */
        {MATRIX_8BIT, 37, 64, 30, 5, 3, false},
        {MATRIX_8BIT_FINE, 37, 64, 20, 3, 2, true},
        {MATRIX_8BIT_MIN, 37, 64, 150, 3, 2, true}, /* more than a tile */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        compare_experts(&cases[i]);
    }
}

static void test_piece_bounds(void **state)
{
    struct pieces_params p = {
        .w = {.kind = MATRIX_4BIT, .rows = 9, .columns = 33}, .pieces = 3, .count = 1, .uses_of_row = 1};
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
    p.w.columns = 32;
    p.pieces = 2;
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
    p.pieces = 0;
    assert_int_equal(pieces_launch(&p, device_stream), cudaErrorInvalidValue);
    p.pieces = 3;
    p.count = 0;
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
}

/* Only the experts in use are read, and once: 3 of 16. */
static void test_expert_traffic(void **state)
{
    enum { EXPERTS = 16, USED = 3, ROWS = 16, COLUMNS = 512 };
    struct route_params router = {
        .count = 1, .experts = EXPERTS, .used = USED, .groups = 1, .groups_used = 1, .scale = 1.0F};
    float *scores = random_floats(EXPERTS, 4.0F);
    struct routed r = run_route(router, scores, NULL);
    struct matrix w = random_matrix(MATRIX_4BIT, EXPERTS * ROWS, COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x_q = device_rows(1, COLUMNS),
                              .out = device_bytes(USED * ROWS * sizeof(float)),
                              .pieces = EXPERTS,
                              .count = USED,
                              .uses = &r.device.by_expert,
                              .uses_of_row = USED,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    struct quantize_params q = {device_floats(COLUMNS, 1.0F), p.x_q, 1, COLUMNS};
    assert_int_equal(quantize_launch(&q, device_stream), cudaSuccess);
    device_wait();
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic t = emu_traffic_stop();
    size_t least = (size_t)USED * ROWS * COLUMNS / 32 * 20 + COLUMNS + COLUMNS / 32 * 8;
    print_message("experts: %zu bytes read, at least %zu; %zu sectors, at least %zu\n", (size_t)t.read_bytes,
                  least, (size_t)t.sectors, (size_t)t.least_sectors);
    assert_true((double)t.read_bytes <= 1.05 * (double)least);
    matrix_free(&w);
    routed_free(&r);
    free(scores);
}

/* What one head of 64 rows asks memory for, by its columns. */
static struct emu_traffic traffic_of_columns(uint32_t count)
{
    enum { ROWS = 64, COLUMNS = 128 };
    struct matrix w = random_matrix(MATRIX_8BIT, ROWS, COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x_q = device_rows(count, COLUMNS),
                              .out = device_bytes((size_t)count * ROWS * sizeof(float)),
                              .pieces = 1,
                              .count = count,
                              .uses_of_row = 1,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    struct quantize_params q = {device_floats((size_t)count * COLUMNS, 1.0F), p.x_q, count, COLUMNS};
    assert_int_equal(quantize_launch(&q, device_stream), cudaSuccess);
    device_wait();
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    matrix_free(&w);
    return emu_traffic_stop();
}

/* Few columns are computed one, four or eight at once, never more than needed; of many, no tile more. */
static void test_cost_of_columns(void **state)
{
    uint64_t requests[9] = {0};
    for (uint32_t count = 1; count <= 8; count++) {
        requests[count] = traffic_of_columns(count).requests;
    }
    uint64_t to_write_one = requests[3] - requests[2];
    assert_true(requests[2] - requests[1] > to_write_one);
    assert_int_equal(requests[4] - requests[3], to_write_one);
    assert_true(requests[5] - requests[4] > to_write_one);
    assert_int_equal(requests[8] - requests[7], to_write_one);
    assert_true(requests[8] < 2 * requests[4]); /* the weights are read once */
    assert_int_equal(traffic_of_columns(64).shared_requests, traffic_of_columns(40).shared_requests);
}

/* Two tokens that use the same experts: behind the active ones stands what an earlier batch left there. */
static uint64_t requests_over(uint32_t left_there)
{
    enum { EXPERTS = 16, USED = 3, COUNT = 2, ROWS = 16, COLUMNS = 64 };
    struct route_params router = {
        .count = COUNT, .experts = EXPERTS, .used = USED, .groups = 1, .groups_used = 1, .scale = 1.0F};
    float scores[COUNT * EXPERTS] = {0}; /* 0, 1 and 2 are used */
    struct routed r = run_route(router, scores, NULL);
    uint32_t active[EXPERTS + 1] = {USED, 0, 1, 2};
    for (uint32_t i = USED + 1; i <= EXPERTS; i++) {
        active[i] = left_there;
    }
    device_wait();
    r.device.by_expert.active = device_copy(active, sizeof active);
    struct matrix w = random_matrix(MATRIX_F32, EXPERTS * ROWS, COLUMNS);
    struct pieces_params p = {.w = device_matrix(&w),
                              .x = device_floats(COUNT * COLUMNS, 1.0F),
                              .out = device_bytes(COUNT * USED * ROWS * sizeof(float)),
                              .pieces = EXPERTS,
                              .count = COUNT * USED,
                              .uses = &r.device.by_expert,
                              .uses_of_row = USED,
                              .x_pitch = COLUMNS,
                              .out_pitch = ROWS};
    emu_traffic_start();
    assert_int_equal(pieces_launch(&p, device_stream), cudaSuccess);
    device_wait();
    matrix_free(&w);
    routed_free(&r);
    return emu_traffic_stop().requests;
}

static void test_only_active_experts_are_computed(void **state)
{
    assert_int_equal(requests_over(1), requests_over(UINT32_MAX));
}

/* --- the sum --------------------------------------------------------------------------------------------------- */

static void test_combine(void **state)
{
    enum { COUNT = 3, EXPERTS = 9, USED = 4, WIDTH = 130 };
    uint32_t expert_of[COUNT * USED];
    for (uint32_t i = 0; i < COUNT * USED; i++) {
        expert_of[i] = i * 5 % EXPERTS;
    }
    float *answers = random_floats((size_t)COUNT * USED * WIDTH, 1.0F);
    float *weights = random_floats((size_t)COUNT * EXPERTS, 1.0F);
    float *wanted = random_floats((size_t)COUNT * WIDTH, 1.0F);
    float is[COUNT * WIDTH];
    struct combine_params p = {answers, weights, expert_of, wanted, COUNT, EXPERTS, USED, WIDTH};
    struct combine_params q = p;
    q.answers = device_copy(answers, (size_t)COUNT * USED * WIDTH * sizeof(float));
    q.weights = device_copy(weights, (size_t)COUNT * EXPERTS * sizeof(float));
    q.expert_of = device_copy(expert_of, sizeof expert_of);
    q.out = device_copy(wanted, sizeof is);
    combine_ref(&p);
    assert_int_equal(combine_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, sizeof is);
    expect_close("combine", is, wanted, COUNT * WIDTH, 1e-6, 1e-6 * USED);
    q.count = 0;
    assert_int_equal(combine_launch(&q, device_stream), cudaSuccess);
    free(answers);
    free(weights);
    free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_heads, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_experts, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_piece_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_expert_traffic, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_cost_of_columns, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_only_active_experts_are_computed, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_combine, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}

/* The small operations of a layer against their references: rows of a matrix, rotary positions, activations. */
#include "tests/kernels/matrices.h"

#include "kernels/activation.h"
#include "kernels/embed.h"
#include "kernels/rope.h"

static void compare_embed(enum matrix_kind kind, uint32_t columns, float scale)
{
    static const uint32_t rows[] = {4, 0, 8, 4};
    enum { COUNT = 4 };
    struct matrix table = random_matrix(kind, 9, columns);
    size_t n = (size_t)COUNT * columns;
    float *wanted = host_bytes(n * sizeof *wanted);
    float *is = host_bytes(n * sizeof *is);
    struct embed_params p = {table, rows, wanted, COUNT, scale};
    embed_ref(&p);
    struct embed_params q = {device_matrix(&table), device_copy(rows, sizeof rows),
                             device_bytes(n * sizeof *is), COUNT, scale};
    assert_int_equal(embed_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, n * sizeof *is);
    expect_close(matrix_names[kind], is, wanted, n, 1e-6, 1e-7);
    matrix_free(&table);
    free(wanted);
    free(is);
}

static void test_embed(void **state)
{
    for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
        compare_embed(kind, 160, kind % 2 ? 1.0F : 24.0F);
    }
    compare_embed(MATRIX_F32, 7, 1.0F);
    for (enum matrix_kind kind = MATRIX_4BIT; kind <= MATRIX_8BIT_FINE_MIN; kind++) {
        struct embed_params p = {.table = {.kind = kind, .rows = 1, .columns = 16}, .count = 1};
        assert_int_equal(embed_launch(&p, device_stream), cudaErrorInvalidValue);
    }
}

/* A row that begins past 2^32 values; what stands before it is not there. */
static void test_embed_of_a_large_table(void **state)
{
    enum { ROW = 1 << 21, COLUMNS = 4096 };
    for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_BF16; kind++) {
        static const uint32_t first = 0;
        static const uint32_t far = ROW;
        struct matrix one = random_matrix(kind, 1, COLUMNS);
        float *wanted = host_bytes(COLUMNS * sizeof *wanted);
        float *is = host_bytes(COLUMNS * sizeof *is);
        struct embed_params p = {one, &first, wanted, 1, 1.0F};
        embed_ref(&p);
        struct embed_params q = {device_matrix(&one), device_copy(&far, sizeof far),
                                 device_bytes(COLUMNS * sizeof *is), 1, 1.0F};
        q.table.values = (const uint8_t *)q.table.values - matrix_value_bytes(&one) * ROW;
        q.table.scale -= matrix_scale_values(&one) * ROW;
        q.table.rows = ROW + 1;
        assert_int_equal(embed_launch(&q, device_stream), cudaSuccess);
        host_copy(is, q.out, COLUMNS * sizeof *is);
        expect_close(matrix_names[kind], is, wanted, COLUMNS, 1e-6, 1e-7);
        matrix_free(&one);
        free(wanted);
        free(is);
    }
}

/* --- rotary positions --------------------------------------------------------------------------------- */

enum { POSITIONS = 50, TOKENS = 5 };
static const uint32_t positions[TOKENS] = {0, 1, 49, 7, 7};

static void compare_rope(struct rope_params p, bool in_place)
{
    size_t n = (size_t)TOKENS * p.heads * p.x_piece;
    size_t m = (size_t)TOKENS * p.heads * p.out_piece;
    float *x = random_floats(n, 1.0F);
    float *table = random_floats((size_t)POSITIONS * p.dims, 1.0F);
    float *wanted = in_place ? host_bytes(n * sizeof *x) : random_floats(m, 1.0F);
    float *is = host_bytes(m * sizeof *is);
    if (in_place) {
        memcpy(wanted, x, n * sizeof *x);
    }
    p.tokens = TOKENS;
    struct rope_params q = p;
    q.table = device_copy(table, (size_t)POSITIONS * p.dims * sizeof *table);
    q.positions = device_copy(positions, sizeof positions);
    q.out = device_copy(wanted, m * sizeof *wanted);
    q.x = in_place ? q.out : device_copy(x, n * sizeof *x);
    p.table = table;
    p.positions = positions;
    p.x = in_place ? wanted : x;
    p.out = wanted;
    rope_ref(&p);
    assert_int_equal(rope_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, m * sizeof *is);
    expect_close("rope", is, wanted, m, 1e-6, 1e-6);
    free(x);
    free(table);
    free(wanted);
    free(is);
}

static void test_rope(void **state)
{
    static const struct rope_params rows[] = {
        {.heads = 3, .x_piece = 64, .out_piece = 64, .dims = 64},
        {.heads = 9, .x_piece = 64, .out_piece = 64, .dims = 64, .has_halves = true},
        {.heads = 1, .x_piece = 10, .out_piece = 10, .dims = 6, .has_halves = true},
        {.heads = 5, .x_piece = 96, .out_piece = 96, .from = 64, .to = 64, .dims = 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        compare_rope(rows[i], i % 2 == 0);
    }
    compare_rope(
        (struct rope_params){.heads = 4, .x_piece = 48, .out_piece = 80, .from = 32, .to = 64, .dims = 16},
        false);
    struct rope_params odd = {.heads = 1, .x_piece = 8, .out_piece = 8, .dims = 7, .tokens = 1};
    assert_int_equal(rope_launch(&odd, device_stream), cudaErrorInvalidValue);
    struct rope_params past = {.heads = 1, .x_piece = 8, .out_piece = 8, .dims = 8, .from = 1, .tokens = 1};
    assert_int_equal(rope_launch(&past, device_stream), cudaErrorInvalidValue);
}

/* --- activations --------------------------------------------------------------------------------------- */

static void compare_activation(enum activation_kind kind, size_t n, bool in_place)
{
    float *a = random_floats(n, 12.0F);
    float *b = random_floats(n, 3.0F);
    float *wanted = host_bytes(n * sizeof *wanted);
    float *is = host_bytes(n * sizeof *is);
    struct activation_params p = {kind, a, b, wanted, n};
    activation_ref(&p);
    struct activation_params q = {kind, device_copy(a, n * sizeof *a), device_copy(b, n * sizeof *b), NULL,
                                  n};
    q.out = in_place ? (float *)q.a : device_bytes(n * sizeof *is);
    assert_int_equal(activation_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, n * sizeof *is);
    expect_close("activation", is, wanted, n, 1e-5, 1e-6);
    free(a);
    free(b);
    free(wanted);
    free(is);
}

static void test_activations(void **state)
{
    for (enum activation_kind kind = ACTIVATION_SWIGLU; kind <= ACTIVATION_ADD; kind++) {
        compare_activation(kind, 1, false);
        compare_activation(kind, 255, true);
        compare_activation(kind, 1537, false);
    }
    struct activation_params none = {0};
    assert_int_equal(activation_launch(&none, device_stream), cudaSuccess);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_embed, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_embed_of_a_large_table, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_rope, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_activations, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("layer", tests, NULL, NULL);
}

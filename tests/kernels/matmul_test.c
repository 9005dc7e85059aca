/* Products on tensor cores against their reference: odd shapes, every kind, columns alone and beside others, traffic. */
#include "tests/kernels/products.h"

#include "kernels/matmul.h"

static const enum matrix_kind kinds[] = {MATRIX_4BIT, MATRIX_8BIT, MATRIX_8BIT_FINE, MATRIX_8BIT_MIN};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void compare(enum matrix_kind kind, uint32_t rows, uint32_t columns, uint32_t count, enum extra extra)
{
    struct product t = make_product(kind, rows, columns, count, extra);
    char what[96];
    matvec_ref(&t.host);
    assert_int_equal(matmul_launch(&t.device, device_stream), cudaSuccess);
    host_copy(t.is, t.device.out, (size_t)rows * count * sizeof *t.is);
    snprintf(what, sizeof what, "%s %u x %u, %u columns", matrix_names[kind], rows, columns, count);
    expect_close(what, t.is, t.host.out, (size_t)rows * count, 1e-6, 1e-6 * 3 * columns);
    product_free(&t);
}

/* Rows and columns around the tile, blocks around a stage: one, a stage, a stage and one, two and three. */
static void test_odd_shapes(void **state)
{
    static const struct {
        uint32_t rows;
        uint32_t columns;
        uint32_t count;
    } shapes[] = {{1, 32, 1}, {64, 128, 64}, {65, 160, 9}, {17, 352, 65}, {100, 64, 33}, {63, 96, 63}};
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = k % 2; i < sizeof shapes / sizeof *shapes; i += 2 - (k == 0)) {
            compare(kinds[k], shapes[i].rows, shapes[i].columns, shapes[i].count, (enum extra)(i % 3));
        }
    }
}

static void test_bounds(void **state)
{
    struct matvec_params p = {.w = {.kind = MATRIX_4BIT, .rows = 4, .columns = 33}, .count = 9};
    assert_int_equal(matmul_launch(&p, device_stream), cudaErrorInvalidValue);
    p.w.columns = 32;
    p.count = 0;
    assert_int_equal(matmul_launch(&p, device_stream), cudaSuccess); /* nothing to do */
    p.count = 9;
    p.w.kind = MATRIX_F32;
    assert_int_equal(matmul_launch(&p, device_stream), cudaErrorInvalidValue);
    for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
        bool is_taken = false;
        for (size_t i = 0; i < KINDS; i++) {
            is_taken = is_taken || kinds[i] == kind;
        }
        assert_int_equal(matmul_takes(kind, MATMUL_LEAST), is_taken);
        assert_false(matmul_takes(kind, MATMUL_LEAST - 1));
    }
}

static void test_columns_are_independent(void **state)
{
    enum { ROWS = 20, COLUMNS = 160, COUNT = 70 };
    struct product t = make_product(MATRIX_4BIT, ROWS, COLUMNS, COUNT, NOTHING);
    float alone[ROWS];
    assert_int_equal(matmul_launch(&t.device, device_stream), cudaSuccess);
    host_copy(t.is, t.device.out, sizeof(float) * ROWS * COUNT);
    struct matvec_params last = t.device;
    last.count = 1;
    last.x_q.q += (COUNT - 1) * COLUMNS;
    last.x_q.scale += (COUNT - 1) * COLUMNS / 32;
    last.x_q.sum += (COUNT - 1) * COLUMNS / 32;
    assert_int_equal(matmul_launch(&last, device_stream), cudaSuccess);
    host_copy(alone, last.out, sizeof alone);
    assert_memory_equal(alone, t.is + (COUNT - 1) * ROWS, sizeof alone);
    product_free(&t);
}

/* Both sides are read once a tile, no byte beside them; fragments meet no bank twice. */
static void test_traffic(void **state)
{
    enum { ROWS = 64, COLUMNS = 512, COUNT = 64 };
    size_t shared_requests[MATRIX_E4M3 + 1] = {0};
    for (size_t k = 0; k < KINDS; k++) {
        struct product t = make_product(kinds[k], ROWS, COLUMNS, COUNT, NOTHING);
        emu_traffic_start();
        assert_int_equal(matmul_launch(&t.device, device_stream), cudaSuccess);
        device_wait();
        struct emu_traffic traffic = emu_traffic_stop();
        size_t least = matrix_value_bytes(&t.host.w) + 2 * matrix_scale_values(&t.host.w);
        bool has_minimum = kinds[k] == MATRIX_4BIT || kinds[k] == MATRIX_8BIT_MIN; /* which meets the sums */
        least += COUNT * (COLUMNS + COLUMNS / 32 * (has_minimum ? 8 : 4));
        print_message(
            "%s: %zu bytes read, at least %zu; %zu sectors, at least %zu; %zu bank conflicts of %zu\n",
            matrix_names[kinds[k]], (size_t)traffic.read_bytes, least, (size_t)traffic.sectors,
            (size_t)traffic.least_sectors, (size_t)traffic.bank_conflicts, (size_t)traffic.shared_requests);
        assert_int_equal(traffic.read_bytes, least);
        assert_int_equal(traffic.written_bytes, ROWS * COUNT * sizeof(float));
        assert_int_equal(traffic.bank_conflicts, 0);
        assert_int_equal(traffic.shared_bytes, 39680);
        shared_requests[kinds[k]] = traffic.shared_requests;
        product_free(&t);
    }
    /* what only a minimum asks of shared memory: by 4 warps, 2 sums of each lane before and behind 4 stages, and for each of their
     * 4 blocks those of 4 times 8 columns */
    assert_int_equal(shared_requests[MATRIX_8BIT_MIN] - shared_requests[MATRIX_8BIT],
                     4 * (5 * 2 + 4 * 4 * 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_odd_shapes, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_columns_are_independent, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("matmul", tests, NULL, NULL);
}

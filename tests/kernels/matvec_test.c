/* int8 activations, and matrices times a few columns, against their references. */
#include "tests/kernels/products.h"

/* To the bit, where they are numbers. */
static void expect_same(const float *is, const float *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&is[i], &wanted[i], sizeof *is) != 0 && !(isnan(is[i]) && isnan(wanted[i]))) {
            fail_msg("value %zu is %.9g, the reference says %.9g", i, (double)is[i], (double)wanted[i]);
        }
    }
}

static void test_quantize(void **state)
{
    enum { ROWS = 3, WIDTH = 224, N = ROWS * WIDTH };
    float *x = random_floats(N, 5.0F);
    memset(x + 64, 0, 32 * sizeof *x); /* a group of zeros: scale 0 */
    for (int i = 0; i < 32; i++) {     /* so small that 127 / largest is no float, and just larger */
        x[96 + i] = i % 3 ? 2e-39F * (float)i : 0.0F;
        x[128 + i] = i % 3 ? 1e-37F * (float)i : 0.0F;
    }
    x[160] = NAN; /* then scale and sum are none either, and all products */
    x[193] = INFINITY;
    struct quantized_rows wanted = host_rows(ROWS, WIDTH);
    struct quantized_rows is = host_rows(ROWS, WIDTH);
    struct quantized_rows device = device_rows(ROWS, WIDTH);
    struct quantize_params p = {x, wanted, ROWS, WIDTH};
    quantize_ref(&p);
    struct quantize_params q = {device_copy(x, N * sizeof *x), device, ROWS, WIDTH};
    assert_int_equal(quantize_launch(&q, device_stream), cudaSuccess);
    host_copy(is.q, device.q, N);
    host_copy(is.scale, device.scale, N / 32 * sizeof(float));
    host_copy(is.sum, device.sum, N / 32 * sizeof(float));
    assert_memory_equal(is.q, wanted.q, N);
    expect_same(is.scale, wanted.scale, N / 32);
    expect_same(is.sum, wanted.sum, N / 32);
    q.width = 33;
    assert_int_equal(quantize_launch(&q, device_stream), cudaErrorInvalidValue);
    struct quantize_params none = {NULL, {0}, 0, WIDTH};
    assert_int_equal(quantize_launch(&none, device_stream), cudaSuccess);
    free(x);
    rows_free(&wanted);
    rows_free(&is);
}

/* --- products ---------------------------------------------------------------------------------------- */

static void compare(enum matrix_kind kind, uint32_t rows, uint32_t columns, uint32_t count, enum extra extra)
{
    struct product t = make_product(kind, rows, columns, count, extra);
    char what[96];
    matvec_ref(&t.host);
    assert_int_equal(matvec_launch(&t.device, device_stream), cudaSuccess);
    host_copy(t.is, t.device.out, (size_t)rows * count * sizeof *t.is);
    snprintf(what, sizeof what, "%s %u x %u, %u columns", matrix_names[kind], rows, columns, count);
    expect_close(what, t.is, t.host.out, (size_t)rows * count, 1e-6, 1e-6 * 3 * columns);
    product_free(&t);
}

static void test_every_kind_and_odd_shapes(void **state)
{
    static const struct {
        uint32_t rows;
        uint32_t columns;
        uint32_t count;
    } shapes[] = {{1, 32, 1}, {5, 64, 2}, {4, 96, 3}, {17, 576, 1}, {3, 1056, 5}, {9, 224, 8}, {6, 128, 17}};
    for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            compare(kind, shapes[i].rows, shapes[i].columns, shapes[i].count, (enum extra)(i % 3));
        }
    }
    compare(MATRIX_F32, 5, 33, 2, NOTHING); /* floats need no whole blocks */
    compare(MATRIX_F16, 5, 1, 2, BIAS);
    compare(MATRIX_E4M3, 131, 160, 2, ADDS); /* a second row of scales, which ends in the middle */
}

static void test_bounds(void **state)
{
    struct matvec_params p = {.w = {.kind = MATRIX_4BIT, .rows = 4, .columns = 33}, .count = 1};
    assert_int_equal(matvec_launch(&p, device_stream), cudaErrorInvalidValue);
    p.w.kind = MATRIX_E4M3;
    assert_int_equal(matvec_launch(&p, device_stream), cudaErrorInvalidValue);
    p.w.columns = 32;
    p.count = 0;
    assert_int_equal(matvec_launch(&p, device_stream), cudaSuccess); /* nothing to do */
    device_wait();
}

/* A column's bits do not depend on how many stand beside it. */
static void test_columns_are_independent(void **state)
{
    enum { ROWS = 6, COLUMNS = 352, COUNT = 11 };
    for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
        struct product t = make_product(kind, ROWS, COLUMNS, COUNT, NOTHING);
        float alone[ROWS];
        assert_int_equal(matvec_launch(&t.device, device_stream), cudaSuccess);
        host_copy(t.is, t.device.out, sizeof(float) * ROWS * COUNT);
        struct matvec_params last = t.device;
        last.count = 1;
        last.x += (COUNT - 1) * COLUMNS;
        if (matrix_is_quantized(kind)) {
            last.x_q.q += (COUNT - 1) * COLUMNS;
            last.x_q.scale += (COUNT - 1) * COLUMNS / 32;
            last.x_q.sum += (COUNT - 1) * COLUMNS / 32;
        }
        assert_int_equal(matvec_launch(&last, device_stream), cudaSuccess);
        host_copy(alone, last.out, sizeof alone);
        assert_memory_equal(alone, t.is + (COUNT - 1) * ROWS, sizeof alone);
        product_free(&t);
    }
}

/* Bytes of a column: sums are for weights that have one minimum for 32. */
static size_t column_bytes(enum matrix_kind kind, size_t columns)
{
    bool wants_sums = kind == MATRIX_4BIT || kind == MATRIX_8BIT_MIN;
    return matrix_is_quantized(kind) ? columns + columns / 32 * (wants_sums ? 8 : 4) : columns * 4;
}

/* Weights are read once, and no byte beside them. */
static void test_traffic(void **state)
{
    enum { ROWS = 16, COLUMNS = 2048, COUNT = 4 };
    for (enum matrix_kind kind = MATRIX_F32; kind <= MATRIX_E4M3; kind++) {
        struct product t = make_product(kind, ROWS, COLUMNS, COUNT, NOTHING);
        emu_traffic_start();
        assert_int_equal(matvec_launch(&t.device, device_stream), cudaSuccess);
        device_wait();
        struct emu_traffic traffic = emu_traffic_stop();
        size_t least = matrix_value_bytes(&t.host.w) + 2 * matrix_scale_values(&t.host.w);
        least += COUNT * column_bytes(kind, COLUMNS);
        print_message("%s: %zu bytes read, at least %zu; %zu sectors, at least %zu\n", matrix_names[kind],
                      (size_t)traffic.read_bytes, least, (size_t)traffic.sectors,
                      (size_t)traffic.least_sectors);
        assert_int_equal(traffic.read_bytes, least);
        assert_int_equal(traffic.sectors, traffic.least_sectors);
        assert_int_equal(traffic.written_bytes, ROWS * COUNT * sizeof(float));
        product_free(&t);
    }
}

static uint64_t requests_of(uint32_t count)
{
    struct product t = make_product(MATRIX_8BIT, 16, 512, count, NOTHING);
    emu_traffic_start();
    assert_int_equal(matvec_launch(&t.device, device_stream), cudaSuccess);
    device_wait();
    product_free(&t);
    return emu_traffic_stop().requests;
}

/* One, four or eight columns are computed at once, never more than needed. */
static void test_cost_of_columns(void **state)
{
    uint64_t requests[6] = {0};
    for (uint32_t count = 1; count <= 5; count++) {
        requests[count] = requests_of(count);
    }
    uint64_t to_write_one = requests[3] - requests[2];
    assert_true(requests[2] - requests[1] > to_write_one);
    assert_int_equal(requests[4] - requests[3], to_write_one);
    assert_true(requests[5] - requests[4] > to_write_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_quantize, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_every_kind_and_odd_shapes, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_columns_are_independent, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_cost_of_columns, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("matvec", tests, NULL, NULL);
}

/* Weights of 16 bits times many columns against their reference, and the splitting of columns. */
#include "tests/kernels/matrices.h"

#include "kernels/matmul.h"
#include "kernels/matmul_half.h"

static struct half_rows host_rows(size_t n)
{
    return (struct half_rows){host_bytes(2 * n), host_bytes(2 * n)};
}

static void rows_free(struct half_rows *r)
{
    free(r->high);
    free(r->low);
}

/* --- columns ----------------------------------------------------------------------------------------------- */

static void compare_split(const float *x, size_t n, bool is_bf16)
{
    struct half_rows wanted = host_rows(n);
    struct half_rows is = host_rows(n);
    struct half_rows device = {device_bytes(2 * n), device_bytes(2 * n)};
    split_ref(&(struct split_params){x, wanted, n, is_bf16});
    struct split_params q = {device_copy(x, n * sizeof *x), device, n, is_bf16};
    assert_int_equal(split_launch(&q, device_stream), cudaSuccess);
    host_copy(is.high, device.high, 2 * n);
    host_copy(is.low, device.low, 2 * n);
    assert_memory_equal(is.high, wanted.high, 2 * n);
    assert_memory_equal(is.low, wanted.low, 2 * n);
    rows_free(&wanted);
    rows_free(&is);
}

static void test_split(void **state)
{
    enum { N = 301 };
    float *x = random_floats(N, 3.0F);
    static const float odd[] = {0.0F,
                                1e-7F,
                                -1e-7F,
                                65504.0F,
                                65519.0F,
                                65520.0F,
                                -90000.0F,
                                131008.0F,
                                2e5F,
                                -2e5F,
                                1.00048828125F /* a tie of halves */,
                                1.00390625F /* and of bfloat16 */,
                                INFINITY};
    static const uint32_t no_number = 0x7FFFFFFF; /* as devices have it: all bits */
    memcpy(x, odd, sizeof odd);
    memcpy(x + N - 1, &no_number, sizeof no_number);
    compare_split(x, N, false);
    compare_split(x, N, true);
    struct split_params none = {NULL, {NULL, NULL}, 0, false};
    assert_int_equal(split_launch(&none, device_stream), cudaSuccess);
    free(x);
}

/* --- products ------------------------------------------------------------------------------------------------ */

struct half_product {
    struct matmul_half_params host;
    struct matmul_half_params device;
};

static struct half_product make_product(enum matrix_kind kind, uint32_t rows, uint32_t columns,
                                        uint32_t count)
{
    size_t n = (size_t)count * columns;
    struct half_product t = {0};
    float *x = random_floats(n, 2.0F);
    t.host = (struct matmul_half_params){
        .w = random_matrix(kind, rows, columns), .x = host_rows(n), .count = count};
    t.host.out = random_floats((size_t)rows * count, 1.0F);
    split_ref(&(struct split_params){x, t.host.x, n, kind == MATRIX_BF16});
    t.device = t.host;
    t.device.w = device_matrix(&t.host.w);
    t.device.x.high = device_copy(t.host.x.high, 2 * n);
    t.device.x.low = device_copy(t.host.x.low, 2 * n);
    t.device.out = device_copy(t.host.out, (size_t)rows * count * sizeof(float));
    free(x);
    return t;
}

static void product_free(struct half_product *t)
{
    matrix_free(&t->host.w);
    rows_free(&t->host.x);
    free(t->host.out);
    free((void *)t->host.bias);
}

static void compare(enum matrix_kind kind, uint32_t rows, uint32_t columns, uint32_t count, unsigned extra)
{
    struct half_product t = make_product(kind, rows, columns, count);
    size_t n = (size_t)rows * count;
    float *is = host_bytes(n * sizeof *is);
    char what[96];
    t.host.adds = t.device.adds = extra == 1;
    if (extra == 2) {
        t.host.bias = random_floats(rows, 1.0F);
        t.device.bias = device_copy(t.host.bias, rows * sizeof(float));
    }
    matmul_half_ref(&t.host);
    assert_int_equal(matmul_half_launch(&t.device, device_stream), cudaSuccess);
    host_copy(is, t.device.out, n * sizeof *is);
    snprintf(what, sizeof what, "%s %u x %u, %u columns", matrix_names[kind], rows, columns, count);
    expect_close(what, is, t.host.out, n, 1e-6, 1e-6 * 2 * columns);
    free(is);
    product_free(&t);
}

static void test_products(void **state)
{
    compare(MATRIX_F16, 1, 16, 1, 0);
    compare(MATRIX_F16, 64, 64, 64, 1);
    compare(MATRIX_F16, 70, 144, 65, 2);
    compare(MATRIX_BF16, 65, 80, 9, 1);
    compare(MATRIX_BF16, 33, 208, 66, 2);
}

static void test_bounds(void **state)
{
    struct matmul_half_params p = {.w = {.kind = MATRIX_F16, .rows = 4, .columns = 24}, .count = 9};
    assert_int_equal(matmul_half_launch(&p, device_stream), cudaErrorInvalidValue);
    assert_false(matmul_half_takes(&p.w, 9));
    p.w.columns = 32;
    assert_true(matmul_half_takes(&p.w, MATMUL_LEAST));
    assert_false(matmul_half_takes(&p.w, MATMUL_LEAST - 1));
    p.count = 0;
    assert_int_equal(matmul_half_launch(&p, device_stream), cudaSuccess); /* nothing to do */
    p.w.kind = MATRIX_8BIT;
    assert_int_equal(matmul_half_launch(&p, device_stream), cudaErrorInvalidValue);
    assert_false(matmul_half_takes(&p.w, 9));
}

static void test_traffic(void **state)
{
    enum { ROWS = 64, COLUMNS = 256, COUNT = 64 };
    struct half_product t = make_product(MATRIX_BF16, ROWS, COLUMNS, COUNT);
    emu_traffic_start();
    assert_int_equal(matmul_half_launch(&t.device, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic traffic = emu_traffic_stop();
    assert_int_equal(traffic.read_bytes, ROWS * COLUMNS * 2 + COUNT * COLUMNS * 4);
    assert_int_equal(traffic.sectors, traffic.least_sectors);
    assert_int_equal(traffic.bank_conflicts, 0);
    product_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_products, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("matmul_half", tests, NULL, NULL);
}

/* FP8 products and activations against their references. */
#include "tests/kernels/products.h"

#include "kernels/matmul.h"
#include "kernels/matmul_fp8.h"

static uint32_t groups_of(uint32_t columns)
{
    return (columns + FP8_BLOCK - 1) / FP8_BLOCK;
}

static float *random_scales(size_t n)
{
    float *p = random_floats(n, 0.05F);
    for (size_t i = 0; i < n; i++) {
        p[i] = fabsf(p[i]) + 0.001F;
    }
    return p;
}

/* --- activations ------------------------------------------------------------------------------------------- */

static void compare_rows(const float *x, uint32_t rows, uint32_t width)
{
    size_t n = (size_t)rows * width;
    size_t groups = (size_t)rows * groups_of(width);
    struct fp8_rows wanted = {host_bytes(n), host_bytes(groups * sizeof(float))};
    struct fp8_rows is = {host_bytes(n), host_bytes(groups * sizeof(float))};
    struct fp8_rows device = {device_bytes(n), device_bytes(groups * sizeof(float))};
    struct quantize_fp8_params p = {x, wanted, rows, width};
    struct quantize_fp8_params q = {device_copy(x, n * sizeof *x), device, rows, width};
    quantize_fp8_ref(&p);
    assert_int_equal(quantize_fp8_launch(&q, device_stream), cudaSuccess);
    host_copy(is.q, device.q, n);
    host_copy(is.scale, device.scale, groups * sizeof(float));
    assert_memory_equal(is.q, wanted.q, n);
    assert_memory_equal(is.scale, wanted.scale, groups * sizeof(float));
    free(wanted.q);
    free(wanted.scale);
    free(is.q);
    free(is.scale);
}

static void test_activations(void **state)
{
    enum { ROWS = 5, WIDTH = 416 };
    float *x = random_floats((size_t)ROWS * WIDTH, 9.0F);
    memset(x + 128, 0, 128 * sizeof *x); /* a group of zeros: the least scale */
    compare_rows(x, ROWS, WIDTH);
    compare_rows(x, 1, 32);
    compare_rows(x, 3, 128);
    for (uint32_t i = 0; i < 128; i++) { /* ties: halfway between two e4m3, at a scale of one */
        float step = ref_e4m3_to_float((uint8_t)(i < 126 ? i + 1 : i)) -
                     ref_e4m3_to_float((uint8_t)(i < 126 ? i : 125));
        x[i] = i < 126 ? ref_e4m3_to_float((uint8_t)i) + step / 2 : 448.0F;
    }
    compare_rows(x, 1, 128);
    struct quantize_fp8_params bad = {NULL, {NULL, NULL}, 1, 40};
    assert_int_equal(quantize_fp8_launch(&bad, device_stream), cudaErrorInvalidValue);
    bad.width = 32;
    bad.rows = 0;
    assert_int_equal(quantize_fp8_launch(&bad, device_stream), cudaSuccess);
    free(x);
}

/* --- products ------------------------------------------------------------------------------------------------ */

struct fp8_product {
    struct matmul_fp8_params host;
    struct matmul_fp8_params device;
};

static struct fp8_product make_fp8_product(uint32_t rows, uint32_t columns, uint32_t count, enum extra extra)
{
    size_t x = (size_t)count * columns;
    size_t n = (size_t)rows * count;
    size_t x_scales = (size_t)count * groups_of(columns);
    struct fp8_product t;
    t.host = (struct matmul_fp8_params){.w = random_matrix(MATRIX_E4M3, rows, columns),
                                        .x = {random_e4m3(x), random_scales(x_scales)},
                                        .bias = extra == BIAS ? random_floats(rows, 1.0F) : NULL,
                                        .out = random_floats(n, 1.0F),
                                        .count = count,
                                        .adds = extra == ADDS};
    t.device = t.host;
    t.device.w = device_matrix(&t.host.w);
    t.device.x.q = device_copy(t.host.x.q, x);
    t.device.x.scale = device_copy(t.host.x.scale, x_scales * sizeof(float));
    t.device.bias = t.host.bias ? device_copy(t.host.bias, rows * sizeof(float)) : NULL;
    t.device.out = device_copy(t.host.out, n * sizeof(float));
    return t;
}

static void fp8_product_free(struct fp8_product *t)
{
    matrix_free(&t->host.w);
    free(t->host.x.q);
    free(t->host.x.scale);
    free((void *)t->host.bias);
    free(t->host.out);
}

static void compare(uint32_t rows, uint32_t columns, uint32_t count, enum extra extra)
{
    struct fp8_product t = make_fp8_product(rows, columns, count, extra);
    size_t n = (size_t)rows * count;
    float *is = host_bytes(n * sizeof *is);
    char what[64];
    matmul_fp8_ref(&t.host);
    assert_int_equal(matmul_fp8_launch(&t.device, device_stream), cudaSuccess);
    host_copy(is, t.device.out, n * sizeof *is);
    snprintf(what, sizeof what, "fp8 %u x %u, %u columns", rows, columns, count);
    expect_close(what, is, t.host.out, n, 1e-6,
                 1e-6 * 20 * columns); /* products reach 448 * 448 * 0.002 * 0.05 */
    free(is);
    fp8_product_free(&t);
}

static void test_products(void **state)
{
    compare(1, 32, 1, NOTHING);
    compare(64, 128, 64, ADDS);
    compare(130, 160, 9, BIAS); /* a second row of scales, a stage of one block */
    compare(65, 288, 65, ADDS);
    struct matmul_fp8_params p = {.w = {.kind = MATRIX_E4M3, .rows = 1, .columns = 48}, .count = 1};
    assert_int_equal(matmul_fp8_launch(&p, device_stream), cudaErrorInvalidValue);
    p.w.columns = 64;
    p.w.kind = MATRIX_8BIT;
    assert_int_equal(matmul_fp8_launch(&p, device_stream), cudaErrorInvalidValue);
    assert_false(matmul_fp8_takes(&p.w, MATMUL_LEAST));
    p.w.kind = MATRIX_E4M3;
    assert_true(matmul_fp8_takes(&p.w, MATMUL_LEAST));
    assert_false(matmul_fp8_takes(&p.w, MATMUL_LEAST - 1));
    p.count = 0;
    assert_int_equal(matmul_fp8_launch(&p, device_stream), cudaSuccess);
}

/* They have no instructions for it. */
static void test_older_devices(void **state)
{
    static const struct emu_conf older = {.devices = 1, .compute_major = 8, .compute_minor = 6};
    emu_reset(&older);
    assert_int_equal(cudaStreamCreateWithFlags(&device_stream, cudaStreamNonBlocking), cudaSuccess);
    struct fp8_product t = make_fp8_product(1, 32, 1, NOTHING);
    assert_int_equal(matmul_fp8_launch(&t.device, device_stream), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(device_stream), cudaErrorLaunchFailure);
    assert_non_null(strstr(emu_fault_text(), "on a device before 8.9"));
    fp8_product_free(&t);
    emu_reset(&older);
    assert_int_equal(cudaStreamCreateWithFlags(&device_stream, cudaStreamNonBlocking), cudaSuccess);
    struct quantize_fp8_params p = {device_floats(32, 1.0F), {device_bytes(32), device_bytes(4)}, 1, 32};
    assert_int_equal(quantize_fp8_launch(&p, device_stream), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(device_stream), cudaErrorLaunchFailure);
    assert_non_null(strstr(emu_fault_text(), "becomes e4m3 on a device before 8.9"));
    cudaStreamDestroy(device_stream);
}

static void test_traffic(void **state)
{
    enum { ROWS = 64, COLUMNS = 512, COUNT = 64 };
    struct fp8_product t = make_fp8_product(ROWS, COLUMNS, COUNT, NOTHING);
    emu_traffic_start();
    assert_int_equal(matmul_fp8_launch(&t.device, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic traffic = emu_traffic_stop();
    size_t least = ROWS * COLUMNS + COUNT * COLUMNS + COUNT * 4 * 4 + 16;
    print_message("fp8: %zu bytes read, at least %zu; %zu bank conflicts of %zu\n",
                  (size_t)traffic.read_bytes, least, (size_t)traffic.bank_conflicts,
                  (size_t)traffic.shared_requests);
    assert_true((double)traffic.read_bytes <= 1.05 * (double)least);
    assert_int_equal(traffic.bank_conflicts, 0);
    fp8_product_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_activations, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_products, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
        cmocka_unit_test(test_older_devices),
    };
    return cmocka_run_group_tests_name("matmul_fp8", tests, NULL, NULL);
}

/* RMS norm against its reference, over odd widths. */
#include "tests/kernels/device.h"

#include "kernels/norm.h"

static void compare(uint32_t rows, uint32_t width, bool in_place)
{
    size_t n = (size_t)rows * width;
    float *x = random_floats(n, 3.0F);
    float *weight = random_floats(width, 2.0F);
    float *wanted = host_bytes(n * sizeof *wanted);
    float *is = host_bytes(n * sizeof *is);
    struct norm_params p = {x, weight, wanted, rows, width, 1e-5F};
    char what[64];
    norm_ref(&p);
    float *device_x = device_copy(x, n * sizeof *x);
    float *device_out = in_place ? device_x : device_bytes(n * sizeof *x);
    struct norm_params q = {device_x, device_copy(weight, width * sizeof *weight), device_out, rows, width,
                            1e-5F};
    assert_int_equal(norm_launch(&q, device_stream), cudaSuccess);
    host_copy(is, device_out, n * sizeof *is);
    snprintf(what, sizeof what, "norm of %u x %u", rows, width);
    expect_close(what, is, wanted, n, 1e-5, 1e-7);
    free(x);
    free(weight);
    free(wanted);
    free(is);
}

static void test_odd_shapes(void **state)
{
    static const uint32_t widths[] = {1, 2, 31, 33, 64, 128, 255, 256, 257, 576, 1000, 3584};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        compare(1 + (uint32_t)i % 5, widths[i], i % 2);
    }
}

static void test_bounds(void **state)
{
    struct norm_params p = {0};
    assert_int_equal(norm_launch(&p, device_stream), cudaErrorInvalidValue);
    p.width = 8;
    assert_int_equal(norm_launch(&p, device_stream), cudaSuccess); /* no rows: nothing to do */
    device_wait();
}

static void test_traffic(void **state)
{
    enum { ROWS = 4, WIDTH = 1024 };
    float *x = device_floats((size_t)ROWS * WIDTH, 1.0F);
    float *out = device_bytes(sizeof(float) * ROWS * WIDTH);
    struct norm_params p = {x, device_floats(WIDTH, 1.0F), out, ROWS, WIDTH, 1e-5F};
    emu_traffic_start();
    assert_int_equal(norm_launch(&p, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic t = emu_traffic_stop();
    assert_int_equal(t.read_bytes, sizeof(float) * WIDTH * (ROWS + 1));
    assert_int_equal(t.written_bytes, sizeof(float) * WIDTH * ROWS);
    assert_int_equal(t.sectors, t.least_sectors);
    assert_int_equal(t.bank_conflicts, 0);
    assert_int_equal(t.shared_bytes, 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_odd_shapes, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("norm", tests, NULL, NULL);
}

/* RMS norm against its reference, over odd widths. */
#include "tests/kernels/device.h"

#include "kernels/norm.h"

/* What follows the normed values of a piece stays. */
static void compare(struct norm_params p, bool in_place)
{
    size_t n = (size_t)p.pieces * p.x_piece;
    size_t m = (size_t)p.pieces * p.out_piece;
    float *x = random_floats(n, 3.0F);
    float *weight = random_floats(p.width, 2.0F);
    float *wanted = random_floats(m, 1.0F);
    float *is = host_bytes(m * sizeof *is);
    char what[64];
    if (in_place) {
        memcpy(wanted, x, n * sizeof *x);
    }
    p.eps = 1e-5F;
    struct norm_params q = p;
    q.weight = device_copy(weight, p.width * sizeof *weight);
    q.out = device_copy(wanted, m * sizeof *wanted);
    q.x = in_place ? q.out : device_copy(x, n * sizeof *x);
    p.weight = weight;
    p.x = x;
    p.out = wanted;
    norm_ref(&p);
    assert_int_equal(norm_launch(&q, device_stream), cudaSuccess);
    host_copy(is, q.out, m * sizeof *is);
    snprintf(what, sizeof what, "norm of %u x %u", p.pieces, p.width);
    expect_close(what, is, wanted, m, 1e-5, 1e-7);
    free(x);
    free(weight);
    free(wanted);
    free(is);
}

static void test_odd_shapes(void **state)
{
    static const uint32_t widths[] = {1, 2, 31, 33, 64, 128, 255, 256, 257, 576, 1000, 3584};
    for (uint32_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        uint32_t w = widths[i];
        compare((struct norm_params){.pieces = 1 + i % 5, .x_piece = w, .out_piece = w, .width = w}, i % 2);
    }
    compare((struct norm_params){.pieces = 6, .x_piece = 80, .out_piece = 80, .width = 64}, true);
    compare((struct norm_params){.pieces = 3, .x_piece = 64, .out_piece = 96, .width = 48}, false);
}

static void test_bounds(void **state)
{
    struct norm_params p = {0};
    assert_int_equal(norm_launch(&p, device_stream), cudaErrorInvalidValue);
    p.width = 8;
    p.x_piece = 8;
    p.out_piece = 7;
    assert_int_equal(norm_launch(&p, device_stream), cudaErrorInvalidValue);
    p.out_piece = 8;
    assert_int_equal(norm_launch(&p, device_stream), cudaSuccess); /* no pieces: nothing to do */
    device_wait();
}

static void test_traffic(void **state)
{
    enum { ROWS = 4, WIDTH = 1024 };
    float *x = device_floats((size_t)ROWS * WIDTH, 1.0F);
    float *out = device_bytes(sizeof(float) * ROWS * WIDTH);
    struct norm_params p = {x, device_floats(WIDTH, 1.0F), out, ROWS, WIDTH, WIDTH, WIDTH, 1e-5F};
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

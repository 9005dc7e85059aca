/* The largest values of rows against their reference: ties, infinities, what is no number, odd widths. */
#include "tests/kernels/device.h"

#include "kernels/top.h"

static void compare_part(const char *what, const float *x, uint32_t rows, uint32_t width, uint32_t stride,
                         uint32_t k)
{
    size_t n = (size_t)rows * k;
    struct top_params p = {x, host_bytes(n * 4), host_bytes(n * 4), host_bytes(rows * 4), rows, width, stride,
                           k};
    struct top_params q = p;
    uint32_t *ids = host_bytes(n * 4);
    float *values = host_bytes(n * 4);
    float *sums = host_bytes(rows * 4);
    q.x = device_copy(x, (size_t)rows * stride * 4);
    q.ids = device_bytes(n * 4);
    q.values = device_bytes(n * 4);
    q.log_sum = device_bytes(rows * 4);
    top_ref(&p);
    assert_int_equal(top_launch(&q, device_stream), cudaSuccess);
    host_copy(ids, q.ids, n * 4);
    host_copy(values, q.values, n * 4);
    host_copy(sums, q.log_sum, rows * 4);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] != p.ids[i] || memcmp(&values[i], &p.values[i], 4) != 0) {
            fail_msg("%s: answer %zu is %u (%g), the reference says %u (%g)", what, i, ids[i],
                     (double)values[i], p.ids[i], (double)p.values[i]);
        }
    }
    for (uint32_t row = 0; row < rows; row++) {
        if (isfinite(p.log_sum[row])) {
            expect_close(what, &sums[row], &p.log_sum[row], 1, 1e-5, 1e-5);
        } else {
            assert_true(sums[row] == p.log_sum[row]);
        }
    }
    free(p.ids);
    free(p.values);
    free(p.log_sum);
    free(ids);
    free(values);
    free(sums);
}

static void compare(const char *what, const float *x, uint32_t rows, uint32_t width, uint32_t k)
{
    compare_part(what, x, rows, width, width, k);
}

static void test_random_rows(void **state)
{
    static const struct {
        uint32_t rows;
        uint32_t width;
        uint32_t k;
    } shapes[] = {{1, 1, 1}, {3, 7, 7}, {2, 511, 1}, {2, 513, 20}, {1, 3001, 64}, {1, 64, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        float *x = random_floats((size_t)shapes[i].rows * shapes[i].width, 30.0F);
        compare("random", x, shapes[i].rows, shapes[i].width, shapes[i].k);
        free(x);
    }
}

/* Rows that were filled up: what stands past the width is larger than all before. */
static void test_wider_rows(void **state)
{
    float x[3 * 40];
    for (uint32_t i = 0; i < 3 * 40; i++) {
        x[i] = i % 40 < 33 ? -(float)(i * 7 % 31) : 5.0F;
    }
    compare_part("filled up", x, 3, 33, 40, 9);
}

/* Of equals the lower number, though the last of them decide after all eight digits. */
static void test_ties(void **state)
{
    enum { WIDTH = 700 };
    float x[WIDTH] = {0};
    compare("zeros", x, 1, WIDTH, 5);
    for (uint32_t i = 0; i < WIDTH; i++) {
        x[i] = i % 3 ? -1.5F : i % 2 ? 0.0F : -0.0F; /* zeros are equal */
    }
    compare("thirds", x, 1, WIDTH, 64);
    x[699] = 2.0F;
    x[400] = 2.0F;
    compare("two", x, 1, WIDTH, 1);
}

static void test_what_is_no_number(void **state)
{
    enum { WIDTH = 600 };
    float x[WIDTH];
    for (uint32_t i = 0; i < WIDTH; i++) {
        x[i] = i % 4 ? -INFINITY : NAN;
    }
    compare("nothing", x, 1, WIDTH, 3);
    x[577] = 1.0F;
    x[13] = -3.0F;
    compare("two numbers", x, 1, WIDTH, 4);
}

static void test_bounds(void **state)
{
    struct top_params p = {.width = 10, .stride = 10, .k = 10};
    assert_int_equal(top_launch(&p, device_stream), cudaSuccess); /* no rows: nothing to do */
    p.k = 11;
    assert_int_equal(top_launch(&p, device_stream), cudaErrorInvalidValue);
    p.k = 0;
    assert_int_equal(top_launch(&p, device_stream), cudaErrorInvalidValue);
    p.k = 1;
    p.stride = 9;
    assert_int_equal(top_launch(&p, device_stream), cudaErrorInvalidValue);
    p.width = p.stride = 1000;
    p.k = TOP_MOST + 1;
    assert_int_equal(top_launch(&p, device_stream), cudaErrorInvalidValue);
}

static void test_traffic(void **state)
{
    enum { WIDTH = 4096, K = 20 };
    float *x = random_floats(WIDTH, 10.0F);
    struct top_params p = {device_copy(x, WIDTH * 4),
                           device_bytes(K * 4),
                           device_bytes(K * 4),
                           device_bytes(4),
                           1,
                           WIDTH,
                           WIDTH,
                           K};
    emu_traffic_start();
    assert_int_equal(top_launch(&p, device_stream), cudaSuccess);
    device_wait();
    struct emu_traffic t = emu_traffic_stop();
    print_message("top: %zu bytes read, at least %d; %zu sectors, at least %zu\n", (size_t)t.read_bytes,
                  WIDTH * 4, (size_t)t.sectors, (size_t)t.least_sectors);
    assert_int_equal(t.read_bytes, WIDTH * 4);
    assert_int_equal(t.shared_bytes, 1680);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_rows, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_wider_rows, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_ties, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_number, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, device_setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic, device_setup, device_teardown),
    };
    return cmocka_run_group_tests_name("top", tests, NULL, NULL);
}

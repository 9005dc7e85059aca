/* The emulator sees each rule that is broken on purpose, and says which; what keeps the rules passes in any order. */
#include "tests/kernels/device.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/ref/half.h"
#include "tests/kernels/faults.h"

enum { N = 128 };

static float *in;
static float *out;

static int setup(void **state)
{
    float values[N];
    device_setup(state);
    for (int i = 0; i < N; i++) {
        values[i] = (float)i;
    }
    in = device_copy(values, sizeof values);
    out = device_bytes(sizeof values);
    return 0;
}

static void run_rule(enum broken_rule rule)
{
    static float host[N];
    broken_launch(rule, in, out, host, device_stream);
}

static void expect_fault(enum broken_rule rule, cudaError_t error, const char *text)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        setup(NULL);
        emu_seed(seed);
        run_rule(rule);
        cudaError_t rc = cudaStreamSynchronize(device_stream);
        if (rc != error || !strstr(emu_fault_text(), text)) {
            fail_msg("rule %d, seed %u: %s \"%s\", expected %s \"%s\"", rule, (unsigned)seed,
                     cudaGetErrorName(rc), emu_fault_text(), cudaGetErrorName(error), text);
        }
        assert_int_equal(cudaMemcpy(out, in, 4, cudaMemcpyDeviceToDevice), error); /* and it stays */
        cudaStreamDestroy(device_stream);
    }
    print_message("%s\n", emu_fault_text());
    setup(NULL);
}

static void test_kept_rules_pass_in_any_order(void **state)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        float values[N];
        emu_seed(seed);
        run_rule(BROKEN_NOTHING);
        host_copy(values, out, sizeof values);
        for (int i = 0; i < N; i++) {
            assert_true(values[i] == (float)(N - 1 - i));
        }
    }
}

/* Who comes too early meets a race, or what nobody has written yet. */
static void test_races_on_shared_memory(void **state)
{
    expect_fault(BROKEN_MISSING_BARRIER, cudaErrorLaunchFailure, " tile[");
    expect_fault(BROKEN_MISSING_SYNCWARP, cudaErrorLaunchFailure, " tile[");
    expect_fault(BROKEN_WRITE_AFTER_READ, cudaErrorLaunchFailure, "no barrier between");
}

static void test_shared_memory_that_nobody_wrote(void **state)
{
    expect_fault(BROKEN_SHARED_UNWRITTEN, cudaErrorLaunchFailure, "which nobody has written");
    expect_fault(BROKEN_ATOMIC_UNWRITTEN, cudaErrorLaunchFailure,
                 "read of count[0], which nobody has written");
}

static void test_divergent_barriers(void **state)
{
    expect_fault(BROKEN_DIVERGENT_BARRIER, cudaErrorLaunchFailure,
                 "divergent barrier: thread 0 waits at a barrier");
    expect_fault(BROKEN_LEFT_BARRIER, cudaErrorLaunchFailure, "while thread 5 has ended");
}

static void test_warp_operations(void **state)
{
    expect_fault(BROKEN_SHUFFLE_DIVERGED, cudaErrorLaunchFailure, "meets __shfl_xor_sync of lane");
    expect_fault(BROKEN_SHUFFLE_MASK, cudaErrorLaunchFailure, "leaves out its own lane");
    expect_fault(BROKEN_SHUFFLE_ABSENT, cudaErrorLaunchFailure, "reads lane 20, which takes no part");
    expect_fault(BROKEN_SHUFFLE_ENDED, cudaErrorLaunchFailure, "names lane 3, which has ended");
}

static void test_memory_that_is_not_the_kernels(void **state)
{
    expect_fault(BROKEN_READ_PAST_END, cudaErrorIllegalAddress,
                 "read of 4 bytes at byte 512 of an allocation of 512");
    expect_fault(BROKEN_WRITE_PAST_END, cudaErrorIllegalAddress,
                 "write of 4 bytes at byte 512 of an allocation of 512");
    expect_fault(BROKEN_SHARED_PAST_END, cudaErrorIllegalAddress, "at byte 512 of tile, which has 512");
    expect_fault(BROKEN_HOST_POINTER, cudaErrorIllegalAddress, "read of 4 bytes of host memory");
    expect_fault(BROKEN_OTHER_STACK, cudaErrorIllegalAddress, "local memory of thread 0");
    expect_fault(BROKEN_CONSTANT_WRITE, cudaErrorIllegalAddress, "write of 4 bytes of constant memory");
    expect_fault(BROKEN_MISALIGNED, cudaErrorMisalignedAddress, "past a multiple of it");
}

static void test_asynchronous_copies(void **state)
{
    expect_fault(BROKEN_ASYNC_NO_WAIT, cudaErrorLaunchFailure, "cp.async copies that nobody waited for");
    expect_fault(BROKEN_ASYNC_MISALIGNED, cudaErrorMisalignedAddress, "cp.async");
    float values[N];
    run_rule(BROKEN_ASYNC_EARLY_READ); /* reads NaN: the copy is done only when waited for */
    host_copy(values, out, sizeof values);
    for (int i = 0; i < N; i++) {
        assert_true(isnan(values[i]));
    }
}

static void test_limits_of_a_launch(void **state)
{
    static const struct {
        unsigned grid;
        unsigned threads;
        size_t shared_bytes;
        int raise;
        cudaError_t expected;
    } rows[] = {
        {1, 1024, 0, 0, cudaSuccess},
        {1, 1025, 0, 0, cudaErrorInvalidConfiguration},
        {0, 32, 0, 0, cudaErrorInvalidConfiguration},
        {1, 0, 0, 0, cudaErrorInvalidConfiguration},
        {1, 32, 48 << 10, 0, cudaSuccess},
        {1, 32, (48 << 10) + 1, 0, cudaErrorInvalidValue},
        {1, 32, 100 << 10, 1, cudaSuccess},
        {1, 32, 228 << 10, 1, cudaErrorInvalidValue},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        emu_reset(NULL);
        idle_launch(rows[i].grid, rows[i].threads, rows[i].shared_bytes, rows[i].raise, NULL);
        assert_int_equal(cudaGetLastError(), rows[i].expected);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    }
    struct emu_conf two = {.devices = 2, .seed = 1};
    emu_reset(&two);
    idle_launch(1, 32, 100 << 10, 1, NULL);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(cudaSetDevice(1), cudaSuccess); /* which was not asked for so much */
    idle_launch(1, 32, 100 << 10, 0, NULL);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    expect_fault(BROKEN_NO_DYNAMIC_SHARED, cudaErrorLaunchFailure, "the launch gave 0 bytes");
    expect_fault(BROKEN_STATIC_SHARED_TOO_BIG, cudaErrorLaunchFailure, "at most 49152");
}

static void test_memory_starts_as_nan(void **state)
{
    float values[N];
    host_copy(values, out, sizeof values);
    for (int i = 0; i < N; i++) {
        assert_true(isnan(values[i]));
    }
}

static void test_blocks_run_once_in_an_order_of_the_seed(void **state)
{
    enum { BLOCKS = 37 };
    unsigned orders[2][BLOCKS];
    for (unsigned run = 0; run < 2; run++) {
        unsigned zero = 0;
        unsigned seen[BLOCKS] = {0};
        unsigned *count = device_copy(&zero, sizeof zero);
        unsigned *order = device_bytes(sizeof orders[0]);
        emu_seed(7 + run);
        order_launch(count, order, BLOCKS, device_stream);
        host_copy(orders[run], order, sizeof orders[0]);
        for (unsigned i = 0; i < BLOCKS; i++) {
            assert_true(orders[run][i] < BLOCKS);
            seen[orders[run][i]]++;
        }
        for (unsigned i = 0; i < BLOCKS; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    assert_memory_not_equal(orders[0], orders[1], sizeof orders[0]);
}

/* --- counters ---------------------------------------------------------------------------------------------- */

static struct emu_traffic traffic_of_stride(unsigned stride)
{
    float *wide = device_bytes((size_t)32 * 32 * sizeof *wide);
    float values[32];
    emu_traffic_start();
    stride_launch(wide, out, stride, device_stream);
    host_copy(values, out, sizeof values);
    return emu_traffic_stop();
}

static void test_traffic_of_strides(void **state)
{
    struct emu_traffic t = traffic_of_stride(1);
    assert_int_equal(t.read_bytes, 128);
    assert_int_equal(t.written_bytes, 128);
    assert_int_equal(t.requests, 2);
    assert_int_equal(t.sectors, 8);
    assert_int_equal(t.least_sectors, 8);
    assert_int_equal(t.shared_requests, 2);
    assert_int_equal(t.bank_conflicts, 0);
    assert_int_equal(t.shared_bytes, 4096);
    t = traffic_of_stride(2);
    assert_int_equal(t.read_bytes, 256);
    assert_int_equal(t.sectors, 12);
    assert_int_equal(t.bank_conflicts, 2); /* two lanes a bank, once to write and once to read */
    t = traffic_of_stride(32);
    assert_int_equal(t.read_bytes, 1024);
    assert_int_equal(t.bank_conflicts, 62);
}

/* --- matrix products ----------------------------------------------------------------------------------------- */

static void test_mma_layouts(void **state)
{
    uint16_t a[16 * 16];
    uint16_t b[16 * 8];
    float c[16 * 8];
    for (int i = 0; i < 16 * 16; i++) { /* small whole numbers, exact in half precision */
        a[i] = (uint16_t)(0x4400 + (test_random() % 4 << 8)); /* 4, 5, 6, 7 */
    }
    for (int i = 0; i < 16 * 8; i++) {
        b[i] = (uint16_t)(0x3C00 + (test_random() % 2 << 9)); /* 1, 1.5 */
    }
    float *product = device_bytes(sizeof c);
    mma_f16_launch(device_copy(a, sizeof a), device_copy(b, sizeof b), product, device_stream);
    host_copy(c, product, sizeof c);
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float sum = 0;
            for (int k = 0; k < 16; k++) {
                float x = 4.0F + (float)((a[row * 16 + k] - 0x4400) >> 8);
                sum += x * (b[k * 8 + column] == 0x3C00 ? 1.0F : 1.5F);
            }
            assert_true(c[row * 8 + column] == sum);
        }
    }
}

static void test_mma_of_bf16(void **state)
{
    uint16_t a[16 * 16];
    uint16_t b[16 * 8];
    float c[16 * 8];
    for (int i = 0; i < 16 * 16; i++) { /* whole numbers, exact with products and sums */
        a[i] = ref_float_to_bf16((float)(test_random() % 200) - 100.0F);
        b[i / 2] = ref_float_to_bf16((float)(test_random() % 100));
    }
    float *product = device_bytes(sizeof c);
    mma_bf16_launch(device_copy(a, sizeof a), device_copy(b, sizeof b), product, device_stream);
    host_copy(c, product, sizeof c);
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float sum = 0;
            for (int k = 0; k < 16; k++) {
                sum += ref_bf16_to_float(a[row * 16 + k]) * ref_bf16_to_float(b[k * 8 + column]);
            }
            assert_true(c[row * 8 + column] == sum);
        }
    }
}

static void test_mma_of_bytes(void **state)
{
    int c[16 * 8];
    int8_t *a = random_bytes(16 * 32);
    int8_t *b = random_bytes(32 * 8);
    int *product = device_bytes(sizeof c);
    mma_s8_launch(device_copy(a, 16 * 32), device_copy(b, 32 * 8), product, device_stream);
    host_copy(c, product, sizeof c);
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            int sum = 0;
            for (int k = 0; k < 32; k++) {
                sum += a[row * 32 + k] * b[k * 8 + column];
            }
            assert_int_equal(c[row * 8 + column], sum);
        }
    }
    free(a);
    free(b);
}

static void test_mma_of_e4m3(void **state)
{
    float c[16 * 8];
    uint8_t *a = random_bytes(16 * 32);
    float *b = random_floats(32 * 8, 500.0F); /* some are past the largest e4m3 */
    float *product = device_bytes(sizeof c);
    for (int i = 0; i < 16 * 32; i++) {
        a[i] = (a[i] & 0x7F) == 0x7F ? 0 : a[i]; /* no number */
    }
    mma_e4m3_launch(device_copy(a, 16 * 32), device_copy(b, 32 * 8 * sizeof *b), product, device_stream);
    host_copy(c, product, sizeof c);
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            double sum = 0;
            for (int k = 0; k < 32; k++) {
                uint8_t q = ref_float_to_e4m3(b[k * 8 + column]);
                sum += (double)ref_e4m3_to_float(a[row * 32 + k]) * (double)ref_e4m3_to_float(q);
            }
            assert_true(c[row * 8 + column] == (float)sum);
        }
    }
    free(a);
    free(b);
}

/* --- what ends the program ------------------------------------------------------------------------------------- */

/* How a child ends that does this, and the beginning of what it says. */
static int status_of_child(void (*deed)(void), char *text, size_t n)
{
    int ends[2];
    int status;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGILL, SIG_DFL); /* not the test's framework's */
        deed();
        _exit(0);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], text, n - 1);
    text[got > 0 ? got : 0] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void touch_device_memory(void)
{
    cudaDeviceSynchronize(); /* takes the signal back from the test's framework */
    volatile float *p = in;
    (void)p[0];
}

static void test_host_code_is_trapped(void **state)
{
    char text[200];
    int status = status_of_child(touch_device_memory, text, sizeof text);
    assert_non_null(strstr(text, "host code touched device memory"));
    assert_int_equal(WEXITSTATUS(status), 70);
}

static void pass_an_array_end(void)
{
    run_rule(BROKEN_LOCAL_PAST_END);
    cudaDeviceSynchronize();
}

static void test_an_index_past_the_end_of_a_local_array(void **state)
{
    char text[200];
    int status = status_of_child(pass_an_array_end, text, sizeof text);
    assert_true(WIFSIGNALED(status)
                    ? WTERMSIG(status) == SIGILL
                    : WEXITSTATUS(status) != 0 && strstr(text, "index 4 out of bounds") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept_rules_pass_in_any_order, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_races_on_shared_memory, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_shared_memory_that_nobody_wrote, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_divergent_barriers, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_warp_operations, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_memory_that_is_not_the_kernels, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_asynchronous_copies, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_limits_of_a_launch, setup, NULL),
        cmocka_unit_test_setup_teardown(test_memory_starts_as_nan, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_blocks_run_once_in_an_order_of_the_seed, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_traffic_of_strides, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_mma_layouts, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_mma_of_bf16, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_mma_of_bytes, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_mma_of_e4m3, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_host_code_is_trapped, setup, device_teardown),
        cmocka_unit_test_setup_teardown(test_an_index_past_the_end_of_a_local_array, setup, device_teardown),
    };
    return cmocka_run_group_tests_name("emulator", tests, NULL, NULL);
}

/* What tests of kernels share: buffers on both sides, random values, comparing with the reference.
 *
 * The same tests run over the emulator and, built with the toolkit, on a device; only the emulator can say what was
 * wrong with a kernel (device_check prints it). */
#ifndef TIDE_TESTS_DEVICE_H
#define TIDE_TESTS_DEVICE_H

#include "tests/unit/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime.h>

#include "kernels/emu/emu.h"

/* The stream of the test; made by device_setup. */
static cudaStream_t device_stream;

__attribute__((unused)) static int device_setup(void **state)
{
    emu_reset(NULL);
    assert_int_equal(cudaStreamCreateWithFlags(&device_stream, cudaStreamNonBlocking), cudaSuccess);
    return 0;
}

__attribute__((unused)) static int device_teardown(void **state)
{
    cudaStreamDestroy(device_stream);
    return 0;
}

/* Waits for the stream; a kernel that broke a rule fails the test with the rule. */
__attribute__((unused)) static void device_wait(void)
{
    cudaError_t rc = cudaStreamSynchronize(device_stream);
    if (rc != cudaSuccess) {
        fail_msg("%s: %s", cudaGetErrorName(rc), emu_fault_text());
    }
}

__attribute__((unused)) static void *device_bytes(size_t bytes)
{
    void *p = NULL;
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    return p;
}

/* The bytes have arrived: the test's stream would not wait for them. */
__attribute__((unused)) static void *device_copy(const void *host, size_t bytes)
{
    void *p = device_bytes(bytes);
    assert_int_equal(cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(NULL), cudaSuccess);
    return p;
}

__attribute__((unused)) static void host_copy(void *host, const void *device, size_t bytes)
{
    device_wait();
    assert_int_equal(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
}

__attribute__((unused)) static void *host_bytes(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

/* --- random values ------------------------------------------------------------------------------------- */

static uint64_t test_random_state = 88172645463325252ULL;

__attribute__((unused)) static uint64_t test_random(void)
{
    test_random_state ^= test_random_state << 13;
    test_random_state ^= test_random_state >> 7;
    test_random_state ^= test_random_state << 17;
    return test_random_state;
}

/* n floats in (-scale, scale). */
__attribute__((unused)) static float *random_floats(size_t n, float scale)
{
    float *p = host_bytes(n * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        p[i] = scale * (float)((double)(test_random() >> 11) / 4503599627370496.0 - 1.0);
    }
    return p;
}

__attribute__((unused)) static float *device_floats(size_t n, float scale)
{
    float *host = random_floats(n, scale);
    float *p = device_copy(host, n * sizeof *host);
    free(host);
    return p;
}

__attribute__((unused)) static void *random_bytes(size_t n)
{
    uint8_t *p = host_bytes(n);
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(test_random() >> 20);
    }
    return p;
}

/* --- comparing ------------------------------------------------------------------------------------------ */

/* Each value within `relative` of the reference, or within `absolute`; NaN never is. Prints the largest error. */
__attribute__((unused)) static void expect_close(const char *what, const float *is, const float *wanted,
                                                 size_t n, double relative, double absolute)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)is[i] - (double)wanted[i]);
        double allowed = absolute + relative * fabs((double)wanted[i]);
        if (!(error <= allowed)) {
            fail_msg("%s: value %zu is %.9g, the reference says %.9g", what, i, (double)is[i],
                     (double)wanted[i]);
        }
        worst = error > worst ? error : worst;
    }
    print_message("%s: %zu values, largest error %.3g\n", what, n, worst);
}

#endif

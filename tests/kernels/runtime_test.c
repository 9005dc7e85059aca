/* The stand-ins for the runtime: nothing happens before somebody waits, streams and events keep their order only where it
 * was asked for, graphs replay what was frozen, and every failure is an error that stays or goes as on a device. */
#include "tests/kernels/device.h"

#include "tests/kernels/faults.h"

static float *value; /* one float of device memory, 0 at first */

static int setup(void **state)
{
    static const float zero = 0;
    device_setup(state);
    value = device_copy(&zero, sizeof zero);
    return 0;
}

static float now(void)
{
    float v;
    assert_int_equal(cudaMemcpy(&v, value, sizeof v, cudaMemcpyDeviceToHost), cudaSuccess);
    return v;
}

static void test_nothing_runs_before_somebody_waits(void **state)
{
    add_launch(value, 1, device_stream);
    assert_true(now() == 0); /* the default stream does not wait for this one */
    device_wait();
    assert_true(now() == 1);
}

static void test_streams_run_in_any_order_without_an_event(void **state)
{
    bool seen[2] = {false, false};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        static const float ten = 10;
        cudaStream_t other;
        emu_seed(seed);
        assert_int_equal(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
        add_launch(value, 1, device_stream);
        assert_int_equal(cudaMemcpyAsync(value, &ten, sizeof ten, cudaMemcpyHostToDevice, other),
                         cudaSuccess);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        seen[now() == 11] = true;
        assert_int_equal(cudaStreamDestroy(other), cudaSuccess);
    }
    assert_true(seen[0] && seen[1]);
}

/* cudaMemcpy of pageable memory takes the bytes; a stream that does not block may still be faster than they are. */
static void test_a_copy_of_pageable_memory_is_on_its_way(void **state)
{
    bool seen[2] = {false, false};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        float ten = 10;
        emu_seed(seed);
        assert_int_equal(cudaMemcpy(value, &ten, sizeof ten, cudaMemcpyHostToDevice), cudaSuccess);
        ten = 1000;
        add_launch(value, 1, device_stream);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        float is = now();
        assert_true(is == 10 || is == 11);
        seen[is == 11] = true;
    }
    assert_true(seen[0] && seen[1]);
}

static void test_an_event_orders_streams(void **state)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        static const float ten = 10;
        cudaStream_t other;
        cudaEvent_t event;
        emu_seed(seed);
        assert_int_equal(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
        assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
        assert_int_equal(cudaMemcpyAsync(value, &ten, sizeof ten, cudaMemcpyHostToDevice, other),
                         cudaSuccess);
        assert_int_equal(cudaEventRecord(event, other), cudaSuccess);
        assert_int_equal(cudaStreamWaitEvent(device_stream, event, 0), cudaSuccess);
        add_launch(value, 1, device_stream);
        device_wait();
        assert_true(now() == 11);
        assert_int_equal(cudaEventQuery(event), cudaSuccess);
        assert_int_equal(cudaEventDestroy(event), cudaSuccess);
        assert_int_equal(cudaStreamDestroy(other), cudaSuccess);
    }
}

static void test_asking_is_not_waiting(void **state)
{
    add_launch(value, 1, device_stream);
    add_launch(value, 1, device_stream);
    add_launch(value, 1, device_stream);
    assert_int_equal(cudaStreamQuery(device_stream), cudaErrorNotReady);
    while (cudaStreamQuery(device_stream) == cudaErrorNotReady) {
    }
    assert_true(now() == 3);
}

static void test_a_graph_replays_what_was_frozen(void **state)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float add = 2;
    assert_int_equal(cudaStreamBeginCapture(device_stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    add_launch(value, add, device_stream);
    add_launch(value, 1, device_stream);
    assert_int_equal(cudaStreamSynchronize(device_stream), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(device_stream, &graph), cudaSuccess);
    add = 100; /* arguments were taken at the capture */
    device_wait();
    assert_true(now() == 0); /* recorded, not run */
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(cudaGraphLaunch(exec, device_stream), cudaSuccess);
        device_wait();
        assert_true(now() == (float)(3 * i));
    }
    assert_int_equal(cudaGraphExecDestroy(exec), cudaSuccess);
}

static void test_memory_has_an_end(void **state)
{
    struct emu_conf small = {.devices = 1, .device_bytes = 1 << 20, .seed = 1};
    void *p;
    void *q;
    emu_reset(&small);
    assert_int_equal(cudaMalloc(&p, 1 << 19), cudaSuccess);
    assert_int_equal(cudaMalloc(&q, (1 << 19) + 1), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaSuccess); /* it does not stay */
    assert_int_equal(emu_bytes_allocated(), 1 << 19);
    assert_int_equal(cudaFree(p), cudaSuccess);
    assert_int_equal(cudaFree(p), cudaErrorInvalidValue);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_copies_are_checked(void **state)
{
    float v = 0;
    assert_int_equal(cudaMemcpy(&v, value, 8, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(&v, value, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(value, &v, 4, cudaMemcpyHostToDevice), cudaSuccess);
}

static void test_freed_memory_is_not_touched(void **state)
{
    assert_int_equal(cudaFree(value), cudaSuccess);
    add_launch(value, 1, device_stream);
    assert_int_equal(cudaStreamSynchronize(device_stream), cudaErrorIllegalAddress);
    assert_non_null(strstr(emu_fault_text(), "memory that was freed"));
}

static void test_memory_of_another_device(void **state)
{
    struct emu_conf two = {.devices = 2, .seed = 1};
    void *p;
    emu_reset(&two);
    assert_int_equal(cudaSetDevice(1), cudaSuccess);
    assert_int_equal(cudaMalloc(&p, 4), cudaSuccess);
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    add_launch(p, 1, NULL);
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_non_null(strstr(emu_fault_text(), "of device 1's memory by device 0"));
    assert_int_equal(cudaSetDevice(2), cudaErrorIllegalAddress); /* the fault stands against everything */
}

static void expect_injected(enum emu_failure failure, cudaError_t expected)
{
    setup(NULL);
    emu_fail(failure, 1);
    add_launch(value, 1, device_stream);
    device_wait(); /* the first still succeeds */
    add_launch(value, 1, device_stream);
    assert_int_equal(cudaStreamSynchronize(device_stream), expected);
    assert_int_equal(cudaStreamSynchronize(device_stream), expected);
    float v;
    assert_int_equal(cudaMemcpy(&v, value, 4, cudaMemcpyDeviceToHost), expected);
}

static void test_injected_failures(void **state)
{
    int count = 7;
    expect_injected(EMU_DEVICE_LOST, cudaErrorDevicesUnavailable);
    expect_injected(EMU_KERNEL_FAULT, cudaErrorIllegalAddress);
    setup(NULL);
    emu_fail(EMU_OLD_DRIVER, 0);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    assert_int_equal(count, 0);
    emu_fail(EMU_NO_DEVICE, 0);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    emu_fail(EMU_OUT_OF_MEMORY, 1);
    void *p;
    assert_int_equal(cudaMalloc(&p, 64), cudaSuccess);
    assert_int_equal(cudaMalloc(&p, 64), cudaErrorMemoryAllocation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_runs_before_somebody_waits, setup),
        cmocka_unit_test_setup(test_streams_run_in_any_order_without_an_event, setup),
        cmocka_unit_test_setup(test_a_copy_of_pageable_memory_is_on_its_way, setup),
        cmocka_unit_test_setup(test_an_event_orders_streams, setup),
        cmocka_unit_test_setup(test_asking_is_not_waiting, setup),
        cmocka_unit_test_setup(test_a_graph_replays_what_was_frozen, setup),
        cmocka_unit_test_setup(test_memory_has_an_end, setup),
        cmocka_unit_test_setup(test_copies_are_checked, setup),
        cmocka_unit_test_setup(test_freed_memory_is_not_touched, setup),
        cmocka_unit_test_setup(test_memory_of_another_device, setup),
        cmocka_unit_test_setup(test_injected_failures, setup),
    };
    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}

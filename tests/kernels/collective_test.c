/* The stand-in for NCCL: all ranks get the same bits, each in its own memory; ranks that call different things, or never
 * come, are named; a communicator that is aborted holds nobody up. */
#include "tests/kernels/device.h"

#include <pthread.h>

#include <nccl.h>

#include "tests/kernels/faults.h"

enum { RANKS = 4, VALUES = 37 };

struct rank {
    ncclComm_t comm;
    cudaStream_t stream;
    float *values; /* VALUES * RANKS on its device */
};
static struct rank ranks[RANKS];

static ncclResult_t asked(const struct rank *r) /* what a call in progress came to */
{
    ncclResult_t async = ncclInProgress;
    while (async == ncclInProgress) {
        assert_int_equal(ncclCommGetAsyncError(r->comm, &async), ncclSuccess);
    }
    return async;
}

static void expect_queued(const struct rank *r, ncclResult_t rc)
{
    if (rc != ncclSuccess && rc != ncclInProgress) {
        fail_msg("%s: %s", ncclGetErrorString(rc), ncclGetLastError(r->comm));
    }
    assert_int_equal(asked(r), ncclSuccess);
}

static float start_value(int rank, int i)
{
    return 1.0F / (float)(rank + 3) + (float)(i % 7) * 1e-3F;
}

/* `n` ranks that do not block, each with VALUES values of its own. */
static void join(int n, uint64_t seed)
{
    struct emu_conf conf = {.devices = RANKS, .seed = seed};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    emu_reset(&conf);
    config.blocking = 0;
    assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
    for (int i = 0; i < n; i++) {
        float values[VALUES];
        for (int v = 0; v < VALUES; v++) {
            values[v] = start_value(i, v);
        }
        assert_int_equal(cudaSetDevice(i), cudaSuccess);
        assert_int_equal(cudaStreamCreateWithFlags(&ranks[i].stream, cudaStreamNonBlocking), cudaSuccess);
        ranks[i].values = device_bytes(sizeof values * RANKS);
        assert_int_equal(cudaMemcpy(ranks[i].values, values, sizeof values, cudaMemcpyHostToDevice),
                         cudaSuccess);
        assert_int_equal(cudaStreamSynchronize(NULL), cudaSuccess);
        assert_int_equal(ncclCommInitRankConfig(&ranks[i].comm, n, id, i, &config), ncclInProgress);
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(asked(&ranks[i]), ncclSuccess);
    }
}

static void leave(int n)
{
    for (int i = 0; i < n; i++) {
        ncclCommAbort(ranks[i].comm);
    }
}

static struct rank *use(int rank)
{
    assert_int_equal(cudaSetDevice(rank), cudaSuccess);
    return &ranks[rank];
}

static void sum(int rank)
{
    struct rank *r = use(rank);
    expect_queued(r, ncclAllReduce(r->values, r->values, VALUES, ncclFloat32, ncclSum, r->comm, r->stream));
}

static void read_values(int rank, float *out, size_t n)
{
    struct rank *r = use(rank);
    cudaError_t rc = cudaStreamSynchronize(r->stream);
    if (rc != cudaSuccess) {
        fail_msg("%s: %s", cudaGetErrorName(rc), emu_fault_text());
    }
    assert_int_equal(cudaMemcpy(out, r->values, n * sizeof *out, cudaMemcpyDeviceToHost), cudaSuccess);
}

static void test_a_sum_has_the_same_bits_everywhere(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        float first[VALUES];
        join(RANKS, seed);
        for (int i = RANKS; i-- > 0;) {
            sum(i);
        }
        read_values(2, first, VALUES);
        for (int v = 0; v < VALUES; v++) {
            float expected = start_value(0, v);
            for (int i = 1; i < RANKS; i++) {
                expected += start_value(i, v);
            }
            assert_true(first[v] == expected);
        }
        for (int i = 0; i < RANKS; i++) {
            float values[VALUES];
            read_values(i, values, VALUES);
            assert_memory_equal(values, first, sizeof first);
            assert_int_equal(ncclCommDestroy(ranks[i].comm), ncclSuccess);
        }
    }
}

static void test_gather_and_broadcast_in_one_group(void **state)
{
    float values[3 * VALUES];
    join(3, 5);
    for (int i = 0; i < 3; i++) {
        struct rank *r = use(i);
        assert_int_equal(ncclGroupStart(), ncclSuccess);
        assert_int_equal(ncclBroadcast(r->values, r->values, VALUES, ncclFloat32, 1, r->comm, r->stream),
                         ncclSuccess);
        assert_int_equal(
            ncclAllGather(r->values, r->values + VALUES, VALUES, ncclFloat32, r->comm, r->stream),
            ncclSuccess);
        expect_queued(r, ncclGroupEnd());
    }
    for (int i = 0; i < 3; i++) {
        read_values(i, values, 3 * VALUES);
        for (int v = 0; v < 3 * VALUES; v++) {
            assert_true(values[v] == start_value(1, v % VALUES));
        }
    }
    leave(3);
    join(3, 6);
    for (int i = 0; i < 3; i++) { /* in place: each sends from where its part will stand */
        struct rank *r = use(i);
        assert_int_equal(cudaMemcpyAsync(r->values + i * 8, r->values, 8 * sizeof(float),
                                         cudaMemcpyDeviceToDevice, r->stream),
                         cudaSuccess);
        expect_queued(r, ncclAllGather(r->values + i * 8, r->values, 8, ncclFloat32, r->comm, r->stream));
    }
    read_values(2, values, 24);
    for (int v = 0; v < 24; v++) {
        assert_true(values[v] == start_value(v / 8, v % 8));
    }
    leave(3);
}

static void expect_fault(int rank, const char *text)
{
    use(0);
    assert_int_not_equal(cudaStreamSynchronize(ranks[rank].stream), cudaSuccess);
    if (!strstr(emu_fault_text(), text)) {
        fail_msg("\"%s\" is not in \"%s\"", text, emu_fault_text());
    }
    leave(2);
}

static void test_ranks_that_differ_are_named(void **state)
{
    struct rank *r;
    join(2, 1);
    sum(0);
    r = use(1);
    expect_queued(r, ncclBroadcast(r->values, r->values, VALUES, ncclFloat32, 0, r->comm, r->stream));
    expect_fault(0, "ncclBroadcast(37 x float32, root 0)");
    join(2, 2);
    sum(0);
    r = use(1);
    expect_queued(r,
                  ncclAllReduce(r->values, r->values, VALUES - 1, ncclFloat32, ncclSum, r->comm, r->stream));
    expect_fault(1, "ncclAllReduce(36 x float32, sum)");
    assert_non_null(strstr(emu_fault_text(), "ncclAllReduce(37 x float32, sum)"));
    join(2, 3);
    sum(0);
    r = use(1);
    expect_queued(r, ncclAllReduce(r->values, r->values, VALUES, ncclFloat32, ncclMax, r->comm, r->stream));
    expect_fault(1, "rank 1 ncclAllReduce(37 x float32, maximum)");
    join(2, 4);
    for (int i = 0; i < 2; i++) {
        r = use(i);
        expect_queued(
            r, ncclBroadcast(r->values, r->values, 8, i ? ncclFloat32 : ncclInt32, 0, r->comm, r->stream));
    }
    expect_fault(0, "ranks call different collectives");
}

static void test_a_rank_that_never_comes(void **state)
{
    join(2, 1);
    emu_patience(20);
    sum(1);
    expect_fault(
        1, "hang: rank 1 of 2 waits in ncclAllReduce(37 x float32, sum) for rank 0, which has not come");
    struct emu_conf conf = {.devices = 2, .seed = 1};
    ncclUniqueId id;
    emu_reset(&conf);
    emu_patience(20);
    assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
    assert_int_equal(ncclCommInitRank(&ranks[0].comm, 2, id, 0), ncclSystemError);
    assert_non_null(strstr(ncclGetLastError(NULL), "never came"));
    ncclCommAbort(ranks[0].comm);
}

static void test_memory_that_is_not_the_ranks(void **state)
{
    float host[VALUES];
    struct rank *r;
    join(2, 1);
    r = use(0);
    expect_queued(
        r, ncclAllReduce(r->values, ranks[1].values, VALUES, ncclFloat32, ncclSum, r->comm, r->stream));
    expect_fault(0, "rank 0: ncclAllReduce(37 x float32, sum): another device's memory");
    join(2, 1);
    r = use(0);
    expect_queued(r, ncclAllReduce(host, host, VALUES, ncclFloat32, ncclSum, r->comm, r->stream));
    expect_fault(0, "host memory");
    join(2, 1);
    r = use(0);
    expect_queued(r, ncclAllReduce(r->values, r->values + 1, 8, ncclFloat32, ncclSum, r->comm, r->stream));
    expect_fault(0, "overlapping memory");
    join(2, 1);
    r = use(0);
    expect_queued(
        r, ncclAllGather(r->values + VALUES * 2, r->values, VALUES * 2 + 1, ncclFloat32, r->comm, r->stream));
    expect_fault(0, "memory");
}

static void test_an_abort_lets_the_stream_go_on(void **state)
{
    float values[VALUES];
    join(2, 1);
    sum(0);
    add_launch(ranks[0].values, 1, ranks[0].stream);
    assert_int_equal(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
    assert_int_equal(ncclCommDestroy(ranks[0].comm), ncclInvalidUsage);
    leave(2);
    read_values(0, values, VALUES);
    assert_true(values[0] == start_value(0, 0) + 1); /* no sum */
}

static void test_a_call_in_progress_is_not_queued(void **state)
{
    ncclResult_t rc = ncclSuccess;
    for (uint64_t seed = 1; rc != ncclInProgress; seed++) {
        join(1, seed);
        rc = ncclAllReduce(ranks[0].values, ranks[0].values + VALUES, VALUES, ncclFloat32, ncclSum,
                           ranks[0].comm, ranks[0].stream);
        if (rc != ncclInProgress) {
            leave(1);
        }
    }
    assert_int_equal(ncclAllReduce(ranks[0].values, ranks[0].values, VALUES, ncclFloat32, ncclSum,
                                   ranks[0].comm, ranks[0].stream),
                     ncclInvalidUsage);
    assert_int_equal(cudaStreamQuery(ranks[0].stream), cudaSuccess); /* empty */
    assert_int_equal(asked(&ranks[0]), ncclSuccess);
    assert_int_equal(cudaStreamSynchronize(ranks[0].stream), cudaSuccess);
    float values[2 * VALUES];
    read_values(0, values, 2 * VALUES);
    assert_memory_equal(values, values + VALUES, VALUES * sizeof *values);
    leave(1);
}

static void test_injected_failures(void **state)
{
    ncclResult_t async;
    join(2, 1);
    emu_fail(EMU_COLLECTIVE_HANGS, 1);
    for (int round = 0; round < 2; round++) {
        sum(0);
        sum(1);
        cudaError_t rc = cudaErrorNotReady;
        for (int i = 0; i < 100 && rc == cudaErrorNotReady; i++) {
            rc = cudaStreamQuery(ranks[0].stream);
        }
        assert_int_equal(rc, round == 0 ? cudaSuccess : cudaErrorNotReady);
    }
    leave(2);
    join(2, 1);
    emu_fail(EMU_COLLECTIVE_FAILS, 0);
    sum(0);
    sum(1);
    assert_int_equal(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
    assert_int_equal(cudaStreamQuery(ranks[1].stream), cudaErrorNotReady);
    assert_int_equal(ncclCommGetAsyncError(ranks[0].comm, &async), ncclSuccess);
    assert_int_equal(async, ncclRemoteError);
    leave(2);
}

static void test_one_device_is_lost(void **state)
{
    join(2, 1);
    emu_fail_on(1, EMU_DEVICE_LOST, 0);
    add_launch(ranks[0].values, 1, ranks[0].stream);
    assert_int_equal(cudaStreamSynchronize(ranks[0].stream), cudaSuccess);
    use(1);
    add_launch(ranks[1].values, 1, ranks[1].stream);
    assert_int_equal(cudaStreamSynchronize(ranks[1].stream), cudaErrorDevicesUnavailable);
    assert_int_equal(cudaSetDevice(0), cudaErrorDevicesUnavailable); /* asked by a thread of device 1 */
    leave(2);
}

static void test_a_graph_replays_a_collective(void **state)
{
    cudaGraphExec_t graphs[2];
    float values[VALUES];
    join(2, 9);
    for (int i = 0; i < 2; i++) {
        cudaGraph_t graph;
        use(i);
        assert_int_equal(cudaStreamBeginCapture(ranks[i].stream, cudaStreamCaptureModeThreadLocal),
                         cudaSuccess);
        sum(i);
        add_launch(ranks[i].values, 1, ranks[i].stream);
        assert_int_equal(cudaStreamEndCapture(ranks[i].stream, &graph), cudaSuccess);
        assert_int_equal(cudaGraphInstantiate(&graphs[i], graph, 0), cudaSuccess);
        assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    }
    float expected[2] = {start_value(0, 0), start_value(1, 0)};
    for (int round = 0; round < 3; round++) {
        expected[0] = expected[1] = expected[0] + expected[1] + 1;
        for (int i = 0; i < 2; i++) {
            use(i);
            assert_int_equal(cudaGraphLaunch(graphs[i], ranks[i].stream), cudaSuccess);
        }
        read_values(1, values, VALUES);
        assert_true(values[0] == expected[0]);
    }
    for (int i = 0; i < 2; i++) {
        use(i);
        assert_int_equal(cudaStreamSynchronize(ranks[i].stream), cudaSuccess);
        assert_int_equal(cudaGraphExecDestroy(graphs[i]), cudaSuccess);
    }
    leave(2);
}

/* As NCCL does, which waits for the graph for ever. */
static void test_a_graph_holds_its_communicator(void **state)
{
    cudaGraph_t graph;
    join(1, 1);
    emu_patience(200);
    assert_int_equal(cudaStreamBeginCapture(ranks[0].stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
    sum(0);
    assert_int_equal(cudaStreamEndCapture(ranks[0].stream, &graph), cudaSuccess);
    assert_int_equal(ncclCommDestroy(ranks[0].comm), ncclSystemError);
    assert_non_null(
        strstr(emu_fault_text(), "hang: rank 0 ends a communicator while a graph has collectives of it"));
    cudaGraphDestroy(graph);
    join(1, 1);
    assert_int_equal(cudaStreamBeginCapture(ranks[0].stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
    sum(0);
    assert_int_equal(cudaStreamEndCapture(ranks[0].stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    assert_int_equal(ncclCommDestroy(ranks[0].comm), ncclSuccess);
}

static void *join_and_block(void *arg)
{
    const ncclUniqueId *id = arg;
    ncclComm_t comm = NULL;
    bool joined = cudaSetDevice(1) == cudaSuccess && ncclCommInitRank(&comm, 2, *id, 1) == ncclSuccess;
    return joined ? comm : NULL;
}

static void test_joining(void **state)
{
    struct emu_conf conf = {.devices = 2, .seed = 1};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclConfig_t empty = {0};
    ncclUniqueId id;
    ncclComm_t comm;
    pthread_t other;
    void *others;
    emu_reset(&conf);
    assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
    assert_int_equal(pthread_create(&other, NULL, join_and_block, &id), 0);
    assert_int_equal(ncclCommInitRank(&comm, 2, id, 0), ncclSuccess);
    assert_int_equal(pthread_join(other, &others), 0);
    assert_non_null(others);
    ncclCommAbort(comm);
    ncclCommAbort(others);

    config.blocking = 0;
    assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
    assert_int_equal(ncclCommInitRankConfig(&comm, 2, id, 2, &config), ncclInvalidArgument);
    assert_int_equal(ncclCommInitRankConfig(&comm, 2, id, 0, &empty), ncclInvalidArgument);
    assert_int_equal(ncclCommInitRankConfig(&comm, 2, id, 0, &config), ncclInProgress);
    ncclComm_t second;
    assert_int_equal(ncclCommInitRankConfig(&second, 2, id, 0, &config), ncclInvalidArgument);
    assert_int_equal(ncclCommInitRankConfig(&second, 3, id, 1, &config), ncclInvalidArgument);
    assert_int_equal(ncclCommInitRankConfig(&second, 2, id, 1, &config), ncclInvalidUsage);
    assert_non_null(strstr(ncclGetLastError(NULL), "Duplicate GPU"));
    ncclCommAbort(comm);
    emu_fail(EMU_OLD_DRIVER, 0);
    assert_int_equal(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclUnhandledCudaError);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sum_has_the_same_bits_everywhere),
        cmocka_unit_test(test_gather_and_broadcast_in_one_group),
        cmocka_unit_test(test_ranks_that_differ_are_named),
        cmocka_unit_test(test_a_rank_that_never_comes),
        cmocka_unit_test(test_memory_that_is_not_the_ranks),
        cmocka_unit_test(test_an_abort_lets_the_stream_go_on),
        cmocka_unit_test(test_a_call_in_progress_is_not_queued),
        cmocka_unit_test(test_injected_failures),
        cmocka_unit_test(test_one_device_is_lost),
        cmocka_unit_test(test_a_graph_replays_a_collective),
        cmocka_unit_test(test_a_graph_holds_its_communicator),
        cmocka_unit_test(test_joining),
    };
    return cmocka_run_group_tests_name("collective", tests, NULL, NULL);
}

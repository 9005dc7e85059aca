/* The communicator over the real NCCL: on a machine without a GPU its failures come back in NCCL's own words and leave nothing
 * that hangs or crashes; with one, a rank alone gets its own values back. Built where the toolkit and NCCL are installed. */
#include "tests/unit/unit.h"

#include <string.h>

#include <cuda_runtime.h>

#include "inference/worker/cuda/communicator.h"

enum { VALUES = 1000 };

static bool has_device(void)
{
    int devices = 0;
    return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
}

static void test_the_version_is_the_headers(void **state)
{
    int version = 0;
    assert_int_equal(ncclGetVersion(&version), ncclSuccess);
    print_message("NCCL %d, its header %d\n", version, NCCL_VERSION_CODE);
    assert_int_equal(version / 10000, NCCL_VERSION_CODE / 10000);
}

static void test_without_a_device(void **state)
{
    struct communicator c;
    ncclUniqueId id;
    struct err err = {0};
    if (has_device()) {
        print_message("skipped: there is a device\n");
        skip();
    }
    if (communicator_id(&id, &err)) { /* NCCL's ranks meet over a network interface, and there may be none */
        print_message("%s\n", err.msg);
        assert_int_equal(err.code, ERR_UNAVAILABLE);
        assert_non_null(strstr(err.msg, "nccl: making an id: "));
        return;
    }
    communicator_init(&c);
    assert_int_equal(communicator_open(&c, &id, 0, 2, &err), ERR_UNAVAILABLE);
    print_message("%s\n", err.msg);
    assert_non_null(strstr(err.msg, "nccl: meeting the other ranks: Cuda failure "));
    assert_int_equal(communicator_sum(&c, NULL, 1, NULL, &err), ERR_UNAVAILABLE);
    print_message("%s\n", err.msg);
    communicator_abort(&c);
    assert_int_equal(communicator_check(&c, &err), 0); /* nobody to ask any more */
    assert_int_equal(communicator_sum(&c, NULL, 1, NULL, &err), ERR_UNAVAILABLE);
    assert_string_equal(err.msg, "nccl: sum of the ranks: aborted");
    assert_int_equal(communicator_open(&c, &id, 0, 2, &err), ERR_UNAVAILABLE);
    assert_string_equal(err.msg, "nccl: meeting the other ranks: aborted");
    communicator_close(&c);
    communicator_clear(&c);
}

static void test_a_rank_alone(void **state)
{
    struct communicator c;
    ncclUniqueId id;
    struct err err = {0};
    cudaStream_t stream;
    float host[VALUES];
    float back[VALUES];
    float *values = NULL;
    float *gathered = NULL;
    if (!has_device()) {
        print_message("skipped: no device\n");
        skip();
    }
    for (int i = 0; i < VALUES; i++) {
        host[i] = (float)i * 0.25F;
    }
    assert_int_equal(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&values, sizeof host), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&gathered, sizeof host), cudaSuccess);
    assert_int_equal(cudaMemcpy(values, host, sizeof host, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(NULL), cudaSuccess);
    communicator_init(&c);
    assert_int_equal(communicator_id(&id, &err), 0);
    assert_int_equal(communicator_open(&c, &id, 0, 1, &err), 0);
    assert_int_equal(communicator_sum(&c, values, VALUES, stream, &err), 0);
    assert_int_equal(communicator_gather(&c, values, VALUES / 4, gathered, 4, VALUES / 4, 1, stream, &err),
                     0);
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
    assert_int_equal(communicator_check(&c, &err), 0);
    assert_int_equal(cudaMemcpy(back, gathered, sizeof back, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_memory_equal(back, host, sizeof host);
    communicator_close(&c);
    communicator_clear(&c);
    cudaFree(values);
    cudaFree(gathered);
    cudaStreamDestroy(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_version_is_the_headers),
        cmocka_unit_test(test_without_a_device),
        cmocka_unit_test(test_a_rank_alone),
    };
    return cmocka_run_group_tests_name("communicator", tests, NULL, NULL);
}

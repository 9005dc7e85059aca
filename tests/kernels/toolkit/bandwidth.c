/* bandwidth: what kernels reach on a device, as rows of a table: bytes (or operations) a second, and how much that is of
 * what the device copies. Weights are zeros, which take as long as others; the sizes are those of docs/hardware.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime.h>

#include "kernels/matmul.h"

enum { ROWS = 18944, COLUMNS = 3584, MANY = 512, WARM = 3, ROUNDS = 20 };

static cudaStream_t stream;

static void must(cudaError_t rc, const char *doing)
{
    if (rc != cudaSuccess) {
        fprintf(stderr, "bandwidth: %s: %s\n", doing, cudaGetErrorString(rc));
        exit(1);
    }
}

static void *zeros(size_t bytes)
{
    void *p = NULL;
    must(cudaMalloc(&p, bytes), "memory");
    must(cudaMemset(p, 0, bytes), "zeros");
    must(cudaDeviceSynchronize(), "zeros"); /* the stream would not wait for them */
    return p;
}

typedef cudaError_t (*launch_cb)(const void *params);

/* Seconds of one launch, of many on one stream. */
static double time_launches(launch_cb launch, const void *params)
{
    cudaEvent_t from;
    cudaEvent_t to;
    float ms = 0;
    must(cudaEventCreate(&from), "an event");
    must(cudaEventCreate(&to), "an event");
    for (int i = 0; i < WARM + ROUNDS; i++) {
        if (i == WARM) {
            must(cudaEventRecord(from, stream), "an event");
        }
        must(launch(params), "a launch");
    }
    must(cudaEventRecord(to, stream), "an event");
    must(cudaEventSynchronize(to), "the launches");
    must(cudaEventElapsedTime(&ms, from, to), "the time");
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    return (double)ms / 1e3 / ROUNDS;
}

/* --- what is timed ---------------------------------------------------------------------------------------------- */

struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

static cudaError_t launch_copy(const void *params)
{
    const struct copy *c = params;
    return cudaMemcpyAsync(c->to, c->from, c->bytes, cudaMemcpyDeviceToDevice, stream);
}

static cudaError_t launch_matvec(const void *params)
{
    return matvec_launch(params, stream);
}

static cudaError_t launch_matmul(const void *params)
{
    return matmul_launch(params, stream);
}

static size_t value_bytes(enum matrix_kind kind)
{
    return (size_t)ROWS * COLUMNS / (kind == MATRIX_4BIT ? 2 : 1);
}

static size_t scale_bytes(enum matrix_kind kind)
{
    return (size_t)ROWS * COLUMNS / MATRIX_BLOCK * sizeof(uint16_t) * (kind == MATRIX_4BIT ? 2 : 1);
}

static struct matvec_params product(enum matrix_kind kind, uint32_t count)
{
    size_t blocks = (size_t)count * COLUMNS / MATRIX_BLOCK;
    return (struct matvec_params){.w = {.kind = kind,
                                        .rows = ROWS,
                                        .columns = COLUMNS,
                                        .values = zeros(value_bytes(kind)),
                                        .scale = zeros(scale_bytes(kind))},
                                  .x_q = {.q = zeros((size_t)count * COLUMNS),
                                          .scale = zeros(blocks * sizeof(float)),
                                          .sum = zeros(blocks * sizeof(float))},
                                  .out = zeros((size_t)count * ROWS * sizeof(float)),
                                  .count = count};
}

static double print_copy(void)
{
    size_t bytes = (size_t)1 << 30;
    struct copy c = {.to = zeros(bytes), .from = zeros(bytes), .bytes = bytes};
    double seconds = time_launches(launch_copy, &c);
    double rate = 2 * (double)bytes / seconds;
    printf("| copy | 1 GiB, read and written | %.0f us | %.0f GB/s | 100 %% |\n", seconds * 1e6, rate / 1e9);
    return rate;
}

static void print_matvec(const char *what, enum matrix_kind kind, double copied)
{
    struct matvec_params p = product(kind, 1);
    double seconds = time_launches(launch_matvec, &p);
    double rate = (double)(value_bytes(kind) + scale_bytes(kind)) / seconds;
    printf("| `matvec` | %s | %.1f us | %.0f GB/s | %.0f %% |\n", what, seconds * 1e6, rate / 1e9,
           100 * rate / copied);
}

static void print_matmul(void)
{
    struct matvec_params p = product(MATRIX_4BIT, MANY);
    double seconds = time_launches(launch_matmul, &p);
    double operations = 2.0 * ROWS * COLUMNS * MANY;
    printf("| `matmul` | the same in 4 bits, %d columns | %.1f us | %.1f T operations/s | |\n", MANY,
           seconds * 1e6, operations / seconds / 1e12);
}

int main(void)
{
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    puts("| kernel | what | time | reached | of the copy |\n|---|---|---|---|---|");
    double copied = print_copy();
    print_matvec("gate, 18944 x 3584, 4 bits", MATRIX_4BIT, copied);
    print_matvec("the same in 8 bits", MATRIX_8BIT, copied);
    print_matmul();
    must(cudaStreamSynchronize(stream), "the end");
    return 0;
}

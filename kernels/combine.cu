/* The weighted sum of a token's experts. answers (count * used, width) -> out (count, width) float32, added.
 *
 * Tolerance: 1e-6 times the sum of the magnitudes (a float sum of `used` products).
 * Tile: a thread a value. Shared memory: none.
 * Roofline: 4 * (used + 2) bytes a value: V3, 8 experts of 7168, is 287 KB a token, below a launch's own time. */
#include "kernels/combine.h"

#include "kernels/kdev.h"

enum { THREADS = 128 };

static __global__ void __launch_bounds__(THREADS) combine(struct combine_params p)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    size_t token = blockIdx.y;
    if (i >= p.width) {
        return;
    }
    float sum = p.out[token * p.width + i];
    for (uint32_t k = 0; k < p.used; k++) {
        size_t use = token * p.used + k;
        sum += p.weights[token * p.experts + p.expert_of[use]] * p.answers[use * p.width + i];
    }
    p.out[token * p.width + i] = sum;
}

cudaError_t combine_launch(const struct combine_params *p, cudaStream_t stream)
{
    if (p->count > 0 && p->width > 0) {
        LAUNCH(combine, dim3((p->width + THREADS - 1) / THREADS, p->count), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

/* Activations as int8. (rows, width) float32 -> (rows, width) int8, scale and sum (rows, width / 32) float32.
 *
 * Tolerance: none for step and q where x / step is no tie; the sum of 32 integers is exact.
 * Tile: a lane a value, a warp a group of 32. Shared memory: none.
 * Roofline: 5.25 bytes a value; microseconds, the launch itself decides. */
#include "kernels/quantize.h"

#include "kernels/kdev.h"

enum { THREADS = 128, GROUP = 32 };
#define LEAST 1e-36F /* 127 / least is a float; groups below it are zero */
static_assert((int)GROUP == (int)WARP_LANES, "a warp makes one group");

static __global__ void __launch_bounds__(THREADS) quantize(struct quantize_params p, size_t groups)
{
    size_t group = ((size_t)blockIdx.x * THREADS + threadIdx.x) / GROUP;
    unsigned lane = threadIdx.x % GROUP;
    if (group >= groups) {
        return; /* the whole warp */
    }
    float x = p.x[group * GROUP + lane];
    float largest = warp_max(fabsf(x));
    float inverse = largest > LEAST ? 127.0F / largest : 0.0F;
    float q = rintf(x * inverse);
    float total = warp_sum(q);
    bool are_numbers = total == total;
    float scale = are_numbers ? largest / 127.0F : NAN;
    p.out.q[group * GROUP + lane] = are_numbers ? (int8_t)q : 0;
    if (lane == 0) {
        p.out.scale[group] = scale;
        p.out.sum[group] = scale * total;
    }
}

cudaError_t quantize_launch(const struct quantize_params *p, cudaStream_t stream)
{
    if (p->width == 0 || p->width % GROUP) {
        return cudaErrorInvalidValue;
    }
    size_t groups = (size_t)p->rows * (p->width / GROUP);
    if (groups > 0) {
        size_t blocks = (groups * GROUP + THREADS - 1) / THREADS;
        LAUNCH(quantize, dim3((unsigned)blocks), dim3(THREADS), 0, stream, *p, groups);
    }
    return cudaGetLastError();
}

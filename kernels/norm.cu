/* RMS norm of rows. (rows, width) float32 -> (rows, width) float32.
 *
 * Tolerance: relative 1e-5 against the reference (a sum of `width` squares in float, as a tree).
 * Tile: one block a row; the row is read twice, the second time from L1. Shared memory: 128 bytes.
 * Roofline: 8 bytes and 4 flops a value, so memory: width 4096 and 64 rows move 2 MiB, 1.3 us on an A100 (1.6 TB/s); below
 * that the launch itself decides. */
#include "kernels/norm.h"

#include "kernels/kdev.h"

enum { THREADS = 256 };
static_assert(THREADS % WARP_LANES == 0 && THREADS / WARP_LANES <= WARP_LANES,
              "block_sum wants whole warps, at most 32");

static __global__ void __launch_bounds__(THREADS) rms_norm(struct norm_params p)
{
    SHARED(float, partial, [WARP_LANES]);
    const float *x = p.x + (size_t)blockIdx.x * p.width;
    float *out = p.out + (size_t)blockIdx.x * p.width;
    float squares = 0.0F;
    for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) {
        squares += x[i] * x[i];
    }
    float scale = rsqrtf(block_sum(squares, partial) / (float)p.width + p.eps);
    for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) {
        out[i] = x[i] * scale * p.weight[i];
    }
}

cudaError_t norm_launch(const struct norm_params *p, cudaStream_t stream)
{
    if (p->width == 0) {
        return cudaErrorInvalidValue;
    }
    if (p->rows > 0) {
        LAUNCH(rms_norm, dim3(p->rows), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

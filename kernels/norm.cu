/* RMS norm of pieces. (pieces, x_piece) float32 -> (pieces, out_piece) float32.
 *
 * Tolerance: relative 1e-5 against the reference (a sum of `width` squares in float, as a tree).
 * Tile: one block a piece; it is read twice, the second time from L1. Shared memory: 128 bytes.
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
    const float *x = p.x + (size_t)blockIdx.x * p.x_piece;
    float *out = p.out + (size_t)blockIdx.x * p.out_piece;
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
    if (p->width == 0 || p->width > p->x_piece || p->width > p->out_piece) {
        return cudaErrorInvalidValue;
    }
    if (p->pieces > 0) {
        LAUNCH(rms_norm, dim3(p->pieces), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

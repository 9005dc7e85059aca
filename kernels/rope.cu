/* Rotary positions. (tokens, heads, x_piece) -> (tokens, heads, out_piece) float32.
 *
 * Tolerance: 1e-6 relative to the pair's length (two products, one sum).
 * Tile: one block a token, a thread a pair. Shared memory: none.
 * Roofline: 8 bytes a value, and the table's row; microseconds, the launch itself decides. */
#include "kernels/rope.h"

#include "kernels/kdev.h"

enum { THREADS = 128 };

static __global__ void __launch_bounds__(THREADS) rope(struct rope_params p)
{
    uint32_t pairs = p.dims / 2;
    const float *row = p.table + (size_t)p.positions[blockIdx.x] * p.dims;
    for (uint32_t i = threadIdx.x; i < p.heads * pairs; i += THREADS) {
        uint32_t pair = i % pairs;
        size_t piece = (size_t)blockIdx.x * p.heads + i / pairs;
        uint32_t first = p.has_halves ? pair : 2 * pair;
        uint32_t second = p.has_halves ? pair + pairs : 2 * pair + 1;
        const float *x = p.x + piece * p.x_piece + p.from;
        float *out = p.out + piece * p.out_piece + p.to;
        float a = x[first];
        float b = x[second];
        out[first] = a * row[2 * pair] - b * row[2 * pair + 1];
        out[second] = a * row[2 * pair + 1] + b * row[2 * pair];
    }
}

cudaError_t rope_launch(const struct rope_params *p, cudaStream_t stream)
{
    if (p->dims == 0 || p->dims % 2 || p->from + p->dims > p->x_piece || p->to + p->dims > p->out_piece) {
        return cudaErrorInvalidValue;
    }
    if (p->tokens > 0) {
        LAUNCH(rope, dim3(p->tokens), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

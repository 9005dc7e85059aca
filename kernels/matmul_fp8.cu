/* FP8 weights times FP8 activations on tensor cores. Formula: matmul_fp8.h.
 *
 * Tolerance: products 1e-6 times the sum of |w * x| (each group of 128 in float, then scaled and summed in float); activations
 * are exact.
 * Tile: tile_fp8.cuh, a block 64 rows x 64 columns; 39,680 bytes of shared memory and up to 248 registers. Quantizing: a warp
 * 128 values, no shared memory.
 * Roofline: V3's gate of one expert (2048 x 7168) and 64 columns: 14.7 MB and 1.9 GFLOP, 4.4 us on an H800 by bandwidth (3.35
 * TB/s), 1 us by FP8 operations (1979 T). */
#include "kernels/matmul_fp8.h"

#include "kernels/matmul.h"
#include "kernels/tile_fp8.cuh"

enum { QUANTIZE_THREADS = 128 };

/* --- activations ------------------------------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(QUANTIZE_THREADS)
    quantize_fp8(struct quantize_fp8_params p, size_t groups)
{
    size_t group = (blockIdx.x * (size_t)QUANTIZE_THREADS + threadIdx.x) / WARP_LANES;
    uint32_t of_row = (p.width + FP8_BLOCK - 1) / FP8_BLOCK;
    uint32_t column = (uint32_t)(group % of_row) * FP8_BLOCK + threadIdx.x % WARP_LANES * OF_LANE;
    if (group >= groups) {
        return; /* the whole warp */
    }
    size_t at = group / of_row * p.width + column;
    bool is_there = column < p.width; /* with its neighbours: the width is a multiple of 32 */
    float4 x = is_there ? *reinterpret_cast<const float4 *>(p.x + at) : float4{0.0F, 0.0F, 0.0F, 0.0F};
    float largest = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
    float scale = fmaxf(warp_max(largest), 1e-4F) / 448.0F;
    if (is_there) {
        uint32_t low = floats_to_e4m3(x.x / scale, x.y / scale);
        uint32_t high = floats_to_e4m3(x.z / scale, x.w / scale);
        *reinterpret_cast<uint32_t *>(p.out.q + at) = low | high << 16;
    }
    if (threadIdx.x % WARP_LANES == 0) {
        p.out.scale[group] = scale;
    }
}

/* --- products ------------------------------------------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(TILE_THREADS, TILE_FP8_BLOCKS_AT_ONCE)
    matmul_fp8(struct matmul_fp8_params p)
{
    SHARED(struct tile_memory, memory, [1]);
    struct tile t = {};
    t.w = p.w;
    t.row = blockIdx.x * TILE_ROWS;
    t.row_end = p.w.rows;
    t.x.q = reinterpret_cast<int8_t *>(p.x.q);
    t.columns = {NULL, p.count, 1, 0, p.w.columns, 0, p.w.rows};
    t.column = blockIdx.y * TILE_COLUMNS;
    t.out = p.out;
    t.bias = p.bias;
    t.adds = p.adds;
    t.out_row = t.row;
    tile_fp8_product(t, p.x.scale, memory[0]);
}

/* --- launchers ------------------------------------------------------------------------------------------------------------- */

cudaError_t quantize_fp8_launch(const struct quantize_fp8_params *p, cudaStream_t stream)
{
    if (p->width == 0 || p->width % MATRIX_BLOCK) {
        return cudaErrorInvalidValue;
    }
    size_t groups = (size_t)p->rows * ((p->width + FP8_BLOCK - 1) / FP8_BLOCK);
    if (groups > 0) {
        size_t blocks = (groups * WARP_LANES + QUANTIZE_THREADS - 1) / QUANTIZE_THREADS;
        LAUNCH(quantize_fp8, dim3((unsigned)blocks), dim3(QUANTIZE_THREADS), 0, stream, *p, groups);
    }
    return cudaGetLastError();
}

bool matmul_fp8_takes(const struct matrix *w, uint32_t count)
{
    return w->kind == MATRIX_E4M3 && count >= MATMUL_LEAST;
}

cudaError_t matmul_fp8_launch(const struct matmul_fp8_params *p, cudaStream_t stream)
{
    if (p->w.kind != MATRIX_E4M3 || !matrix_columns_fit(&p->w) || (p->bias && p->adds)) {
        return cudaErrorInvalidValue;
    }
    if (p->count > 0 && p->w.rows > 0) {
        dim3 grid((p->w.rows + TILE_ROWS - 1) / TILE_ROWS, (p->count + TILE_COLUMNS - 1) / TILE_COLUMNS);
        LAUNCH(matmul_fp8, grid, dim3(TILE_THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

/* FP8 weights times FP8 activations on tensor cores. Formula: matmul_fp8.h.
 *
 * Tolerance: products 1e-6 times the sum of |w * x| (each group of 128 in float, then scaled and summed in float); activations
 * are exact.
 * Tile: the bytes and fragments of tile.cuh, of which a stage of 128 columns is one group of scales; a block 64 rows x 64
 * columns, a warp 32 x 32; four mma.sync m16n8k32, then one scaling. The 64 rows of a block lie within one 128.
 * Shared memory: tile.cuh's 39,680 bytes, whose scales stay unused. Quantizing: a warp 128 values, none.
 * Roofline: V3's gate of one expert (2048 x 7168) and 64 columns: 14.7 MB and 1.9 GFLOP, 4.4 us on an H800 by bandwidth (3.35
 * TB/s), 1 us by FP8 operations (1979 T). */
#include "kernels/matmul_fp8.h"

#include "kernels/matmul.h"
#include "kernels/tile.cuh"

enum { QUANTIZE_THREADS = 128, BLOCKS = 2 /* at once, at least */ };
static_assert((int)FP8_BLOCK == TILE_BLOCKS * (int)MATRIX_BLOCK, "a stage is one group of scales");
static_assert((int)FP8_BLOCK % TILE_ROWS == 0, "a block's rows share their scales");

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

/* A warp's 32 x 32 of one group of 128 columns, times their scales. */
static __device__ void fp8_stage(const struct tile &t, const struct tile_memory &m, uint32_t block,
                                 float w_scale, const float *x_scale, uint32_t groups, float (&out)[2][4][4])
{
    uint32_t warp = threadIdx.x / WARP_LANES;
    float sums[2][4][4] = {};
    tile_bytes<TILE_E4M3>(m, block / TILE_BLOCKS % 2, sums);
    for (uint32_t n = 0; n < 4; n++) {
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t column = t.column + warp % 2 * 32 + 8 * n + threadIdx.x % 4 * 2 + i;
            float scale =
                column < t.columns.count ? x_scale[(size_t)column * groups + block / TILE_BLOCKS] : 0.0F;
            scale *= w_scale;
            out[0][n][i] += scale * sums[0][n][i];
            out[0][n][i + 2] += scale * sums[0][n][i + 2];
            out[1][n][i] += scale * sums[1][n][i];
            out[1][n][i + 2] += scale * sums[1][n][i + 2];
        }
    }
}

static __global__ void __launch_bounds__(TILE_THREADS, BLOCKS) matmul_fp8(struct matmul_fp8_params p)
{
    SHARED(struct tile_memory, memory, [1]);
    struct tile t = {};
    t.w = {MATRIX_8BIT, p.w.rows, p.w.columns, p.w.values, NULL};
    t.row = blockIdx.x * TILE_ROWS;
    t.row_end = p.w.rows;
    t.x.q = reinterpret_cast<int8_t *>(p.x.q);
    t.columns = {NULL, p.count, 1, 0, p.w.columns, 0, p.w.rows};
    t.column = blockIdx.y * TILE_COLUMNS;
    t.out = p.out;
    t.bias = p.bias;
    t.adds = p.adds;
    t.out_row = t.row;
    uint32_t blocks = p.w.columns / MATRIX_BLOCK;
    uint32_t groups = (blocks + TILE_BLOCKS - 1) / TILE_BLOCKS;
    const float *w_scale = reinterpret_cast<const float *>(p.w.scale) + (size_t)(t.row / FP8_BLOCK) * groups;
    float sums[2][4][4] = {};
    tile_copy<MATRIX_8BIT>(t, memory[0], 0);
    for (uint32_t block = 0; block < blocks; block += TILE_BLOCKS) {
        copy_async_wait(0);
        __syncthreads();
        if (block + TILE_BLOCKS < blocks) {
            tile_copy<MATRIX_8BIT>(t, memory[0], block + TILE_BLOCKS);
        }
        fp8_stage(t, memory[0], block, w_scale[block / TILE_BLOCKS], p.x.scale, groups, sums);
    }
    tile_write(t, sums);
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

/* A tile of a product of FP8 on tensor cores: 64 rows x 64 columns by a block, for matmul_fp8.cu and pieces.cu.
 *
 *     sum over groups of 128 columns of w:  w_scale[row / 128][group] * x_scale[row of x][group] * (sum in float)
 *
 * The bytes and fragments are those of tile.cuh, of which a stage of 128 columns is one group of scales; a warp 32 x 32: four
 * mma.sync m16n8k32, then one scaling. The tile's rows lie within one 128, so they share their scales.
 * Shared memory: tile.cuh's 39,680 bytes, whose scales stay unused. From 8.9 on. */
#ifndef TIDE_KERNELS_TILE_FP8_CUH
#define TIDE_KERNELS_TILE_FP8_CUH

#include "kernels/tile.cuh"

enum { TILE_FP8_BLOCKS_AT_ONCE = 2 /* of threads, on a multiprocessor, at least */ };
static_assert((int)FP8_BLOCK == TILE_BLOCKS * (int)MATRIX_BLOCK, "a stage is one group of scales");
static_assert((int)FP8_BLOCK % TILE_ROWS == 0, "a tile's rows share their scales");

/* A warp's 32 x 32 of one group of 128 columns, times their scales; x_scale: of the group, in row 0 of x. */
static __device__ void tile_fp8_stage(const struct tile &t, const struct tile_memory &m, uint32_t buffer,
                                      float w_scale, const float *x_scale, uint32_t groups,
                                      float (&out)[2][4][4])
{
    uint32_t warp = threadIdx.x / WARP_LANES;
    float sums[2][4][4] = {};
    tile_bytes<TILE_E4M3>(m, buffer, sums);
    for (uint32_t n = 0; n < 4; n++) {
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t column = t.column + warp % 2 * 32 + 8 * n + threadIdx.x % 4 * 2 + i;
            float scale = column < t.columns.count ? x_scale[column_row(t.columns, column) * groups] : 0.0F;
            scale *= w_scale;
            out[0][n][i] += scale * sums[0][n][i];
            out[0][n][i + 2] += scale * sums[0][n][i + 2];
            out[1][n][i] += scale * sums[1][n][i];
            out[1][n][i + 2] += scale * sums[1][n][i + 2];
        }
    }
}

/* The whole tile; t.w and t.x.q are e4m3, x_scale the scales of all rows of x. Every thread of the block comes; the memory is
 * free after the next barrier. */
static __device__ void tile_fp8_product(const struct tile &t, const float *x_scale, struct tile_memory &m)
{
    uint32_t blocks = t.w.columns / MATRIX_BLOCK;
    uint32_t groups = (blocks + TILE_BLOCKS - 1) / TILE_BLOCKS;
    const float *w_scale = reinterpret_cast<const float *>(t.w.scale) + (size_t)(t.row / FP8_BLOCK) * groups;
    float sums[2][4][4] = {};
    tile_copy<MATRIX_8BIT>(t, m, 0);
    for (uint32_t block = 0; block < blocks; block += TILE_BLOCKS) {
        uint32_t group = block / TILE_BLOCKS;
        copy_async_wait(0);
        __syncthreads();
        if (block + TILE_BLOCKS < blocks) {
            tile_copy<MATRIX_8BIT>(t, m, block + TILE_BLOCKS);
        }
        tile_fp8_stage(t, m, group % 2, w_scale[group], x_scale + group, groups, sums);
    }
    tile_write(t, sums);
}

#endif

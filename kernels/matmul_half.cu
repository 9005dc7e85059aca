/* Weights of 16 bits times many columns. w (rows, columns), x (count, columns) as two parts -> (count, rows) float32.
 *
 * Tolerance: 1e-6 times the sum of |w * x| (float sums); the parts are exact.
 * Tile: the bytes and fragments of tile.cuh, a stage being 64 values of a row; a block 64 rows x 64 columns, a warp 32 x 32. It
 * goes through the row twice, for either part of x; the second time the weights come from L2.
 * Shared memory: tile.cuh's 39,680 bytes, whose scales stay unused. Splitting: none.
 * Roofline: 4 operations a weight and column: 7B and a prompt of 512 make 13 TFLOP, 86 ms on an A100 (156 T), 28 ms on an H800
 * (474 T), half of their peaks; at 64 columns and less the weights' bytes decide. */
#include "kernels/matmul_half.h"

#include "kernels/matmul.h"
#include "kernels/tile.cuh"

enum { SPLIT_THREADS = 256, COLUMNS = 16 };

/* --- columns ---------------------------------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(SPLIT_THREADS) split(struct split_params p)
{
    size_t i = (size_t)blockIdx.x * SPLIT_THREADS + threadIdx.x;
    if (i >= p.n) {
        return;
    }
    float x = p.x[i];
    if (p.is_bf16) {
        p.out.high[i] = float_to_bf16(x);
        p.out.low[i] = float_to_bf16(x - bf16_to_float(p.out.high[i]));
        return;
    }
    split_halves(x, &p.out.high[i], &p.out.low[i]);
}

/* --- products ------------------------------------------------------------------------------------------------------------ */

template <enum tile_numbers NUMBERS>
static __global__ void __launch_bounds__(TILE_THREADS, TILE_BLOCKS_AT_ONCE)
    matmul_half(struct matmul_half_params p)
{
    SHARED(struct tile_memory, memory, [1]);
    uint32_t bytes = 2 * p.w.columns;
    struct tile t = {};
    t.w = {MATRIX_8BIT, p.w.rows, bytes, p.w.values, NULL};
    t.row = blockIdx.x * TILE_ROWS;
    t.row_end = p.w.rows;
    t.columns = {NULL, p.count, 1, 0, bytes, 0, p.w.rows};
    t.column = blockIdx.y * TILE_COLUMNS;
    t.out = p.out;
    t.bias = p.bias;
    t.adds = p.adds;
    t.out_row = t.row;
    float sums[2][4][4] = {};
    for (uint32_t part = 0; part < 2; part++) {
        t.x.q = reinterpret_cast<int8_t *>(part == 0 ? p.x.high : p.x.low);
        tile_copy<MATRIX_8BIT>(t, memory[0], 0);
        for (uint32_t block = 0; block < bytes / MATRIX_BLOCK; block += TILE_BLOCKS) {
            copy_async_wait(0);
            __syncthreads();
            if (block + TILE_BLOCKS < bytes / MATRIX_BLOCK) {
                tile_copy<MATRIX_8BIT>(t, memory[0], block + TILE_BLOCKS);
            }
            tile_bytes<NUMBERS>(memory[0], block / TILE_BLOCKS % 2, sums);
        }
        __syncthreads(); /* the first buffer is the next part's */
    }
    tile_write(t, sums);
}

/* --- launchers ------------------------------------------------------------------------------------------------------------- */

static bool is_taken(const struct matrix *w)
{
    return (w->kind == MATRIX_F16 || w->kind == MATRIX_BF16) && w->columns > 0 && w->columns % COLUMNS == 0;
}

bool matmul_half_takes(const struct matrix *w, uint32_t count)
{
    return is_taken(w) && count >= MATMUL_LEAST;
}

cudaError_t split_launch(const struct split_params *p, cudaStream_t stream)
{
    size_t blocks = (p->n + SPLIT_THREADS - 1) / SPLIT_THREADS;
    if (blocks > 0) {
        LAUNCH(split, dim3((unsigned)blocks), dim3(SPLIT_THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

cudaError_t matmul_half_launch(const struct matmul_half_params *p, cudaStream_t stream)
{
    if (!is_taken(&p->w) || (p->bias && p->adds)) {
        return cudaErrorInvalidValue;
    }
    dim3 grid((p->w.rows + TILE_ROWS - 1) / TILE_ROWS, (p->count + TILE_COLUMNS - 1) / TILE_COLUMNS);
    if (p->count == 0 || p->w.rows == 0) {
        return cudaSuccess;
    }
    if (p->w.kind == MATRIX_F16) {
        LAUNCH((matmul_half<TILE_F16>), grid, dim3(TILE_THREADS), 0, stream, *p);
    } else {
        LAUNCH((matmul_half<TILE_BF16>), grid, dim3(TILE_THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

/* A weight matrix times many columns. w (rows, columns), x (count, columns) as int8 -> (count, rows) float32.
 *
 * Tolerance: 1e-6 times the sum of |w * x|: integers are exact, their scaled sums are float.
 * Tile: tile.cuh, a block 64 rows x 64 columns; 39,680 bytes of shared memory and up to 160 registers: 3 blocks a
 * multiprocessor.
 * Roofline: an mma.sync of 8192 operations is followed by up to 16 float operations a lane, and these decide: 2048 operations
 * a clock and multiprocessor on Hopper, 1024 on an A100. A prompt of 512 tokens through 7B (13 GFLOP a token): 43 ms on an
 * A100 (156 T), 14 ms on an H800 (474 T); the weights are read once for 64 columns. */
#include "kernels/matmul.h"

#include "kernels/tile.cuh"

template <enum matrix_kind KIND>
static __global__ void __launch_bounds__(TILE_THREADS, TILE_BLOCKS_AT_ONCE) matmul(struct matvec_params p)
{
    SHARED(struct tile_memory, memory, [1]);
    struct tile t = {};
    t.w = p.w;
    t.row = blockIdx.x * TILE_ROWS;
    t.row_end = p.w.rows;
    t.x = p.x_q;
    t.columns = {NULL, p.count, 1, 0, p.w.columns, 0, p.w.rows};
    t.column = blockIdx.y * TILE_COLUMNS;
    t.out = p.out;
    t.bias = p.bias;
    t.adds = p.adds;
    t.out_row = t.row;
    tile_product<KIND>(t, memory[0]);
}

/* --- launcher ------------------------------------------------------------------------------------------------------- */

bool matmul_takes(enum matrix_kind kind, uint32_t columns)
{
    return matrix_is_quantized(kind) && kind != MATRIX_8BIT_FINE_MIN && columns >= MATMUL_LEAST;
}

cudaError_t matmul_launch(const struct matvec_params *p, cudaStream_t stream)
{
    if (!matrix_columns_fit(&p->w) || (p->bias && p->adds)) {
        return cudaErrorInvalidValue;
    }
    dim3 grid((p->w.rows + TILE_ROWS - 1) / TILE_ROWS, (p->count + TILE_COLUMNS - 1) / TILE_COLUMNS);
    if (p->count == 0 || p->w.rows == 0) {
        return cudaSuccess;
    }
    switch (p->w.kind) {
    case MATRIX_4BIT:
        LAUNCH((matmul<MATRIX_4BIT>), grid, dim3(TILE_THREADS), 0, stream, *p);
        break;
    case MATRIX_8BIT:
        LAUNCH((matmul<MATRIX_8BIT>), grid, dim3(TILE_THREADS), 0, stream, *p);
        break;
    case MATRIX_8BIT_FINE:
        LAUNCH((matmul<MATRIX_8BIT_FINE>), grid, dim3(TILE_THREADS), 0, stream, *p);
        break;
    case MATRIX_8BIT_MIN:
        LAUNCH((matmul<MATRIX_8BIT_MIN>), grid, dim3(TILE_THREADS), 0, stream, *p);
        break;
    default:
        return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}

/* A weight matrix times a few columns. w (rows, columns), x (count, columns) -> (count, rows) float32.
 *
 * Tolerance: 1e-6 times the sum of |w * x| (float sums over a row, lanes first, then a tree).
 * Tile: a warp a row, up to 8 columns of x at once, so weights are read once for them (row_dots.cuh). Shared memory: none; x
 * comes from L1 and L2.
 * Roofline: at few columns the weights' bytes decide. 7B in 4 bits (20 bytes for 32 values) is 4.4 GB: 2.7 ms a token on an
 * A100 (1.6 TB/s), 1.3 ms on an H800 (3.35 TB/s), 0.9 ms on an H200 (4.8 TB/s). */
#include "kernels/matvec.h"

#include "kernels/row_dots.cuh"

enum { THREADS = 128, ROWS = THREADS / WARP_LANES };

template <int COLUMNS> static __global__ void __launch_bounds__(THREADS) matvec(struct matvec_params p)
{
    uint32_t row = blockIdx.x * ROWS + threadIdx.x / WARP_LANES;
    uint32_t first = blockIdx.y * COLUMNS;
    float sums[COLUMNS];
    if (row >= p.w.rows) {
        return; /* the whole warp */
    }
    struct columns columns = {NULL, p.count, 1, 0, p.w.columns, 0, p.w.rows};
    row_dots<COLUMNS>(p.w, row, {p.x, p.x_q}, columns, first, sums);
    for (int c = 0; c < COLUMNS; c++) {
        if (threadIdx.x % WARP_LANES == 0 && first + c < p.count) {
            float *out = p.out + (size_t)(first + c) * p.w.rows + row;
            *out = sums[c] + (p.bias ? p.bias[row] : p.adds ? *out : 0.0F);
        }
    }
}

/* --- launcher ------------------------------------------------------------------------------------------------------- */

cudaError_t matvec_launch(const struct matvec_params *p, cudaStream_t stream)
{
    if (!matrix_columns_fit(&p->w) || (p->bias && p->adds)) {
        return cudaErrorInvalidValue;
    }
    unsigned blocks = (p->w.rows + ROWS - 1) / ROWS;
    if (p->count == 0 || blocks == 0) {
        return cudaSuccess;
    }
    if (p->count == 1) {
        LAUNCH((matvec<1>), dim3(blocks, 1), dim3(THREADS), 0, stream, *p);
    } else if (p->count <= 4) {
        LAUNCH((matvec<4>), dim3(blocks, 1), dim3(THREADS), 0, stream, *p);
    } else {
        LAUNCH((matvec<8>), dim3(blocks, (p->count + 7) / 8), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

/* Rows of a matrix as float. table (rows, columns), count row numbers -> (count, columns) float32.
 *
 * Tolerance: none, a value is one product and at most one sum.
 * Tile: one block a row. Shared memory: none.
 * Roofline: a row's bytes in, 4 bytes a value out; microseconds, the launch itself decides. */
#include "kernels/embed.h"

#include "kernels/matrix.cuh"

enum { THREADS = 128 };

static __global__ void __launch_bounds__(THREADS) embed(struct embed_params p)
{
    uint32_t row = p.rows[blockIdx.x];
    float *out = p.out + (size_t)blockIdx.x * p.table.columns;
    for (uint32_t i = threadIdx.x; i < p.table.columns; i += THREADS) {
        out[i] = p.scale * matrix_value(p.table, row, i);
    }
}

cudaError_t embed_launch(const struct embed_params *p, cudaStream_t stream)
{
    if (!matrix_columns_fit(&p->table)) {
        return cudaErrorInvalidValue;
    }
    if (p->count > 0) {
        LAUNCH(embed, dim3(p->count), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

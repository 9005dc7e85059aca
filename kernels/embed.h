/* Rows of a matrix as float: out[i] = scale * matrix[row[i]]. For embeddings, and to pick rows of a buffer.
 *
 * Errors: cudaErrorInvalidValue for columns that the kind does not allow; else what the launch answers. Rows past the
 * matrix are the caller's to refuse.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_EMBED_H
#define TIDE_KERNELS_EMBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#include "kernels/matrix.h"

#ifdef __cplusplus
extern "C" {
#endif

struct embed_params {
    struct matrix table;
    const uint32_t *rows; /* (count): which row of the table, device */
    float *out;           /* (count, columns), device */
    uint32_t count;       /* 0: nothing is done */
    float scale;
};

cudaError_t embed_launch(const struct embed_params *p, cudaStream_t stream);
void embed_ref(const struct embed_params *p);

#ifdef __cplusplus
}
#endif
#endif

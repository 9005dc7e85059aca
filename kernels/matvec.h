/* A weight matrix times a few columns: out[c][r] = sum_k w[r][k] * x[c][k] (+ bias[r], or + out[c][r]).
 *
 * Quantized weights meet int8 activations (quantize.h): products of a block are exact integers, scaled in float.
 * A column's result has the same bits whatever stands beside it.
 * Errors: cudaErrorInvalidValue for columns that the kind does not allow; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_MATVEC_H
#define TIDE_KERNELS_MATVEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#include "kernels/matrix.h"
#include "kernels/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

struct matvec_params {
    struct matrix w;
    const float *x; /* (count, columns), of kinds that are not quantized; of E4M3 16-byte aligned */
    struct quantized_rows x_q; /* of quantized kinds */
    const float *bias;         /* (rows); NULL: none */
    float *out;                /* (count, rows) */
    uint32_t count;            /* columns of x */
    bool adds;                 /* to what out has */
};

cudaError_t matvec_launch(const struct matvec_params *p, cudaStream_t stream);
void matvec_ref(const struct matvec_params *p);

#ifdef __cplusplus
}
#endif
#endif

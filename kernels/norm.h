/* RMS norm: out = x / sqrt(mean(x^2) + eps) * weight, row by row.
 *
 * x and out may be the same memory. The row is a token's, or one head of a token (rows = tokens * heads, width =
 * head_dim) where a model norms queries and keys.
 * Errors: cudaErrorInvalidValue for a width of 0; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_NORM_H
#define TIDE_KERNELS_NORM_H

#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct norm_params {
    const float *x;      /* (rows, width), device */
    const float *weight; /* (width), device */
    float *out;          /* (rows, width), device */
    uint32_t rows;       /* 0: nothing is done */
    uint32_t width;      /* 1 and up */
    float eps;           /* added to the mean of squares */
};

cudaError_t norm_launch(const struct norm_params *p, cudaStream_t stream);
void norm_ref(const struct norm_params *p); /* the same on host memory, sums in double */

#ifdef __cplusplus
}
#endif
#endif

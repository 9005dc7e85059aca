/* RMS norm: out = x / sqrt(mean(x^2) + eps) * weight, piece by piece.
 *
 * A piece is a token's row, or one head of it where a model norms queries and keys, or the beginning of either: what
 * follows the first `width` values of a piece of out stays. x and out may be the same memory.
 * Errors: cudaErrorInvalidValue for a width of 0 or past a piece; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_NORM_H
#define TIDE_KERNELS_NORM_H

#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct norm_params {
    const float *x;      /* (pieces, x_piece), device */
    const float *weight; /* (width), device */
    float *out;          /* (pieces, out_piece), device */
    uint32_t pieces;     /* 0: nothing is done */
    uint32_t x_piece;    /* values from one piece to the next */
    uint32_t out_piece;
    uint32_t width; /* normed values of a piece, 1 and up */
    float eps;      /* added to the mean of squares */
};

cudaError_t norm_launch(const struct norm_params *p, cudaStream_t stream);
void norm_ref(const struct norm_params *p); /* the same on host memory, sums in double */

#ifdef __cplusplus
}
#endif
#endif

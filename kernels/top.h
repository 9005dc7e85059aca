/* The k largest values of each row, falling, of equals the lower number first; and the row's log-sum-exp. What greedy choice,
 * top-k and log-probabilities need of a row of logits.
 *
 *     log_sum[r] = log(sum over i of exp(x[r][i]))
 *
 * What is no number counts as less than everything, and not in the sum.
 * Errors: cudaErrorInvalidValue for k of 0, past TOP_MOST or past the width, and for a width past the
 * stride; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_TOP_H
#define TIDE_KERNELS_TOP_H

#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TOP_MOST = 64 }; /* k */

struct top_params {
    const float *x; /* (rows, stride), of which the first `width` */
    uint32_t *ids;  /* (rows, k): places in the row */
    float *values;  /* (rows, k) */
    float *log_sum; /* (rows) */
    uint32_t rows;
    uint32_t width;
    uint32_t stride; /* values from a row to the next */
    uint32_t k;
};

cudaError_t top_launch(const struct top_params *p, cudaStream_t stream);
void top_ref(const struct top_params *p);

#ifdef __cplusplus
}
#endif
#endif

/* The answers of a token's experts, weighted, join the stream: out[i] += sum over k of weight[i][e] * answer[i * used + k],
 * e being expert_of[i * used + k], in that order.
 *
 * Errors: what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_COMBINE_H
#define TIDE_KERNELS_COMBINE_H

#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct combine_params {
    const float *answers;      /* (count * used, width) */
    const float *weights;      /* (count, experts) */
    const uint32_t *expert_of; /* (count, used) */
    float *out;                /* (count, width) */
    uint32_t count;            /* tokens */
    uint32_t experts;
    uint32_t used;
    uint32_t width;
};

cudaError_t combine_launch(const struct combine_params *p, cudaStream_t stream);
void combine_ref(const struct combine_params *p);

#ifdef __cplusplus
}
#endif
#endif

/* Value by value: out = silu(a) * b, out = gelu(a) * b, or out = a + b.
 *
 *     silu(x) = x / (1 + exp(-x))      gelu(x) = x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3)))
 *
 * out may be a or b.
 * Errors: what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_ACTIVATION_H
#define TIDE_KERNELS_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum activation_kind {
    ACTIVATION_SWIGLU = 0,
    ACTIVATION_GEGLU = 1,
    ACTIVATION_ADD = 2,
};

struct activation_params {
    enum activation_kind kind;
    const float *a; /* (n) */
    const float *b; /* (n) */
    float *out;     /* (n) */
    size_t n;
};

cudaError_t activation_launch(const struct activation_params *p, cudaStream_t stream);
void activation_ref(const struct activation_params *p);

#ifdef __cplusplus
}
#endif
#endif

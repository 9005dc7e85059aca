/* Activations as int8, 32 values to a scale: step = max|x| / 127, q = round(x / step), half to even; sum = step * sum(q).
 *
 * The sum serves weights that have a minimum. Values whose largest is below 1e-36 are zeros; with one that is infinite or no
 * number, the scale and the sum are no numbers.
 * Errors: cudaErrorInvalidValue for a width that is no multiple of 32; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_QUANTIZE_H
#define TIDE_KERNELS_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

struct quantized_rows {
    int8_t *q;    /* (rows, width), 16-byte aligned */
    float *scale; /* (rows, width / 32) */
    float *sum;   /* (rows, width / 32) */
};

struct quantize_params {
    const float *x; /* (rows, width), device */
    struct quantized_rows out;
    uint32_t rows;
    uint32_t width;
};

cudaError_t quantize_launch(const struct quantize_params *p, cudaStream_t stream);
void quantize_ref(const struct quantize_params *p);

#ifdef __cplusplus
}
#endif
#endif

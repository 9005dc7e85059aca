/* Products of FP8 (e4m3) weights with a scale for each 128 x 128, as DeepSeek publishes them, times FP8 activations with a scale
 * for each 128 values of a row: matvec.h's product for prompts.
 *
 *     out[c][r] (+)= bias[r] + sum over b of w_scale[r / 128][b] * x_scale[c][b] * sum over k in b of w[r][k] * x[c][k]
 *
 * Activations: scale = max(|x|, 1e-4) / 448 over 128 values (the last group may be shorter), q = x / scale as e4m3, to nearest.
 * Devices from 8.9 on have the instructions; on others the kernels end with a fault, so their caller asks first.
 * Errors: cudaErrorInvalidValue for other kinds and for columns that are no multiple of 32; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_MATMUL_FP8_H
#define TIDE_KERNELS_MATMUL_FP8_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda_runtime.h>

#include "kernels/matrix.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fp8_rows {
    uint8_t *q;   /* (rows, width) e4m3, 16-byte aligned */
    float *scale; /* (rows, width / 128, rounded up) */
};

struct quantize_fp8_params {
    const float *x; /* (rows, width) */
    struct fp8_rows out;
    uint32_t rows;
    uint32_t width; /* a multiple of 32 */
};

struct matmul_fp8_params {
    struct matrix w;   /* E4M3 (rows, columns) */
    struct fp8_rows x; /* (count, columns) */
    const float *bias; /* (rows); NULL: none */
    float *out;        /* (count, rows) */
    uint32_t count;
    bool adds; /* to what out has */
};

/* It has that kind, and so many columns of x are better off here. */
bool matmul_fp8_takes(const struct matrix *w, uint32_t count);
cudaError_t quantize_fp8_launch(const struct quantize_fp8_params *p, cudaStream_t stream);
void quantize_fp8_ref(const struct quantize_fp8_params *p);
cudaError_t matmul_fp8_launch(const struct matmul_fp8_params *p, cudaStream_t stream);
void matmul_fp8_ref(const struct matmul_fp8_params *p);

#ifdef __cplusplus
}
#endif
#endif

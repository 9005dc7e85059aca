/* Weights of half precision or bfloat16 times many columns, on tensor cores: matvec.h's product for prompts.
 *
 * Columns come as the sum of two numbers of the weights' type, what is rounded and what is missing then, so that products are as
 * good as those of float columns (halves: 2^-22 of each, up to 131008; bfloat16: 2^-16). What is no number stays so.
 * Errors: cudaErrorInvalidValue for kinds and columns that it does not take; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_MATMUL_HALF_H
#define TIDE_KERNELS_MATMUL_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#include "kernels/matrix.h"

#ifdef __cplusplus
extern "C" {
#endif

struct half_rows {  /* value = high + low, both of one type */
    uint16_t *high; /* (rows, width), 16-byte aligned */
    uint16_t *low;
};

struct split_params {
    const float *x; /* (n) */
    struct half_rows out;
    size_t n;
    bool is_bf16; /* else halves */
};

struct matmul_half_params {
    struct matrix w;    /* F16 or BF16 (rows, columns), columns a multiple of 16 */
    struct half_rows x; /* (count, columns), of the same type */
    const float *bias;  /* (rows); NULL: none */
    float *out;         /* (count, rows) */
    uint32_t count;
    bool adds; /* to what out has */
};

/* It has that kind, and so many columns of x are better off here. */
bool matmul_half_takes(const struct matrix *w, uint32_t count);
cudaError_t split_launch(const struct split_params *p, cudaStream_t stream);
void split_ref(const struct split_params *p);
cudaError_t matmul_half_launch(const struct matmul_half_params *p, cudaStream_t stream);
void matmul_half_ref(const struct matmul_half_params *p);

#ifdef __cplusplus
}
#endif
#endif

/* A weight matrix as device memory holds it: values and scales in planes of their own, so that a warp's loads lie together.
 *
 *     F32, F16, BF16  values (rows, columns)
 *     4-bit       values (rows, columns / 32, 16 bytes): byte j holds column j low, column 16 + j high; value q * d + m
 *                 scale (rows, columns / 32, 2): d and m
 *     8-bit       values (rows, columns) int8; scale (rows, columns / 32): value q * d
 *     8-bit fine  values (rows, columns) int8; scale (rows, columns / 16)
 *     with a minimum: both of these, scale (..., 2): d and m, value q * d + m
 *     E4M3        values (rows, columns) e4m3, none of them NaN; scale (rows / 128, columns / 128), both rounded up, float
 *
 * Scales are half precision, but for E4M3's. Columns of quantized matrices, and of E4M3, are a multiple of 32.
 * Ownership: whoever filled the planes. */
#ifndef TIDE_KERNELS_MATRIX_H
#define TIDE_KERNELS_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum matrix_kind {
    MATRIX_F32 = 0,
    MATRIX_F16 = 1,
    MATRIX_4BIT = 2,
    MATRIX_8BIT = 3,
    MATRIX_8BIT_FINE = 4,
    MATRIX_8BIT_MIN = 5,
    MATRIX_8BIT_FINE_MIN = 6,
    MATRIX_BF16 = 7,
    MATRIX_E4M3 = 8,
};

enum {
    MATRIX_BLOCK = 32, /* columns that share what a block shares */
    FP8_BLOCK = 128,   /* rows, and columns, of E4M3 that share a scale; values of activations too */
};

struct matrix {
    enum matrix_kind kind;
    uint32_t rows;
    uint32_t columns;
    const void *values;    /* 16-byte aligned */
    const uint16_t *scale; /* NULL: none; of E4M3: floats */
};

/* Values are numbers of few bits with scales, which meet int8 activations. */
static inline bool matrix_is_quantized(enum matrix_kind kind)
{
    return kind != MATRIX_F32 && kind != MATRIX_F16 && kind != MATRIX_BF16 && kind != MATRIX_E4M3;
}

static inline bool matrix_columns_fit(const struct matrix *m)
{
    bool has_blocks = matrix_is_quantized(m->kind) || m->kind == MATRIX_E4M3;
    return m->columns > 0 && (!has_blocks || m->columns % MATRIX_BLOCK == 0);
}

float matrix_ref_value(const struct matrix *m, uint32_t row, uint32_t column); /* of planes in host memory */

#ifdef __cplusplus
}
#endif
#endif

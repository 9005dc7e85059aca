/* Random matrices of each kind, in host and in device memory. */
#ifndef TIDE_TESTS_MATRICES_H
#define TIDE_TESTS_MATRICES_H

#include "tests/kernels/device.h"

#include "kernels/matrix.h"
#include "kernels/ref/half.h"

static const char *const matrix_names[] = {
    "f32", "f16", "4-bit", "8-bit", "8-bit fine", "8-bit min", "8-bit fine min", "bf16", "e4m3"};

__attribute__((unused)) static size_t matrix_value_bytes(const struct matrix *m)
{
    size_t n = (size_t)m->rows * m->columns;
    if (!matrix_is_quantized(m->kind)) {
        return m->kind == MATRIX_F32 ? 4 * n : m->kind == MATRIX_E4M3 ? n : 2 * n;
    }
    return m->kind == MATRIX_4BIT ? n / 2 : n;
}

static size_t fp8_blocks(size_t n)
{
    return (n + FP8_BLOCK - 1) / FP8_BLOCK;
}

/* In 16 bits each. */
__attribute__((unused)) static size_t matrix_scale_values(const struct matrix *m)
{
    size_t n = (size_t)m->rows * m->columns;
    if (m->kind == MATRIX_E4M3) {
        return 2 * fp8_blocks(m->rows) * fp8_blocks(m->columns);
    }
    if (!matrix_is_quantized(m->kind)) {
        return 0;
    }
    return m->kind == MATRIX_8BIT ? n / 32 : m->kind == MATRIX_8BIT_FINE_MIN ? n / 8 : n / 16;
}

__attribute__((unused)) static uint16_t *random_halves(size_t n, float scale)
{
    float *floats = random_floats(n, scale);
    uint16_t *p = host_bytes(n * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        p[i] = ref_float_to_half(floats[i]);
    }
    free(floats);
    return p;
}

__attribute__((unused)) static uint16_t *random_bf16(size_t n)
{
    float *floats = random_floats(n, 1.0F);
    uint16_t *p = host_bytes(n * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &floats[i], sizeof bits);
        p[i] = (uint16_t)(bits >> 16);
    }
    free(floats);
    return p;
}

__attribute__((unused)) static uint8_t *random_e4m3(size_t n)
{
    uint8_t *p = random_bytes(n);
    for (size_t i = 0; i < n; i++) {
        p[i] = (p[i] & 0x7F) == 0x7F ? 0 : p[i]; /* no number */
    }
    return p;
}

/* The largest e4m3 times it is as large as other matrices' values. */
__attribute__((unused)) static float *random_fp8_scales(size_t n)
{
    float *p = random_floats(n, 0.001F);
    for (size_t i = 0; i < n; i++) {
        p[i] = fabsf(p[i]) + 0.001F;
    }
    return p;
}

/* In host memory; free with matrix_free. */
__attribute__((unused)) static struct matrix random_matrix(enum matrix_kind kind, uint32_t rows,
                                                           uint32_t columns)
{
    struct matrix m = {.kind = kind, .rows = rows, .columns = columns};
    size_t n = (size_t)rows * columns;
    m.values = kind == MATRIX_F32    ? (void *)random_floats(n, 1.0F)
               : kind == MATRIX_F16  ? (void *)random_halves(n, 1.0F)
               : kind == MATRIX_BF16 ? (void *)random_bf16(n)
               : kind == MATRIX_E4M3 ? (void *)random_e4m3(n)
                                     : random_bytes(matrix_value_bytes(&m));
    size_t scales = matrix_scale_values(&m);
    m.scale = kind == MATRIX_E4M3 ? (void *)random_fp8_scales(scales / 2)
              : scales            ? (void *)random_halves(scales, 0.1F)
                                  : NULL;
    return m;
}

__attribute__((unused)) static void matrix_free(struct matrix *m)
{
    free((void *)m->values);
    free((void *)m->scale);
}

__attribute__((unused)) static struct matrix device_matrix(const struct matrix *m)
{
    struct matrix d = *m;
    d.values = device_copy(m->values, matrix_value_bytes(m));
    d.scale = m->scale ? device_copy(m->scale, matrix_scale_values(m) * sizeof *m->scale) : NULL;
    return d;
}

#endif

/* One value of a matrix on the device; for kernels that read few of them. */
#ifndef TIDE_KERNELS_MATRIX_CUH
#define TIDE_KERNELS_MATRIX_CUH

#include "kernels/kdev.h"
#include "kernels/matrix.h"

static __device__ __forceinline__ float matrix_value(const struct matrix &m, uint32_t row, uint32_t column)
{
    size_t at = (size_t)row * m.columns + column;
    size_t block = at / MATRIX_BLOCK;
    if (m.kind == MATRIX_F32) {
        return static_cast<const float *>(m.values)[at];
    }
    if (m.kind == MATRIX_F16) {
        return half_to_float_device(static_cast<const uint16_t *>(m.values)[at]);
    }
    if (m.kind == MATRIX_BF16) {
        return bf16_to_float(static_cast<const uint16_t *>(m.values)[at]);
    }
    if (m.kind == MATRIX_E4M3) {
        size_t groups = (m.columns + FP8_BLOCK - 1) / FP8_BLOCK;
        float scale = reinterpret_cast<const float *>(m.scale)[row / FP8_BLOCK * groups + column / FP8_BLOCK];
        return e4m3_to_float(static_cast<const uint8_t *>(m.values)[at]) * scale;
    }
    if (m.kind == MATRIX_4BIT) {
        uint32_t j = column % MATRIX_BLOCK;
        unsigned byte = static_cast<const uint8_t *>(m.values)[block * 16 + j % 16];
        float q = (float)(j < 16 ? byte & 15 : byte >> 4);
        return q * half_to_float_device(m.scale[2 * block]) + half_to_float_device(m.scale[2 * block + 1]);
    }
    float q = (float)static_cast<const int8_t *>(m.values)[at];
    if (m.kind == MATRIX_8BIT_MIN || m.kind == MATRIX_8BIT_FINE_MIN) {
        const uint16_t *dm = m.scale + 2 * (m.kind == MATRIX_8BIT_MIN ? block : at / 16);
        return q * half_to_float_device(dm[0]) + half_to_float_device(dm[1]);
    }
    return q * half_to_float_device(m.scale[m.kind == MATRIX_8BIT ? block : at / 16]);
}

#endif

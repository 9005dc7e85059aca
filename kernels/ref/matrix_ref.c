#include "kernels/matrix.h"

#include <stddef.h>

#include "kernels/ref/half.h"

float matrix_ref_value(const struct matrix *m, uint32_t row, uint32_t column)
{
    size_t at = (size_t)row * m->columns + column;
    size_t block = at / MATRIX_BLOCK;
    unsigned in_block = column % MATRIX_BLOCK;
    unsigned byte;
    switch (m->kind) {
    case MATRIX_F32:
        return ((const float *)m->values)[at];
    case MATRIX_F16:
        return ref_half_to_float(((const uint16_t *)m->values)[at]);
    case MATRIX_4BIT:
        byte = ((const uint8_t *)m->values)[16 * block + in_block % 16];
        return (float)(in_block < 16 ? byte & 15 : byte >> 4) * ref_half_to_float(m->scale[2 * block]) +
               ref_half_to_float(m->scale[2 * block + 1]);
    case MATRIX_8BIT:
        return (float)((const int8_t *)m->values)[at] * ref_half_to_float(m->scale[block]);
    case MATRIX_8BIT_FINE:
        return (float)((const int8_t *)m->values)[at] * ref_half_to_float(m->scale[at / 16]);
    case MATRIX_8BIT_MIN:
        return (float)((const int8_t *)m->values)[at] * ref_half_to_float(m->scale[2 * block]) +
               ref_half_to_float(m->scale[2 * block + 1]);
    case MATRIX_8BIT_FINE_MIN:
        return (float)((const int8_t *)m->values)[at] * ref_half_to_float(m->scale[at / 16 * 2]) +
               ref_half_to_float(m->scale[at / 16 * 2 + 1]);
    case MATRIX_BF16:
        return ref_bf16_to_float(((const uint16_t *)m->values)[at]);
    case MATRIX_E4M3:
        block = (size_t)(row / FP8_BLOCK) * ((m->columns + FP8_BLOCK - 1) / FP8_BLOCK) + column / FP8_BLOCK;
        return ref_e4m3_to_float(((const uint8_t *)m->values)[at]) *
               ((const float *)(const void *)m->scale)[block];
    }
    return 0.0F;
}

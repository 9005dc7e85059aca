#include "kernels/matmul_fp8.h"

#include <math.h>
#include <stddef.h>

#include "kernels/ref/half.h"

static uint32_t groups_of(uint32_t columns)
{
    return (columns + FP8_BLOCK - 1) / FP8_BLOCK;
}

void quantize_fp8_ref(const struct quantize_fp8_params *p)
{
    for (uint32_t row = 0; row < p->rows; row++) {
        const float *x = p->x + (size_t)row * p->width;
        for (uint32_t from = 0; from < p->width; from += FP8_BLOCK) {
            uint32_t to = from + FP8_BLOCK < p->width ? from + FP8_BLOCK : p->width;
            float largest = 1e-4F;
            for (uint32_t i = from; i < to; i++) {
                largest = fmaxf(largest, fabsf(x[i]));
            }
            float scale = largest / 448.0F;
            for (uint32_t i = from; i < to; i++) {
                p->out.q[(size_t)row * p->width + i] = ref_float_to_e4m3(x[i] / scale);
            }
            p->out.scale[(size_t)row * groups_of(p->width) + from / FP8_BLOCK] = scale;
        }
    }
}

static double product(const struct matmul_fp8_params *p, uint32_t column, uint32_t row)
{
    const uint8_t *x = p->x.q + (size_t)column * p->w.columns;
    const float *scale = p->x.scale + (size_t)column * groups_of(p->w.columns);
    double sum = 0;
    for (uint32_t k = 0; k < p->w.columns; k++) {
        sum += (double)matrix_ref_value(&p->w, row, k) * (double)scale[k / FP8_BLOCK] *
               (double)ref_e4m3_to_float(x[k]);
    }
    return sum;
}

void matmul_fp8_ref(const struct matmul_fp8_params *p)
{
    for (uint32_t column = 0; column < p->count; column++) {
        for (uint32_t row = 0; row < p->w.rows; row++) {
            float *out = p->out + (size_t)column * p->w.rows + row;
            double begun = p->bias ? (double)p->bias[row] : p->adds ? (double)*out : 0.0;
            *out = (float)(begun + product(p, column, row));
        }
    }
}

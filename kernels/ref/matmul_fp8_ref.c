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
    const uint8_t *w = p->w + (size_t)row * p->columns;
    const uint8_t *x = p->x.q + (size_t)column * p->columns;
    uint32_t groups = groups_of(p->columns);
    double sum = 0;
    for (uint32_t k = 0; k < p->columns; k++) {
        double scale = (double)p->w_scale[(size_t)(row / FP8_BLOCK) * groups + k / FP8_BLOCK] *
                       (double)p->x.scale[(size_t)column * groups + k / FP8_BLOCK];
        sum += scale * (double)ref_e4m3_to_float(w[k]) * (double)ref_e4m3_to_float(x[k]);
    }
    return sum;
}

void matmul_fp8_ref(const struct matmul_fp8_params *p)
{
    for (uint32_t column = 0; column < p->count; column++) {
        for (uint32_t row = 0; row < p->rows; row++) {
            float *out = p->out + (size_t)column * p->rows + row;
            *out = (float)((p->adds ? (double)*out : 0.0) + product(p, column, row));
        }
    }
}

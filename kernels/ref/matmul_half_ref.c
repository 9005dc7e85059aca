#include "kernels/matmul_half.h"

#include <math.h>

#include "kernels/ref/half.h"

static float clamped(float x)
{
    return isnan(x) ? x : fminf(fmaxf(x, -65504.0F), 65504.0F);
}

void split_ref(const struct split_params *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->is_bf16) {
            p->out.high[i] = ref_float_to_bf16(p->x[i]);
            p->out.low[i] = ref_float_to_bf16(p->x[i] - ref_bf16_to_float(p->out.high[i]));
        } else {
            p->out.high[i] = ref_float_to_half(clamped(p->x[i]));
            p->out.low[i] = ref_float_to_half(clamped(p->x[i] - ref_half_to_float(p->out.high[i])));
        }
    }
}

static double x_value(const struct matmul_half_params *p, size_t at)
{
    if (p->w.kind == MATRIX_BF16) {
        return (double)ref_bf16_to_float(p->x.high[at]) + (double)ref_bf16_to_float(p->x.low[at]);
    }
    return (double)ref_half_to_float(p->x.high[at]) + (double)ref_half_to_float(p->x.low[at]);
}

void matmul_half_ref(const struct matmul_half_params *p)
{
    for (uint32_t c = 0; c < p->count; c++) {
        for (uint32_t r = 0; r < p->w.rows; r++) {
            float *out = p->out + (size_t)c * p->w.rows + r;
            double sum = p->bias ? (double)p->bias[r] : p->adds ? (double)*out : 0.0;
            for (uint32_t k = 0; k < p->w.columns; k++) {
                sum += (double)matrix_ref_value(&p->w, r, k) * x_value(p, (size_t)c * p->w.columns + k);
            }
            *out = (float)sum;
        }
    }
}

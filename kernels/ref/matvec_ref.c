#include "kernels/matvec.h"

/* What the kernel is given of x: floats, or int8 times their scale. */
static double column_value(const struct matvec_params *p, uint32_t column, uint32_t k)
{
    size_t at = (size_t)column * p->w.columns + k;
    if (!matrix_is_quantized(p->w.kind)) {
        return (double)p->x[at];
    }
    return (double)p->x_q.q[at] * (double)p->x_q.scale[at / 32];
}

void matvec_ref(const struct matvec_params *p)
{
    for (uint32_t c = 0; c < p->count; c++) {
        for (uint32_t r = 0; r < p->w.rows; r++) {
            float *out = p->out + (size_t)c * p->w.rows + r;
            double sum = p->bias ? (double)p->bias[r] : p->adds ? (double)*out : 0.0;
            for (uint32_t k = 0; k < p->w.columns; k++) {
                sum += (double)matrix_ref_value(&p->w, r, k) * column_value(p, c, k);
            }
            *out = (float)sum;
        }
    }
}

#include "kernels/quantize.h"

#include <math.h>
#include <stdbool.h>

void quantize_ref(const struct quantize_params *p)
{
    for (size_t group = 0; group < (size_t)p->rows * (p->width / 32); group++) {
        const float *x = p->x + 32 * group;
        float largest = 0;
        bool are_finite = true;
        int total = 0;
        for (int i = 0; i < 32; i++) {
            largest = fmaxf(largest, fabsf(x[i]));
            are_finite = are_finite && isfinite(x[i]);
        }
        float inverse = largest > 1e-36F ? 127.0F / largest : 0.0F;
        for (int i = 0; i < 32; i++) {
            int q = are_finite ? (int)lrintf(x[i] * inverse) : 0;
            p->out.q[32 * group + i] = (int8_t)q;
            total += q;
        }
        p->out.scale[group] = are_finite ? largest / 127.0F : NAN;
        p->out.sum[group] = p->out.scale[group] * (float)total;
    }
}

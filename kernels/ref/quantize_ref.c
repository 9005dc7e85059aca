#include "kernels/quantize.h"

#include <math.h>

void quantize_ref(const struct quantize_params *p)
{
    for (size_t group = 0; group < (size_t)p->rows * (p->width / 32); group++) {
        const float *x = p->x + 32 * group;
        float largest = 0;
        int total = 0;
        for (int i = 0; i < 32; i++) {
            largest = fmaxf(largest, fabsf(x[i]));
        }
        float inverse = largest > 0 ? 127.0F / largest : 0.0F;
        for (int i = 0; i < 32; i++) {
            int q = (int)lrintf(x[i] * inverse);
            p->out.q[32 * group + i] = (int8_t)q;
            total += q;
        }
        p->out.scale[group] = largest / 127.0F;
        p->out.sum[group] = largest / 127.0F * (float)total;
    }
}

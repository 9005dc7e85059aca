#include "kernels/norm.h"

#include <math.h>
#include <stddef.h>

void norm_ref(const struct norm_params *p)
{
    for (uint32_t piece = 0; piece < p->pieces; piece++) {
        const float *x = p->x + (size_t)piece * p->x_piece;
        float *out = p->out + (size_t)piece * p->out_piece;
        double squares = 0;
        for (uint32_t i = 0; i < p->width; i++) {
            squares += (double)x[i] * (double)x[i];
        }
        double scale = 1.0 / sqrt(squares / p->width + (double)p->eps);
        for (uint32_t i = 0; i < p->width; i++) {
            out[i] = (float)((double)x[i] * scale * (double)p->weight[i]);
        }
    }
}

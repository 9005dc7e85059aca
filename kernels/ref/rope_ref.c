#include "kernels/rope.h"

void rope_ref(const struct rope_params *p)
{
    for (size_t piece = 0; piece < (size_t)p->tokens * p->heads; piece++) {
        const float *row = p->table + (size_t)p->positions[piece / p->heads] * p->dims;
        const float *x = p->x + piece * p->x_piece + p->from;
        float *out = p->out + piece * p->out_piece + p->to;
        for (uint32_t i = 0; i < p->dims / 2; i++) {
            uint32_t first = p->has_halves ? i : 2 * i;
            uint32_t second = p->has_halves ? i + p->dims / 2 : 2 * i + 1;
            double a = (double)x[first];
            double b = (double)x[second];
            out[first] = (float)(a * (double)row[2 * i] - b * (double)row[2 * i + 1]);
            out[second] = (float)(a * (double)row[2 * i + 1] + b * (double)row[2 * i]);
        }
    }
}

#include "kernels/combine.h"

void combine_ref(const struct combine_params *p)
{
    for (size_t token = 0; token < p->count; token++) {
        for (uint32_t i = 0; i < p->width; i++) {
            double sum = (double)p->out[token * p->width + i];
            for (uint32_t k = 0; k < p->used; k++) {
                size_t use = token * p->used + k;
                sum += (double)p->weights[token * p->experts + p->expert_of[use]] *
                       (double)p->answers[use * p->width + i];
            }
            p->out[token * p->width + i] = (float)sum;
        }
    }
}

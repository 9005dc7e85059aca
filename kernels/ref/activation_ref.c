#include "kernels/activation.h"

#include <math.h>

void activation_ref(const struct activation_params *p)
{
    for (size_t i = 0; i < p->n; i++) {
        double a = (double)p->a[i];
        double b = (double)p->b[i];
        double t = p->kind == ACTIVATION_SWIGLU ? a : 2 * sqrt(2 / M_PI) * (a + 0.044715 * a * a * a);
        p->out[i] = (float)(p->kind == ACTIVATION_ADD ? a + b : a / (1 + exp(-t)) * b);
    }
}

#include "kernels/top.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

static bool is_before(const float *x, uint32_t a, uint32_t b)
{
    if (isnan(x[a]) || isnan(x[b])) {
        return isnan(x[a]) == isnan(x[b]) ? a < b : isnan(x[b]);
    }
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

/* The first of those that come after `last`; width: of all. */
static uint32_t next(const float *x, uint32_t width, uint32_t last)
{
    uint32_t best = width;
    for (uint32_t i = 0; i < width; i++) {
        if ((last == width || is_before(x, last, i)) && (best == width || is_before(x, i, best))) {
            best = i;
        }
    }
    return best;
}

void top_ref(const struct top_params *p)
{
    for (uint32_t row = 0; row < p->rows; row++) {
        const float *x = p->x + (size_t)row * p->stride;
        uint32_t last = p->width;
        double sum = 0;
        for (uint32_t i = 0; i < p->k; i++) {
            last = next(x, p->width, last);
            p->ids[(size_t)row * p->k + i] = last;
            p->values[(size_t)row * p->k + i] = x[last];
        }
        double most = (double)p->values[(size_t)row * p->k];
        for (uint32_t i = 0; i < p->width; i++) {
            sum += x[i] > -INFINITY ? exp((double)x[i] - most) : 0.0;
        }
        p->log_sum[row] = sum > 0 ? (float)(most + log(sum)) : -INFINITY;
    }
}

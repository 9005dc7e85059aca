#include "inference/worker/route.h"

#include <math.h>

static void softmax(float *x, uint32_t n)
{
    float largest = x[0];
    float total = 0.0F;
    for (uint32_t i = 1; i < n; i++) {
        largest = fmaxf(largest, x[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - largest);
        total += x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] /= total;
    }
}

static void sigmoid(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = 1.0F / (1.0F + expf(-x[i]));
    }
}

/* Marks the `wanted` largest of n values, of equals the first; `open` says which may be taken. */
static void mark_largest(const float *values, const bool *open, uint32_t n, uint32_t wanted, bool *marked)
{
    memset(marked, 0, n * sizeof *marked);
    for (uint32_t k = 0; k < wanted; k++) {
        uint32_t best = n;
        for (uint32_t i = 0; i < n; i++) {
            bool free = (!open || open[i]) && !marked[i];
            if (free && (best == n || values[i] > values[best])) {
                best = i;
            }
        }
        BUG_ON(best == n);
        marked[best] = true;
    }
}

/* Opens the experts of the groups that a token may use. */
static void open_groups(const struct model_experts *x, const float *choice, bool *open)
{
    float rank[ROUTE_MOST_EXPERTS];
    bool taken[ROUTE_MOST_EXPERTS];
    uint32_t size = x->count / x->groups;
    for (uint32_t g = 0; g < x->groups; g++) {
        float best = -INFINITY;
        float second = -INFINITY;
        for (uint32_t i = g * size; i < (g + 1) * size; i++) {
            second = fmaxf(second, fminf(best, choice[i]));
            best = fmaxf(best, choice[i]);
        }
        rank[g] = x->gating == MODEL_GATING_SIGMOID ? best + second : best;
    }
    mark_largest(rank, NULL, x->groups, x->groups_used, taken);
    for (uint32_t i = 0; i < x->count; i++) {
        open[i] = taken[i / size];
    }
}

void route(const struct model_experts *x, const float *bias, float *scores, uint32_t *used)
{
    float choice[ROUTE_MOST_EXPERTS];
    bool open[ROUTE_MOST_EXPERTS];
    bool picked[ROUTE_MOST_EXPERTS];
    float total = 0.0F;
    uint32_t n = 0;
    BUG_ON(x->count == 0 || x->count > ROUTE_MOST_EXPERTS);
    if (x->gating == MODEL_GATING_SIGMOID) {
        sigmoid(scores, x->count);
    } else {
        softmax(scores, x->count);
    }
    for (uint32_t i = 0; i < x->count; i++) {
        choice[i] = scores[i] + (bias ? bias[i] : 0.0F);
        open[i] = true;
    }
    if (x->groups_used < x->groups) {
        open_groups(x, choice, open);
    }
    mark_largest(choice, open, x->count, x->used, picked);
    for (uint32_t i = 0; i < x->count; i++) {
        if (picked[i]) {
            total += scores[i];
            used[n++] = i;
        }
    }
    float factor = x->is_normalised ? x->scale / (total + 1e-20F) : x->scale;
    for (uint32_t i = 0; i < x->count; i++) {
        scores[i] = picked[i] ? scores[i] * factor : 0.0F;
    }
}

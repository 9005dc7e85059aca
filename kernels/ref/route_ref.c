#include "kernels/route.h"

#include <math.h>

static void make_shares(const struct route_params *p, const float *scores, double *share)
{
    double largest = -INFINITY;
    double total = 0;
    for (uint32_t e = 0; e < p->experts; e++) {
        largest = fmax(largest, (double)scores[e]);
    }
    for (uint32_t e = 0; e < p->experts; e++) {
        double x = (double)scores[e];
        share[e] = p->is_sigmoid ? 1 / (1 + exp(-x)) : exp(x - largest);
        total += share[e];
    }
    for (uint32_t e = 0; e < p->experts && !p->is_sigmoid; e++) {
        share[e] /= total;
    }
}

/* Marks the `wanted` largest of n values, of equals the first; only those that are open. */
static void mark_largest(const double *values, const bool *open, uint32_t n, uint32_t wanted, bool *marked)
{
    for (uint32_t i = 0; i < n; i++) {
        marked[i] = false;
    }
    for (uint32_t k = 0; k < wanted; k++) {
        uint32_t best = n;
        for (uint32_t i = 0; i < n; i++) {
            if (open[i] && !marked[i] && (best == n || values[i] > values[best])) {
                best = i;
            }
        }
        marked[best] = true;
    }
}

static void open_groups(const struct route_params *p, const double *choice, bool *open)
{
    uint32_t size = p->experts / p->groups;
    double rank[ROUTE_MOST_GROUPS] = {0};
    bool all[ROUTE_MOST_GROUPS] = {false};
    bool taken[ROUTE_MOST_GROUPS] = {false};
    for (uint32_t g = 0; g < p->groups; g++) {
        double best = -INFINITY;
        double second = -INFINITY;
        for (uint32_t e = g * size; e < (g + 1) * size; e++) {
            second = fmax(second, fmin(best, choice[e]));
            best = fmax(best, choice[e]);
        }
        rank[g] = p->is_sigmoid ? best + second : best;
        all[g] = true;
    }
    mark_largest(rank, all, p->groups, p->groups_used, taken);
    for (uint32_t e = 0; e < p->experts; e++) {
        open[e] = taken[e / size];
    }
}

static void route_token(const struct route_params *p, float *scores, uint32_t *expert_of)
{
    double share[ROUTE_MOST];
    double choice[ROUTE_MOST];
    bool open[ROUTE_MOST] = {false};
    bool picked[ROUTE_MOST];
    double total = 0;
    make_shares(p, scores, share);
    for (uint32_t e = 0; e < p->experts; e++) {
        choice[e] = share[e] + (p->bias ? (double)p->bias[e] : 0.0);
    }
    open_groups(p, choice, open);
    mark_largest(choice, open, p->experts, p->used, picked);
    for (uint32_t e = 0; e < p->experts; e++) {
        total += picked[e] ? share[e] : 0.0;
    }
    double factor = (double)p->scale / (p->is_normalised ? total + 1e-20 : 1.0);
    for (uint32_t e = 0; e < p->experts; e++) {
        scores[e] = picked[e] ? (float)(share[e] * factor) : 0.0F;
        if (picked[e]) {
            *expert_of++ = e;
        }
    }
}

void route_ref(const struct route_params *p)
{
    uint32_t uses = p->count * p->used;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        route_token(p, p->scores + (size_t)i * p->experts, p->expert_of + (size_t)i * p->used);
    }
    p->by_expert.active[0] = 0;
    for (uint32_t e = 0; e < p->experts; e++) {
        p->by_expert.first[e] = n;
        for (uint32_t i = 0; i < uses; i++) {
            if (p->expert_of[i] == e) {
                p->by_expert.use[n++] = i;
            }
        }
        if (n > p->by_expert.first[e]) {
            p->by_expert.active[++p->by_expert.active[0]] = e;
        }
    }
    p->by_expert.first[p->experts] = n;
}

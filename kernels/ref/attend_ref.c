#include "kernels/attend.h"

#include <math.h>

#include "kernels/ref/half.h"

static const uint16_t *cache_row(const struct attend_params *p, uint32_t token, const uint16_t *cache,
                                 uint32_t head, uint32_t dim, uint32_t position)
{
    const uint32_t *table = p->tokens.tables + (size_t)p->tokens.sequences[token] * p->tokens.table_width;
    size_t block = table[position / KV_CACHE_BLOCK];
    return cache + ((block * p->layer.heads + head) * KV_CACHE_BLOCK + position % KV_CACHE_BLOCK) * dim;
}

static double score(const struct attend_params *p, uint32_t token, uint32_t head, uint32_t position)
{
    uint32_t dim = p->layer.key_dim;
    uint32_t key_head = head / (p->heads / p->layer.heads);
    const uint16_t *key = cache_row(p, token, p->layer.keys, key_head, dim, position);
    const float *query = p->query + ((size_t)token * p->heads + head) * dim;
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++) {
        sum += (double)query[i] * (double)ref_half_to_float(key[i]);
    }
    return sum * (double)p->scale;
}

static void attend_head(const struct attend_params *p, uint32_t token, uint32_t head)
{
    bool has_values = p->layer.value_dim > 0;
    uint32_t end = p->tokens.positions[token] + 1;
    uint32_t first = p->window && end > p->window ? end - p->window : 0;
    uint32_t key_head = head / (p->heads / p->layer.heads);
    float *out = p->out + ((size_t)token * p->heads + head) * p->out_dim;
    double largest = -INFINITY;
    double weights = 0;
    for (uint32_t at = first; at < end; at++) {
        largest = fmax(largest, score(p, token, head, at));
    }
    double sums[ATTEND_MOST_DIM] = {0};
    for (uint32_t at = first; at < end; at++) {
        double weight = exp(score(p, token, head, at) - largest);
        const uint16_t *value = cache_row(p, token, has_values ? p->layer.values : p->layer.keys, key_head,
                                          has_values ? p->layer.value_dim : p->layer.key_dim, at);
        for (uint32_t d = 0; d < p->out_dim; d++) {
            sums[d] += weight * (double)ref_half_to_float(value[d]);
        }
        weights += weight;
    }
    for (uint32_t d = 0; d < p->out_dim; d++) {
        out[d] = (float)(sums[d] / weights);
    }
}

void attend_ref(const struct attend_params *p)
{
    for (uint32_t token = 0; token < p->tokens.count; token++) {
        for (uint32_t head = 0; head < p->heads; head++) {
            attend_head(p, token, head);
        }
    }
}

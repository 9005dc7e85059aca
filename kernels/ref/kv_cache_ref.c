#include "kernels/kv_cache.h"

#include "kernels/ref/half.h"

static void store(const float *from, uint16_t *cache, size_t block, uint32_t place, uint32_t heads,
                  uint32_t dim)
{
    for (uint32_t head = 0; head < heads; head++) {
        uint16_t *row = cache + ((block * heads + head) * KV_CACHE_BLOCK + place) * dim;
        for (uint32_t i = 0; i < dim; i++) {
            row[i] = ref_float_to_half(from[(size_t)head * dim + i]);
        }
    }
}

void kv_store_ref(const struct kv_store_params *p)
{
    for (uint32_t i = 0; i < p->tokens.count; i++) {
        uint32_t position = p->tokens.positions[i];
        const uint32_t *table = p->tokens.tables + (size_t)p->tokens.sequences[i] * p->tokens.table_width;
        size_t block = table[position / KV_CACHE_BLOCK];
        uint32_t place = position % KV_CACHE_BLOCK;
        store(p->keys + (size_t)i * p->layer.heads * p->layer.key_dim, p->layer.keys, block, place,
              p->layer.heads, p->layer.key_dim);
        if (p->layer.value_dim) {
            store(p->values + (size_t)i * p->layer.heads * p->layer.value_dim, p->layer.values, block, place,
                  p->layer.heads, p->layer.value_dim);
        }
    }
}

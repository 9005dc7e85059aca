/* Keys and values of all positions seen, as f16, in blocks of KV_BLOCK positions.
 *
 *     keys:   layer | block | key head | position in block | key_dim        values: the same with value_dim
 *
 * Layers with a window may have fewer blocks than the others.
 * Where value_dim is 0 there are no values: the beginning of each key serves.
 * The memory is reserved at start and never grows; the system backs pages when they are first written.
 * A block needs no clearing: positions are written before they are read.
 * Thread rule: different (block, head) pairs may be written by different threads at once. */
#ifndef TIDE_WORKER_CPU_KV_CACHE_H
#define TIDE_WORKER_CPU_KV_CACHE_H

#include "inference/worker/model.h"

struct kv_cache {
    uint16_t *keys;      /* f16 */
    uint16_t *values;    /* f16 */
    size_t bytes;        /* of both */
    size_t *first_block; /* of each layer: blocks of the layers before */
    uint32_t heads;      /* key heads */
    uint32_t key_dim;
    uint32_t value_dim;
};

/* window_blocks: of each layer with a window; 0: as many as of the others. */
int kv_cache_init(struct kv_cache *kv, const struct model *model, uint32_t blocks, uint32_t window_blocks,
                  struct err *err) TIDE_CHECK;
void kv_cache_clear(struct kv_cache *kv);

/* Values from one block of a layer to the next. */
size_t kv_cache_key_block(const struct kv_cache *kv);
size_t kv_cache_value_block(const struct kv_cache *kv);
/* Position 0 of block 0 of (layer, head). */
uint16_t *kv_cache_keys(const struct kv_cache *kv, uint32_t layer, uint32_t head);
uint16_t *kv_cache_values(const struct kv_cache *kv, uint32_t layer, uint32_t head);

#endif

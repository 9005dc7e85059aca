/* Keys and values of all positions seen, as f16, in blocks of KV_BLOCK positions.
 *
 *     keys:   layer | block | key head | position in block | head_dim        values: the same
 *
 * The memory is reserved at start and never grows; the system backs pages when they are first written.
 * A block needs no clearing: positions are written before they are read.
 * Thread rule: different (block, head) pairs may be written by different threads at once. */
#ifndef TIDE_WORKER_CPU_KV_CACHE_H
#define TIDE_WORKER_CPU_KV_CACHE_H

#include "inference/worker/model.h"

struct kv_cache {
    uint16_t *keys;   /* f16 */
    uint16_t *values; /* f16 */
    size_t bytes;     /* of both */
    uint32_t blocks;
    uint32_t heads; /* key heads */
    uint32_t head_dim;
    size_t block_values; /* heads * KV_BLOCK * head_dim: from one block of a layer to the next */
};

int kv_cache_init(struct kv_cache *kv, const struct model_sizes *sizes, uint32_t blocks,
                  struct err *err) TIDE_CHECK;
void kv_cache_clear(struct kv_cache *kv);
/* Where position 0 of block 0 of (layer, head) starts, in values from keys or values. */
size_t kv_cache_at(const struct kv_cache *kv, uint32_t layer, uint32_t head);

#endif

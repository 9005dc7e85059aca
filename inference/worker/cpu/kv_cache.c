#include "inference/worker/cpu/kv_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "inference/worker/graph.h"

/* Blocks of all layers together; each layer's first in kv->first_block. */
static uint64_t lay_out(struct kv_cache *kv, const struct model *model, uint32_t blocks,
                        uint32_t window_blocks)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < model->sizes.layers; i++) {
        kv->first_block[i] = total;
        total += window_blocks && model->layer[i].window ? window_blocks : blocks;
    }
    return total;
}

int kv_cache_init(struct kv_cache *kv, const struct model *model, uint32_t blocks, uint32_t window_blocks,
                  struct err *err)
{
    const struct model_sizes *sizes = &model->sizes;
    *kv = (struct kv_cache){.heads = sizes->kv_heads,
                            .key_dim = sizes->key_dim,
                            .value_dim = sizes->value_dim,
                            .first_block = calloc(sizes->layers, sizeof *kv->first_block)};
    if (!kv->first_block) {
        return err_set(err, ERR_NOMEM, "KV cache: no memory for %u layers", sizes->layers);
    }
    uint64_t total = lay_out(kv, model, blocks, window_blocks);
    size_t bytes = sizeof(uint16_t) * (kv_cache_key_block(kv) + kv_cache_value_block(kv));
    if (__builtin_mul_overflow(bytes, total, &bytes) || bytes > SIZE_MAX / 4) {
        return err_set(err, ERR_LIMIT, "KV cache: %u blocks of %d positions are too many", blocks, KV_BLOCK);
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_NOMEM, "KV cache: no memory for %u blocks of %d positions (%zu MiB)", blocks,
                       KV_BLOCK, bytes >> 20);
    }
    kv->bytes = bytes;
    kv->keys = memory;
    kv->values = kv->keys + total * kv_cache_key_block(kv);
    return 0;
}

void kv_cache_clear(struct kv_cache *kv)
{
    if (kv->keys) {
        munmap(kv->keys, kv->bytes);
    }
    free(kv->first_block);
    *kv = (struct kv_cache){0};
}

size_t kv_cache_key_block(const struct kv_cache *kv)
{
    return (size_t)kv->heads * KV_BLOCK * kv->key_dim;
}

size_t kv_cache_value_block(const struct kv_cache *kv)
{
    return (size_t)kv->heads * KV_BLOCK * kv->value_dim;
}

uint16_t *kv_cache_keys(const struct kv_cache *kv, uint32_t layer, uint32_t head)
{
    return kv->keys + kv->first_block[layer] * kv_cache_key_block(kv) + (size_t)head * KV_BLOCK * kv->key_dim;
}

uint16_t *kv_cache_values(const struct kv_cache *kv, uint32_t layer, uint32_t head)
{
    return kv->values + kv->first_block[layer] * kv_cache_value_block(kv) +
           (size_t)head * KV_BLOCK * kv->value_dim;
}

#include "inference/worker/cpu/kv_cache.h"

#include <sys/mman.h>

#include "inference/worker/graph.h"

int kv_cache_init(struct kv_cache *kv, const struct model_sizes *sizes, uint32_t blocks, struct err *err)
{
    size_t bytes = sizeof(uint16_t) * KV_BLOCK * model_cached_values(sizes);
    *kv = (struct kv_cache){
        .blocks = blocks, .heads = sizes->kv_heads, .key_dim = sizes->key_dim, .value_dim = sizes->value_dim};
    if (__builtin_mul_overflow(bytes, (size_t)blocks, &bytes) || bytes > SIZE_MAX / 4) {
        return err_set(err, ERR_LIMIT, "KV cache: %u blocks of %d positions are too many", blocks, KV_BLOCK);
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_NOMEM, "KV cache: no memory for %u blocks of %d positions (%zu MiB)", blocks,
                       KV_BLOCK, bytes >> 20);
    }
    kv->bytes = bytes;
    kv->keys = memory;
    kv->values = kv->keys + (size_t)sizes->layers * blocks * kv_cache_key_block(kv);
    return 0;
}

void kv_cache_clear(struct kv_cache *kv)
{
    if (kv->keys) {
        munmap(kv->keys, kv->bytes);
    }
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
    return kv->keys + (size_t)layer * kv->blocks * kv_cache_key_block(kv) +
           (size_t)head * KV_BLOCK * kv->key_dim;
}

uint16_t *kv_cache_values(const struct kv_cache *kv, uint32_t layer, uint32_t head)
{
    return kv->values + (size_t)layer * kv->blocks * kv_cache_value_block(kv) +
           (size_t)head * KV_BLOCK * kv->value_dim;
}

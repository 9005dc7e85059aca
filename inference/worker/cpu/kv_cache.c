#include "inference/worker/cpu/kv_cache.h"

#include <sys/mman.h>

#include "inference/worker/graph.h"

int kv_cache_init(struct kv_cache *kv, const struct model_sizes *sizes, uint32_t blocks, struct err *err)
{
    size_t block = (size_t)KV_BLOCK * sizes->kv_heads * sizes->head_dim;
    size_t half = sizeof(uint16_t) * sizes->layers * block;
    *kv = (struct kv_cache){
        .blocks = blocks, .heads = sizes->kv_heads, .head_dim = sizes->head_dim, .block_values = block};
    if (__builtin_mul_overflow(half, (size_t)blocks, &half) || half > SIZE_MAX / 4) {
        return err_set(err, ERR_LIMIT, "KV cache: %u blocks of %d positions are too many", blocks, KV_BLOCK);
    }
    void *memory = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_NOMEM, "KV cache: no memory for %u blocks of %d positions (%zu MiB)", blocks,
                       KV_BLOCK, 2 * half >> 20);
    }
    kv->bytes = 2 * half;
    kv->keys = memory;
    kv->values = kv->keys + half / sizeof(uint16_t);
    return 0;
}

void kv_cache_clear(struct kv_cache *kv)
{
    if (kv->keys) {
        munmap(kv->keys, kv->bytes);
    }
    *kv = (struct kv_cache){0};
}

size_t kv_cache_at(const struct kv_cache *kv, uint32_t layer, uint32_t head)
{
    return (size_t)layer * kv->blocks * kv->block_values + (size_t)head * KV_BLOCK * kv->head_dim;
}

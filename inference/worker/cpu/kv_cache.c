#include "inference/worker/cpu/kv_cache.h"

#include <sys/mman.h>

int kv_cache_init(struct kv_cache *kv, const struct model_sizes *sizes, uint32_t slots, uint32_t context,
                  struct err *err)
{
    *kv = (struct kv_cache){
        .slots = slots, .context = context, .heads = sizes->kv_heads, .head_dim = sizes->head_dim};
    size_t half = sizeof(uint16_t) * sizes->layers * sizes->kv_heads * sizes->head_dim;
    if (__builtin_mul_overflow(half, (size_t)slots * context, &half) || half > SIZE_MAX / 4) {
        return err_set(err, ERR_LIMIT, "KV cache: %u slots of %u positions are too many", slots, context);
    }
    void *memory = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_NOMEM, "KV cache: no memory for %u slots of %u positions (%zu MiB)", slots,
                       context, 2 * half >> 20);
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

size_t kv_cache_at(const struct kv_cache *kv, uint32_t layer, uint32_t slot, uint32_t head)
{
    size_t row = ((size_t)layer * kv->slots + slot) * kv->heads + head;
    return row * kv->context * kv->head_dim;
}

/* The cache of keys and values of one layer: half precision, in blocks of 16 positions that sequences find by a table.
 *
 *     keys: block | key head | position in block | key_dim        values: the same with value_dim
 *
 * Position p of sequence s lives in block tables[s * table_width + p / 16]. value_dim 0: there are no values.
 * Errors: what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_KV_CACHE_H
#define TIDE_KERNELS_KV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { KV_CACHE_BLOCK = 16 };

struct kv_cache_layer {
    uint16_t *keys;
    uint16_t *values;
    uint32_t heads; /* key heads */
    uint32_t key_dim;
    uint32_t value_dim;
};

/* Where the tokens of a batch belong, device memory. */
struct kv_cache_tokens {
    const uint32_t *positions; /* (count) */
    const uint32_t *sequences; /* (count) */
    const uint32_t *tables;    /* (sequences, table_width) */
    uint32_t table_width;
    uint32_t count;
};

struct kv_store_params {
    struct kv_cache_layer layer;
    struct kv_cache_tokens tokens;
    const float *keys;   /* (count, heads, key_dim) */
    const float *values; /* (count, heads, value_dim) */
};

cudaError_t kv_store_launch(const struct kv_store_params *p, cudaStream_t stream);
void kv_store_ref(const struct kv_store_params *p);

#ifdef __cplusplus
}
#endif
#endif

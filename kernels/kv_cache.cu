/* Keys and values of a batch into the paged cache. (count, heads, dim) float32 -> half precision.
 *
 * Tolerance: none, each value is rounded once to nearest.
 * Tile: one block a token. Shared memory: none.
 * Roofline: 6 bytes a value; microseconds, the launch itself decides. */
#include "kernels/kv_cache.h"

#include "kernels/kdev.h"

enum { THREADS = 128 };

/* A token's (heads, dim) rows to one position of a block of (head, position, dim). */
static __device__ void store(const float *from, uint16_t *block, uint32_t place, uint32_t heads, uint32_t dim)
{
    for (uint32_t i = threadIdx.x; i < heads * dim; i += THREADS) {
        uint32_t head = i / dim;
        block[((size_t)head * KV_CACHE_BLOCK + place) * dim + i % dim] = float_to_half_device(from[i]);
    }
}

static __global__ void __launch_bounds__(THREADS) kv_store(struct kv_store_params p)
{
    uint32_t token = blockIdx.x;
    uint32_t position = p.tokens.positions[token];
    const uint32_t *table = p.tokens.tables + (size_t)p.tokens.sequences[token] * p.tokens.table_width;
    size_t block = table[position / KV_CACHE_BLOCK];
    uint32_t place = position % KV_CACHE_BLOCK;
    size_t keys = (size_t)p.layer.heads * p.layer.key_dim;
    size_t values = (size_t)p.layer.heads * p.layer.value_dim;
    store(p.keys + token * keys, p.layer.keys + block * keys * KV_CACHE_BLOCK, place, p.layer.heads,
          p.layer.key_dim);
    store(p.values + token * values, p.layer.values + block * values * KV_CACHE_BLOCK, place, p.layer.heads,
          p.layer.value_dim);
}

cudaError_t kv_store_launch(const struct kv_store_params *p, cudaStream_t stream)
{
    if (p->tokens.count > 0) {
        LAUNCH(kv_store, dim3(p->tokens.count), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

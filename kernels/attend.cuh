/* What the kernels of attention share: which positions a token sees, and where they lie. */
#ifndef TIDE_KERNELS_ATTEND_CUH
#define TIDE_KERNELS_ATTEND_CUH

#include "kernels/attend.h"
#include "kernels/kdev.h"

struct span { /* positions */
    uint32_t from;
    uint32_t to;
};

static __device__ __forceinline__ struct span token_span(const struct attend_params &p, uint32_t token)
{
    uint32_t to = p.tokens.positions[token] + 1;
    return {p.window && to > p.window ? to - p.window : 0, to};
}

static __device__ __forceinline__ const uint32_t *token_table(const struct attend_params &p, uint32_t token)
{
    return p.tokens.tables + (size_t)p.tokens.sequences[token] * p.tokens.table_width;
}

/* The row of `dim` values of a position. */
static __device__ __forceinline__ const uint16_t *cache_row(const struct attend_params &p,
                                                            const uint16_t *cache, const uint32_t *table,
                                                            uint32_t head, uint32_t dim, uint32_t position)
{
    size_t block = table[position / KV_CACHE_BLOCK];
    return cache + ((block * p.layer.heads + head) * KV_CACHE_BLOCK + position % KV_CACHE_BLOCK) * dim;
}

#endif

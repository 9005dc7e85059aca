/* Attention of each token's queries over its sequence's cache, up to its own position.
 *
 *     out[t][h] = sum_p softmax_p(scale * query[t][h] . key[p]) * value[p]      p in [first, position of t]
 *
 * first is 0, or with a window the last `window` positions begin there. Query head h sees key head h * key heads / heads.
 * Without values (value_dim 0 in the cache) the first out_dim values of the key serve: attention over latents.
 * A token's result has the same bits whatever stands beside it.
 * Errors: cudaErrorInvalidValue for dimensions past ATTEND_MOST_DIM, heads that do not divide or a scratch too small; else
 * what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_ATTEND_H
#define TIDE_KERNELS_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

#include "kernels/kv_cache.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ATTEND_MOST_DIM = 576, /* of keys */
    ATTEND_SPLIT = 256,    /* positions that one block takes */
};

struct attend_params {
    struct kv_cache_layer layer;
    struct kv_cache_tokens tokens;
    const float *query; /* (count, heads, key_dim) */
    float *out;         /* (count, heads, out_dim) */
    uint32_t heads;
    uint32_t out_dim;   /* value_dim, or of the key's beginning */
    uint32_t window;    /* positions; 0: all */
    uint32_t positions; /* more than the largest of the batch */
    float scale;
    float *scratch; /* attend_scratch_values() floats */
};

/* Floats of scratch that `count` tokens need whose positions are below `positions`. */
size_t attend_scratch_values(uint32_t count, uint32_t heads, uint32_t out_dim, uint32_t positions);
cudaError_t attend_launch(const struct attend_params *p, cudaStream_t stream);
void attend_ref(const struct attend_params *p);

#ifdef __cplusplus
}
#endif
#endif

/* Attention over the paged cache, a token at a time: decoding, and whatever attend_prompt.cu does not take. Shapes: attend.h.
 *
 * Tolerance: 1e-5 times the largest value (scores, softmax and sums in float; the cache itself is half precision).
 * Tile: a block takes ATTEND_SPLIT positions and HEADS query heads of one key head, so keys are read once for them; a warp a
 * position for scores, a thread a value dimension for sums. A second kernel joins the splits of a head by their
 * maxima. Splits begin at multiples of ATTEND_SPLIT, so results do not depend on the batch.
 * Shared memory: HEADS * (ATTEND_MOST_DIM + ATTEND_SPLIT + 2) floats, 13.3 KB.
 * Roofline: the cache's bytes, (key_dim + value_dim) * 2 a position and key head: 7B (4 key heads of 128, 28 layers) at 2048
 * positions reads 117 MB a token: 73 us on an A100 (1.6 TB/s), 35 us on an H800 (3.35 TB/s). */
#include "kernels/attend.cuh"

enum { THREADS = 128, WARPS = THREADS / WARP_LANES, HEADS = 4 };
static_assert(HEADS == WARPS, "a warp makes the softmax of one head");
static_assert(ATTEND_SPLIT % KV_CACHE_BLOCK == 0, "a split is whole blocks");

/* --- device helpers -------------------------------------------------------------------------------------------- */

static __device__ struct span split_span(const struct attend_params &p, uint32_t token, uint32_t split)
{
    struct span s = token_span(p, token);
    uint32_t from = split * ATTEND_SPLIT;
    return {max(s.from, from), min(s.to, from + ATTEND_SPLIT)};
}

/* Floats of a split's answer: out_dim sums, the largest score, the sum of exponentials. */
static __device__ __forceinline__ float *split_answer(const struct attend_params &p, uint32_t token,
                                                      uint32_t head, uint32_t split)
{
    uint32_t splits = (p.positions + ATTEND_SPLIT - 1) / ATTEND_SPLIT;
    return p.scratch + (((size_t)token * p.heads + head) * splits + split) * (p.out_dim + 2);
}

/* --- one split of HEADS heads ------------------------------------------------------------------------------------ */

static __device__ void score_positions(const struct attend_params &p, const uint32_t *table,
                                       uint32_t key_head, struct span s,
                                       const float (&query)[HEADS][ATTEND_MOST_DIM],
                                       float (&score)[HEADS][ATTEND_SPLIT])
{
    uint32_t lane = threadIdx.x % WARP_LANES;
    for (uint32_t at = s.from + threadIdx.x / WARP_LANES; at < s.to; at += WARPS) {
        const uint16_t *key = cache_row(p, p.layer.keys, table, key_head, p.layer.key_dim, at);
        float sums[HEADS] = {};
        for (uint32_t d = lane; d < p.layer.key_dim; d += WARP_LANES) {
            float k = half_to_float_device(key[d]);
            for (int h = 0; h < HEADS; h++) {
                sums[h] += query[h][d] * k;
            }
        }
        for (int h = 0; h < HEADS; h++) {
            float sum = warp_sum(sums[h]);
            if (lane == 0) {
                score[h][at - s.from] = sum * p.scale;
            }
        }
    }
}

/* Scores of one head become exponentials below their maximum, by one warp. Lane 0 leaves maximum and sum. */
static __device__ void exponentiate(float *score, uint32_t n, float *answer)
{
    uint32_t lane = threadIdx.x % WARP_LANES;
    float largest = -INFINITY;
    float sum = 0.0F;
    for (uint32_t i = lane; i < n; i += WARP_LANES) {
        largest = fmaxf(largest, score[i]);
    }
    largest = warp_max(largest);
    for (uint32_t i = lane; i < n; i += WARP_LANES) {
        score[i] = expf(score[i] - largest);
        sum += score[i];
    }
    sum = warp_sum(sum);
    if (lane == 0) {
        answer[0] = largest;
        answer[1] = sum;
    }
}

static __device__ void sum_values(const struct attend_params &p, const uint32_t *table, uint32_t key_head,
                                  struct span s, const float (&score)[HEADS][ATTEND_SPLIT], uint32_t head,
                                  uint32_t heads)
{
    bool has_values = p.layer.value_dim > 0;
    const uint16_t *cache = has_values ? p.layer.values : p.layer.keys;
    uint32_t dim = has_values ? p.layer.value_dim : p.layer.key_dim;
    for (uint32_t d = threadIdx.x; d < p.out_dim; d += THREADS) {
        float sums[HEADS] = {};
        for (uint32_t at = s.from; at < s.to; at++) {
            float v = half_to_float_device(cache_row(p, cache, table, key_head, dim, at)[d]);
            for (int h = 0; h < HEADS; h++) {
                sums[h] += score[h][at - s.from] * v;
            }
        }
        for (uint32_t h = 0; h < heads; h++) {
            split_answer(p, blockIdx.z, head + h, blockIdx.x)[d] = sums[h];
        }
    }
}

static __global__ void __launch_bounds__(THREADS) attend_split(struct attend_params p)
{
    SHARED(float, query, [HEADS][ATTEND_MOST_DIM]);
    SHARED(float, score, [HEADS][ATTEND_SPLIT]);
    struct span s = split_span(p, blockIdx.z, blockIdx.x);
    if (s.from >= s.to) {
        return; /* the whole block */
    }
    uint32_t group = p.heads / p.layer.heads;
    uint32_t tiles = (group + HEADS - 1) / HEADS; /* of a key head */
    uint32_t key_head = blockIdx.y / tiles;
    uint32_t in_group = blockIdx.y % tiles * HEADS;
    uint32_t head = key_head * group + in_group;
    uint32_t heads = min(group - in_group, (uint32_t)HEADS);
    uint32_t warp = threadIdx.x / WARP_LANES;
    const uint32_t *table = token_table(p, blockIdx.z);
    const float *queries = p.query + ((size_t)blockIdx.z * p.heads + head) * p.layer.key_dim;
    for (uint32_t i = threadIdx.x; i < HEADS * p.layer.key_dim; i += THREADS) {
        uint32_t h = i / p.layer.key_dim;
        query[h][i % p.layer.key_dim] = h < heads ? queries[i] : 0.0F;
    }
    __syncthreads();
    score_positions(p, table, key_head, s, query, score);
    __syncthreads();
    if (warp < heads) {
        exponentiate(score[warp], s.to - s.from,
                     split_answer(p, blockIdx.z, head + warp, blockIdx.x) + p.out_dim);
    }
    __syncthreads();
    sum_values(p, table, key_head, s, score, head, heads);
}

/* --- joining the splits of one head --------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(THREADS) attend_join(struct attend_params p)
{
    uint32_t head = blockIdx.x;
    uint32_t token = blockIdx.y;
    struct span s = token_span(p, token);
    uint32_t first = s.from / ATTEND_SPLIT;
    uint32_t last = (s.to - 1) / ATTEND_SPLIT;
    float largest = -INFINITY;
    for (uint32_t i = first; i <= last; i++) {
        largest = fmaxf(largest, split_answer(p, token, head, i)[p.out_dim]);
    }
    float *out = p.out + ((size_t)token * p.heads + head) * p.out_dim;
    for (uint32_t d = threadIdx.x; d < p.out_dim; d += THREADS) {
        float sum = 0.0F;
        float weights = 0.0F;
        for (uint32_t i = first; i <= last; i++) {
            const float *answer = split_answer(p, token, head, i);
            float weight = expf(answer[p.out_dim] - largest);
            sum += weight * answer[d];
            weights += weight * answer[p.out_dim + 1];
        }
        out[d] = sum / weights;
    }
}

/* --- launcher --------------------------------------------------------------------------------------------------------- */

size_t attend_scratch_values(uint32_t count, uint32_t heads, uint32_t out_dim, uint32_t positions)
{
    size_t splits = (positions + ATTEND_SPLIT - 1) / ATTEND_SPLIT;
    return (size_t)count * heads * splits * (out_dim + 2);
}

cudaError_t attend_launch(const struct attend_params *p, cudaStream_t stream)
{
    const struct kv_cache_layer *l = &p->layer;
    uint32_t most = l->value_dim ? l->value_dim : l->key_dim;
    if (l->key_dim == 0 || l->key_dim > ATTEND_MOST_DIM || l->heads == 0 || p->heads % l->heads ||
        p->out_dim > most || p->positions == 0) {
        return cudaErrorInvalidValue;
    }
    if (p->tokens.count > 0) {
        unsigned splits = (p->positions + ATTEND_SPLIT - 1) / ATTEND_SPLIT;
        unsigned tiles = l->heads * ((p->heads / l->heads + HEADS - 1) / HEADS);
        LAUNCH(attend_split, dim3(splits, tiles, p->tokens.count), dim3(THREADS), 0, stream, *p);
        LAUNCH(attend_join, dim3(p->heads, p->tokens.count), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

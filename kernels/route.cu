/* The router of experts. scores (count, experts) float32 -> the same as weights, and the uses by expert. Formula: route.h.
 *
 * Tolerance: weights 1e-5 relative (one exponential, sums in float); who is used is exact but for shares that are equal within
 * that.
 * Tile: a warp a token, lane l looks after experts l, l + 32, ...; the largest choice is found `used` times. Sorting: a block
 * an expert, without a word between them; numbers are exact and written in order, so they are the same whenever it runs.
 * Shared memory: 2 * ROUTE_MOST floats, 8 KB; sorting 4 KB and 32 bytes.
 * Roofline: latency: 256 experts of a token are 1 KB. Sorting, each block goes through count * used numbers twice, from L2,
 * and adds each to a counter in shared memory, which takes as long as 8 operations: 4,096 tokens of V3 (32,768 uses, 256
 * experts) 2.3 us on an H800. As one block, whose 256 threads each went through all of them, it would be 300 us.
 */
#include "kernels/route.h"

#include "kernels/kdev.h"

enum {
    MOST_OF_LANE = ROUTE_MOST / WARP_LANES,
    SORT_THREADS = 256,
    SORT_WARPS = SORT_THREADS / WARP_LANES,
};
static_assert(MOST_OF_LANE == 32, "a lane marks its experts in one word");
static_assert((int)ROUTE_MOST_GROUPS == (int)WARP_LANES, "a lane a group");

/* --- device helpers -------------------------------------------------------------------------------------------------- */

struct ranked {
    float value;
    uint32_t number; /* UINT32_MAX: nobody */
};

static __device__ __forceinline__ bool is_before(const struct ranked &a, const struct ranked &b)
{
    if (a.number == UINT32_MAX || b.number == UINT32_MAX) {
        return b.number == UINT32_MAX;
    }
    return a.value > b.value || (!(b.value > a.value) && a.number < b.number);
}

/* The largest of all lanes, of equals the lowest number. */
static __device__ struct ranked warp_first(struct ranked mine)
{
    for (int delta = WARP_LANES / 2; delta > 0; delta /= 2) {
        struct ranked other = {__shfl_xor_sync(ALL_LANES, mine.value, delta),
                               __shfl_xor_sync(ALL_LANES, mine.number, delta)};
        mine = is_before(mine, other) ? mine : other;
    }
    return mine;
}

/* share[] becomes the shares of scores; every lane writes its experts. */
static __device__ void make_shares(const struct route_params &p, const float *scores, float *share)
{
    uint32_t lane = threadIdx.x;
    float largest = -INFINITY;
    float total = 0.0F;
    for (uint32_t e = lane; e < p.experts; e += WARP_LANES) {
        largest = fmaxf(largest, scores[e]);
    }
    largest = warp_max(largest);
    for (uint32_t e = lane; e < p.experts; e += WARP_LANES) {
        float x = p.is_sigmoid ? 1.0F / (1.0F + expf(-scores[e])) : expf(scores[e] - largest);
        share[e] = x;
        total += x;
    }
    total = warp_sum(total);
    for (uint32_t e = lane; e < p.experts && !p.is_sigmoid; e += WARP_LANES) {
        share[e] /= total;
    }
}

/* Bit g: experts of group g may be used. */
static __device__ uint32_t open_groups(const struct route_params &p, const float *choice)
{
    uint32_t lane = threadIdx.x;
    uint32_t size = p.experts / p.groups;
    float best = -INFINITY;
    float second = -INFINITY;
    for (uint32_t e = lane * size; lane < p.groups && e < (lane + 1) * size; e++) {
        second = fmaxf(second, fminf(best, choice[e]));
        best = fmaxf(best, choice[e]);
    }
    struct ranked mine = {p.is_sigmoid ? best + second : best, lane}; /* behind the groups -infinity: last */
    uint32_t open = 0;
    for (uint32_t k = 0; k < p.groups_used; k++) {
        uint32_t group = warp_first(mine).number;
        open |= 1U << group;
        mine.number = mine.number == group ? UINT32_MAX : mine.number;
    }
    return open;
}

/* Bit i of a lane's word: its i-th expert is used. */
static __device__ uint32_t pick_experts(const struct route_params &p, const float *choice, uint32_t groups)
{
    uint32_t lane = threadIdx.x;
    uint32_t size = p.experts / p.groups;
    uint32_t picked = 0;
    for (uint32_t k = 0; k < p.used; k++) {
        struct ranked mine = {0.0F, UINT32_MAX};
        for (uint32_t i = 0; lane + i * WARP_LANES < p.experts; i++) {
            uint32_t e = lane + i * WARP_LANES;
            struct ranked next = {choice[e], e};
            if (groups >> e / size & 1 && !(picked >> i & 1) && is_before(next, mine)) {
                mine = next;
            }
        }
        uint32_t e = warp_first(mine).number;
        picked |= e % WARP_LANES == lane ? 1U << e / WARP_LANES : 0;
    }
    return picked;
}

/* A sum over the warp. */
static __device__ __forceinline__ uint32_t warp_count(uint32_t v)
{
    for (int delta = WARP_LANES / 2; delta > 0; delta /= 2) {
        v += __shfl_xor_sync(ALL_LANES, v, delta);
    }
    return v;
}

/* What others ask of expert e: its first use, and its place among the active if it has `count` > 0 uses. */
static __device__ void put_expert(const struct route_params &p, uint32_t e, uint32_t at, uint32_t rank,
                                  uint32_t count)
{
    p.by_expert.first[e] = at;
    if (count > 0) {
        p.by_expert.active[1 + rank] = e;
    }
    if (e == p.experts - 1) {
        p.by_expert.first[p.experts] = p.count * p.used;
        p.by_expert.active[0] = rank + (count > 0);
    }
}

/* --- kernels ------------------------------------------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(WARP_LANES) route(struct route_params p)
{
    SHARED(float, share, [ROUTE_MOST]);
    SHARED(float, choice, [ROUTE_MOST]);
    uint32_t lane = threadIdx.x;
    float *scores = p.scores + (size_t)blockIdx.x * p.experts;
    uint32_t *expert_of = p.expert_of + (size_t)blockIdx.x * p.used;
    float total = 0.0F;
    make_shares(p, scores, share);
    for (uint32_t e = lane; e < p.experts; e += WARP_LANES) {
        choice[e] = share[e] + (p.bias ? p.bias[e] : 0.0F);
    }
    __syncwarp();
    uint32_t picked = pick_experts(p, choice, open_groups(p, choice));
    for (uint32_t e = lane; e < p.experts; e += WARP_LANES) {
        total += picked >> e / WARP_LANES & 1 ? share[e] : 0.0F;
    }
    total = warp_sum(total);
    float factor = p.is_normalised ? p.scale / (total + 1e-20F) : p.scale;
    for (uint32_t from = 0; from < p.experts; from += WARP_LANES) {
        uint32_t e = from + lane;
        bool is_used = picked >> from / WARP_LANES & 1;
        uint32_t users = __ballot_sync(ALL_LANES, is_used);
        if (is_used) {
            expert_of[__popc(users & ((1U << lane) - 1))] = e;
        }
        if (e < p.experts) {
            scores[e] = is_used ? share[e] * factor : 0.0F;
        }
        expert_of += __popc(users);
    }
}

/* A block an expert. How many uses lower experts have says where its own begin; how many of those are used, its place among
 * the active. Each warp has a part of the uses, and goes through it twice: to count, and to write its uses in order. */
static __global__ void __launch_bounds__(SORT_THREADS) sort_uses(struct route_params p)
{
    SHARED(uint32_t, counts, [ROUTE_MOST]);
    SHARED(uint32_t, by_warp, [SORT_WARPS]); /* uses of this block's expert */
    uint32_t e = blockIdx.x;
    uint32_t lane = threadIdx.x % WARP_LANES;
    uint32_t warp = threadIdx.x / WARP_LANES;
    uint32_t uses = p.count * p.used;
    uint32_t part = (uses + SORT_THREADS - 1) / SORT_THREADS * WARP_LANES;
    uint32_t from = min(warp * part, uses);
    uint32_t to = min(from + part, uses);
    for (uint32_t i = threadIdx.x; i < p.experts; i += SORT_THREADS) {
        counts[i] = 0;
    }
    __syncthreads();
    uint32_t mine = 0;
    for (uint32_t i = from + lane; i < to; i += WARP_LANES) {
        uint32_t expert = p.expert_of[i];
        atomicAdd(&counts[expert], 1U);
        mine += expert == e;
    }
    mine = warp_count(mine);
    if (lane == 0) {
        by_warp[warp] = mine;
    }
    __syncthreads();
    uint32_t at = 0;
    uint32_t rank = 0;
    for (uint32_t lower = lane; lower < e; lower += WARP_LANES) {
        at += counts[lower];
        rank += counts[lower] > 0;
    }
    at = warp_count(at);
    rank = warp_count(rank);
    if (threadIdx.x == 0) {
        put_expert(p, e, at, rank, counts[e]);
    }
    for (uint32_t before = 0; before < warp; before++) {
        at += by_warp[before];
    }
    for (; mine > 0 && from < to; from += WARP_LANES) {
        uint32_t i = from + lane;
        bool is_mine = i < to && p.expert_of[i] == e;
        uint32_t users = __ballot_sync(ALL_LANES, is_mine);
        if (is_mine) {
            p.by_expert.use[at + __popc(users & ((1U << lane) - 1))] = i;
        }
        at += __popc(users);
    }
}

/* --- launcher ------------------------------------------------------------------------------------------------------------- */

cudaError_t route_launch(const struct route_params *p, cudaStream_t stream)
{
    if (p->experts == 0 || p->experts > ROUTE_MOST || p->groups == 0 || p->groups > ROUTE_MOST_GROUPS ||
        p->experts % p->groups || p->groups_used == 0 || p->groups_used > p->groups ||
        p->used > p->experts / p->groups * p->groups_used) {
        return cudaErrorInvalidValue;
    }
    if (p->count > 0) {
        LAUNCH(route, dim3(p->count), dim3(WARP_LANES), 0, stream, *p);
        LAUNCH(sort_uses, dim3(p->experts), dim3(SORT_THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

/* The k largest values of rows, and log-sum-exp. x (rows, width) float32 -> (rows, k) numbers and values, (rows). Formula: top.h.
 *
 * Tolerance: numbers and values exact; log_sum 1e-5 (a float sum of exponentials, as a tree).
 * Tile: a block a row. A value and its place are one 64-bit key, no two of them equal; the k-th largest is found eight bits at a
 * time, by counting how many keys have which next eight, until exactly as many are left as are wanted: two or three rounds on
 * logits. Then the k keys are gathered and each finds its rank.
 * Shared memory: counts, keys and partial sums, 1,680 bytes.
 * Roofline: rounds + 2 passes over the row, all but the first from L2: a row of 152064 is 608 KB, some 20 us in one
 * multiprocessor; rows run side by side. */
#include "kernels/top.h"

#include "kernels/kdev.h"

enum { THREADS = 512, DIGITS = 256, FIRST_SHIFT = 56, DIGIT_BITS = 8 };
static_assert(THREADS >= DIGITS && (int)THREADS >= (int)TOP_MOST, "a thread a digit, a thread an answer");

struct search {       /* of the k-th largest key, shared */
    uint64_t prefix;  /* its digits so far */
    uint32_t wanted;  /* keys with that prefix that are among the k */
    uint32_t matched; /* keys with that prefix */
};

/* Rises with the value; of equals the lower place is larger. */
static __device__ __forceinline__ uint64_t key_of(float x, uint32_t place)
{
    uint32_t bits = __float_as_uint(x + 0.0F); /* no negative zero */
    uint32_t rising = x != x ? 0 : bits >> 31 ? ~bits : bits | 0x80000000U;
    return (uint64_t)rising << 32 | (uint32_t)~place;
}

/* One more digit of the k-th largest key. */
static __device__ void next_digit(const float *x, uint32_t width, int shift, uint32_t *counts,
                                  struct search *s)
{
    uint32_t digit = threadIdx.x;
    uint64_t prefix = s->prefix;
    uint32_t wanted = s->wanted;
    if (digit < DIGITS) {
        counts[digit] = 0;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < width; i += THREADS) {
        uint64_t key = key_of(x[i], i);
        if (shift == FIRST_SHIFT || key >> (shift + DIGIT_BITS) == prefix) {
            atomicAdd(&counts[key >> shift & (DIGITS - 1)], 1U);
        }
    }
    __syncthreads();
    uint32_t above = 0;
    for (uint32_t other = DIGITS - 1; other > digit; other--) {
        above += counts[other];
    }
    if (digit < DIGITS && above < wanted && wanted <= above + counts[digit]) { /* one thread */
        s->prefix = prefix << DIGIT_BITS | digit;
        s->wanted = wanted - above;
        s->matched = counts[digit];
    }
    __syncthreads();
}

static __global__ void __launch_bounds__(THREADS) top(struct top_params p)
{
    SHARED(uint32_t, counts, [DIGITS]);
    SHARED(uint64_t, keys, [TOP_MOST]);
    SHARED(float, partial, [WARP_LANES]);
    SHARED(struct search, search, [1]);
    const float *x = p.x + (size_t)blockIdx.x * p.stride;
    int shift = FIRST_SHIFT;
    if (threadIdx.x == 0) {
        search[0] = {0, p.k, 0};
    }
    __syncthreads();
    next_digit(x, p.width, shift, counts, search);
    while (search[0].matched > search[0].wanted) {
        shift -= DIGIT_BITS;
        next_digit(x, p.width, shift, counts, search);
    }
    uint64_t least = search[0].prefix;
    if (threadIdx.x == 0) {
        counts[0] = 0;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) {
        uint64_t key = key_of(x[i], i);
        if (key >> shift >= least) { /* true of exactly k */
            keys[atomicAdd(&counts[0], 1U)] = key;
        }
    }
    __syncthreads();
    uint64_t largest = keys[0];
    for (uint32_t i = 1; i < p.k; i++) {
        largest = keys[i] > largest ? keys[i] : largest;
    }
    float most = x[~(uint32_t)largest];
    float sum = 0.0F;
    for (uint32_t i = threadIdx.x; i < p.width; i += THREADS) {
        sum += x[i] > -INFINITY ? expf(x[i] - most) : 0.0F;
    }
    sum = block_sum(sum, partial);
    if (threadIdx.x < p.k) {
        uint32_t rank = 0;
        for (uint32_t i = 0; i < p.k; i++) {
            rank += keys[i] > keys[threadIdx.x];
        }
        uint32_t place = ~(uint32_t)keys[threadIdx.x];
        p.ids[(size_t)blockIdx.x * p.k + rank] = place;
        p.values[(size_t)blockIdx.x * p.k + rank] = x[place];
    }
    if (threadIdx.x == 0) {
        p.log_sum[blockIdx.x] = sum > 0.0F ? most + logf(sum) : -INFINITY;
    }
}

cudaError_t top_launch(const struct top_params *p, cudaStream_t stream)
{
    if (p->k == 0 || p->k > TOP_MOST || p->k > p->width || p->width > p->stride) {
        return cudaErrorInvalidValue;
    }
    if (p->rows > 0) {
        LAUNCH(top, dim3(p->rows), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

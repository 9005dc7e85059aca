/* Attention of prompts over the paged cache, on tensor cores. Shapes: attend.h.
 *
 * Tolerance: 1e-5 times the largest value. Queries and exponentials go to mma.sync as the sum of two halves, so that a prompt
 * gives what its tokens would have given one by one; sums are float.
 * Tile: a block takes ROWS rows, a row being a token and one of the query heads of a key head, and 32 positions at a time; a
 * warp 16 rows. Scores, their maximum so far and the sums stay in registers (online softmax). Positions that a row does not
 * see leave its sums as they are, bit by bit; tiles begin at multiples of 32, so results do not depend on the batch.
 * Rows of several sequences may meet in a block: it goes through the positions of each.
 * Shared memory: two halves of the queries, keys, values: (2 * ROWS + KEYS) * (key_dim + 8) * 2 + KEYS * (out_dim + 8) * 2
 * bytes, 52,224 at 128; rows are 16 bytes longer so that fragments meet no bank twice.
 * Roofline: 4 * (key_dim + out_dim) operations a row and position, half of them for the second halves. 7B, a prompt of 2048, 28
 * layers: 1.7 TFLOP, 11 ms on an A100 (156 T), 3.6 ms on an H800 (474 T), half of their peaks. */
#include "kernels/attend_prompt.h"

#include "kernels/attend.cuh"

enum {
    THREADS = 128,
    ROWS = THREADS / WARP_LANES * 16,
    KEYS = 32,   /* positions of a tile */
    PADDING = 8, /* halves behind a row */
    UNIT = 8,    /* halves that are copied at once */
};
static_assert(KEYS % KV_CACHE_BLOCK == 0 && KEYS % 16 == 0, "a tile is whole blocks, and whole steps of mma");

struct memory {     /* of a block */
    uint16_t *high; /* (ROWS, pitch): queries, rounded to halves */
    uint16_t *low;  /* what is missing */
    uint16_t *keys; /* (KEYS, pitch) */
    uint16_t *values;
    uint32_t pitch;
    uint32_t value_pitch;
};

struct lane { /* its two rows, g and g + 8 of the warp's 16 */
    uint32_t token[2];
    struct span sees[2]; /* in the sequence that the block is at; empty: another's row */
    float largest[2];    /* score */
    float weights[2];    /* sum of this lane's exponentials */
};

/* --- from global memory -------------------------------------------------------------------------------------------- */

static __host__ __device__ __forceinline__ uint32_t padded_dim(uint32_t dim)
{
    return (dim + 15) / 16 * 16;
}

static __device__ void load_queries(const struct attend_params &p, const struct memory &m)
{
    uint32_t group = p.heads / p.layer.heads;
    uint32_t dim = padded_dim(p.layer.key_dim);
    for (uint32_t i = threadIdx.x; i < ROWS * dim; i += THREADS) {
        uint32_t row = blockIdx.x * ROWS + i / dim;
        uint32_t d = i % dim;
        float v = 0.0F;
        if (row < p.tokens.count * group && d < p.layer.key_dim) {
            size_t head = (size_t)(row / group) * p.heads + blockIdx.y * group + row % group;
            v = p.scale * p.query[head * p.layer.key_dim + d];
        }
        uint32_t at = i / dim * m.pitch + d;
        split_halves(v, &m.high[at], &m.low[at]);
    }
}

/* Positions at to at + KEYS of a cache; those outside of the span become zero. */
static __device__ void copy_tile(const struct attend_params &p, const uint16_t *cache, const uint32_t *table,
                                 uint32_t dim, uint32_t padded, const struct span &s, uint32_t at,
                                 uint16_t *to, uint32_t pitch)
{
    uint32_t units = padded / UNIT;
    for (uint32_t i = threadIdx.x; i < KEYS * units; i += THREADS) {
        uint32_t position = at + i / units;
        uint32_t d = i % units * UNIT;
        bool is_there = position >= s.from && position < s.to && d < dim;
        const uint16_t *from = cache;
        if (is_there) {
            from = cache_row(p, cache, table, blockIdx.y, dim, position) + d;
        }
        copy_async16(to + i / units * pitch + d, from, is_there ? 16 : 0);
    }
    copy_async_commit();
}

/* --- products -------------------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t pair_at(const uint16_t *row, uint32_t d)
{
    return *reinterpret_cast<const uint32_t *>(row + d);
}

/* Fragment A of 16 rows x 16 values. */
static __device__ __forceinline__ void query_fragment(const uint16_t *rows, uint32_t pitch, uint32_t d,
                                                      uint32_t (&a)[4])
{
    uint32_t lane = threadIdx.x % WARP_LANES;
    const uint16_t *row = rows + (threadIdx.x / WARP_LANES * 16 + lane / 4) * pitch + d + lane % 4 * 2;
    a[0] = pair_at(row, 0);
    a[1] = pair_at(row, 8 * pitch);
    a[2] = pair_at(row, 8);
    a[3] = pair_at(row, 8 * pitch + 8);
}

static __device__ void score_tile(const struct attend_params &p, const struct memory &m,
                                  float (&score)[KEYS / 8][4])
{
    uint32_t lane = threadIdx.x % WARP_LANES;
    for (uint32_t d = 0; d < p.layer.key_dim; d += 16) {
        uint32_t high[4];
        uint32_t low[4];
        query_fragment(m.high, m.pitch, d, high);
        query_fragment(m.low, m.pitch, d, low);
        for (uint32_t n = 0; n < KEYS / 8; n++) {
            const uint16_t *key = m.keys + (8 * n + lane / 4) * m.pitch + d + lane % 4 * 2;
            const uint32_t b[2] = {pair_at(key, 0), pair_at(key, 8)};
            mma_f16(high, b, score[n]);
            mma_f16(low, b, score[n]);
        }
    }
}

/* Two floats as two pairs of halves whose sum they are. */
static __device__ __forceinline__ void split_pair(float a, float b, uint32_t *high, uint32_t *low)
{
    uint16_t a_high = float_to_half_device(a);
    uint16_t b_high = float_to_half_device(b);
    *high = a_high | (uint32_t)b_high << 16;
    *low = float_to_half_device(a - half_to_float_device(a_high)) |
           (uint32_t)float_to_half_device(b - half_to_float_device(b_high)) << 16;
}

template <int TILES>
static __device__ void add_values(const struct attend_params &p, const struct memory &m,
                                  const float (&weight)[KEYS / 8][4], float (&out)[TILES][4])
{
    uint32_t lane = threadIdx.x % WARP_LANES;
    for (uint32_t k = 0; k < KEYS / 16; k++) {
        uint32_t high[4]; /* scores of two tiles of 8 positions are fragment A of 16 */
        uint32_t low[4];
        for (uint32_t i = 0; i < 4; i++) {
            const float *w = weight[2 * k + i / 2] + i % 2 * 2;
            split_pair(w[0], w[1], &high[i], &low[i]);
        }
        const uint16_t *value = m.values + (16 * k + lane % 4 * 2) * m.value_pitch + lane / 4;
        for (uint32_t n = 0; n < TILES; n++) {
            if (8 * n < p.out_dim) {
                const uint16_t *v = value + 8 * n;
                const uint32_t b[2] = {v[0] | (uint32_t)v[m.value_pitch] << 16,
                                       v[8 * m.value_pitch] | (uint32_t)v[9 * m.value_pitch] << 16};
                mma_f16(high, b, out[n]);
                mma_f16(low, b, out[n]);
            }
        }
    }
}

/* --- softmax ----------------------------------------------------------------------------------------------------------- */

/* Of the four lanes that hold a row. */
static __device__ __forceinline__ float row_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, 1));
    return fmaxf(v, __shfl_xor_sync(ALL_LANES, v, 2));
}

static __device__ __forceinline__ float row_sum(float v)
{
    v += __shfl_xor_sync(ALL_LANES, v, 1);
    return v + __shfl_xor_sync(ALL_LANES, v, 2);
}

/* Scores become exponentials below the row's maximum so far; keep: what earlier sums are multiplied by. */
static __device__ void exponentiate(struct lane &l, uint32_t at, float (&score)[KEYS / 8][4],
                                    float (&keep)[2])
{
    for (uint32_t row = 0; row < 2; row++) {
        float most = -INFINITY;
        for (uint32_t i = 0; i < KEYS / 8 * 2; i++) {
            uint32_t position = at + i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
            float *s = &score[i / 2][2 * row + i % 2];
            *s = position >= l.sees[row].from && position < l.sees[row].to ? *s : -INFINITY;
            most = fmaxf(most, *s);
        }
        float next = fmaxf(l.largest[row], row_max(most));
        float base =
            next == -INFINITY ? 0.0F : next; /* nothing seen yet: exponentials of -infinity are zero */
        keep[row] = expf(l.largest[row] - base);
        l.largest[row] = next;
        l.weights[row] *= keep[row];
        for (uint32_t i = 0; i < KEYS / 8 * 2; i++) {
            float *s = &score[i / 2][2 * row + i % 2];
            *s = expf(*s - base);
            l.weights[row] += *s;
        }
    }
}

/* --- kernel -------------------------------------------------------------------------------------------------------------- */

static __device__ struct memory block_memory(const struct attend_params &p, uint16_t *bytes)
{
    struct memory m = {};
    m.pitch = padded_dim(p.layer.key_dim) + PADDING;
    m.value_pitch = p.out_dim + PADDING;
    m.high = bytes;
    m.low = m.high + ROWS * m.pitch;
    m.keys = m.low + ROWS * m.pitch;
    m.values = m.keys + KEYS * m.pitch;
    return m;
}

/* In one store, to an address that is a multiple of 8. */
static __device__ __forceinline__ void store_pair(float *to, float a, float b)
{
    *reinterpret_cast<uint64_t *>(to) = __float_as_uint(a) | (uint64_t)__float_as_uint(b) << 32;
}

/* The tokens first to last - 1 are one sequence's: all that they see. */
template <int TILES>
static __device__ void attend_run(const struct attend_params &p, const struct memory &m, uint32_t first,
                                  uint32_t last, struct lane &l, float (&out)[TILES][4])
{
    const uint32_t *table = token_table(p, first);
    struct span s = {token_span(p, first).from, token_span(p, last - 1).to};
    const struct span nothing = {0, 0};
    for (uint32_t row = 0; row < 2; row++) {
        bool is_here = l.token[row] >= first && l.token[row] < last;
        l.sees[row] = is_here ? token_span(p, l.token[row]) : nothing;
    }
    for (uint32_t at = s.from / KEYS * KEYS; at < s.to; at += KEYS) {
        float score[KEYS / 8][4] = {};
        float keep[2];
        copy_tile(p, p.layer.keys, table, p.layer.key_dim, padded_dim(p.layer.key_dim), s, at, m.keys,
                  m.pitch);
        copy_tile(p, p.layer.values, table, p.layer.value_dim, p.out_dim, s, at, m.values, m.value_pitch);
        copy_async_wait(1);
        __syncthreads();
        score_tile(p, m, score);
        exponentiate(l, at, score, keep);
        for (uint32_t i = 0; i < TILES * 4; i++) {
            out[i / 4][i % 4] *= keep[i % 4 / 2];
        }
        copy_async_wait(0);
        __syncthreads();
        add_values<TILES>(p, m, score, out);
        __syncthreads();
    }
}

/* TILES: of 8 values of the answer. */
template <int TILES> static __global__ void __launch_bounds__(THREADS) attend_prompt(struct attend_params p)
{
    DYNAMIC_SHARED(uint16_t, bytes);
    struct memory m = block_memory(p, bytes);
    uint32_t group = p.heads / p.layer.heads;
    uint32_t rows = p.tokens.count * group;
    uint32_t first_row = blockIdx.x * ROWS;
    uint32_t my_row = first_row + threadIdx.x / WARP_LANES * 16 + threadIdx.x % WARP_LANES / 4;
    uint32_t end = (min(first_row + ROWS, rows) - 1) / group + 1;
    struct lane l = {{my_row / group, (my_row + 8) / group}, {}, {-INFINITY, -INFINITY}, {}};
    float out[TILES][4] = {};
    load_queries(p, m);
    for (uint32_t first = first_row / group; first < end;) {
        uint32_t last = first + 1;
        while (last < end && p.tokens.sequences[last] == p.tokens.sequences[first]) {
            last++;
        }
        attend_run<TILES>(p, m, first, last, l, out);
        first = last;
    }
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t row = my_row + 8 * half;
        float weights = row_sum(l.weights[half]);
        size_t head = (size_t)l.token[half] * p.heads + blockIdx.y * group + row % group;
        float *to = p.out + head * p.out_dim + threadIdx.x % 4 * 2;
        for (uint32_t n = 0; n < TILES; n++) {
            if (row < rows && 8 * n < p.out_dim) {
                store_pair(to + 8 * n, out[n][2 * half] / weights, out[n][2 * half + 1] / weights);
            }
        }
    }
}

/* --- launcher ------------------------------------------------------------------------------------------------------------ */

static bool has_dimensions(const struct attend_params *p)
{
    const struct kv_cache_layer *l = &p->layer;
    return l->key_dim > 0 && l->key_dim % UNIT == 0 && l->key_dim <= ATTEND_PROMPT_MOST_DIM &&
           p->out_dim > 0 && p->out_dim % UNIT == 0 && p->out_dim <= ATTEND_PROMPT_MOST_DIM &&
           p->out_dim <= l->value_dim && l->value_dim % UNIT == 0 && l->heads > 0 && p->heads % l->heads == 0;
}

bool attend_prompt_takes(const struct attend_params *p, uint32_t sequences)
{
    return has_dimensions(p) && p->tokens.count / ATTEND_PROMPT_LEAST >= sequences;
}

template <int TILES>
static cudaError_t launch(const struct attend_params *p, size_t shared, cudaStream_t stream)
{
    uint32_t rows = p->tokens.count * (p->heads / p->layer.heads);
    cudaError_t rc = cudaFuncSetAttribute(reinterpret_cast<const void *>(attend_prompt<TILES>),
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (rc == cudaSuccess && rows > 0) {
        LAUNCH((attend_prompt<TILES>), dim3((rows + ROWS - 1) / ROWS, p->layer.heads), dim3(THREADS), shared,
               stream, *p);
        rc = cudaGetLastError();
    }
    return rc;
}

cudaError_t attend_prompt_launch(const struct attend_params *p, cudaStream_t stream)
{
    if (!has_dimensions(p)) {
        return cudaErrorInvalidValue;
    }
    size_t pitch = padded_dim(p->layer.key_dim) + PADDING;
    size_t shared = 2 * ((2 * ROWS + KEYS) * pitch + KEYS * (p->out_dim + PADDING));
    return p->out_dim <= 64    ? launch<8>(p, shared, stream)
           : p->out_dim <= 128 ? launch<16>(p, shared, stream)
                               : launch<32>(p, shared, stream);
}

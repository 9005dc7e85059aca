/* A tile of a product on tensor cores: 64 rows of quantized weights times 64 columns of int8 activations, by a block.
 *
 *     sum over blocks of 32 columns of w:  d[row] * scale[column] * (exact integer) + m[row] * sum[column]
 *                                          (of kinds without a minimum m the sums are not read)
 *
 * Four warps, each 32 rows x 32 columns: mma.sync m16n8k32 on int8 gives a block's integers, which are scaled in float. Weights
 * come as they lie in memory: word t of a row's block of 4 bits is, nibble by nibble, just what lane t holds of A.
 * Shared memory, two stages of 4 blocks of 32: bytes of both sides, the 16-byte pieces of a row in an order of its own so that
 * neither copies nor fragments meet a bank twice, and their scales: 39,680 bytes. A stage's cp.async runs while the one before
 * is multiplied.
 * Results of a column do not depend on the others. */
#ifndef TIDE_KERNELS_TILE_CUH
#define TIDE_KERNELS_TILE_CUH

#include "kernels/row_dots.cuh"

enum {
    TILE_THREADS = 128,
    TILE_BLOCKS_AT_ONCE = 3, /* of threads, on a multiprocessor, at least */
    TILE_ROWS = 64,
    TILE_COLUMNS = 64,
    TILE_BLOCKS = 4,                                      /* of 32 values, in a stage */
    TILE_PIECES = 2 * TILE_BLOCKS,                        /* of 16 bytes, in a row of a stage */
    TILE_SCALE_PITCH = TILE_ROWS + 8,                     /* words from a block's scales to the next's */
    TILE_SCALES = TILE_ROWS * TILE_BLOCKS / TILE_THREADS, /* of either side, by a thread */
};
static_assert(TILE_ROWS == TILE_COLUMNS, "one loop copies either side");
static_assert(TILE_SCALES * TILE_THREADS == TILE_ROWS * TILE_BLOCKS, "scales fill the tile");
static_assert(TILE_SCALE_PITCH % 32 == 8, "a block's scales begin in other banks than the next one's");

struct tile { /* what a block of threads works on */
    struct matrix w;
    uint32_t row;     /* the first */
    uint32_t row_end; /* rows from here on are others' */
    struct quantized_rows x;
    struct columns columns;
    uint32_t column; /* the first */
    float *out;
    const float *bias; /* of row 0; NULL: none */
    bool adds;
    uint32_t out_row; /* of out: where row `row` goes */
};

struct tile_memory {
    uint4 w[2][TILE_ROWS * TILE_PIECES];
    uint4 x[2][TILE_COLUMNS * TILE_PIECES];
    uint32_t w_scale[2][TILE_BLOCKS * TILE_SCALE_PITCH]; /* two halves: d and m, or d of either 16 values */
    float x_scale[2][TILE_BLOCKS * TILE_SCALE_PITCH];
    float x_sum[2][TILE_BLOCKS * TILE_SCALE_PITCH];
};

struct tile_scales { /* on their way from global to shared memory */
    uint32_t w[TILE_SCALES];
    float x[TILE_SCALES];
    float sum[TILE_SCALES];
};

/* Where a piece of a row of `pieces` (4 or 8) lies: eight that are copied or read at once lie in different banks. */
static __device__ __forceinline__ uint32_t tile_place(uint32_t pieces, uint32_t row, uint32_t piece)
{
    return row * pieces + (piece ^ (pieces == 8 ? row % 8 : row / 2 % 4));
}

/* --- from global memory ------------------------------------------------------------------------------------------ */

template <enum matrix_kind KIND>
static __device__ void tile_copy(const struct tile &t, struct tile_memory &m, uint32_t block)
{
    const uint32_t pieces = KIND == MATRIX_4BIT ? TILE_BLOCKS : TILE_PIECES;
    uint32_t blocks = t.w.columns / MATRIX_BLOCK;
    uint32_t w_left = (blocks - block) * (pieces / TILE_BLOCKS);
    uint32_t x_left = (blocks - block) * 2;
    uint32_t buffer = block / TILE_BLOCKS % 2;
    const uint8_t *w = static_cast<const uint8_t *>(t.w.values);
    for (uint32_t i = threadIdx.x; i < TILE_ROWS * pieces; i += TILE_THREADS) {
        uint32_t row = t.row + i / pieces;
        uint32_t piece = i % pieces;
        bool is_there = row < t.row_end && piece < w_left;
        size_t at = ((size_t)row * blocks + block) * (pieces / TILE_BLOCKS) + piece;
        copy_async16(&m.w[buffer][tile_place(pieces, i / pieces, piece)], w + (is_there ? at * 16 : 0),
                     is_there ? 16 : 0);
    }
    for (uint32_t i = threadIdx.x; i < TILE_COLUMNS * TILE_PIECES; i += TILE_THREADS) {
        uint32_t column = t.column + i / TILE_PIECES;
        uint32_t piece = i % TILE_PIECES;
        bool is_there = column < t.columns.count && piece < x_left;
        size_t at = is_there ? column_x(t.columns, column) + block * MATRIX_BLOCK + piece * 16 : 0;
        copy_async16(&m.x[buffer][tile_place(TILE_PIECES, i / TILE_PIECES, piece)], t.x.q + at,
                     is_there ? 16 : 0);
    }
    copy_async_commit();
}

/* Two halves of a block of weights. */
template <enum matrix_kind KIND>
static __device__ __forceinline__ uint32_t tile_scale(const struct matrix &w, size_t block)
{
    return KIND == MATRIX_8BIT ? w.scale[block] : reinterpret_cast<const uint32_t *>(w.scale)[block];
}

template <enum matrix_kind KIND>
static __device__ struct tile_scales tile_load_scales(const struct tile &t, uint32_t block)
{
    struct tile_scales s = {};
    uint32_t blocks = t.w.columns / MATRIX_BLOCK;
    for (int i = 0; i < TILE_SCALES; i++) {
        uint32_t place = threadIdx.x + i * TILE_THREADS;
        uint32_t b = block + place % TILE_BLOCKS;
        uint32_t row = t.row + place / TILE_BLOCKS;
        uint32_t column = t.column + place / TILE_BLOCKS;
        if (b < blocks && row < t.row_end) {
            s.w[i] = tile_scale<KIND>(t.w, (size_t)row * blocks + b);
        }
        if (b < blocks && column < t.columns.count) {
            size_t at = column_x(t.columns, column) / MATRIX_BLOCK + b;
            s.x[i] = t.x.scale[at];
            s.sum[i] = has_minimum(KIND) ? t.x.sum[at] : 0.0F;
        }
    }
    return s;
}

template <enum matrix_kind KIND>
static __device__ void tile_store_scales(struct tile_memory &m, uint32_t block, const struct tile_scales &s)
{
    uint32_t buffer = block / TILE_BLOCKS % 2;
    for (int i = 0; i < TILE_SCALES; i++) {
        uint32_t place = threadIdx.x + i * TILE_THREADS;
        uint32_t at = place % TILE_BLOCKS * TILE_SCALE_PITCH + place / TILE_BLOCKS;
        m.w_scale[buffer][at] = s.w[i];
        m.x_scale[buffer][at] = s.x[i];
        if (has_minimum(KIND)) {
            m.x_sum[buffer][at] = s.sum[i];
        }
    }
}

/* --- products ------------------------------------------------------------------------------------------------------- */

/* This lane's word of a piece: a row's 16 bytes are held by four lanes. */
static __device__ __forceinline__ uint32_t tile_word(const uint4 *rows, uint32_t pieces, uint32_t row,
                                                     uint32_t piece)
{
    const uint32_t *words = reinterpret_cast<const uint32_t *>(rows + tile_place(pieces, row, piece));
    return words[threadIdx.x % 4];
}

/* What a lane holds of 16 rows x 32 columns of weights (fragment A of m16n8k32). */
template <enum matrix_kind KIND>
static __device__ __forceinline__ void tile_fragment(const uint4 *rows, uint32_t row, uint32_t b,
                                                     uint32_t (&a)[4])
{
    for (uint32_t half = 0; half < 2; half++) {
        if (KIND == MATRIX_4BIT) {
            uint32_t word = tile_word(rows, TILE_BLOCKS, row + 8 * half, b);
            a[half] = word & 0x0F0F0F0F;
            a[half + 2] = word >> 4 & 0x0F0F0F0F;
        } else {
            a[half] = tile_word(rows, TILE_PIECES, row + 8 * half, 2 * b);
            a[half + 2] = tile_word(rows, TILE_PIECES, row + 8 * half, 2 * b + 1);
        }
    }
}

/* Integers are summed upon the bits of 1.5 * 2^23, whose float has steps of one: what it has more is the sum, exact to 2^22 and
 * four times as fast on sm_80 as a conversion. */
enum { TILE_ZERO = 0x4B400000 };
static_assert(MATRIX_BLOCK * 127 * 128 < 1 << 22, "a block's sum fits");

static __device__ __forceinline__ float tile_sum(int c)
{
    return __uint_as_float((unsigned)c) - 12582912.0F;
}

/* One block of 32 of 16 rows x 8 columns. */
template <enum matrix_kind KIND>
static __device__ __forceinline__ void tile_multiply(const uint32_t (&a)[4], const uint32_t (&b)[2],
                                                     const uint32_t (&dm)[2], const float2 &scale,
                                                     const float2 &sum, float (&out)[4])
{
    int c[4] = {TILE_ZERO, TILE_ZERO, TILE_ZERO, TILE_ZERO};
    int fine[4] = {TILE_ZERO, TILE_ZERO, TILE_ZERO, TILE_ZERO};
    if (KIND == MATRIX_8BIT_FINE) { /* 16 values to a scale: the halves of the block one after the other */
        const uint32_t first[4] = {a[0], a[1], 0, 0};
        const uint32_t second[4] = {0, 0, a[2], a[3]};
        mma_s8(first, b, c);
        mma_s8(second, b, fine);
    } else {
        mma_s8(a, b, c);
    }
    for (int r = 0; r < 4; r++) {
        float x = r % 2 ? scale.y : scale.x;
        out[r] += low_half(dm[r / 2]) * x * tile_sum(c[r]);
        if (KIND == MATRIX_8BIT_FINE) {
            out[r] += high_half(dm[r / 2]) * x * tile_sum(fine[r]);
        } else if (has_minimum(KIND)) {
            out[r] += high_half(dm[r / 2]) * (r % 2 ? sum.y : sum.x);
        }
    }
}

/* A warp's 32 x 32, for the blocks of a stage. */
template <enum matrix_kind KIND>
static __device__ void tile_stage(const struct tile_memory &m, uint32_t buffer, float (&out)[2][4][4])
{
    uint32_t warp = threadIdx.x / WARP_LANES;
    uint32_t g = threadIdx.x % WARP_LANES / 4;
    uint32_t t = threadIdx.x % 4;
    for (uint32_t b = 0; b < TILE_BLOCKS; b++) {
        uint32_t a[2][4];
        uint32_t dm[2][2];
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t row = warp / 2 * 32 + 16 * i + g;
            tile_fragment<KIND>(m.w[buffer], row, b, a[i]);
            dm[i][0] = m.w_scale[buffer][b * TILE_SCALE_PITCH + row];
            dm[i][1] = m.w_scale[buffer][b * TILE_SCALE_PITCH + row + 8];
        }
        for (uint32_t n = 0; n < 4; n++) {
            uint32_t column = warp % 2 * 32 + 8 * n;
            const uint32_t x[2] = {tile_word(m.x[buffer], TILE_PIECES, column + g, 2 * b),
                                   tile_word(m.x[buffer], TILE_PIECES, column + g, 2 * b + 1)};
            uint32_t at = b * TILE_SCALE_PITCH + column + 2 * t;
            float2 scale = *reinterpret_cast<const float2 *>(&m.x_scale[buffer][at]);
            float2 sum = {};
            if (has_minimum(KIND)) {
                sum = *reinterpret_cast<const float2 *>(&m.x_sum[buffer][at]);
            }
            for (uint32_t i = 0; i < 2; i++) {
                tile_multiply<KIND>(a[i], x, dm[i], scale, sum, out[i][n]);
            }
        }
    }
}

/* --- products without scales: 32 bytes of a row at a time ------------------------------------------------------------- */

enum tile_numbers {
    TILE_F16 = 0,
    TILE_BF16 = 1,
    TILE_E4M3 = 2,
};

/* A warp's 32 x 32, for a stage of 128 bytes of each row. */
template <enum tile_numbers NUMBERS>
static __device__ void tile_bytes(const struct tile_memory &m, uint32_t buffer, float (&sums)[2][4][4])
{
    uint32_t warp = threadIdx.x / WARP_LANES;
    uint32_t g = threadIdx.x % WARP_LANES / 4;
    for (uint32_t b = 0; b < TILE_BLOCKS; b++) {
        uint32_t a[2][4];
        tile_fragment<MATRIX_8BIT>(m.w[buffer], warp / 2 * 32 + g, b, a[0]);
        tile_fragment<MATRIX_8BIT>(m.w[buffer], warp / 2 * 32 + 16 + g, b, a[1]);
        for (uint32_t n = 0; n < 4; n++) {
            uint32_t column = warp % 2 * 32 + 8 * n + g;
            const uint32_t x[2] = {tile_word(m.x[buffer], TILE_PIECES, column, 2 * b),
                                   tile_word(m.x[buffer], TILE_PIECES, column, 2 * b + 1)};
            for (uint32_t i = 0; i < 2; i++) {
                if (NUMBERS == TILE_F16) {
                    mma_f16(a[i], x, sums[i][n]);
                } else if (NUMBERS == TILE_BF16) {
                    mma_bf16(a[i], x, sums[i][n]);
                } else {
                    mma_e4m3(a[i], x, sums[i][n]);
                }
            }
        }
    }
}

/* --- the tile ----------------------------------------------------------------------------------------------------------- */

static __device__ void tile_write(const struct tile &t, const float (&sums)[2][4][4])
{
    uint32_t warp = threadIdx.x / WARP_LANES;
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t r = i % 4;
        uint32_t row = warp / 2 * 32 + i / 16 * 16 + threadIdx.x % WARP_LANES / 4 + r / 2 * 8;
        uint32_t column = t.column + warp % 2 * 32 + i / 4 % 4 * 8 + threadIdx.x % 4 * 2 + r % 2;
        if (t.row + row < t.row_end && column < t.columns.count) {
            float *out = t.out + column_out(t.columns, column) + t.out_row + row;
            float sum = sums[i / 16][i / 4 % 4][r];
            *out = sum + (t.bias ? t.bias[t.out_row + row] : t.adds ? *out : 0.0F);
        }
    }
}

/* The whole tile. Every thread of the block comes; the memory is free after the next barrier. */
template <enum matrix_kind KIND>
static __device__ void tile_product(const struct tile &t, struct tile_memory &m)
{
    float sums[2][4][4] = {};
    uint32_t blocks = t.w.columns / MATRIX_BLOCK;
    tile_copy<KIND>(t, m, 0);
    tile_store_scales<KIND>(m, 0, tile_load_scales<KIND>(t, 0));
    for (uint32_t block = 0; block < blocks; block += TILE_BLOCKS) {
        uint32_t next = block + TILE_BLOCKS;
        struct tile_scales scales = {};
        copy_async_wait(0);
        __syncthreads();
        if (next < blocks) {
            tile_copy<KIND>(t, m, next);
            scales = tile_load_scales<KIND>(t, next);
        }
        tile_stage<KIND>(m, block / TILE_BLOCKS % 2, sums);
        tile_store_scales<KIND>(m, next, scales); /* behind the last stage nobody reads them */
    }
    tile_write(t, sums);
}

#endif

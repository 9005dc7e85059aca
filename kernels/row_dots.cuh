/* One row of a weight matrix times a few columns, by a warp: the inner part of matvec.cu and pieces.cu.
 *
 * A lane takes 16 values at a time: 16 bytes of 8-bit weights and of int8 activations; of 4-bit weights half of a block,
 * whose 16 bytes two neighbours read together. So each request of a warp touches as few sectors as its bytes fill. Products by
 * __dp4a are exact; a lane sums them scaled, the lanes as a tree. FP8 weights meet floats: a warp takes the 128 values of a scale
 * at once, a lane 4. */
#ifndef TIDE_KERNELS_ROW_DOTS_CUH
#define TIDE_KERNELS_ROW_DOTS_CUH

#include "kernels/columns.cuh"
#include "kernels/matrix.h"
#include "kernels/quantize.h"

enum {
    UNIT = 16,                       /* values of a row that a lane takes at once */
    OF_LANE = FP8_BLOCK / WARP_LANES /* of FP8 */
};
static_assert(MATRIX_BLOCK == 2 * UNIT, "a block is two units");
static_assert(OF_LANE == 4, "a lane reads one word");

struct weight_unit { /* values q * d + m */
    uint4 q;         /* int8 */
    float d;
    float m;
};

struct activations { /* what the columns are cut from: floats, or int8 */
    const float *x;
    struct quantized_rows q;
};

/* Values are q * d + m. */
static constexpr __device__ __forceinline__ bool has_minimum(enum matrix_kind kind)
{
    return kind != MATRIX_8BIT && kind != MATRIX_8BIT_FINE;
}

static __device__ __forceinline__ int dot_16(const uint4 &w, const uint4 &x)
{
    int sum = __dp4a((int)w.x, (int)x.x, 0);
    sum = __dp4a((int)w.y, (int)x.y, sum);
    sum = __dp4a((int)w.z, (int)x.z, sum);
    return __dp4a((int)w.w, (int)x.w, sum);
}

static __device__ __forceinline__ uint4 nibbles(const uint4 &w, unsigned shift)
{
    return {w.x >> shift & 0x0F0F0F0F, w.y >> shift & 0x0F0F0F0F, w.z >> shift & 0x0F0F0F0F,
            w.w >> shift & 0x0F0F0F0F};
}

/* Unit u of all units of the matrix. The minimum of a block of 32 stands with its first unit only: the sum that it meets
 * is that of the block. */
template <enum matrix_kind KIND>
static __device__ __forceinline__ struct weight_unit load_unit(const struct matrix &w, size_t u)
{
    size_t block = u / 2;
    const uint8_t *values = static_cast<const uint8_t *>(w.values);
    if (KIND == MATRIX_8BIT) {
        return {load16(values + u * UNIT), half_to_float_device(w.scale[block]), 0.0F};
    }
    if (KIND == MATRIX_8BIT_FINE) {
        return {load16(values + u * UNIT), half_to_float_device(w.scale[u]), 0.0F};
    }
    bool is_fine = KIND == MATRIX_8BIT_FINE_MIN;
    uint32_t dm = reinterpret_cast<const uint32_t *>(w.scale)[is_fine ? u : block];
    float m = is_fine || u % 2 == 0 ? high_half(dm) : 0.0F;
    if (KIND == MATRIX_4BIT) {
        return {nibbles(load16(values + block * UNIT), 4 * (u % 2)), low_half(dm), m};
    }
    return {load16(values + u * UNIT), low_half(dm), m};
}

template <enum matrix_kind KIND, int COLUMNS>
static __device__ void row_int8(const struct matrix &w, uint32_t row, const struct quantized_rows &x,
                                const size_t (&at)[COLUMNS], float (&sums)[COLUMNS])
{
    const uint4 ones = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
    uint32_t units = w.columns / UNIT;
    for (uint32_t u = threadIdx.x % WARP_LANES; u < units; u += WARP_LANES) {
        struct weight_unit unit = load_unit<KIND>(w, (size_t)row * units + u);
        for (int c = 0; c < COLUMNS; c++) {
            size_t block = at[c] / MATRIX_BLOCK + u / 2;
            uint4 q = load16(x.q + at[c] + u * UNIT);
            sums[c] += unit.d * x.scale[block] * (float)dot_16(unit.q, q);
            if (KIND == MATRIX_8BIT_FINE_MIN) {
                sums[c] += unit.m * x.scale[block] * (float)dot_16(ones, q);
            } else if (has_minimum(KIND)) {
                sums[c] += unit.m * x.sum[block];
            }
        }
    }
}

static __device__ __forceinline__ float float_weight(const struct matrix &w, size_t at)
{
    if (w.kind == MATRIX_F32) {
        return static_cast<const float *>(w.values)[at];
    }
    uint16_t bits = static_cast<const uint16_t *>(w.values)[at];
    return w.kind == MATRIX_F16 ? half_to_float_device(bits) : bf16_to_float(bits);
}

template <int COLUMNS>
static __device__ void row_float(const struct matrix &w, uint32_t row, const float *x,
                                 const size_t (&at)[COLUMNS], float (&sums)[COLUMNS])
{
    for (uint32_t k = threadIdx.x % WARP_LANES; k < w.columns; k += WARP_LANES) {
        float weight = float_weight(w, (size_t)row * w.columns + k);
        for (int c = 0; c < COLUMNS; c++) {
            sums[c] += weight * x[at[c] + k];
        }
    }
}

template <int COLUMNS>
static __device__ void row_e4m3(const struct matrix &w, uint32_t row, const float *x,
                                const size_t at[COLUMNS], float sums[COLUMNS])
{
    uint32_t groups = (w.columns + FP8_BLOCK - 1) / FP8_BLOCK;
    const float *scales = reinterpret_cast<const float *>(w.scale) + (size_t)(row / FP8_BLOCK) * groups;
    const uint8_t *values = static_cast<const uint8_t *>(w.values) + (size_t)row * w.columns;
    for (uint32_t k = threadIdx.x % WARP_LANES * OF_LANE; k < w.columns; k += FP8_BLOCK) {
        uint32_t q = *reinterpret_cast<const uint32_t *>(values + k);
        float scale = scales[k / FP8_BLOCK];
        const float weight[OF_LANE] = {e4m3_to_float(q) * scale, e4m3_to_float(q >> 8) * scale,
                                       e4m3_to_float(q >> 16) * scale, e4m3_to_float(q >> 24) * scale};
        for (int c = 0; c < COLUMNS; c++) {
            uint4 v = load16(x + at[c] + k);
            sums[c] += weight[0] * __uint_as_float(v.x) + weight[1] * __uint_as_float(v.y) +
                       weight[2] * __uint_as_float(v.z) + weight[3] * __uint_as_float(v.w);
        }
    }
}

/* Columns first to first + COLUMNS; past the last one that one is computed again and not wanted. Every lane receives the
 * sums. */
template <int COLUMNS>
static __device__ void row_dots(const struct matrix &w, uint32_t row, const struct activations &x,
                                const struct columns &columns, uint32_t first, float (&sums)[COLUMNS])
{
    size_t at[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) {
        at[c] = column_x(columns, min(first + c, columns.count - 1));
        sums[c] = 0.0F;
    }
    switch (w.kind) {
    case MATRIX_4BIT:
        row_int8<MATRIX_4BIT, COLUMNS>(w, row, x.q, at, sums);
        break;
    case MATRIX_8BIT:
        row_int8<MATRIX_8BIT, COLUMNS>(w, row, x.q, at, sums);
        break;
    case MATRIX_8BIT_FINE:
        row_int8<MATRIX_8BIT_FINE, COLUMNS>(w, row, x.q, at, sums);
        break;
    case MATRIX_8BIT_MIN:
        row_int8<MATRIX_8BIT_MIN, COLUMNS>(w, row, x.q, at, sums);
        break;
    case MATRIX_8BIT_FINE_MIN:
        row_int8<MATRIX_8BIT_FINE_MIN, COLUMNS>(w, row, x.q, at, sums);
        break;
    case MATRIX_E4M3:
        row_e4m3<COLUMNS>(w, row, x.x, at, sums);
        break;
    default:
        row_float<COLUMNS>(w, row, x.x, at, sums);
        break;
    }
    for (int c = 0; c < COLUMNS; c++) {
        sums[c] = warp_sum(sums[c]);
    }
}

#endif

/* A weight matrix times a few columns. w (rows, columns), x (count, columns) -> (count, rows) float32.
 *
 * Tolerance: 1e-6 times the sum of |w * x| (float sums over a row, lanes first, then a tree).
 * Tile: a warp a row, up to 8 columns of x at once, so weights are read once for them. A lane loads 16 bytes of weights:
 * 32 values of 4 bits, or 16 of 8 bits; products by __dp4a. Shared memory: none; x comes from L1 and L2. With 4 bits a lane
 * loads two pieces of x that lie side by side, one after the other: each touches every sector, the second from L1.
 * Roofline: at few columns the weights' bytes decide. 7B in 4 bits (20 bytes for 32 values) is 4.4 GB: 2.7 ms a token on an
 * A100 (1.6 TB/s), 1.3 ms on an H800 (3.35 TB/s), 0.9 ms on an H200 (4.8 TB/s). */
#include "kernels/matvec.h"

#include "kernels/kdev.h"

enum { THREADS = 128, ROWS = THREADS / WARP_LANES };

/* --- products of one 16-byte unit of weights ------------------------------------------------------------------ */

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

/* --- one warp, one row ------------------------------------------------------------------------------------------- */

template <int COLUMNS>
static __device__ void row_4bit(const struct matvec_params &p, uint32_t row, uint32_t first,
                                float sums[COLUMNS])
{
    uint32_t blocks = p.w.columns / MATRIX_BLOCK;
    size_t at = (size_t)row * blocks;
    for (uint32_t b = threadIdx.x % WARP_LANES; b < blocks; b += WARP_LANES) {
        uint4 w = load16(static_cast<const uint8_t *>(p.w.values) + (at + b) * 16);
        uint32_t dm = reinterpret_cast<const uint32_t *>(p.w.scale)[at + b];
        uint4 low = nibbles(w, 0);
        uint4 high = nibbles(w, 4);
        for (int c = 0; c < COLUMNS; c++) {
            if (first + c < p.count) {
                size_t xb = (size_t)(first + c) * blocks + b;
                const int8_t *x = p.x_q.q + xb * MATRIX_BLOCK;
                int dot = dot_16(low, load16(x)) + dot_16(high, load16(x + 16));
                sums[c] += low_half(dm) * p.x_q.scale[xb] * (float)dot + high_half(dm) * p.x_q.sum[xb];
            }
        }
    }
}

/* SCALE_UNITS: units of 16 values that share a scale. */
template <int COLUMNS, int SCALE_UNITS>
static __device__ void row_8bit(const struct matvec_params &p, uint32_t row, uint32_t first,
                                float sums[COLUMNS])
{
    uint32_t units = p.w.columns / 16;
    size_t at = (size_t)row * units;
    for (uint32_t u = threadIdx.x % WARP_LANES; u < units; u += WARP_LANES) {
        uint4 w = load16(static_cast<const int8_t *>(p.w.values) + (at + u) * 16);
        float d = half_to_float_device(p.w.scale[(at + u) / SCALE_UNITS]);
        for (int c = 0; c < COLUMNS; c++) {
            if (first + c < p.count) {
                size_t xu = (size_t)(first + c) * units + u;
                int dot = dot_16(w, load16(p.x_q.q + xu * 16));
                sums[c] += d * p.x_q.scale[xu / 2] * (float)dot;
            }
        }
    }
}

template <int COLUMNS>
static __device__ void row_float(const struct matvec_params &p, uint32_t row, uint32_t first,
                                 float sums[COLUMNS])
{
    size_t at = (size_t)row * p.w.columns;
    for (uint32_t k = threadIdx.x % WARP_LANES; k < p.w.columns; k += WARP_LANES) {
        float w = p.w.kind == MATRIX_F32
                      ? static_cast<const float *>(p.w.values)[at + k]
                      : half_to_float_device(static_cast<const uint16_t *>(p.w.values)[at + k]);
        for (int c = 0; c < COLUMNS; c++) {
            if (first + c < p.count) {
                sums[c] += w * p.x[(size_t)(first + c) * p.w.columns + k];
            }
        }
    }
}

template <int COLUMNS> static __global__ void __launch_bounds__(THREADS) matvec(struct matvec_params p)
{
    uint32_t row = blockIdx.x * ROWS + threadIdx.x / WARP_LANES;
    uint32_t first = blockIdx.y * COLUMNS;
    float sums[COLUMNS] = {};
    if (row >= p.w.rows) {
        return; /* the whole warp */
    }
    if (p.w.kind == MATRIX_4BIT) {
        row_4bit<COLUMNS>(p, row, first, sums);
    } else if (p.w.kind == MATRIX_8BIT) {
        row_8bit<COLUMNS, 2>(p, row, first, sums);
    } else if (p.w.kind == MATRIX_8BIT_FINE) {
        row_8bit<COLUMNS, 1>(p, row, first, sums);
    } else {
        row_float<COLUMNS>(p, row, first, sums);
    }
    for (int c = 0; c < COLUMNS; c++) {
        float sum = warp_sum(sums[c]);
        if (threadIdx.x % WARP_LANES == 0 && first + c < p.count) {
            float *out = p.out + (size_t)(first + c) * p.w.rows + row;
            *out = sum + (p.bias ? p.bias[row] : p.adds ? *out : 0.0F);
        }
    }
}

/* --- launcher ------------------------------------------------------------------------------------------------------- */

cudaError_t matvec_launch(const struct matvec_params *p, cudaStream_t stream)
{
    if (p->w.columns == 0 || (p->w.kind >= MATRIX_4BIT && p->w.columns % MATRIX_BLOCK) ||
        (p->bias && p->adds)) {
        return cudaErrorInvalidValue;
    }
    unsigned blocks = (p->w.rows + ROWS - 1) / ROWS;
    if (p->count == 0 || blocks == 0) {
        return cudaSuccess;
    }
    if (p->count == 1) {
        LAUNCH((matvec<1>), dim3(blocks, 1), dim3(THREADS), 0, stream, *p);
    } else if (p->count <= 4) {
        LAUNCH((matvec<4>), dim3(blocks, 1), dim3(THREADS), 0, stream, *p);
    } else {
        LAUNCH((matvec<8>), dim3(blocks, (p->count + 7) / 8), dim3(THREADS), 0, stream, *p);
    }
    return cudaGetLastError();
}

/* A strip times columns with AVX2: maddubs multiplies unsigned weights with signed activations and adds pairs in 16 bits;
 * madd widens them. The integers are exact and the floats are in the order of avx512_strips.h: the same bits. */
#include "inference/worker/cpu/kernels.h"

#if defined(__x86_64__)

#include "inference/worker/cpu/avx2.h"
#include "inference/worker/cpu/strips_avx2.h"

INLINE __m256i broadcast4(const int8_t *q) /* the same four columns for all 8 rows */
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

INLINE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m256i lower_bits(__m256i both) /* of the values in the low halves of bytes */
{
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Bits `from` and up of each byte of a plane, moved to bit 4 and cut to the mask. */
INLINE __m256i upper_bits(__m256i plane, int from, char mask)
{
    __m256i moved = from < 4 ? _mm256_slli_epi16(plane, 4 - from) : _mm256_srli_epi16(plane, from - 4);
    return _mm256_and_si256(moved, _mm256_set1_epi8(mask));
}

/* acc += (d * scale) * dot */
INLINE __m256 add_scaled(__m256 acc, __m256 d, float scale, __m256i dot)
{
    return _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(scale)), _mm256_cvtepi32_ps(dot), acc);
}

/* Weights of 5 bits without a minimum lie 16 above their value, of 6 bits 32: what a dot starts from, so that the sum is
 * that of the values. Of 5 bits -16 times both halves' totals, of 6 bits -32 times one. */
INLINE __m256i start_5bit(const int16_t *totals)
{
    int32_t both;
    memcpy(&both, totals, sizeof both);
    return _mm256_madd_epi16(_mm256_set1_epi32(both), _mm256_set1_epi16(-16));
}

INLINE __m256i start_6bit(int16_t total)
{
    return _mm256_madd_epi16(_mm256_set1_epi16(total), _mm256_set1_epi16(-16));
}

INLINE __m256i add_widened(__m256i dot, __m256i pairs)
{
    return _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* 8 rows x 32 columns of 4-bit or 5-bit weights behind `head` bytes of scales and minimums, times n columns. Of 4 bits
 * eight products of 15 * 127 * 2 fit into 16 bits, of 5 bits four: so many groups go before a widening. */
INLINE void block_5bit(const uint8_t *block, unsigned bits, unsigned head, unsigned half,
                       const struct quantized *x, uint32_t b, unsigned n, __m256 *acc)
{
    const uint8_t *nibbles = block + head + 32UL * half;
    const __m256i fifths = bits == 5 ? load32(nibbles + 256) : _mm256_setzero_si256();
    const unsigned run = bits == 5 ? 2 : 4;
    const bool has_minimum = head == 64;
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    __m256i dots[KERNEL_TILE];
    for (unsigned c = 0; c < n; c++) {
        size_t at = (size_t)c * blocks + b;
        dots[c] = has_minimum ? _mm256_setzero_si256() : start_5bit(x->totals + 2 * at);
    }
#pragma GCC unroll 2
    for (unsigned from = 0; from < 4; from += run) {
        __m256i pairs[KERNEL_TILE];
        for (unsigned c = 0; c < n; c++) {
            pairs[c] = _mm256_setzero_si256();
        }
#pragma GCC unroll 4
        for (unsigned g = from; g < from + run; g++) {
            __m256i both = load32(nibbles + 64 * g);
            __m256i low = lower_bits(both);
            __m256i high = lower_bits(_mm256_srli_epi16(both, 4));
            if (bits == 5) {
                low = _mm256_or_si256(low, upper_bits(fifths, (int)g, 0x10));
                high = _mm256_or_si256(high, upper_bits(fifths, (int)g + 4, 0x10));
            }
#pragma GCC unroll 4
            for (unsigned c = 0; c < n; c++) {
                const int8_t *q = x->q + (size_t)c * x->width + 32UL * b + 4 * g;
                pairs[c] = _mm256_add_epi16(pairs[c], _mm256_maddubs_epi16(low, broadcast4(q)));
                pairs[c] = _mm256_add_epi16(pairs[c], _mm256_maddubs_epi16(high, broadcast4(q + 16)));
            }
        }
        for (unsigned c = 0; c < n; c++) {
            dots[c] = add_widened(dots[c], pairs[c]);
        }
    }
    __m256 d = load_halves(block + 16 * half);
    __m256 m = has_minimum ? load_halves(block + 32 + 16 * half) : d; /* or not used */
#pragma GCC unroll 4
    for (unsigned c = 0; c < n; c++) {
        size_t at = (size_t)c * blocks + b;
        acc[c] = add_scaled(acc[c], d, x->scale[at], dots[c]);
        if (has_minimum) {
            acc[c] = _mm256_fmadd_ps(m, _mm256_set1_ps(x->sum[at]), acc[c]);
        }
    }
}

/* 8 rows x 16 columns of 6-bit weights, the low (part 0) or the high halves of the bytes: two products of 63 * 127 * 2
 * fit into 16 bits. */
INLINE void part_6bit(const uint8_t *block, unsigned part, unsigned half, const struct quantized *x,
                      uint32_t b, unsigned n, __m256 *acc)
{
    const uint8_t *nibbles = block + 64 + 32UL * half;
    const __m256i upper = load32(nibbles + 256 + 64UL * part);
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    __m256i dots[KERNEL_TILE];
    for (unsigned c = 0; c < n; c++) {
        dots[c] = start_6bit(x->totals[2 * ((size_t)c * blocks + b) + part]);
    }
#pragma GCC unroll 2
    for (unsigned g = 0; g < 4; g += 2) {
        __m256i w[2];
#pragma GCC unroll 2
        for (unsigned i = 0; i < 2; i++) {
            __m256i both = load32(nibbles + 64 * (g + i));
            w[i] = lower_bits(part ? _mm256_srli_epi16(both, 4) : both);
            w[i] = _mm256_or_si256(w[i], upper_bits(upper, 2 * (int)(g + i), 0x30));
        }
#pragma GCC unroll 4
        for (unsigned c = 0; c < n; c++) {
            const int8_t *q = x->q + (size_t)c * x->width + 32UL * b + 16UL * part + 4 * g;
            __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w[0], broadcast4(q)),
                                             _mm256_maddubs_epi16(w[1], broadcast4(q + 4)));
            dots[c] = add_widened(dots[c], pairs);
        }
    }
    __m256 d = load_halves(block + 32UL * part + 16 * half);
#pragma GCC unroll 4
    for (unsigned c = 0; c < n; c++) {
        acc[c] = add_scaled(acc[c], d, x->scale[(size_t)c * blocks + b], dots[c]);
    }
}

/* 8 rows x 4*groups columns of 8-bit weights behind `head` bytes of scales and minimums. |w| * sign(x, w) keeps both
 * factors in the range of the unsigned-by-signed multiply; two products fill 16 bits, so each is widened at once. */
INLINE void part_8bit(const uint8_t *part, unsigned head, unsigned groups, unsigned half,
                      const struct quantized *x, size_t column, unsigned n, __m256 *acc)
{
    const uint32_t blocks = x->width / PACKED_COLUMNS;
    __m256i dots[KERNEL_TILE];
    for (unsigned c = 0; c < n; c++) {
        dots[c] = _mm256_setzero_si256();
    }
#pragma GCC unroll 8
    for (unsigned g = 0; g < groups; g++) {
        __m256i w = load32(part + head + 64 * g + 32 * half);
        __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
        for (unsigned c = 0; c < n; c++) {
            __m256i v = _mm256_sign_epi8(broadcast4(x->q + (size_t)c * x->width + column + 4 * g), w);
            dots[c] = add_widened(dots[c], _mm256_maddubs_epi16(magnitude, v));
        }
    }
    __m256 d = load_halves(part + 16 * half);
#pragma GCC unroll 4
    for (unsigned c = 0; c < n; c++) {
        acc[c] = add_scaled(acc[c], d, x->scale[(size_t)c * blocks + column / 32], dots[c]);
    }
    if (head == 64) {
        __m256 m = load_halves(part + 32 + 16 * half);
#pragma GCC unroll 4
        for (unsigned c = 0; c < n; c++) {
            size_t at = ((size_t)c * x->width + column) / 16;
            float sum = x->scale[at / 2] * (float)x->totals[at];
            acc[c] = _mm256_fmadd_ps(m, _mm256_set1_ps(sum), acc[c]);
        }
    }
}

/* --- one block, 8 of its rows, by kind ------------------------------------------------------------------- */

typedef void (*block_cb)(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b,
                         unsigned n, __m256 *acc);

INLINE void of_4bit(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b, unsigned n,
                    __m256 *acc)
{
    block_5bit(block, 4, 64, half, x, b, n, acc);
}

INLINE void of_5bit(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b, unsigned n,
                    __m256 *acc)
{
    block_5bit(block, 5, 32, half, x, b, n, acc);
}

INLINE void of_5bit_min(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b,
                        unsigned n, __m256 *acc)
{
    block_5bit(block, 5, 64, half, x, b, n, acc);
}

INLINE void of_6bit_fine(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b,
                         unsigned n, __m256 *acc)
{
    part_6bit(block, 0, half, x, b, n, acc);
    part_6bit(block, 1, half, x, b, n, acc);
}

INLINE void of_8bit(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b, unsigned n,
                    __m256 *acc)
{
    part_8bit(block, 32, 8, half, x, 32UL * b, n, acc);
}

INLINE void of_8bit_fine_min(const uint8_t *block, unsigned half, const struct quantized *x, uint32_t b,
                             unsigned n, __m256 *acc)
{
    part_8bit(block, 64, 4, half, x, 32UL * b, n, acc);
    part_8bit(block + 320, 64, 4, half, x, 32UL * b + 16, n, acc);
}

INLINE void tile(block_cb block, size_t block_bytes, const uint8_t *strip, const struct quantized *x,
                 unsigned n, float out[KERNEL_TILE][PACKED_ROWS])
{
    __m256 low[KERNEL_TILE];
    __m256 high[KERNEL_TILE];
    uint32_t blocks = x->width / PACKED_COLUMNS;
    for (unsigned c = 0; c < n; c++) {
        low[c] = _mm256_setzero_ps();
        high[c] = _mm256_setzero_ps();
    }
    for (uint32_t b = 0; b < blocks; b++, strip += block_bytes) {
        block(strip, 0, x, b, n, low);
        block(strip, 1, x, b, n, high);
    }
    for (unsigned c = 0; c < n; c++) {
        _mm256_storeu_ps(out[c], low[c]);
        _mm256_storeu_ps(out[c] + 8, high[c]);
    }
}

/* With the column count as a constant: more than four do not fit the registers. */
#define STRIP(name, block, bytes)                                                                            \
    void name(const uint8_t *strip, const struct quantized *x, unsigned columns,                             \
              float out[KERNEL_TILE][PACKED_ROWS])                                                           \
    {                                                                                                        \
        unsigned c = 0;                                                                                      \
        for (; c + 4 <= columns; c += 4) {                                                                   \
            struct quantized four = quantized_from(x, c);                                                    \
            tile(block, bytes, strip, &four, 4, out + c);                                                    \
        }                                                                                                    \
        struct quantized rest = quantized_from(x, c);                                                        \
        if (columns - c == 3) {                                                                              \
            tile(block, bytes, strip, &rest, 3, out + c);                                                    \
        } else if (columns - c == 2) {                                                                       \
            tile(block, bytes, strip, &rest, 2, out + c);                                                    \
        } else if (columns - c == 1) {                                                                       \
            tile(block, bytes, strip, &rest, 1, out + c);                                                    \
        }                                                                                                    \
    }
STRIP(cpu_strip_4bit_avx2, of_4bit, PACKED_4BIT_BYTES)
STRIP(cpu_strip_5bit_avx2, of_5bit, PACKED_5BIT_BYTES)
STRIP(cpu_strip_5bit_min_avx2, of_5bit_min, PACKED_5BIT_MIN_BYTES)
STRIP(cpu_strip_6bit_fine_avx2, of_6bit_fine, PACKED_6BIT_FINE_BYTES)
STRIP(cpu_strip_8bit_avx2, of_8bit, PACKED_8BIT_BYTES)
STRIP(cpu_strip_8bit_fine_min_avx2, of_8bit_fine_min, PACKED_8BIT_FINE_MIN_BYTES)

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

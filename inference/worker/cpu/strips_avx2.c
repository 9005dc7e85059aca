/* A strip times columns with AVX2: maddubs multiplies unsigned weights with signed activations and adds pairs in 16 bits;
 * madd widens them. The integers are exact and the floats are in the order of avx512_strips.h: the same bits.
 *
 * All 16 rows go together, as two vectors of 8, so that an activation is fetched once for both; and up to four columns, so
 * that weights are unpacked once for them: that is what the registers hold. */
#include "inference/worker/cpu/kernels.h"

#if defined(__x86_64__)

#include "inference/worker/cpu/avx2.h"
#include "inference/worker/cpu/strips_avx2.h"

enum { FEW = 4 };   /* columns at once */
enum { WHOLE = 2 }; /* in place of a part of a block, columns 0 to 15 (0) or 16 to 31 (1): both */

/* The sums of up to FEW columns with rows 0 to 7, and 8 to 15. */
typedef __m256i dots_t[FEW][2];
typedef __m256 sums_t[FEW][2];

/* Here a value is in a register: without this gcc first makes all products of a block and then adds them, out of memory. */
#define SETTLE(v) __asm__("" : "+x"(v))

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

/* Bits `from` and up of each byte of a plane, moved to bit 4 and cut to the mask. */
INLINE __m256i upper_bits(const uint8_t *plane, unsigned from, char mask)
{
    __m256i bits = load32(plane);
    __m256i moved =
        from < 4 ? _mm256_slli_epi16(bits, 4 - (int)from) : _mm256_srli_epi16(bits, (int)from - 4);
    return _mm256_and_si256(moved, _mm256_set1_epi8(mask));
}

/* Weights of 4, 5 or 6 bits as unsigned bytes: group g of a part, 8 rows (half). */
INLINE __m256i weights_of(const uint8_t *nibbles, unsigned bits, unsigned part, unsigned g, unsigned half)
{
    __m256i both = load32(nibbles + 64UL * g + 32 * half);
    __m256i lower = _mm256_and_si256(part ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
    if (bits == 5) {
        return _mm256_or_si256(lower, upper_bits(nibbles + 256 + 32 * half, g + 4 * part, 0x10));
    }
    if (bits == 6) {
        return _mm256_or_si256(lower, upper_bits(nibbles + 256 + 64UL * part + 32 * half, 2 * g, 0x30));
    }
    return lower;
}

INLINE __m256i add_widened(__m256i dot, __m256i pairs)
{
    return _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* -16 times both halves' totals. */
INLINE __m256i start_5bit(const int16_t *totals)
{
    int32_t both;
    memcpy(&both, totals, sizeof both);
    return _mm256_madd_epi16(_mm256_set1_epi32(both), _mm256_set1_epi16(-16));
}

/* -32 times one. */
INLINE __m256i start_6bit(int16_t total)
{
    return _mm256_madd_epi16(_mm256_set1_epi16(total), _mm256_set1_epi16(-16));
}

/* Weights of 5 bits without a minimum lie 16 above their value, of 6 bits 32: what a dot starts from takes that off, so that
 * the sum is that of the values. */
INLINE void start(dots_t dots, unsigned bits, bool has_minimum, const struct quantized *x, uint32_t b,
                  unsigned part, unsigned n)
{
#pragma GCC unroll 4
    for (unsigned c = 0; c < n; c++) {
        const int16_t *totals = x->totals + 2 * ((size_t)c * (x->width / PACKED_COLUMNS) + b);
        dots[c][0] = _mm256_setzero_si256();
        if (bits == 5 && !has_minimum) {
            dots[c][0] = start_5bit(totals);
        } else if (bits == 6) {
            dots[c][0] = start_6bit(totals[part]);
        }
        dots[c][1] = dots[c][0];
    }
}

/* Adds the products of block b, or of a part of it, whose weights have 4, 5 or 6 bits. So many groups go before a widening as
 * surely fit into 16 bits: eight of 15 * 127 * 2, four of 31 * 127 * 2, two of 63 * 127 * 2. */
INLINE void add_dots(dots_t dots, const uint8_t *nibbles, unsigned bits, const struct quantized *x,
                     uint32_t b, unsigned part, unsigned n)
{
    const unsigned groups = part == WHOLE ? 8 : 4;
    const unsigned fit = bits == 4 ? 8 : bits == 5 ? 4 : 2;
#pragma GCC unroll 4
    for (unsigned from = 0; from < groups; from += fit) {
        dots_t pairs = {{_mm256_setzero_si256()}};
#pragma GCC unroll 8
        for (unsigned i = from; i < from + fit; i++) {
            unsigned g = part == WHOLE ? i / 2 : i;
            unsigned of = part == WHOLE ? i % 2 : part;
            __m256i low = weights_of(nibbles, bits, of, g, 0);
            __m256i high = weights_of(nibbles, bits, of, g, 1);
#pragma GCC unroll 4
            for (unsigned c = 0; c < n; c++) {
                __m256i v = broadcast4(x->q + (size_t)c * x->width + 32UL * b + 16UL * of + 4UL * g);
                pairs[c][0] = _mm256_add_epi16(pairs[c][0], _mm256_maddubs_epi16(low, v));
                pairs[c][1] = _mm256_add_epi16(pairs[c][1], _mm256_maddubs_epi16(high, v));
                SETTLE(pairs[c][0]);
                SETTLE(pairs[c][1]);
            }
        }
#pragma GCC unroll 4
        for (unsigned c = 0; c < n; c++) {
            dots[c][0] = add_widened(dots[c][0], pairs[c][0]);
            dots[c][1] = add_widened(dots[c][1], pairs[c][1]);
        }
    }
}

/* |w| * sign(x, w) keeps both factors in the range of the unsigned-by-signed multiply. */
INLINE __m256i signed_pairs(__m256i w, __m256i v)
{
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(v, w));
}

/* The same of 8-bit weights, columns from `column` on: two products fill 16 bits, so each is widened at once. */
INLINE void add_dots_8bit(dots_t dots, const uint8_t *weights, unsigned groups, const struct quantized *x,
                          size_t column, unsigned n)
{
#pragma GCC unroll 8
    for (unsigned g = 0; g < groups; g++) {
        __m256i low = load32(weights + 64UL * g);
        __m256i high = load32(weights + 64UL * g + 32);
#pragma GCC unroll 4
        for (unsigned c = 0; c < n; c++) {
            __m256i v = broadcast4(x->q + (size_t)c * x->width + column + 4UL * g);
            dots[c][0] = add_widened(dots[c][0], signed_pairs(low, v));
            dots[c][1] = add_widened(dots[c][1], signed_pairs(high, v));
            SETTLE(dots[c][0]);
            SETTLE(dots[c][1]);
        }
    }
}

/* acc += (scales * x's scale) * dots, and minimums times x's sum where there are any. */
INLINE void add_scaled(sums_t acc, dots_t dots, const uint8_t *scales, const uint8_t *minimums,
                       const struct quantized *x, uint32_t b, unsigned part, unsigned n)
{
#pragma GCC unroll 2
    for (unsigned half = 0; half < 2; half++) {
        __m256 d = load_halves(scales + 16 * half);
        __m256 m = minimums ? load_halves(minimums + 16 * half) : d; /* or not used */
#pragma GCC unroll 4
        for (unsigned c = 0; c < n; c++) {
            size_t at = (size_t)c * (x->width / PACKED_COLUMNS) + b;
            __m256 scaled = _mm256_mul_ps(d, _mm256_set1_ps(x->scale[at]));
            acc[c][half] = _mm256_fmadd_ps(scaled, _mm256_cvtepi32_ps(dots[c][half]), acc[c][half]);
            if (minimums) {
                float sum = part == WHOLE ? x->sum[at] : x->scale[at] * (float)x->totals[2 * at + part];
                acc[c][half] = _mm256_fmadd_ps(m, _mm256_set1_ps(sum), acc[c][half]);
            }
        }
    }
}

/* --- one block times n columns, by kind -------------------------------------------------------------------- */

typedef void (*block_cb)(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n, sums_t acc);

/* Of 4 or 5 bits behind `head` bytes of scales and minimums. */
INLINE void block_whole(const uint8_t *block, unsigned bits, unsigned head, const struct quantized *x,
                        uint32_t b, unsigned n, sums_t acc)
{
    const bool has_minimum = head == 64;
    dots_t dots;
    start(dots, bits, has_minimum, x, b, WHOLE, n);
    add_dots(dots, block + head, bits, x, b, WHOLE, n);
    add_scaled(acc, dots, block, has_minimum ? block + 32 : NULL, x, b, WHOLE, n);
}

INLINE void of_4bit(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n, sums_t acc)
{
    block_whole(block, 4, 64, x, b, n, acc);
}

INLINE void of_5bit(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n, sums_t acc)
{
    block_whole(block, 5, 32, x, b, n, acc);
}

INLINE void of_5bit_min(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n, sums_t acc)
{
    block_whole(block, 5, 64, x, b, n, acc);
}

INLINE void of_6bit_fine(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n, sums_t acc)
{
#pragma GCC unroll 2
    for (unsigned part = 0; part < 2; part++) {
        dots_t dots;
        start(dots, 6, false, x, b, part, n);
        add_dots(dots, block + 64, 6, x, b, part, n);
        add_scaled(acc, dots, block + 32UL * part, NULL, x, b, part, n);
    }
}

INLINE void of_8bit(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n, sums_t acc)
{
    dots_t dots;
    start(dots, 8, false, x, b, WHOLE, n);
    add_dots_8bit(dots, block + 32, 8, x, 32UL * b, n);
    add_scaled(acc, dots, block, NULL, x, b, WHOLE, n);
}

INLINE void of_8bit_fine_min(const uint8_t *block, const struct quantized *x, uint32_t b, unsigned n,
                             sums_t acc)
{
#pragma GCC unroll 2
    for (unsigned part = 0; part < 2; part++, block += PACKED_8BIT_FINE_MIN_BYTES / 2) {
        dots_t dots;
        start(dots, 8, true, x, b, part, n);
        add_dots_8bit(dots, block + 64, 4, x, 32UL * b + 16UL * part, n);
        add_scaled(acc, dots, block, block + 32, x, b, part, n);
    }
}

/* --- strips ------------------------------------------------------------------------------------------------ */

enum { AHEAD = 2048 }; /* bytes */

/* Of few columns the time is the memory's, and the processor fetches less far ahead than it could. */
INLINE void fetch_ahead(const uint8_t *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) {
        _mm_prefetch((const char *)((uintptr_t)block + AHEAD + i), _MM_HINT_T0);
    }
}

INLINE void tile(block_cb block, size_t block_bytes, const uint8_t *strip, const struct quantized *x,
                 unsigned n, float out[FEW][PACKED_ROWS])
{
    sums_t acc;
    for (unsigned c = 0; c < n; c++) {
        acc[c][0] = acc[c][1] = _mm256_setzero_ps();
    }
    for (uint32_t b = 0; b < x->width / PACKED_COLUMNS; b++, strip += block_bytes) {
        if (n <= 2) {
            fetch_ahead(strip, block_bytes);
        }
        block(strip, x, b, n, acc);
    }
    for (unsigned c = 0; c < n; c++) {
        _mm256_storeu_ps(out[c], acc[c][0]);
        _mm256_storeu_ps(out[c] + 8, acc[c][1]);
    }
}

/* With the column count as a constant. */
#define STRIP(name, block, bytes)                                                                            \
    void name(const uint8_t *strip, const struct quantized *x, unsigned columns,                             \
              float out[KERNEL_TILE][PACKED_ROWS])                                                           \
    {                                                                                                        \
        unsigned c = 0;                                                                                      \
        for (; c + FEW <= columns; c += FEW) {                                                               \
            struct quantized few = quantized_from(x, c);                                                     \
            tile(block, bytes, strip, &few, FEW, out + c);                                                   \
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

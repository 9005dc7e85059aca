/* Small vector functions that the files with AVX-512 code share: avx512_strips.h and amx_strips.h.
 * A function that is AVX512, as each INLINE one is, is compiled for AVX-512 with VNNI, and nothing else is. The tests have a
 * stand-in of the vectors (tests/unit/avx512_standin.h): included before, it runs the same text anywhere. */
#ifndef TIDE_WORKER_CPU_AVX512_H
#define TIDE_WORKER_CPU_AVX512_H

#include "inference/worker/cpu/kernels.h"

#ifndef AVX512
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#include <immintrin.h>
#endif

#define INLINE static inline AVX512 __attribute__((always_inline))

INLINE __m512 load_halves(const uint8_t *p) /* 16 */
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* acc += (d * scale) * dot: the one rounding of AVX2's block functions. */
INLINE __m512 add_scaled(__m512 acc, __m512 d, float scale, __m512i dot)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(scale)), _mm512_cvtepi32_ps(dot), acc);
}

/* What a dot of 5 or 6 bits starts from: strips_avx2.c's. */
INLINE __m512i start_5bit(const int16_t *totals)
{
    int32_t both;
    memcpy(&both, totals, sizeof both);
    return _mm512_madd_epi16(_mm512_set1_epi32(both), _mm512_set1_epi16(-16));
}

INLINE __m512i start_6bit(int16_t total)
{
    return _mm512_madd_epi16(_mm512_set1_epi16(total), _mm512_set1_epi16(-16));
}

/* Puts bits of a plane above the lower four: those of each byte from bit `from` on, cut to the mask. */
INLINE __m512i with_upper_bits(__m512i lower, __m512i plane, unsigned from, char mask)
{
    __m512i moved = from < 4 ? _mm512_slli_epi16(plane, 4 - from) : _mm512_srli_epi16(plane, from - 4);
    return _mm512_ternarylogic_epi32(moved, _mm512_set1_epi8(mask), lower, 0xEA); /* a & b | c */
}

/* Group g of a block's weights of 4, 5 or 6 bits, unsigned: columns 4g to 4g + 3 and 16 more than these. */
INLINE void unpack_group(const uint8_t *nibbles, unsigned bits, unsigned g, __m512i *low, __m512i *high)
{
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i both = _mm512_loadu_si512(nibbles + 64 * g);
    *low = _mm512_and_si512(both, mask);
    *high = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
    if (bits == 5) {
        __m512i fifths = _mm512_loadu_si512(nibbles + 256);
        *low = with_upper_bits(*low, fifths, g, 0x10);
        *high = with_upper_bits(*high, fifths, g + 4, 0x10);
    } else if (bits == 6) {
        *low = with_upper_bits(*low, _mm512_loadu_si512(nibbles + 256), 2 * g, 0x30);
        *high = with_upper_bits(*high, _mm512_loadu_si512(nibbles + 320), 2 * g, 0x30);
    }
}

#endif

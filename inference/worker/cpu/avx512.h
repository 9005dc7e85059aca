/* Small vector functions that the files with AVX-512 code share: kernels_avx512.c and amx_strips.h.
 * Included behind `#if defined(__x86_64__)`. From here on the compiler uses AVX-512 with VNNI: such a file ends as avx2.h
 * says. */
#ifndef TIDE_WORKER_CPU_AVX512_H
#define TIDE_WORKER_CPU_AVX512_H

#include "inference/worker/cpu/kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))),                \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 load_halves(const uint8_t *p) /* 16 */
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* acc += (d * scale) * dot: the one rounding of AVX2's block functions. */
INLINE __m512 add_scaled(__m512 acc, __m512 d, float scale, __m512i dot)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(scale)), _mm512_cvtepi32_ps(dot), acc);
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

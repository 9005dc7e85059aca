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

/* The sum of 4*groups activations times their scale: in a block of 32 it is at hand. */
INLINE float scaled_sum(const struct quantized *x, unsigned c, unsigned groups, uint32_t p, size_t at)
{
    if (groups == 8) {
        return x->sum[at];
    }
    __m128i q = _mm_loadu_si128((const __m128i *)(x->q + (size_t)c * x->width + 16UL * p));
    __m128i fours = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), q);
    fours = _mm_add_epi32(fours, _mm_shuffle_epi32(fours, 0x4E));
    fours = _mm_add_epi32(fours, _mm_shuffle_epi32(fours, 0xB1));
    return x->scale[at] * (float)_mm_cvtsi128_si32(fours);
}

#endif

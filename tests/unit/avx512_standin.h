/* The vectors of AVX-512, as far as the kernels use them, in plain C by Intel's Intrinsics Guide: included before
 * inference/worker/cpu/avx512.h it takes their place, so that the kernels' text runs on any machine. The one rounding of fmadd
 * is fmaf's. Memory is read and written by memcpy of all that the instruction touches, so that AddressSanitizer sees it;
 * the aligned ones ask for their alignment. */
#ifndef TIDE_TESTS_AVX512_STANDIN_H
#define TIDE_TESTS_AVX512_STANDIN_H

#include "tests/unit/unit.h"

#include <math.h>
#include <string.h>

#include "inference/worker/quant.h"

#define AVX512 /* any processor */

union standin512 {
    uint8_t u8[64];
    int8_t i8[64];
    uint16_t u16[32];
    int16_t i16[32];
    uint32_t u32[16];
    int32_t i32[16];
    float f32[16];
};

struct standin256 {
    uint16_t u16[16];
};

#define __m512 union standin512
#define __m512i union standin512
#define __m256i struct standin256

/* A function of that name whose result is r, made lane by lane. */
#define LANES(name, parameters, n, lane)                                                                     \
    static inline union standin512 standin_##name parameters {                                               \
        union standin512 r = {{0}};                                                                          \
        for (unsigned i = 0; i < (n); i++) {                                                                 \
            lane;                                                                                            \
        }                                                                                                    \
        return r;                                                                                            \
    }

LANES(setzero, (void), 16, r.u32[i] = 0)
LANES(set1_epi8, (char v), 64, r.i8[i] = (int8_t)v)
LANES(set1_epi16, (short v), 32, r.i16[i] = v)
LANES(set1_epi32, (int v), 16, r.i32[i] = v)
LANES(set1_ps, (float v), 16, r.f32[i] = v)
LANES(and, (union standin512 a, union standin512 b), 16, r.u32[i] = a.u32[i] & b.u32[i])
LANES(slli_epi16, (union standin512 a, unsigned n), 32, r.u16[i] = (uint16_t)(n < 16 ? a.u16[i] << n : 0))
LANES(srli_epi16, (union standin512 a, unsigned n), 32, r.u16[i] = (uint16_t)(n < 16 ? a.u16[i] >> n : 0))
LANES(sub_epi8, (union standin512 a, union standin512 b), 64, r.u8[i] = (uint8_t)(a.u8[i] - b.u8[i]))
LANES(sub_epi32, (union standin512 a, union standin512 b), 16, r.u32[i] = a.u32[i] - b.u32[i])
LANES(madd_epi16, (union standin512 a, union standin512 b), 16,
      r.u32[i] = (uint32_t)(a.i16[2 * i] * b.i16[2 * i]) + (uint32_t)(a.i16[2 * i + 1] * b.i16[2 * i + 1]))
LANES(mul_ps, (union standin512 a, union standin512 b), 16, r.f32[i] = a.f32[i] * b.f32[i])
LANES(fmadd_ps, (union standin512 a, union standin512 b, union standin512 c), 16,
      r.f32[i] = fmaf(a.f32[i], b.f32[i], c.f32[i]))
LANES(cvtepi32_ps, (union standin512 a), 16, r.f32[i] = (float)a.i32[i])
LANES(cvtph_ps, (struct standin256 a), 16, r.f32[i] = half_to_float(a.u16[i]))

/* Four bytes without a sign times four with one. */
LANES(dpbusd, (union standin512 sums, union standin512 a, union standin512 b), 64,
      r.u32[i / 4] += (uint32_t)(a.u8[i] * b.i8[i]) + (i % 4 == 0 ? sums.u32[i / 4] : 0))

/* Bit k of `table` is the answer where the bits of a, b and c are those of k. */
static inline union standin512 standin_ternary(union standin512 a, union standin512 b, union standin512 c,
                                               unsigned table)
{
    union standin512 r = {{0}};
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            unsigned k = (a.u32[i] >> bit & 1) << 2 | (b.u32[i] >> bit & 1) << 1 | (c.u32[i] >> bit & 1);
            r.u32[i] |= (table >> k & 1) << bit;
        }
    }
    return r;
}

static inline union standin512 standin_loadu(const void *from)
{
    union standin512 r;
    memcpy(&r, from, sizeof r);
    return r;
}

static inline struct standin256 standin_loadu256(const void *from)
{
    struct standin256 r;
    memcpy(&r, from, sizeof r);
    return r;
}

static inline void standin_storeu(void *to, union standin512 v)
{
    memcpy(to, &v, sizeof v);
}

static inline union standin512 standin_load(const void *from)
{
    assert_int_equal((uintptr_t)from % 64, 0);
    return standin_loadu(from);
}

static inline void standin_store(void *to, union standin512 v)
{
    assert_int_equal((uintptr_t)to % 64, 0);
    standin_storeu(to, v);
}

#define _mm256_loadu_si256 standin_loadu256
#define _mm512_and_si512 standin_and
#define _mm512_cvtepi32_ps standin_cvtepi32_ps
#define _mm512_cvtph_ps standin_cvtph_ps
#define _mm512_dpbusd_epi32 standin_dpbusd
#define _mm512_fmadd_ps standin_fmadd_ps
#define _mm512_load_si512 standin_load
#define _mm512_loadu_si512 standin_loadu
#define _mm512_madd_epi16 standin_madd_epi16
#define _mm512_mul_ps standin_mul_ps
#define _mm512_set1_epi16 standin_set1_epi16
#define _mm512_set1_epi32 standin_set1_epi32
#define _mm512_set1_epi8 standin_set1_epi8
#define _mm512_set1_ps standin_set1_ps
#define _mm512_setzero_ps standin_setzero
#define _mm512_setzero_si512 standin_setzero
#define _mm512_slli_epi16 standin_slli_epi16
#define _mm512_srli_epi16 standin_srli_epi16
#define _mm512_store_si512 standin_store
#define _mm512_storeu_ps standin_storeu
#define _mm512_sub_epi32 standin_sub_epi32
#define _mm512_sub_epi8 standin_sub_epi8
#define _mm512_ternarylogic_epi32 standin_ternary

#endif

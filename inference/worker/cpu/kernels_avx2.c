/* AVX2, FMA and F16C: x86 processors since 2013. Chosen at run time, so this file, attend_avx2.c and strips_avx2.c
 * are compiled for them by a pragma (avx2.h) and nothing else is. */
#include "inference/worker/cpu/kernels.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <math.h>

#include "inference/worker/cpu/attend_avx2.h"
#include "inference/worker/cpu/avx2.h"
#include "inference/worker/cpu/strips_avx2.h"

INLINE float max_of(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    s = _mm_max_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

INLINE int sum_of_ints(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

/* --- activations to int8 --------------------------------------------------------------------------- */

INLINE __m256i round8(const float *x, __m256 inverse)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
}

static void quantize(const float *x, uint32_t blocks, int8_t *q, float *scale, float *sum, int16_t *totals)
{
    const __m256 sign = _mm256_set1_ps(-0.0F);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (uint32_t b = 0; b < blocks; b++, x += 32, q += 32) {
        __m256 a = _mm256_andnot_ps(sign, _mm256_loadu_ps(x));
        for (unsigned i = 8; i < 32; i += 8) {
            a = _mm256_max_ps(a, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
        }
        float largest = max_of(a);
        float step = largest / 127.0F;
        __m256 inverse = _mm256_set1_ps(largest > 0 ? 127.0F / largest : 0.0F);
        __m256i v0 = round8(x, inverse);
        __m256i v1 = round8(x + 8, inverse);
        __m256i v2 = round8(x + 16, inverse);
        __m256i v3 = round8(x + 24, inverse);
        int first = sum_of_ints(_mm256_add_epi32(v0, v1));
        int second = sum_of_ints(_mm256_add_epi32(v2, v3));
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(v0, v1), _mm256_packs_epi32(v2, v3));
        _mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(bytes, order));
        scale[b] = step;
        sum[b] = step * (float)(first + second);
        totals[2 * b] = (int16_t)first;
        totals[2 * b + 1] = (int16_t)second;
    }
}

/* --- floats ------------------------------------------------------------------------------------------ */

static float dot_f32(const uint8_t *row, const float *x, uint32_t n)
{
    __m256 acc = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        acc = _mm256_fmadd_ps(_mm256_loadu_ps((const float *)(row + 4UL * i)), _mm256_loadu_ps(x + i), acc);
    }
    return sum_of(acc) + (i < n ? cpu_kernels_portable.dot_f32(row + 4UL * i, x + i, n - i) : 0.0F);
}

static float dot_f16(const uint8_t *row, const float *x, uint32_t n)
{
    __m256 acc = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        acc = _mm256_fmadd_ps(load_halves(row + 2UL * i), _mm256_loadu_ps(x + i), acc);
    }
    return sum_of(acc) + (i < n ? cpu_kernels_portable.dot_f16(row + 2UL * i, x + i, n - i) : 0.0F);
}

static float dot_bf16(const uint8_t *row, const float *x, uint32_t n)
{
    __m256 acc = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i upper = _mm_loadu_si128((const __m128i *)(row + 2UL * i));
        __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16);
        acc = _mm256_fmadd_ps(_mm256_castsi256_ps(bits), _mm256_loadu_ps(x + i), acc);
    }
    return sum_of(acc) + (i < n ? cpu_kernels_portable.dot_bf16(row + 2UL * i, x + i, n - i) : 0.0F);
}

static void rms_norm(const float *x, const float *weight, float eps, uint32_t n, float *out)
{
    float squares = dot_f32((const uint8_t *)x, x, n);
    float factor = 1.0F / sqrtf(squares / (float)n + eps);
    __m256 f = _mm256_set1_ps(factor);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), f);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
    }
    for (; i < n; i++) {
        out[i] = x[i] * factor * weight[i];
    }
}

static void swiglu(const float *gate, const float *up, uint32_t n, float *out)
{
    const __m256 one = _mm256_set1_ps(1.0F);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 g = _mm256_loadu_ps(gate + i);
        __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), g));
        __m256 silu = _mm256_div_ps(g, _mm256_add_ps(one, e));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(silu, _mm256_loadu_ps(up + i)));
    }
    cpu_kernels_portable.swiglu(gate + i, up + i, n - i, out + i);
}

static void geglu(const float *gate, const float *up, uint32_t n, float *out)
{
    const __m256 one = _mm256_set1_ps(1.0F);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(gate + i);
        __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_mul_ps(x, _mm256_set1_ps(0.044715F)));
        __m256 twice = _mm256_mul_ps(_mm256_add_ps(x, cube), _mm256_set1_ps(-1.5957691216F));
        __m256 gelu = _mm256_div_ps(x, _mm256_add_ps(one, exp8(twice)));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(gelu, _mm256_loadu_ps(up + i)));
    }
    cpu_kernels_portable.geglu(gate + i, up + i, n - i, out + i);
}

static void to_half(const float *x, uint32_t n, uint16_t *out)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(out + i), h);
    }
    cpu_kernels_portable.to_half(x + i, n - i, out + i);
}

/* --- a row of logits --------------------------------------------------------------------------------- */

INLINE float largest_of(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static void row_tops(const float *x, uint32_t blocks, float *tops)
{
    for (uint32_t b = 0; b < blocks; b++, x += ROW_BLOCK) {
        __m256 top = _mm256_set1_ps(-INFINITY);
        for (unsigned i = 0; i < ROW_BLOCK; i += 8) {
            top = _mm256_max_ps(_mm256_loadu_ps(x + i), top); /* of a NaN and another: the second */
        }
        tops[b] = largest_of(top);
    }
}

/* 2^y for y <= 0: y = n + f, |f| <= 1/2, a polynomial of degree 6 in f, and n added to the exponent. */
INLINE __m256 power8(__m256 y)
{
    const __m256 low = _mm256_set1_ps(-115.0F);
    __m256 inside = _mm256_max_ps(y, low);
    __m256 n = _mm256_round_ps(inside, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 f = _mm256_sub_ps(inside, n);
    __m256 p = _mm256_set1_ps(1.53458113e-4F);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.33999309e-3F));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.61848907e-3F));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.0555032864F));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.240226462F));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.693147182F));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0F));
    __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    __m256 w = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
    return _mm256_and_ps(w, _mm256_cmp_ps(y, low, _CMP_GT_OQ));
}

static void row_weigh(const float *x, uint32_t blocks, float largest, float steepness, float *weights,
                      double *sums)
{
    const __m256 most = _mm256_set1_ps(largest);
    const __m256 factor = _mm256_set1_ps(steepness);
    for (uint32_t b = 0; b < blocks; b++, x += ROW_BLOCK, weights += ROW_BLOCK) {
        __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (unsigned i = 0; i < ROW_BLOCK; i += 8) {
            __m256 y = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), most), factor);
            __m256 w = power8(y);
            _mm256_storeu_ps(weights + i, w);
            sum[i / 8 % 2] = _mm256_add_ps(sum[i / 8 % 2], w);
        }
        sums[b] = (double)sum_of(_mm256_add_ps(sum[0], sum[1]));
    }
}

static const struct cpu_kernels kernels = {
    .name = "avx2",
    .quantize = quantize,
    .strip_4bit = cpu_strip_4bit_avx2,
    .strip_5bit = cpu_strip_5bit_avx2,
    .strip_5bit_min = cpu_strip_5bit_min_avx2,
    .strip_6bit_fine = cpu_strip_6bit_fine_avx2,
    .strip_8bit = cpu_strip_8bit_avx2,
    .strip_8bit_fine_min = cpu_strip_8bit_fine_min_avx2,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .rms_norm = rms_norm,
    .swiglu = swiglu,
    .geglu = geglu,
    .to_half = to_half,
    .attend = cpu_attend_avx2,
    .row_tops = row_tops,
    .row_weigh = row_weigh,
};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* clang 14 does not know "f16c" as a name: bit 29 of ECX of leaf 1 (Intel SDM 2A, CPUID). */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1U << 29)) != 0;
}

const struct cpu_kernels *cpu_kernels_avx2(void)
{
    bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    return usable ? &kernels : NULL;
}

#else

const struct cpu_kernels *cpu_kernels_avx2(void)
{
    return NULL;
}

#endif

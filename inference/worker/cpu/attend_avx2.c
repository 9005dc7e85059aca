/* Attention with AVX2: all scores, their exponentials, then the values. Where several
 * queries read them, a block of keys or values becomes float32 once, in memory that stays in the first-level cache. */
#include "inference/worker/cpu/kernels.h"

#if defined(__x86_64__)

#include <math.h>

#include "inference/worker/cpu/attend_avx2.h"
#include "inference/worker/cpu/avx2.h"

/* The KV_BLOCK rows of the block of `position` as float32, one after the other. */
static void widen(const struct attend_job *job, const struct attend_rows *rows, uint32_t position)
{
    const uint16_t *from = attend_at(job, rows, position);
    float *to = job->rows;
    for (unsigned p = 0; p < KV_BLOCK; p++, from += rows->stride, to += rows->dim) {
        for (uint32_t i = 0; i < rows->dim; i += 8) {
            _mm256_storeu_ps(to + i, load_halves(from + i));
        }
    }
}

/* A block's rows: as the cache has them, or widened. */
struct block_rows {
    const uint8_t *first;
    size_t stride; /* bytes */
};

INLINE struct block_rows rows_at(const struct attend_job *job, const struct attend_rows *rows, uint32_t base,
                                 bool wide)
{
    if (wide) {
        return (struct block_rows){(const uint8_t *)job->rows, rows->dim * sizeof(float)};
    }
    return (struct block_rows){(const uint8_t *)attend_at(job, rows, base), rows->stride * sizeof(uint16_t)};
}

INLINE __m256 load_row(const uint8_t *row, uint32_t i, bool wide)
{
    return wide ? _mm256_loadu_ps((const float *)row + i) : load_halves(row + sizeof(uint16_t) * i);
}

/* --- scores ------------------------------------------------------------------------------------------ */

/* Four dot products at once: their sums, in order. */
INLINE __m128 score4(const float *query, const uint8_t *keys, size_t stride, uint32_t dim, bool wide)
{
    __m256 a[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t i = 0; i < dim; i += 8) {
        __m256 q = _mm256_loadu_ps(query + i);
#pragma GCC unroll 4
        for (unsigned k = 0; k < 4; k++) {
            a[k] = _mm256_fmadd_ps(q, load_row(keys + k * stride, i, wide), a[k]);
        }
    }
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* One position, summed in the order of score4, so that a position's place in a group does not matter. */
INLINE float score1(const float *query, const uint8_t *key, uint32_t dim, bool wide)
{
    __m256 a = _mm256_setzero_ps();
    for (uint32_t i = 0; i < dim; i += 8) {
        a = _mm256_fmadd_ps(_mm256_loadu_ps(query + i), load_row(key, i, wide), a);
    }
    __m256 s = _mm256_hadd_ps(a, a);
    s = _mm256_hadd_ps(s, s);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

/* What of the block from `base` on a query sees: positions [*from, *to), maybe none. */
INLINE void seen(const struct attend_query *q, uint32_t base, uint32_t *from, uint32_t *to)
{
    *from = q->first > base ? q->first : base;
    *to = q->end < base + KV_BLOCK ? q->end : base + KV_BLOCK;
}

INLINE void score_block(const struct attend_job *job, const struct attend_query *q, uint32_t base, bool wide)
{
    uint32_t dim = job->keys.dim;
    __m128 scale = _mm_set1_ps(job->scale);
    struct block_rows rows = rows_at(job, &job->keys, base, wide);
    uint32_t p = 0;
    uint32_t to = 0;
    seen(q, base, &p, &to);
    while (p < to) {
        const uint8_t *key = rows.first + (p - base) * rows.stride;
        if (p % 4 == 0 && p + 4 <= to) {
            _mm_storeu_ps(q->scores + p, _mm_mul_ps(score4(q->query, key, rows.stride, dim, wide), scale));
            p += 4;
        } else {
            q->scores[p++] = score1(q->query, key, dim, wide) * job->scale;
        }
    }
}

static float largest_score(const struct attend_query *q)
{
    float largest = q->scores[q->first];
    for (uint32_t p = q->first + 1; p < q->end; p++) {
        largest = q->scores[p] > largest ? q->scores[p] : largest;
    }
    return largest;
}

static float exponentiate(float *scores, uint32_t n, float largest)
{
    __m256 top = _mm256_set1_ps(largest);
    __m256 total = _mm256_setzero_ps();
    uint32_t p = 0;
    for (; p + 8 <= n; p += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + p), top));
        _mm256_storeu_ps(scores + p, e);
        total = _mm256_add_ps(total, e);
    }
    float sum = sum_of(total);
    for (; p < n; p++) {
        scores[p] = expf(scores[p] - largest);
        sum += scores[p];
    }
    return sum;
}

/* --- values ------------------------------------------------------------------------------------------ */

/* Adds to 8 * chunks values of the answer, kept in registers over the positions of a block. */
INLINE void mix_values(const struct attend_job *job, const struct attend_query *q, uint32_t base, uint32_t at,
                       unsigned chunks, bool wide)
{
    struct block_rows rows = rows_at(job, &job->values, base, wide);
    bool begins = base <= q->first;
    uint32_t p = 0;
    uint32_t to = 0;
    __m256 acc[8];
    seen(q, base, &p, &to);
#pragma GCC unroll 8
    for (unsigned i = 0; i < chunks; i++) {
        acc[i] = begins ? _mm256_setzero_ps() : _mm256_loadu_ps(q->out + at + 8 * i);
    }
    for (; p < to; p++) {
        __m256 share = _mm256_broadcast_ss(q->scores + p);
        const uint8_t *value = rows.first + (p - base) * rows.stride;
#pragma GCC unroll 8
        for (unsigned i = 0; i < chunks; i++) {
            acc[i] = _mm256_fmadd_ps(share, load_row(value, at + 8 * i, wide), acc[i]);
        }
    }
#pragma GCC unroll 8
    for (unsigned i = 0; i < chunks; i++) {
        _mm256_storeu_ps(q->out + at + 8 * i, acc[i]);
    }
}

INLINE void mix_block(const struct attend_job *job, const struct attend_query *q, uint32_t base, bool wide)
{
    uint32_t at = 0;
    if (q->end <= base || q->first >= base + KV_BLOCK) {
        return; /* it sees nothing here */
    }
    for (; at + 64 <= job->values.dim; at += 64) {
        mix_values(job, q, base, at, 8, wide);
    }
    for (; at < job->values.dim; at += 8) {
        mix_values(job, q, base, at, 1, wide);
    }
}

static void scale_answer(const struct attend_query *q, uint32_t dim, float factor)
{
    __m256 f = _mm256_set1_ps(factor);
    for (uint32_t i = 0; i < dim; i += 8) {
        _mm256_storeu_ps(q->out + i, _mm256_mul_ps(_mm256_loadu_ps(q->out + i), f));
    }
}

/* --- the whole --------------------------------------------------------------------------------------- */

/* The positions that any query sees, the first one at the beginning of its block. */
static void whole_range(const struct attend_job *job, uint32_t *first, uint32_t *end)
{
    *first = job->queries[0].first;
    *end = job->queries[0].end;
    for (unsigned i = 1; i < job->n; i++) {
        *first = job->queries[i].first < *first ? job->queries[i].first : *first;
        *end = job->queries[i].end > *end ? job->queries[i].end : *end;
    }
    *first -= *first % KV_BLOCK;
}

INLINE void attend(const struct attend_job *job, bool wide)
{
    uint32_t first = 0;
    uint32_t end = 0;
    float inverse[ATTEND_QUERIES] = {0};
    whole_range(job, &first, &end);
    for (uint32_t base = first; base < end; base += KV_BLOCK) {
        if (wide) {
            widen(job, &job->keys, base);
        }
        for (unsigned i = 0; i < job->n; i++) {
            score_block(job, &job->queries[i], base, wide);
        }
    }
    for (unsigned i = 0; i < job->n; i++) {
        const struct attend_query *q = &job->queries[i];
        inverse[i] = 1.0F / exponentiate(q->scores + q->first, q->end - q->first, largest_score(q));
    }
    for (uint32_t base = first; base < end; base += KV_BLOCK) {
        if (wide) {
            widen(job, &job->values, base);
        }
        for (unsigned i = 0; i < job->n; i++) {
            mix_block(job, &job->queries[i], base, wide);
        }
    }
    for (unsigned i = 0; i < job->n; i++) {
        scale_answer(&job->queries[i], job->values.dim, inverse[i]);
    }
}

void cpu_attend_avx2(const struct attend_job *job)
{
    enum { WORTH_WIDENING = 4 }; /* queries: fewer read the cache itself as fast */
    if (job->values.dim % 8 || job->keys.dim % 8) {
        cpu_kernels_portable.attend(job);
    } else if (job->n < WORTH_WIDENING) {
        attend(job, false);
    } else {
        attend(job, true);
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

/* The inner loops of the CPU backend and of the sampler: one table of functions a kind of processor, chosen at run time.
 *
 * A column is one token's activations. Quantized columns are int8 with one float scale per 32 values and, for weights that
 * are q*d + m or (q - 16)*d, the sum of those 32 values and the totals of their halves; column c stands at q + c * width.
 * Every function gives a column the same bits whatever stands beside it: results do not depend on the batch.
 * Thread rule: pure functions. */
#ifndef TIDE_WORKER_CPU_KERNELS_H
#define TIDE_WORKER_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inference/worker/cpu/packed.h"
#include "inference/worker/graph.h"

enum { KERNEL_TILE = 16 }; /* most columns of one call */

struct quantized {
    const int8_t *q;    /* columns of `width` values */
    const float *scale; /* width / 32 a column */
    const float *sum;   /* scale times the sum of the 32 values */
    const int16_t
        *totals;    /* sums of the first 16 values, and of the others, as they are: width / 16 a column */
    uint32_t width; /* a multiple of 32 */
};

/* The columns of x from c on. */
static inline struct quantized quantized_from(const struct quantized *x, unsigned c)
{
    size_t blocks = (size_t)c * (x->width / PACKED_COLUMNS);
    return (struct quantized){x->q + (size_t)c * x->width, x->scale + blocks, x->sum + blocks,
                              x->totals + 2 * blocks, x->width};
}

/* One strip of 16 rows times `columns` (1..KERNEL_TILE) columns; out[c][row]. */
typedef void (*strip_cb)(const uint8_t *strip, const struct quantized *x, unsigned columns,
                         float out[KERNEL_TILE][PACKED_ROWS]);

/* A row of n weights, at any alignment, times n values. */
typedef float (*dot_cb)(const uint8_t *row, const float *x, uint32_t n);

/* Where the f16 keys, or values, of one head in one layer stand, KV_BLOCK positions a block. */
struct attend_rows {
    const uint16_t *first; /* position 0 of block 0 */
    size_t block;          /* values from one block to the next */
    uint32_t stride;       /* values from one position of a block to the next */
    uint32_t dim;          /* values of a position that count */
};

/* One query head over the positions [first, end). */
struct attend_query {
    const float *query; /* keys.dim */
    float *scores;      /* scratch, one a position from 0 to end */
    float *out;         /* values.dim */
    uint32_t first;     /* position */
    uint32_t end;       /* position, above first */
};

enum { ATTEND_QUERIES = 32 }; /* most of one call */

/* Queries of one sequence that read the same keys and values, which are fetched once for all of them. */
struct attend_job {
    const struct attend_query *queries;
    unsigned n; /* 1 to ATTEND_QUERIES */
    struct attend_rows keys;
    struct attend_rows values;
    const uint32_t *table; /* blocks of the sequence, in order */
    float scale;           /* of the scores */
    float *rows;           /* scratch: KV_BLOCK of the wider of keys and values */
};

static inline const uint16_t *attend_at(const struct attend_job *job, const struct attend_rows *rows,
                                        uint32_t position)
{
    return rows->first + job->table[position / KV_BLOCK] * rows->block +
           (size_t)(position % KV_BLOCK) * rows->stride;
}

enum { ROW_BLOCK = 64 }; /* logits that are looked at together */

struct cpu_kernels {
    const char *name;
    void (*quantize)(const float *x, uint32_t blocks, int8_t *q, float *scale, float *sum, int16_t *totals);
    strip_cb strip_4bit;
    strip_cb strip_5bit;
    strip_cb strip_5bit_min;
    strip_cb strip_6bit_fine;
    strip_cb strip_8bit;
    strip_cb strip_8bit_fine_min;
    dot_cb dot_f32;
    dot_cb dot_f16;
    dot_cb dot_bf16;
    void (*rms_norm)(const float *x, const float *weight, float eps, uint32_t n, float *out);
    void (*swiglu)(const float *gate, const float *up, uint32_t n, float *out);
    void (*geglu)(const float *gate, const float *up, uint32_t n, float *out); /* MODEL_GELU */
    void (*to_half)(const float *x, uint32_t n, uint16_t *out);
    void (*attend)(const struct attend_job *job);
    /* The largest of each ROW_BLOCK values, NaN aside; -INFINITY where there is none. */
    void (*row_tops)(const float *x, uint32_t blocks, float *tops);
    /* weights[i] = 2^((x[i] - largest) * steepness), x[i] being no larger; 0 for NaN and below 2^-115. sums: of each
     * ROW_BLOCK weights. weights may be x. */
    void (*row_weigh)(const float *x, uint32_t blocks, float largest, float steepness, float *weights,
                      double *sums);
};

/* The kernel of packed strips of that kind. */
static inline strip_cb cpu_kernels_strip(const struct cpu_kernels *k, enum packed_kind kind)
{
    switch (kind) {
    case PACKED_4BIT:
        return k->strip_4bit;
    case PACKED_5BIT:
        return k->strip_5bit;
    case PACKED_5BIT_MIN:
        return k->strip_5bit_min;
    case PACKED_6BIT_FINE:
        return k->strip_6bit_fine;
    case PACKED_8BIT:
        return k->strip_8bit;
    case PACKED_8BIT_FINE_MIN:
        return k->strip_8bit_fine_min;
    default:
        return NULL; /* rows of floats */
    }
}

extern const struct cpu_kernels cpu_kernels_portable;
const struct cpu_kernels *cpu_kernels_avx2(void);   /* NULL where the processor or compiler lacks it */
const struct cpu_kernels *cpu_kernels_avx512(void); /* likewise; the same bits as AVX2 */
const struct cpu_kernels *cpu_kernels_best(void);   /* of these */
/* AVX-512's bits, for sixteen columns at once; NULL, and why, where it cannot be used. */
const struct cpu_kernels *cpu_kernels_amx(struct err *why);

/* Whether both give the same bits, in a small product of every kind of strip. */
bool cpu_kernels_agree(const struct cpu_kernels *a, const struct cpu_kernels *b);

#endif

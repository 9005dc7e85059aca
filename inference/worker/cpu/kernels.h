/* The inner loops of the CPU backend: one table of functions a kind of processor, chosen at run time.
 *
 * A column is one token's activations. Quantized columns are int8 with one float scale per 32 values and,
 * for weights with a minimum, the sum of those 32 values; column c stands at q + c * width.
 * Every function gives a column the same bits whatever stands beside it: results do not depend on the batch.
 * Thread rule: pure functions. */
#ifndef TIDE_WORKER_CPU_KERNELS_H
#define TIDE_WORKER_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inference/worker/cpu/packed.h"
#include "inference/worker/graph.h"

enum { KERNEL_TILE = 8 }; /* most columns of one call */

struct quantized {
    const int8_t *q;    /* columns of `width` values */
    const float *scale; /* width / 32 a column */
    const float *sum;   /* scale times the sum of the 32 values */
    uint32_t width;     /* a multiple of 32 */
};

/* The columns of x from c on. */
static inline struct quantized quantized_from(const struct quantized *x, unsigned c)
{
    size_t blocks = (size_t)c * (x->width / PACKED_COLUMNS);
    return (struct quantized){x->q + (size_t)c * x->width, x->scale + blocks, x->sum + blocks, x->width};
}

/* One strip of 16 rows times `columns` (1..KERNEL_TILE) columns; out[c][row]. */
typedef void (*strip_cb)(const uint8_t *strip, const struct quantized *x, unsigned columns,
                         float out[KERNEL_TILE][PACKED_ROWS]);

/* One query head over the positions of one sequence. Position p stands KV_BLOCK positions a block:
 * keys + table[p / KV_BLOCK] * block_values + p % KV_BLOCK * head_dim, values alike. */
struct attend_job {
    const float *query;     /* head_dim */
    const uint16_t *keys;   /* f16, block 0 of the head */
    const uint16_t *values; /* the same shape */
    const uint32_t *table;  /* blocks of the sequence, in order */
    size_t block_values;
    uint32_t positions; /* 1 and up */
    uint32_t head_dim;
    float scale;   /* of the scores */
    float *scores; /* scratch, positions */
    float *out;    /* head_dim */
};

static inline size_t attend_at(const struct attend_job *job, uint32_t position)
{
    return job->table[position / KV_BLOCK] * job->block_values +
           (size_t)(position % KV_BLOCK) * job->head_dim;
}

struct cpu_kernels {
    const char *name;
    void (*quantize)(const float *x, uint32_t blocks, int8_t *q, float *scale, float *sum);
    strip_cb strip_4bit;
    strip_cb strip_8bit;
    strip_cb strip_8bit_fine;
    float (*dot_f32)(const uint8_t *row, const float *x, uint32_t n); /* row: n float32, any alignment */
    float (*dot_f16)(const uint8_t *row, const float *x, uint32_t n);
    void (*rms_norm)(const float *x, const float *weight, float eps, uint32_t n, float *out);
    void (*swiglu)(const float *gate, const float *up, uint32_t n, float *out);
    void (*to_half)(const float *x, uint32_t n, uint16_t *out);
    void (*attend)(const struct attend_job *job);
};

extern const struct cpu_kernels cpu_kernels_portable;
const struct cpu_kernels *cpu_kernels_avx2(void);   /* NULL where the processor or compiler lacks it */
const struct cpu_kernels *cpu_kernels_avx512(void); /* likewise; the same bits as AVX2 */
const struct cpu_kernels *cpu_kernels_best(void);

#endif

/* Plain C: the meaning of every kernel, and what runs where there is nothing better. */
#include <math.h>

#include "inference/worker/cpu/kernels.h"

static float load_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return half_to_float(h);
}

static void quantize_block(const float *x, int8_t *q, float *scale, float *sum, int16_t totals[2])
{
    float largest = 0.0F;
    for (unsigned i = 0; i < PACKED_COLUMNS; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
    }
    float step = largest / 127.0F;
    float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    int sums[2] = {0};
    for (unsigned i = 0; i < PACKED_COLUMNS; i++) {
        int v = (int)lrintf(x[i] * inverse);
        q[i] = (int8_t)v;
        sums[i / 16] += v;
    }
    *scale = step;
    *sum = step * (float)(sums[0] + sums[1]);
    totals[0] = (int16_t)sums[0];
    totals[1] = (int16_t)sums[1];
}

static void quantize(const float *x, uint32_t blocks, int8_t *q, float *scale, float *sum, int16_t *totals)
{
    for (uint32_t b = 0; b < blocks; b++) {
        quantize_block(x + 32UL * b, q + 32UL * b, scale + b, sum + b, totals + 2UL * b);
    }
}

static float dot16(const int8_t *a, const int8_t *b)
{
    int dot = 0;
    for (unsigned i = 0; i < 16; i++) {
        dot += a[i] * b[i];
    }
    return (float)dot;
}

/* One row of a block times all columns. */
static void row_of_block(const struct packed_row *row, const struct quantized *x, uint32_t block,
                         unsigned columns, unsigned lane, float out[KERNEL_TILE][PACKED_ROWS])
{
    float d[2] = {half_to_float(row->scale[0]), half_to_float(row->scale[1])};
    float m[2] = {half_to_float(row->minimum[0]), half_to_float(row->minimum[1])};
    for (unsigned c = 0; c < columns; c++) {
        size_t at = (size_t)c * (x->width / PACKED_COLUMNS) + block;
        const int8_t *q = x->q + 32 * at;
        float products = d[0] * dot16(row->values, q) + d[1] * dot16(row->values + 16, q + 16);
        float minimums = m[0] * (float)x->totals[2 * at] + m[1] * (float)x->totals[2 * at + 1];
        out[c][lane] += x->scale[at] * (products + minimums);
    }
}

static void strip_of(enum packed_kind kind, const uint8_t *strip, const struct quantized *x, unsigned columns,
                     float out[KERNEL_TILE][PACKED_ROWS])
{
    memset(out, 0, columns * sizeof *out);
    for (uint32_t b = 0; b < x->width / PACKED_COLUMNS; b++, strip += packed_block_bytes(kind)) {
        for (unsigned lane = 0; lane < PACKED_ROWS; lane++) {
            struct packed_row row;
            packed_read(kind, strip, lane, &row);
            row_of_block(&row, x, b, columns, lane, out);
        }
    }
}

#define STRIP(name, kind)                                                                                    \
    static void name(const uint8_t *strip, const struct quantized *x, unsigned columns,                      \
                     float out[KERNEL_TILE][PACKED_ROWS])                                                    \
    {                                                                                                        \
        strip_of(kind, strip, x, columns, out);                                                              \
    }
STRIP(strip_4bit, PACKED_4BIT)
STRIP(strip_5bit, PACKED_5BIT)
STRIP(strip_5bit_min, PACKED_5BIT_MIN)
STRIP(strip_6bit_fine, PACKED_6BIT_FINE)
STRIP(strip_8bit, PACKED_8BIT)
STRIP(strip_8bit_fine_min, PACKED_8BIT_FINE_MIN)

static float dot_f32(const uint8_t *row, const float *x, uint32_t n)
{
    float sum = 0.0F;
    for (uint32_t i = 0; i < n; i++) {
        float w;
        memcpy(&w, row + 4UL * i, sizeof w);
        sum += w * x[i];
    }
    return sum;
}

static float dot_f16(const uint8_t *row, const float *x, uint32_t n)
{
    float sum = 0.0F;
    for (uint32_t i = 0; i < n; i++) {
        sum += load_half(row + 2UL * i) * x[i];
    }
    return sum;
}

static float dot_bf16(const uint8_t *row, const float *x, uint32_t n)
{
    float sum = 0.0F;
    for (uint32_t i = 0; i < n; i++) {
        uint16_t w;
        memcpy(&w, row + 2UL * i, sizeof w);
        sum += bfloat_to_float(w) * x[i];
    }
    return sum;
}

static void rms_norm(const float *x, const float *weight, float eps, uint32_t n, float *out)
{
    float squares = 0.0F;
    for (uint32_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    float factor = 1.0F / sqrtf(squares / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = x[i] * factor * weight[i];
    }
}

static void swiglu(const float *gate, const float *up, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = gate[i] / (1.0F + expf(-gate[i])) * up[i];
    }
}

/* The tanh form of GELU is x * sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
static void geglu(const float *gate, const float *up, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++) {
        float x = gate[i];
        float twice = 1.5957691216F * (x + 0.044715F * x * x * x);
        out[i] = x / (1.0F + expf(-twice)) * up[i];
    }
}

static void to_half(const float *x, uint32_t n, uint16_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = float_to_half(x[i]);
    }
}

static void attend_query(const struct attend_job *job, const struct attend_query *q)
{
    uint32_t dim = job->values.dim;
    float largest = -INFINITY;
    for (uint32_t p = q->first; p < q->end; p++) {
        const uint8_t *key = (const uint8_t *)attend_at(job, &job->keys, p);
        q->scores[p] = dot_f16(key, q->query, job->keys.dim) * job->scale;
        largest = fmaxf(largest, q->scores[p]);
    }
    float total = 0.0F;
    for (uint32_t p = q->first; p < q->end; p++) {
        q->scores[p] = expf(q->scores[p] - largest);
        total += q->scores[p];
    }
    memset(q->out, 0, dim * sizeof *q->out);
    for (uint32_t p = q->first; p < q->end; p++) {
        float share = q->scores[p] / total;
        const uint16_t *value = attend_at(job, &job->values, p);
        for (uint32_t i = 0; i < dim; i++) {
            q->out[i] += share * half_to_float(value[i]);
        }
    }
}

static void attend(const struct attend_job *job)
{
    for (unsigned i = 0; i < job->n; i++) {
        attend_query(job, &job->queries[i]);
    }
}

static void row_tops(const float *x, uint32_t blocks, float *tops)
{
    for (uint32_t b = 0; b < blocks; b++, x += ROW_BLOCK) {
        tops[b] = -INFINITY;
        for (unsigned i = 0; i < ROW_BLOCK; i++) {
            tops[b] = x[i] > tops[b] ? x[i] : tops[b];
        }
    }
}

static void row_weigh(const float *x, uint32_t blocks, float largest, float steepness, float *weights,
                      double *sums)
{
    for (uint32_t b = 0; b < blocks; b++, x += ROW_BLOCK, weights += ROW_BLOCK) {
        sums[b] = 0;
        for (unsigned i = 0; i < ROW_BLOCK; i++) {
            float y = (x[i] - largest) * steepness;
            weights[i] = y > -115.0F ? exp2f(y) : 0.0F;
            sums[b] += (double)weights[i];
        }
    }
}

const struct cpu_kernels cpu_kernels_portable = {
    .name = "portable",
    .quantize = quantize,
    .strip_4bit = strip_4bit,
    .strip_5bit = strip_5bit,
    .strip_5bit_min = strip_5bit_min,
    .strip_6bit_fine = strip_6bit_fine,
    .strip_8bit = strip_8bit,
    .strip_8bit_fine_min = strip_8bit_fine_min,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .rms_norm = rms_norm,
    .swiglu = swiglu,
    .geglu = geglu,
    .to_half = to_half,
    .attend = attend,
    .row_tops = row_tops,
    .row_weigh = row_weigh,
};

const struct cpu_kernels *cpu_kernels_best(void)
{
    const struct cpu_kernels *best = cpu_kernels_avx512();
    best = best ? best : cpu_kernels_avx2();
    return best ? best : &cpu_kernels_portable;
}

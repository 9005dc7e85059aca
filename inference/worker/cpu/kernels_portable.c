/* Plain C: the meaning of every kernel, and what runs where there is nothing better. */
#include <math.h>

#include "inference/worker/cpu/kernels.h"

static float load_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return half_to_float(h);
}

static void quantize_block(const float *x, int8_t *q, float *scale, float *sum)
{
    float largest = 0.0F;
    for (unsigned i = 0; i < PACKED_COLUMNS; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
    }
    float step = largest / 127.0F;
    float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    int total = 0;
    for (unsigned i = 0; i < PACKED_COLUMNS; i++) {
        int v = (int)lrintf(x[i] * inverse);
        q[i] = (int8_t)v;
        total += v;
    }
    *scale = step;
    *sum = step * (float)total;
}

static void quantize(const float *x, uint32_t blocks, int8_t *q, float *scale, float *sum)
{
    for (uint32_t b = 0; b < blocks; b++) {
        quantize_block(x + 32UL * b, q + 32UL * b, scale + b, sum + b);
    }
}

static void strip_4bit(const uint8_t *strip, const struct quantized *x, unsigned columns,
                       float out[KERNEL_TILE][PACKED_ROWS])
{
    uint32_t blocks = x->width / PACKED_COLUMNS;
    memset(out, 0, columns * sizeof *out);
    for (uint32_t b = 0; b < blocks; b++, strip += PACKED_4BIT_BYTES) {
        for (unsigned c = 0; c < columns; c++) {
            const int8_t *q = x->q + (size_t)c * x->width + 32UL * b;
            size_t at = (size_t)c * blocks + b;
            for (unsigned row = 0; row < PACKED_ROWS; row++) {
                int dot = 0;
                for (unsigned j = 0; j < 16; j++) {
                    uint8_t byte = strip[64 + 64 * (j / 4) + 4 * row + j % 4];
                    dot += (byte & 15) * q[j] + (byte >> 4) * q[j + 16];
                }
                out[c][row] += load_half(strip + 2 * row) * x->scale[at] * (float)dot +
                               load_half(strip + 32 + 2 * row) * x->sum[at];
            }
        }
    }
}

/* `parts` scales a block: each part is 32 bytes of scales, as many of minimums where the head has 64, and its
 * columns. */
static void strip_8bit_parts(const uint8_t *strip, const struct quantized *x, unsigned columns,
                             unsigned parts, unsigned head, float out[KERNEL_TILE][PACKED_ROWS])
{
    uint32_t blocks = x->width / PACKED_COLUMNS;
    unsigned values = PACKED_COLUMNS / parts;
    size_t part_bytes = head + (size_t)values * PACKED_ROWS;
    memset(out, 0, columns * sizeof *out);
    for (uint32_t p = 0; p < blocks * parts; p++, strip += part_bytes) {
        for (unsigned c = 0; c < columns; c++) {
            const int8_t *q = x->q + (size_t)c * x->width + (size_t)values * p;
            float scale = x->scale[(size_t)c * blocks + p / parts];
            int total = 0;
            for (unsigned j = 0; j < values; j++) {
                total += q[j];
            }
            for (unsigned row = 0; row < PACKED_ROWS; row++) {
                int dot = 0;
                for (unsigned j = 0; j < values; j++) {
                    dot += (int8_t)strip[head + 64 * (j / 4) + 4 * row + j % 4] * q[j];
                }
                out[c][row] += load_half(strip + 2 * row) * scale * (float)dot;
                if (head == 64) {
                    out[c][row] += load_half(strip + 32 + 2 * row) * scale * (float)total;
                }
            }
        }
    }
}

static void strip_8bit(const uint8_t *strip, const struct quantized *x, unsigned columns,
                       float out[KERNEL_TILE][PACKED_ROWS])
{
    strip_8bit_parts(strip, x, columns, 1, 32, out);
}

static void strip_8bit_fine(const uint8_t *strip, const struct quantized *x, unsigned columns,
                            float out[KERNEL_TILE][PACKED_ROWS])
{
    strip_8bit_parts(strip, x, columns, 2, 32, out);
}

static void strip_8bit_min(const uint8_t *strip, const struct quantized *x, unsigned columns,
                           float out[KERNEL_TILE][PACKED_ROWS])
{
    strip_8bit_parts(strip, x, columns, 1, 64, out);
}

static void strip_8bit_fine_min(const uint8_t *strip, const struct quantized *x, unsigned columns,
                                float out[KERNEL_TILE][PACKED_ROWS])
{
    strip_8bit_parts(strip, x, columns, 2, 64, out);
}

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
    .strip_8bit = strip_8bit,
    .strip_8bit_fine = strip_8bit_fine,
    .strip_8bit_min = strip_8bit_min,
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

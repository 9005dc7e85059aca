/* Every kernel against plain arithmetic in double: all weight types, all column counts, odd row counts. */
#include "tests/unit/gguf_builder.h"

#include <math.h>

#include "inference/worker/cpu/kernels.h"

#include "tests/unit/avx512_standin.h"
#include "tests/unit/tile_standin.h"

#include "inference/worker/cpu/amx_strips.h"
#include "inference/worker/cpu/avx512_strips.h"

enum { MAX_COLUMNS = 33, MAX_WIDTH = 512 };

static const struct cpu_kernels *kernels;
static const struct cpu_kernels *same_bits_as; /* NULL: none */

struct activations {
    float x[MAX_COLUMNS * MAX_WIDTH];
    int8_t q[MAX_COLUMNS * MAX_WIDTH];
    float scale[MAX_COLUMNS * MAX_WIDTH / 32];
    float sum[MAX_COLUMNS * MAX_WIDTH / 32];
    int16_t totals[MAX_COLUMNS * MAX_WIDTH / 16];
};

static void fill(struct builder *b, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((double)(built_random(b) % 20001) / 10000.0 - 1.0);
    }
    x[3] *= 8; /* an outlier */
}

/* The weight as a tensor of its own: only type, shape and data matter to packed_init. */
static struct gguf_tensor random_weight(struct builder *b, enum tensor_type type, uint64_t columns,
                                        uint64_t rows)
{
    add_tensor(b, "weight", type, columns, rows);
    const struct built_tensor *built = &b->tensors[b->tensor_count - 1];
    return (struct gguf_tensor){.name = STR("weight"),
                                .type = quant_type_find(type),
                                .n_dims = 2,
                                .dims = {columns, rows, 1, 1},
                                .rows = rows,
                                .row_bytes = built->bytes / rows,
                                .n_bytes = built->bytes,
                                .data = (const uint8_t *)b->data.p + built->offset};
}

/* weight row . int8 column, in double. */
static double exact_dot(const struct gguf_tensor *t, uint64_t row, const struct activations *a, size_t column)
{
    static float w[MAX_WIDTH];
    uint64_t width = t->dims[0];
    double sum = 0;
    t->type->dequantize(t->data + row * t->row_bytes, w, width);
    for (uint64_t k = 0; k < width; k++) {
        size_t at = column * width + k;
        sum += (double)w[k] * a->q[at] * (double)a->scale[at / 32];
    }
    return sum;
}

static void check_tile(const struct gguf_tensor *t, const struct packed *p, const struct activations *a,
                       unsigned first, unsigned columns, double tolerance)
{
    float out[KERNEL_TILE][PACKED_ROWS];
    float alone[KERNEL_TILE][PACKED_ROWS];
    uint32_t width = p->columns;
    for (uint32_t strip = 0; strip < p->strips; strip++) {
        struct quantized all = {a->q, a->scale, a->sum, a->totals, width};
        struct quantized x = quantized_from(&all, first);
        cpu_kernels_strip(kernels, p->kind)(p->data + strip * p->strip_bytes, &x, columns, out);
        if (same_bits_as) {
            float others[KERNEL_TILE][PACKED_ROWS];
            cpu_kernels_strip(same_bits_as, p->kind)(p->data + strip * p->strip_bytes, &x, columns, others);
            assert_memory_equal(out, others, columns * sizeof out[0]);
        }
        for (unsigned c = 0; c < columns; c++) {
            struct quantized one = quantized_from(&x, c);
            cpu_kernels_strip(kernels, p->kind)(p->data + strip * p->strip_bytes, &one, 1, alone);
            assert_memory_equal(out[c], alone[0], sizeof alone[0]); /* whatever stands beside it */
            for (uint32_t row = 0; row < PACKED_ROWS && strip * PACKED_ROWS + row < t->rows; row++) {
                double exact = exact_dot(t, strip * PACKED_ROWS + row, a, first + c);
                double norm = sqrt((double)width);
                if (!(fabs((double)out[c][row] - exact) <= tolerance * norm)) {
                    fail_msg("%s %s: row %u column %u: %g, expected %g", kernels->name, t->type->name,
                             strip * PACKED_ROWS + row, first + c, (double)out[c][row], exact);
                }
            }
        }
    }
}

static void check_type(enum tensor_type type, uint32_t width, double tolerance)
{
    static struct activations a;
    struct builder b;
    struct packed p;
    builder_init(&b);
    struct gguf_tensor t = random_weight(&b, type, width, 37);
    fill(&b, a.x, (size_t)MAX_COLUMNS * width);
    kernels->quantize(a.x, MAX_COLUMNS * width / 32, a.q, a.scale, a.sum, a.totals);
    assert_int_equal(packed_init(&p, &t, NULL), 0);
    for (unsigned n = 1; n <= KERNEL_TILE; n++) {
        check_tile(&t, &p, &a, 0, n, tolerance);
    }
    check_tile(&t, &p, &a, KERNEL_TILE, KERNEL_TILE, tolerance);
    check_tile(&t, &p, &a, 2 * KERNEL_TILE, MAX_COLUMNS - 2 * KERNEL_TILE, tolerance);
    packed_clear(&p);
    builder_clear(&b);
}

static void check_floats(enum tensor_type type, dot_cb dot, uint32_t width)
{
    static struct activations a;
    struct builder b;
    builder_init(&b);
    struct gguf_tensor t = random_weight(&b, type, width, 3);
    fill(&b, a.x, width);
    for (uint64_t row = 0; row < 3; row++) {
        static float w[MAX_WIDTH];
        double exact = 0;
        t.type->dequantize(t.data + row * t.row_bytes, w, width);
        for (uint32_t k = 0; k < width; k++) {
            exact += (double)w[k] * (double)a.x[k];
        }
        float got = dot(t.data + row * t.row_bytes, a.x, width);
        assert_true(fabs((double)got - exact) < 1e-4);
    }
    builder_clear(&b);
}

static void products(void **state)
{
    static const enum tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q8_0};
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        check_type(types[i], 32, 1e-5);
        check_type(types[i], 96, 1e-5);
        check_type(types[i], 512, 1e-5);
    }
    for (uint32_t width = 256; width <= 512; width += 256) { /* scales d times up to 127, rounded to f16 */
        check_type(TENSOR_Q2_K, width, 2e-2);
        check_type(TENSOR_Q3_K, width, 2e-2);
        check_type(TENSOR_Q4_K, width, 2e-2);
        check_type(TENSOR_Q5_K, width, 4e-2);
        check_type(TENSOR_Q6_K, width, 1e-1);
    }
    for (uint32_t width = 1; width < 40; width++) {
        check_floats(TENSOR_F32, kernels->dot_f32, width);
        check_floats(TENSOR_F16, kernels->dot_f16, width);
        check_floats(TENSOR_BF16, kernels->dot_bf16, width);
    }
}

static void activations_to_int8(void **state)
{
    static struct activations a;
    struct builder b;
    builder_init(&b);
    fill(&b, a.x, 64);
    memset(a.x + 32, 0, 32 * sizeof *a.x);
    kernels->quantize(a.x, 2, a.q, a.scale, a.sum, a.totals);
    int total = 0;
    int first = 0;
    for (unsigned i = 0; i < 32; i++) {
        assert_true(fabsf((float)a.q[i] * a.scale[0] - a.x[i]) <= a.scale[0] * 0.501F);
        total += a.q[i];
        first += i < 16 ? a.q[i] : 0;
    }
    assert_true(fabsf(a.sum[0] - a.scale[0] * (float)total) < 1e-5F);
    assert_int_equal(a.totals[0], first);
    assert_int_equal(a.totals[1], total - first);
    assert_true(a.totals[2] == 0 && a.totals[3] == 0);
    assert_true(a.scale[1] == 0 && a.sum[1] == 0 && a.q[40] == 0);
    builder_clear(&b);
}

static void norm_and_activation(void **state)
{
    static float x[77];
    static float w[77];
    static float out[77];
    struct builder b;
    builder_init(&b);
    fill(&b, x, 77);
    fill(&b, w, 77);
    double squares = 0;
    for (unsigned i = 0; i < 77; i++) {
        squares += (double)x[i] * (double)x[i];
    }
    kernels->rms_norm(x, w, 1e-5F, 77, out);
    for (unsigned i = 0; i < 77; i++) {
        double exact = (double)x[i] / sqrt(squares / 77 + 1e-5) * (double)w[i];
        assert_true(fabs((double)out[i] - exact) < 1e-5);
    }
    x[0] = -100;
    x[1] = 100;
    x[2] = -87.5F;
    kernels->swiglu(x, w, 77, out);
    for (unsigned i = 0; i < 77; i++) {
        double exact = (double)x[i] / (1 + exp(-(double)x[i])) * (double)w[i];
        assert_true(fabs((double)out[i] - exact) <= 1e-6 * (1 + fabs(exact)));
    }
    kernels->geglu(x, w, 77, out);
    for (unsigned i = 0; i < 77; i++) {
        double v = (double)x[i];
        double exact = 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))) * (double)w[i];
        assert_true(fabs((double)out[i] - exact) <= 2e-6 * (1 + fabs(exact)));
    }
    builder_clear(&b);
}

enum { WIDEST = 96, QUERIES = 5, POSITIONS = 3 * KV_BLOCK };

/* Keys and values of all positions; value_dim 0: the first dim / 8 * 4 values of the keys serve as values. */
static struct attend_job random_job(struct builder *b, uint32_t dim, uint32_t value_dim)
{
    static const uint32_t table[] = {2, 0, 3}; /* blocks out of order, one unused between */
    static float plain[WIDEST];
    static uint16_t keys[4 * KV_BLOCK * WIDEST];
    static uint16_t values[4 * KV_BLOCK * WIDEST];
    static float rows[KV_BLOCK * WIDEST];
    struct attend_job job = {.keys = {keys, (size_t)KV_BLOCK * dim, dim, dim},
                             .values = {values, (size_t)KV_BLOCK * value_dim, value_dim, value_dim},
                             .table = table,
                             .scale = 0.7F,
                             .rows = rows};
    for (uint32_t p = 0; p < POSITIONS; p++) {
        fill(b, plain, WIDEST);
        kernels->to_half(plain, dim, keys + (attend_at(&job, &job.keys, p) - keys));
        fill(b, plain, WIDEST);
        kernels->to_half(plain, value_dim, values + (attend_at(&job, &job.values, p) - values));
    }
    if (value_dim == 0) {
        job.values = job.keys;
        job.values.dim = dim / 8 * 4;
    }
    return job;
}

static void check_answer(const struct attend_job *job, const struct attend_query *q)
{
    double weights[POSITIONS];
    double total = 0;
    for (uint32_t p = q->first; p < q->end; p++) {
        double s = 0;
        for (uint32_t i = 0; i < job->keys.dim; i++) {
            s += (double)q->query[i] * (double)half_to_float(attend_at(job, &job->keys, p)[i]);
        }
        weights[p] = exp(s * (double)job->scale);
        total += weights[p];
    }
    for (uint32_t i = 0; i < job->values.dim; i++) {
        double exact = 0;
        for (uint32_t p = q->first; p < q->end; p++) {
            exact += weights[p] / total * (double)half_to_float(attend_at(job, &job->values, p)[i]);
        }
        if (!(fabs((double)q->out[i] - exact) < 5e-5)) {
            fail_msg("%s: positions %u to %u, %u values: %g, expected %g", kernels->name, q->first, q->end,
                     job->values.dim, (double)q->out[i], exact);
        }
    }
}

/* Queries at several positions together: what each gives is right, and the same bits as alone. */
static void check_attention(uint32_t first, uint32_t end, uint32_t dim, uint32_t value_dim)
{
    static float query[QUERIES][WIDEST];
    static float scores[QUERIES][POSITIONS];
    static float out[QUERIES][WIDEST];
    static float together[QUERIES][WIDEST];
    struct attend_query queries[QUERIES];
    struct builder b;
    builder_init(&b);
    b.random += end * 1000 + dim;
    struct attend_job job = random_job(&b, dim, value_dim);
    job.queries = queries;
    for (unsigned i = 0; i < QUERIES; i++) { /* the last two are far apart */
        uint32_t ends = i < 3 ? end - (end > first + i ? i : 0) : i == 3 ? first + 1 : POSITIONS;
        fill(&b, query[i], WIDEST);
        queries[i] = (struct attend_query){query[i], scores[i], out[i], i == 4 ? ends - 1 : first, ends};
    }
    job.n = QUERIES;
    kernels->attend(&job);
    memcpy(together, out, sizeof out);
    job.n = 1;
    for (unsigned i = 0; i < QUERIES; i++, job.queries++) {
        check_answer(&job, &queries[i]);
        memset(out[i], 0xFF, sizeof out[i]);
        kernels->attend(&job);
        assert_memory_equal(out[i], together[i], job.values.dim * sizeof(float));
    }
    builder_clear(&b);
}

static void attention(void **state)
{
    static const uint32_t dims[] = {4, 8, 64, 72, 80};
    for (uint32_t positions = 1; positions < 40; positions++) {
        for (unsigned i = 0; i < 5; i++) {
            check_attention(0, positions, dims[i], dims[i]);
            check_attention(positions * i / 5, positions, dims[i], dims[i]); /* a window */
        }
        check_attention(0, positions, 96, 0);
        check_attention(0, positions, 64, 24);
    }
}

static void rows_of_logits(void **state)
{
    enum { N = 3 * ROW_BLOCK };
    static float x[N], weights[N], others[N], tops[3];
    double sums[3], other_sums[3];
    for (unsigned i = 0; i < N; i++) {
        x[i] = i < 2 * ROW_BLOCK ? 5.0F - (float)(i * i % 997) / 9.0F : NAN;
    }
    x[70] = NAN;
    x[71] = -INFINITY;
    kernels->row_tops(x, 3, tops);
    float largest[2] = {-INFINITY, -INFINITY};
    for (unsigned i = 0; i < 2 * ROW_BLOCK; i++) {
        largest[i / ROW_BLOCK] = fmaxf(largest[i / ROW_BLOCK], x[i]);
    }
    assert_true(tops[0] == largest[0] && tops[1] == largest[1] && tops[2] == -INFINITY);
    kernels->row_weigh(x, 3, 5, 1.7F, weights, sums);
    for (unsigned b = 0; b < 3; b++) {
        double sum = 0;
        for (unsigned i = b * ROW_BLOCK; i < (b + 1) * ROW_BLOCK; i++) {
            double y = ((double)x[i] - 5) * (double)1.7F;
            double exact = y > -115 ? exp2(y) : 0;
            sum += exact;
            assert_true(fabs((double)weights[i] - exact) <= 1e-5 * exact); /* y is a float of up to 115 */
        }
        assert_true(fabs(sums[b] - sum) <= 1e-5 * sum);
    }
    assert_true(weights[0] == 1.0F && weights[70] == 0 && weights[71] == 0);
    if (same_bits_as) {
        same_bits_as->row_weigh(x, 3, 5, 1.7F, others, other_sums);
        assert_memory_equal(weights, others, sizeof weights);
        assert_memory_equal(sums, other_sums, sizeof sums);
    }
    kernels->row_weigh(x, 3, 5, 1.7F, x, sums); /* in their place */
    assert_memory_equal(weights, x, sizeof x);
}

static void halves(void **state)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = half_to_float((uint16_t)h);
        if (!isnan(f)) {
            assert_int_equal(float_to_half(f), h);
        }
    }
    assert_int_equal(float_to_half(65519.0F), 0x7BFF);
    assert_int_equal(float_to_half(65520.0F), 0x7C00);
    assert_int_equal(float_to_half(2.9802322e-8F), 0); /* half of the smallest: ties to even */
    assert_int_equal(float_to_half(2.99e-8F), 1);
    assert_int_equal(float_to_half(1.0F + 0x1p-11F), 0x3C00);
    assert_int_equal(float_to_half(1.0F + 0x1.8p-10F), 0x3C02);
}

static int run_group(const char *name, const struct cpu_kernels *k, const struct cpu_kernels *same)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(activations_to_int8),
        cmocka_unit_test(norm_and_activation),
        cmocka_unit_test(attention),
        cmocka_unit_test(rows_of_logits),
        cmocka_unit_test(halves),
    };
    kernels = k;
    same_bits_as = same;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

/* The products of kernels that only some processors have: their text over stand-ins of what those have, against AVX2's bits. */
static int run_standins(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};
    struct cpu_kernels avx512 = avx512_kernels(cpu_kernels_avx2());
    struct cpu_kernels amx = amx_kernels(&avx512);
    same_bits_as = cpu_kernels_avx2();
    kernels = &avx512;
    int failed = cmocka_run_group_tests_name("avx512, over a stand-in", tests, NULL, NULL);
    kernels = &amx;
    return failed + cmocka_run_group_tests_name("amx, over a stand-in", tests, NULL, NULL);
}

int main(void)
{
    struct err why;
    int failed = run_group("portable", &cpu_kernels_portable, NULL);
    if (cpu_kernels_avx2()) {
        failed += run_group("avx2", cpu_kernels_avx2(), NULL);
        failed += run_standins();
    }
    if (cpu_kernels_avx512()) {
        failed += run_group("avx512", cpu_kernels_avx512(), cpu_kernels_avx2());
    }
    if (cpu_kernels_amx(&why)) {
        failed += run_group("amx", cpu_kernels_amx(&why), cpu_kernels_avx512());
    }
    return failed;
}

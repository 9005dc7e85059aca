/* One function an operation. All threads of the team run each function; they share its work either by
 * equal parts or, for matrix products, by taking strips from a counter until none is left. */
#include <math.h>

#include "inference/worker/cpu/cpu_backend.h"

static uint32_t rows_of(const struct backend *b, const struct graph_op *op)
{
    return op->picked ? b->picked_count : b->batch->n;
}

static float *row_of(const struct backend *b, enum graph_buffer buffer, size_t row)
{
    return b->buffers[buffer] + row * b->graph->widths[buffer];
}

/* This thread's part [*from, *to) of n equal pieces of work. */
static void share(const struct backend *b, unsigned thread, size_t n, size_t *from, size_t *to)
{
    unsigned threads = team_size(b->team);
    *from = n * thread / threads;
    *to = n * (thread + 1) / threads;
}

static void run_embed(struct backend *b, const struct graph_op *op, unsigned thread)
{
    size_t from;
    size_t to;
    share(b, thread, b->batch->n, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t token = (size_t)b->batch->tokens[i].token;
        const struct gguf_tensor *table = op->weight;
        table->type->dequantize(table->data + token * table->row_bytes, row_of(b, op->dst, i),
                                table->dims[0]);
    }
}

/* Turns n blocks of 32 values of a buffer to int8, from block `first` of its rows laid end to end. */
static void quantize_blocks(struct backend *b, enum graph_buffer buffer, size_t first, size_t n)
{
    if (n > 0) {
        b->kernels->quantize(b->buffers[buffer] + 32 * first, (uint32_t)n, b->q + 32 * first,
                             b->q_scale + first, b->q_sum + first);
    }
}

static void run_norm(struct backend *b, const struct cpu_step *step, unsigned thread)
{
    const struct graph_op *op = step->op;
    size_t from;
    size_t to;
    share(b, thread, rows_of(b, op), &from, &to);
    for (size_t i = from; i < to; i++) {
        b->kernels->rms_norm(row_of(b, op->a, i), step->norm, b->graph->model->sizes.rms_eps,
                             b->graph->widths[op->a], row_of(b, op->dst, i));
        if (step->quantizes_too) {
            size_t blocks = b->graph->widths[op->dst] / 32;
            quantize_blocks(b, op->dst, i * blocks, blocks);
        }
    }
}

static void run_quantize(struct backend *b, const struct graph_op *op, unsigned thread)
{
    size_t from;
    size_t to;
    size_t blocks = (size_t)rows_of(b, op) * (b->graph->widths[op->a] / 32);
    share(b, thread, blocks, &from, &to);
    quantize_blocks(b, op->a, from, to - from);
}

/* --- matrix products --------------------------------------------------------------------------------- */

static void put_rows(const struct backend *b, const struct graph_op *op, size_t column, uint32_t first,
                     uint32_t n, const float *values)
{
    float *dst = row_of(b, op->dst, column) + first;
    if (op->kind == GRAPH_MATMUL) {
        memcpy(dst, values, n * sizeof *dst);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        dst[i] += values[i];
    }
}

static strip_cb strip_kernel(const struct backend *b, enum packed_kind kind)
{
    return kind == PACKED_4BIT   ? b->kernels->strip_4bit
           : kind == PACKED_8BIT ? b->kernels->strip_8bit
                                 : b->kernels->strip_8bit_fine;
}

static void strip_product(struct backend *b, const struct cpu_step *step, uint32_t strip)
{
    const struct packed *w = step->matrix;
    uint32_t columns = rows_of(b, step->op);
    uint32_t first = strip * PACKED_ROWS;
    uint32_t n = w->rows - first < PACKED_ROWS ? w->rows - first : PACKED_ROWS;
    strip_cb kernel = strip_kernel(b, w->kind);
    for (uint32_t c = 0; c < columns; c += KERNEL_TILE) {
        float out[KERNEL_TILE][PACKED_ROWS];
        unsigned tile = columns - c < KERNEL_TILE ? columns - c : KERNEL_TILE;
        size_t block = (size_t)c * (w->columns / PACKED_COLUMNS);
        struct quantized x = {.q = b->q + (size_t)c * w->columns,
                              .scale = b->q_scale + block,
                              .sum = b->q_sum + block,
                              .width = w->columns};
        kernel(w->data + strip * w->strip_bytes, &x, tile, out);
        for (unsigned i = 0; i < tile; i++) {
            put_rows(b, step->op, c + i, first, n, out[i]);
        }
    }
}

static void float_product(struct backend *b, const struct cpu_step *step, uint32_t strip)
{
    const struct packed *w = step->matrix;
    uint32_t end = (strip + 1) * PACKED_ROWS < w->rows ? (strip + 1) * PACKED_ROWS : w->rows;
    for (uint32_t row = strip * PACKED_ROWS; row < end; row++) {
        const uint8_t *weights = w->data + row * w->strip_bytes;
        for (uint32_t c = 0; c < rows_of(b, step->op); c++) {
            const float *x = row_of(b, step->op->a, c);
            float v = w->kind == PACKED_F32 ? b->kernels->dot_f32(weights, x, w->columns)
                                            : b->kernels->dot_f16(weights, x, w->columns);
            put_rows(b, step->op, c, row, 1, &v);
        }
    }
}

/* Strips are taken in runs, so that a thread that the system holds up does not hold up the others. */
static void run_product(struct backend *b, struct cpu_step *step)
{
    const struct packed *w = step->matrix;
    uint32_t run = w->strips / (8 * team_size(b->team));
    run = run ? run : 1;
    if (rows_of(b, step->op) == 0) {
        return;
    }
    for (;;) {
        uint32_t from = atomic_fetch_add_explicit(&step->next, run, memory_order_relaxed);
        if (from >= w->strips) {
            return;
        }
        uint32_t to = w->strips - from < run ? w->strips : from + run;
        for (uint32_t strip = from; strip < to; strip++) {
            if (w->kind == PACKED_F32 || w->kind == PACKED_F16) {
                float_product(b, step, strip);
            } else {
                strip_product(b, step, strip);
            }
        }
    }
}

/* --- attention --------------------------------------------------------------------------------------- */

static void rotate_head(float *head, const float *rotation, uint32_t dims)
{
    for (uint32_t i = 0; i < dims; i += 2) {
        float x = head[i];
        float y = head[i + 1];
        head[i] = x * rotation[i] - y * rotation[i + 1];
        head[i + 1] = x * rotation[i + 1] + y * rotation[i];
    }
}

static void run_rope(struct backend *b, const struct graph_op *op, unsigned thread)
{
    const struct model_sizes *s = &b->graph->model->sizes;
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * op->heads, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t token = i / op->heads;
        const float *rotation = b->rotation + (size_t)b->batch->tokens[token].position * s->rope_dims;
        rotate_head(row_of(b, op->dst, token) + i % op->heads * s->head_dim, rotation, s->rope_dims);
    }
}

static void run_store(struct backend *b, const struct graph_op *op, unsigned thread)
{
    uint32_t dim = b->kv.head_dim;
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * b->kv.heads, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t token = i / b->kv.heads;
        uint32_t head = (uint32_t)(i % b->kv.heads);
        const struct batch_token *t = &b->batch->tokens[token];
        uint32_t block = batch_table(b->batch, t->sequence)[t->position / KV_BLOCK];
        size_t at = kv_cache_at(&b->kv, op->layer, head) + block * b->kv.block_values +
                    (size_t)(t->position % KV_BLOCK) * dim;
        b->kernels->to_half(row_of(b, op->a, token) + (size_t)head * dim, dim, b->kv.keys + at);
        b->kernels->to_half(row_of(b, op->b, token) + (size_t)head * dim, dim, b->kv.values + at);
    }
}

static void run_attend(struct backend *b, struct cpu_step *step, unsigned thread)
{
    const struct graph_op *op = step->op;
    const struct model_sizes *s = &b->graph->model->sizes;
    uint32_t group = s->heads / s->kv_heads;
    uint32_t total = b->batch->n * s->heads;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&step->next, 1, memory_order_relaxed);
        if (i >= total) {
            return;
        }
        uint32_t head = i % s->heads;
        const struct batch_token *t = &b->batch->tokens[i / s->heads];
        size_t at = kv_cache_at(&b->kv, op->layer, head / group);
        struct attend_job job = {
            .query = row_of(b, op->a, i / s->heads) + (size_t)head * s->head_dim,
            .keys = b->kv.keys + at,
            .values = b->kv.values + at,
            .table = batch_table(b->batch, t->sequence),
            .block_values = b->kv.block_values,
            .positions = t->position + 1,
            .head_dim = s->head_dim,
            .scale = 1.0F / sqrtf((float)s->head_dim),
            .scores = b->scores + (size_t)thread * b->conf.context,
            .out = row_of(b, op->dst, i / s->heads) + (size_t)head * s->head_dim,
        };
        b->kernels->attend(&job);
        if (step->quantizes_too) {
            size_t blocks = s->head_dim / 32;
            quantize_blocks(b, op->dst, (size_t)i * blocks, blocks);
        }
    }
}

/* --- the rest ---------------------------------------------------------------------------------------- */

static void run_swiglu(struct backend *b, const struct cpu_step *step, unsigned thread)
{
    const struct graph_op *op = step->op;
    uint32_t width = b->graph->widths[op->dst];
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * (width / 32), &from, &to);
    b->kernels->swiglu(b->buffers[op->a] + 32 * from, b->buffers[op->b] + 32 * from,
                       (uint32_t)(32 * (to - from)), b->buffers[op->dst] + 32 * from);
    if (step->quantizes_too) {
        quantize_blocks(b, op->dst, from, to - from);
    }
}

static void run_pick(struct backend *b, const struct graph_op *op, unsigned thread)
{
    size_t from;
    size_t to;
    share(b, thread, b->picked_count, &from, &to);
    for (size_t i = from; i < to; i++) {
        memcpy(row_of(b, op->dst, i), row_of(b, op->a, b->picked[i]),
               b->graph->widths[op->a] * sizeof(float));
    }
}

void cpu_step_run(struct backend *b, struct cpu_step *step, unsigned thread)
{
    const struct graph_op *op = step->op;
    if (step->quantizes) {
        run_quantize(b, op, thread);
        return;
    }
    switch (op->kind) {
    case GRAPH_EMBED:
        run_embed(b, op, thread);
        break;
    case GRAPH_NORM:
        run_norm(b, step, thread);
        break;
    case GRAPH_MATMUL:
    case GRAPH_MATMUL_ADD:
        run_product(b, step);
        break;
    case GRAPH_ROPE:
        run_rope(b, op, thread);
        break;
    case GRAPH_STORE_KV:
        run_store(b, op, thread);
        break;
    case GRAPH_ATTEND:
        run_attend(b, step, thread);
        break;
    case GRAPH_SWIGLU:
        run_swiglu(b, step, thread);
        break;
    case GRAPH_PICK:
        run_pick(b, op, thread);
        break;
    }
}

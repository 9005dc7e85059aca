/* One function an operation. All threads of the team run each function; they share its work either by
 * equal parts or, for matrix products, by taking strips: each its own part first, then what others have left. */
#include <math.h>

#include "inference/worker/cpu/cpu_backend.h"

static uint32_t rows_of(const struct backend *b, const struct graph_op *op)
{
    return op->picked ? b->picked_count : b->batch->n;
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
        float *dst = cpu_row(b, op->dst, i);
        table->type->dequantize(table->data + token * table->row_bytes, dst, table->dims[0]);
        for (uint64_t k = 0; k < table->dims[0] && op->scale != 1.0F; k++) {
            dst[k] *= op->scale;
        }
    }
}

static void run_norm(struct backend *b, const struct cpu_step *step, unsigned thread)
{
    const struct graph_op *op = step->op;
    size_t from;
    size_t to;
    uint32_t from_piece = b->graph->widths[op->a] / op->heads;
    uint32_t to_piece = b->graph->widths[op->dst] / op->heads;
    share(b, thread, (size_t)rows_of(b, op) * op->heads, &from, &to);
    for (size_t i = from; i < to; i++) {
        b->kernels->rms_norm(b->buffers[op->a] + i * from_piece, step->norm, b->graph->model->sizes.rms_eps,
                             (uint32_t)op->weight->dims[0], b->buffers[op->dst] + i * to_piece);
        if (step->quantizes_too) {
            size_t blocks = b->graph->widths[op->dst] / 32;
            cpu_quantize_blocks(b, op->dst, i * blocks, blocks);
        }
    }
}

static void run_quantize(struct backend *b, const struct graph_op *op, unsigned thread)
{
    size_t from;
    size_t to;
    size_t blocks = (size_t)rows_of(b, op) * (b->graph->widths[op->a] / 32);
    share(b, thread, blocks, &from, &to);
    cpu_quantize_blocks(b, op->a, from, to - from);
}

/* --- matrix products --------------------------------------------------------------------------------- */

/* Rows [first, first + n) of a column's logits, after others above or below them: of equals the lowest. NaN is
 * never the largest. */
static void note_best(struct cpu_best *best, uint32_t first, uint32_t n, const float *values)
{
    float largest = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        largest = values[i] > largest ? values[i] : largest;
    }
    if (largest > best->value || (largest == best->value && first < best->id)) {
        uint32_t at = 0;
        while (values[at] != largest) {
            at++;
        }
        *best = (struct cpu_best){largest, first + at};
    }
}

/* Rows of the head whose best is all that is wanted are compared while they are at hand, and written nowhere. */
static bool wants_best(const struct backend *b, const struct cpu_step *step, size_t column)
{
    return step->op->dst == GRAPH_LOGITS && b->batch->tokens[b->picked[column]].best_only;
}

/* added: NULL, or dst itself. */
static inline void sum_rows(float *dst, const float *added, const float *values, uint32_t n)
{
    if (!added) {
        memcpy(dst, values, n * sizeof *dst);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        dst[i] = added[i] + values[i];
    }
}

static void put_rows(const struct backend *b, const struct cpu_step *step, unsigned thread, size_t column,
                     uint32_t first, uint32_t n, const float *values)
{
    if (wants_best(b, step, column)) {
        note_best(&b->best_of_thread[(size_t)thread * b->conf.batch_logits + column], first, n, values);
        return;
    }
    const float *added = step->bias ? step->bias + first : NULL;
    float *dst = cpu_row(b, step->op->dst, column) + first;
    if (step->op->kind != GRAPH_MATMUL && !added) {
        added = dst;
    }
    if (n == PACKED_ROWS) { /* nearly always, and fast as a constant */
        sum_rows(dst, added, values, PACKED_ROWS);
    } else {
        sum_rows(dst, added, values, n);
    }
}

static void strip_product(struct backend *b, const struct cpu_step *step, unsigned thread, uint32_t strip)
{
    const struct packed *w = step->matrix;
    uint32_t columns = rows_of(b, step->op);
    uint32_t first = strip * PACKED_ROWS;
    uint32_t n = w->rows - first < PACKED_ROWS ? w->rows - first : PACKED_ROWS;
    strip_cb kernel = cpu_strip_kernel(b, w->kind);
    for (uint32_t c = 0; c < columns; c += KERNEL_TILE) {
        float out[KERNEL_TILE][PACKED_ROWS];
        unsigned tile = columns - c < KERNEL_TILE ? columns - c : KERNEL_TILE;
        size_t block = (size_t)c * (w->columns / PACKED_COLUMNS);
        struct quantized x = {.q = b->q + (size_t)c * w->columns,
                              .scale = b->q_scale + block,
                              .sum = b->q_sum + block,
                              .totals = b->q_totals + 2 * block,
                              .width = w->columns};
        kernel(w->data + strip * w->strip_bytes, &x, tile, out);
        for (unsigned i = 0; i < tile; i++) {
            put_rows(b, step, thread, c + i, first, n, out[i]);
        }
    }
}

static void float_product(struct backend *b, const struct cpu_step *step, unsigned thread, uint32_t strip)
{
    const struct packed *w = step->matrix;
    uint32_t end = (strip + 1) * PACKED_ROWS < w->rows ? (strip + 1) * PACKED_ROWS : w->rows;
    for (uint32_t row = strip * PACKED_ROWS; row < end; row++) {
        const uint8_t *weights = w->data + row * w->strip_bytes;
        for (uint32_t c = 0; c < rows_of(b, step->op); c++) {
            const float *x = cpu_row(b, step->op->a, c);
            float v = cpu_dot_kernel(b, w->kind)(weights, x, w->columns);
            put_rows(b, step, thread, c, row, 1, &v);
        }
    }
}

static void multiply_strips(struct backend *b, const struct cpu_step *step, unsigned thread, size_t from,
                            size_t to)
{
    for (size_t strip = from; strip < to; strip++) {
        if (cpu_is_float(step->matrix->kind)) {
            float_product(b, step, thread, (uint32_t)strip);
        } else {
            strip_product(b, step, thread, (uint32_t)strip);
        }
    }
}

/* Takes runs of a thread's part of the strips until none is left. */
static void multiply_part(struct backend *b, const struct cpu_step *step, unsigned thread, unsigned whose)
{
    uint32_t run = step->matrix->strips / (8 * team_size(b->team));
    size_t from;
    size_t to;
    run = run ? run : 1;
    share(b, whose, step->matrix->strips, &from, &to);
    while (from + atomic_load_explicit(&step->taken[whose], memory_order_relaxed) < to) {
        size_t at = from + atomic_fetch_add_explicit(&step->taken[whose], run, memory_order_relaxed);
        if (at < to) {
            multiply_strips(b, step, thread, at, to - at < run ? to : at + run);
        }
    }
}

/* A thread first takes its own part, one run behind the other, so that memory is read ahead of it; then what is left of the
 * others', so that a thread that the system holds up does not hold up the others. */
static void run_product(struct backend *b, struct cpu_step *step, unsigned thread)
{
    unsigned threads = team_size(b->team);
    if (rows_of(b, step->op) == 0) {
        return;
    }
    for (unsigned i = 0; i < threads; i++) {
        multiply_part(b, step, thread, (thread + i) % threads);
    }
}

/* --- positions --------------------------------------------------------------------------------------- */

static void rotate_pairs(const float *src, const float *rotation, uint32_t dims, float *dst)
{
    for (uint32_t i = 0; i < dims; i += 2) {
        float x = src[i];
        float y = src[i + 1];
        dst[i] = x * rotation[i] - y * rotation[i + 1];
        dst[i + 1] = x * rotation[i + 1] + y * rotation[i];
    }
}

static void rotate_halves(const float *src, const float *rotation, uint32_t dims, float *dst)
{
    uint32_t half = dims / 2;
    for (uint32_t i = 0; i < half; i++) {
        float x = src[i];
        float y = src[i + half];
        dst[i] = x * rotation[2 * i] - y * rotation[2 * i + 1];
        dst[i + half] = x * rotation[2 * i + 1] + y * rotation[2 * i];
    }
}

static void run_rope(struct backend *b, const struct graph_op *op, unsigned thread)
{
    const struct rope *rope = &b->graph->model->rope[op->rope];
    size_t from_piece = b->graph->widths[op->a] / op->heads;
    size_t to_piece = b->graph->widths[op->dst] / op->heads;
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * op->heads, &from, &to);
    for (size_t i = from; i < to; i++) {
        uint32_t position = b->batch->tokens[i / op->heads].position;
        const float *rotation = b->rotation[op->rope] + (size_t)position * rope->dims;
        const float *src = b->buffers[op->a] + i * from_piece + op->from;
        float *dst = b->buffers[op->dst] + i * to_piece + op->to;
        if (rope->style == ROPE_PAIRS) {
            rotate_pairs(src, rotation, rope->dims, dst);
        } else {
            rotate_halves(src, rotation, rope->dims, dst);
        }
    }
}

static void run_store(struct backend *b, const struct graph_op *op, unsigned thread)
{
    const struct kv_cache *kv = &b->kv;
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * b->kv.heads, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t token = i / b->kv.heads;
        uint32_t head = (uint32_t)(i % b->kv.heads);
        const struct batch_token *t = &b->batch->tokens[token];
        uint32_t block = batch_window_table(b->batch, t->sequence, op->window)[t->position / KV_BLOCK];
        size_t place = t->position % KV_BLOCK;
        b->kernels->to_half(b->buffers[op->a] + i * kv->key_dim, kv->key_dim,
                            kv_cache_keys(kv, op->layer, head) + block * kv_cache_key_block(kv) +
                                place * kv->key_dim);
        if (op->b) {
            b->kernels->to_half(b->buffers[op->b] + i * kv->value_dim, kv->value_dim,
                                kv_cache_values(kv, op->layer, head) + block * kv_cache_value_block(kv) +
                                    place * kv->value_dim);
        }
    }
}

/* --- the rest ---------------------------------------------------------------------------------------- */

static void run_activation(struct backend *b, const struct cpu_step *step, unsigned thread)
{
    const struct graph_op *op = step->op;
    uint32_t width = b->graph->widths[op->dst];
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * (width / 32), &from, &to);
    void (*kernel)(const float *, const float *, uint32_t, float *) =
        op->kind == GRAPH_SWIGLU ? b->kernels->swiglu : b->kernels->geglu;
    kernel(b->buffers[op->a] + 32 * from, b->buffers[op->b] + 32 * from, (uint32_t)(32 * (to - from)),
           b->buffers[op->dst] + 32 * from);
    if (step->quantizes_too) {
        cpu_quantize_blocks(b, op->dst, from, to - from);
    }
}

static void run_add(struct backend *b, const struct graph_op *op, unsigned thread)
{
    size_t from;
    size_t to;
    share(b, thread, (size_t)b->batch->n * b->graph->widths[op->dst], &from, &to);
    const float *a = b->buffers[op->a];
    float *dst = b->buffers[op->dst];
    for (size_t i = from; i < to; i++) {
        dst[i] += a[i];
    }
}

static void run_pick(struct backend *b, const struct graph_op *op, unsigned thread)
{
    size_t from;
    size_t to;
    share(b, thread, b->picked_count, &from, &to);
    for (size_t i = from; i < to; i++) {
        memcpy(cpu_row(b, op->dst, i), cpu_row(b, op->a, b->picked[i]),
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
        run_product(b, step, thread);
        break;
    case GRAPH_ROPE:
        run_rope(b, op, thread);
        break;
    case GRAPH_STORE_KV:
        run_store(b, op, thread);
        break;
    case GRAPH_ATTEND:
        cpu_run_attend(b, step, thread);
        break;
    case GRAPH_SWIGLU:
    case GRAPH_GEGLU:
        run_activation(b, step, thread);
        break;
    case GRAPH_ADD:
        run_add(b, op, thread);
        break;
    case GRAPH_MATMUL_HEADS:
        cpu_run_heads(b, step, thread);
        break;
    case GRAPH_ROUTE:
        cpu_run_route(b, step, thread);
        break;
    case GRAPH_EXPERTS:
        cpu_run_experts(b, step, thread);
        break;
    case GRAPH_EXPERTS_ADD:
        cpu_run_experts_add(b, step, thread);
        break;
    case GRAPH_PICK:
        run_pick(b, op, thread);
        break;
    }
}

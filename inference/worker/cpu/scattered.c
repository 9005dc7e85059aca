/* Products of columns that do not stand side by side: a head's part of each token's row, or the tokens that use an
 * expert. The columns of a tile are copied together first, so the kernels are those of every other product and
 * give a column the same bits.
 *
 * A matrix of pieces (heads, experts) is packed as one; piece i begins at strip i * strips of a piece, as the
 * rows of a piece are whole strips. */
#include "inference/worker/cpu/cpu_backend.h"
#include "inference/worker/route.h"

struct columns {
    enum graph_buffer buffer;
    const size_t *at; /* first value of each, from the start of the buffer; whole blocks of 32 */
    unsigned n;       /* up to KERNEL_TILE */
};

static void times_int8(struct backend *b, unsigned thread, const struct packed *w, uint32_t strip,
                       const struct columns *x, float out[KERNEL_TILE][PACKED_ROWS])
{
    size_t blocks = w->columns / PACKED_COLUMNS;
    size_t mine = (size_t)thread * KERNEL_TILE * b->gather_width;
    int8_t *q = b->gathered + mine;
    float *scale = b->gathered_scale + mine / PACKED_COLUMNS;
    float *sum = b->gathered_sum + mine / PACKED_COLUMNS;
    int16_t *totals = b->gathered_totals + 2 * (mine / PACKED_COLUMNS);
    for (unsigned c = 0; c < x->n; c++) {
        size_t block = x->at[c] / PACKED_COLUMNS;
        memcpy(q + c * (size_t)w->columns, b->q + x->at[c], w->columns);
        memcpy(scale + c * blocks, b->q_scale + block, blocks * sizeof *scale);
        memcpy(sum + c * blocks, b->q_sum + block, blocks * sizeof *sum);
        memcpy(totals + 2 * c * blocks, b->q_totals + 2 * block, 2 * blocks * sizeof *totals);
    }
    struct quantized gathered = {.q = q, .scale = scale, .sum = sum, .totals = totals, .width = w->columns};
    cpu_strip_kernel(b, w->kind)(w->data + strip * w->strip_bytes, &gathered, x->n, out);
}

static void times_float(const struct backend *b, const struct packed *w, uint32_t strip,
                        const struct columns *x, float out[KERNEL_TILE][PACKED_ROWS])
{
    dot_cb dot = cpu_dot_kernel(b, w->kind);
    for (unsigned row = 0; row < PACKED_ROWS; row++) {
        const uint8_t *weights = w->data + ((size_t)strip * PACKED_ROWS + row) * w->strip_bytes;
        for (unsigned c = 0; c < x->n; c++) {
            out[c][row] = dot(weights, b->buffers[x->buffer] + x->at[c], w->columns);
        }
    }
}

static void times(struct backend *b, unsigned thread, const struct packed *w, uint32_t strip,
                  const struct columns *x, float out[KERNEL_TILE][PACKED_ROWS])
{
    if (cpu_is_float(w->kind)) {
        times_float(b, w, strip, x, out);
    } else {
        times_int8(b, thread, w, strip, x, out);
    }
}

static unsigned tile_of(uint32_t left)
{
    return left < KERNEL_TILE ? left : KERNEL_TILE;
}

/* --- heads ------------------------------------------------------------------------------------------- */

static void head_strip(struct backend *b, const struct cpu_step *step, unsigned thread, uint32_t strip)
{
    const struct graph_op *op = step->op;
    const struct packed *w = step->matrix;
    uint32_t strips = w->strips / op->heads;
    uint32_t head = strip / strips;
    size_t from_piece = b->graph->widths[op->a] / op->heads;
    size_t to_piece = b->graph->widths[op->dst] / op->heads;
    for (uint32_t token = 0; token < b->batch->n; token += KERNEL_TILE) {
        float out[KERNEL_TILE][PACKED_ROWS];
        size_t at[KERNEL_TILE];
        struct columns x = {op->a, at, tile_of(b->batch->n - token)};
        for (unsigned c = 0; c < x.n; c++) {
            at[c] = (size_t)(token + c) * b->graph->widths[op->a] + head * from_piece;
        }
        times(b, thread, w, strip, &x, out);
        for (unsigned c = 0; c < x.n; c++) {
            float *dst = cpu_row(b, op->dst, token + c) + head * to_piece;
            memcpy(dst + (size_t)(strip % strips) * PACKED_ROWS, out[c], sizeof out[c]);
        }
    }
}

void cpu_run_heads(struct backend *b, struct cpu_step *step, unsigned thread)
{
    for (;;) {
        uint32_t strip = atomic_fetch_add_explicit(&step->next, 1, memory_order_relaxed);
        if (strip >= step->matrix->strips) {
            return;
        }
        head_strip(b, step, thread, strip);
    }
}

/* --- experts ----------------------------------------------------------------------------------------- */

/* Sorts the uses by expert, then by token. */
static void sort_uses(struct cpu_uses *u, uint32_t experts, uint32_t uses)
{
    memset(u->first, 0, (experts + 1) * sizeof *u->first);
    for (uint32_t i = 0; i < uses; i++) {
        u->first[u->of_token[i] + 1]++;
    }
    u->active_count = 0;
    for (uint32_t e = 0; e < experts; e++) {
        if (u->first[e + 1] > 0) {
            u->active[u->active_count++] = e;
        }
        u->first[e + 1] += u->first[e];
    }
    for (uint32_t i = uses; i-- > 0;) { /* places fill from the end of an expert's part down to its start */
        u->use[--u->first[u->of_token[i] + 1]] = i;
    }
    memmove(u->first, u->first + 1, experts * sizeof *u->first);
    u->first[experts] = uses;
}

/* A few thousand comparisons a token: one thread does it, which spares a barrier before the sorting. */
void cpu_run_route(struct backend *b, const struct cpu_step *step, unsigned thread)
{
    const struct model_experts *x = &b->graph->model->sizes.experts;
    if (thread != 0) {
        return;
    }
    for (uint32_t token = 0; token < b->batch->n; token++) {
        route(x, step->bias, cpu_row(b, step->op->dst, token), b->uses.of_token + (size_t)token * x->used);
    }
    sort_uses(&b->uses, x->count, b->batch->n * x->used);
}

/* A strip of an expert's matrix, times the rows of all who use it, each into its own piece. */
static void expert_strip(struct backend *b, const struct cpu_step *step, unsigned thread, uint32_t expert,
                         uint32_t strip)
{
    const struct graph_op *op = step->op;
    const struct model_experts *x = &b->graph->model->sizes.experts;
    const struct packed *w = step->matrix;
    uint32_t strips = w->strips / x->count;
    for (uint32_t i = b->uses.first[expert]; i < b->uses.first[expert + 1]; i += KERNEL_TILE) {
        float out[KERNEL_TILE][PACKED_ROWS];
        size_t at[KERNEL_TILE];
        const uint32_t *use = b->uses.use + i;
        struct columns columns = {op->a, at, tile_of(b->uses.first[expert + 1] - i)};
        for (unsigned c = 0; c < columns.n; c++) {
            at[c] = (size_t)(use[c] / x->used) * b->graph->widths[op->a];
        }
        times(b, thread, w, expert * strips + strip, &columns, out);
        for (unsigned c = 0; c < columns.n; c++) {
            float *dst = b->buffers[op->dst] + (size_t)use[c] * x->width;
            memcpy(dst + (size_t)strip * PACKED_ROWS, out[c], sizeof out[c]);
        }
    }
}

void cpu_run_experts(struct backend *b, struct cpu_step *step, unsigned thread)
{
    uint32_t strips = step->matrix->strips / b->graph->model->sizes.experts.count;
    for (;;) {
        uint32_t piece = atomic_fetch_add_explicit(&step->next, 1, memory_order_relaxed);
        if (piece >= strips * b->uses.active_count) {
            return;
        }
        expert_strip(b, step, thread, b->uses.active[piece / strips], piece % strips);
    }
}

/* The same rows of all experts, one expert after the other: no two threads add to one value, and a token's sum
 * has the same order in every batch. */
static void add_strip(struct backend *b, const struct cpu_step *step, unsigned thread, uint32_t strip)
{
    const struct graph_op *op = step->op;
    const struct model_experts *x = &b->graph->model->sizes.experts;
    uint32_t strips = step->matrix->strips / x->count;
    for (uint32_t a = 0; a < b->uses.active_count; a++) {
        uint32_t expert = b->uses.active[a];
        for (uint32_t i = b->uses.first[expert]; i < b->uses.first[expert + 1]; i += KERNEL_TILE) {
            float out[KERNEL_TILE][PACKED_ROWS];
            size_t at[KERNEL_TILE];
            const uint32_t *use = b->uses.use + i;
            struct columns columns = {op->a, at, tile_of(b->uses.first[expert + 1] - i)};
            for (unsigned c = 0; c < columns.n; c++) {
                at[c] = (size_t)use[c] * x->width;
            }
            times(b, thread, step->matrix, expert * strips + strip, &columns, out);
            for (unsigned c = 0; c < columns.n; c++) {
                uint32_t token = use[c] / x->used;
                float weight = cpu_row(b, op->b, token)[expert];
                float *dst = cpu_row(b, op->dst, token) + (size_t)strip * PACKED_ROWS;
                for (unsigned row = 0; row < PACKED_ROWS; row++) {
                    dst[row] += weight * out[c][row];
                }
            }
        }
    }
}

void cpu_run_experts_add(struct backend *b, struct cpu_step *step, unsigned thread)
{
    uint32_t strips = step->matrix->strips / b->graph->model->sizes.experts.count;
    for (;;) {
        uint32_t strip = atomic_fetch_add_explicit(&step->next, 1, memory_order_relaxed);
        if (strip >= strips) {
            return;
        }
        add_strip(b, step, thread, strip);
    }
}

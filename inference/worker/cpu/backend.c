#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/cpu/cpu_backend.h"

static void *floats(size_t rows, size_t columns) /* 64-byte aligned; NULL: no memory */
{
    size_t bytes;
    if (__builtin_mul_overflow(rows * sizeof(float), columns, &bytes) || bytes > SIZE_MAX - 64) {
        return NULL;
    }
    return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
}

static uint32_t widest_input(const struct graph *g)
{
    uint32_t widest = 0;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct graph_op *op = &g->ops[i];
        uint32_t width = op->kind == GRAPH_MATMUL || op->kind == GRAPH_MATMUL_ADD ? g->widths[op->a] : 0;
        widest = width > widest ? width : widest;
    }
    return widest;
}

static int allocate_buffers(struct backend *b, struct err *err)
{
    const struct graph *g = b->graph;
    const struct backend_conf *c = &b->conf;
    bool whole = true;
    for (unsigned i = 1; i < GRAPH_BUFFERS; i++) {
        bool few = i == GRAPH_LOGITS || i == GRAPH_PICKED;
        b->buffers[i] = floats(few ? c->batch_logits : c->batch_tokens, g->widths[i]);
        whole = whole && b->buffers[i];
    }
    size_t rows = c->batch_tokens > c->batch_logits ? c->batch_tokens : c->batch_logits;
    uint32_t widest = widest_input(g);
    b->q = floats(rows, widest / 4 + 1);
    b->q_scale = floats(rows, widest / 32 + 1);
    b->q_sum = floats(rows, widest / 32 + 1);
    b->rotation = floats(c->context, g->model->sizes.rope_dims);
    b->scores = floats(team_size(b->team), c->context);
    b->picked = calloc(c->batch_logits, sizeof *b->picked);
    if (!whole || !b->q || !b->q_scale || !b->q_sum || !b->rotation || !b->scores || !b->picked) {
        return err_set(err, ERR_NOMEM, "cpu: no memory for %u tokens a step", c->batch_tokens);
    }
    return 0;
}

static void fill_rotation(struct backend *b)
{
    const struct model *m = b->graph->model;
    uint32_t pairs = m->sizes.rope_dims / 2;
    for (uint32_t i = 0; i < pairs; i++) {
        double frequency = pow((double)m->sizes.rope_base, -2.0 * i / m->sizes.rope_dims);
        if (m->rope_freqs) {
            float divisor = 1.0F;
            const struct quant_type *type = m->rope_freqs->type;
            type->dequantize(m->rope_freqs->data + (size_t)i * type->block_bytes, &divisor, 1);
            frequency /= (double)divisor;
        }
        for (uint32_t position = 0; position < b->conf.context; position++) {
            float *pair = b->rotation + (size_t)position * m->sizes.rope_dims + 2UL * i;
            pair[0] = (float)cos(position * frequency);
            pair[1] = (float)sin(position * frequency);
        }
    }
}

static void cpu_close(struct backend *b)
{
    if (!b) {
        return;
    }
    team_free(b->team);
    cpu_program_clear(&b->program);
    kv_cache_clear(&b->kv);
    for (unsigned i = 0; i < GRAPH_BUFFERS; i++) {
        free(b->buffers[i]);
    }
    free(b->q);
    free(b->q_scale);
    free(b->q_sum);
    free(b->rotation);
    free(b->scores);
    free(b->picked);
    free(b);
}

static int check(const struct graph *g, struct err *err)
{
    const struct gguf_tensor *freqs = g->model->rope_freqs;
    if (freqs && freqs->type->block_values != 1) {
        return err_set(err, ERR_INVALID, "cpu: rope_freqs.weight has type %s", freqs->type->name);
    }
    return 0;
}

static int cpu_open(const struct graph *g, const struct backend_conf *conf, struct backend **out,
                    struct err *err)
{
    struct backend *b = calloc(1, sizeof *b);
    if (!b) {
        return err_set(err, ERR_NOMEM, "cpu: no memory");
    }
    b->graph = g;
    b->conf = *conf;
    b->kernels = conf->portable ? &cpu_kernels_portable : cpu_kernels_best();
    int rc = check(g, err);
    if (!rc) {
        rc = team_new(conf->threads ? conf->threads : team_usable_cores(), &b->team, err);
    }
    if (!rc) {
        rc = allocate_buffers(b, err);
    }
    if (!rc) {
        rc = kv_cache_init(&b->kv, &g->model->sizes, conf->kv_blocks, err);
    }
    if (!rc) {
        fill_rotation(b);
        rc = cpu_program_init(&b->program, g, err);
    }
    if (rc) {
        cpu_close(b);
        return rc;
    }
    *out = b;
    return 0;
}

static void run_steps(void *arg, unsigned thread)
{
    struct backend *b = arg;
    for (size_t i = 0; i < b->program.step_count; i++) {
        struct cpu_step *step = &b->program.steps[i];
        if (step->waits && i > 0) {
            team_barrier(b->team);
        }
        cpu_step_run(b, step, thread);
    }
}

static int cpu_run(struct backend *b, const struct batch *batch, float **logits, struct err *err)
{
    BUG_ON(batch->n == 0 || batch->n > b->conf.batch_tokens);
    b->batch = batch;
    b->picked_count = 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct batch_token *t = &batch->tokens[i];
        BUG_ON(t->position >= b->conf.context);
        BUG_ON(batch_table(batch, t->sequence)[t->position / KV_BLOCK] >= b->conf.kv_blocks);
        BUG_ON(t->token < 0 || (uint32_t)t->token >= b->graph->model->sizes.vocab);
        if (t->wants_logits) {
            BUG_ON(b->picked_count == b->conf.batch_logits);
            b->picked[b->picked_count++] = i;
        }
    }
    cpu_program_rewind(&b->program);
    team_run(b->team, run_steps, b);
    *logits = b->buffers[GRAPH_LOGITS];
    return 0;
}

static void cpu_describe(const struct backend *b, char *out, size_t n)
{
    snprintf(out, n, "backend=cpu kernels=%s threads=%u weights_mib=%zu kv_mib=%zu", b->kernels->name,
             team_size(b->team), b->program.packed_bytes >> 20, b->kv.bytes >> 20);
}

const struct backend_kind backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .run = cpu_run,
    .describe = cpu_describe,
    .close = cpu_close,
};

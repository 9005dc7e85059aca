#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "inference/worker/cpu/cores.h"
#include "inference/worker/cpu/cpu_backend.h"
#include "inference/worker/worker_metrics.h"

static void *floats(size_t rows, size_t columns) /* 64-byte aligned; NULL: no memory */
{
    size_t bytes;
    if (__builtin_mul_overflow(rows * sizeof(float), columns, &bytes) || bytes > SIZE_MAX - 64) {
        return NULL;
    }
    return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The widest row that is multiplied, and the widest of the columns that stand apart. */
static uint32_t widest_input(const struct graph *g, uint32_t *scattered)
{
    uint32_t widest = 0;
    *scattered = 0;
    for (size_t i = 0; i < g->op_count; i++) {
        const struct graph_op *op = &g->ops[i];
        switch (op->kind) {
        case GRAPH_MATMUL_HEADS:
        case GRAPH_EXPERTS:
        case GRAPH_EXPERTS_ADD:
            *scattered = larger(*scattered, (uint32_t)op->weight->dims[0]);
            widest = larger(widest, g->widths[op->a]);
            break;
        case GRAPH_MATMUL:
        case GRAPH_MATMUL_ADD:
            widest = larger(widest, g->widths[op->a]);
            break;
        default:
            break;
        }
    }
    return widest;
}

/* Room for the products of scattered.c, where the model has any. */
static bool allocate_scattered(struct backend *b)
{
    const struct model_experts *x = &b->graph->model->sizes.experts;
    size_t columns = (size_t)KERNEL_TILE * team_size(b->team);
    if (b->gather_width) {
        b->gathered = floats(columns, b->gather_width / 4 + 1);
        b->gathered_scale = floats(columns, b->gather_width / 32 + 1);
        b->gathered_sum = floats(columns, b->gather_width / 32 + 1);
        b->gathered_totals = floats(columns, b->gather_width / 32 + 1); /* two of them a float */
        if (!b->gathered || !b->gathered_scale || !b->gathered_sum || !b->gathered_totals) {
            return false;
        }
    }
    if (x->count == 0) {
        return true;
    }
    size_t uses = (size_t)b->conf.batch_tokens * x->used;
    b->uses.of_token = calloc(uses, sizeof *b->uses.of_token);
    b->uses.use = calloc(uses, sizeof *b->uses.use);
    b->uses.first = calloc(x->count + 1, sizeof *b->uses.first);
    b->uses.active = calloc(x->count, sizeof *b->uses.active);
    return b->uses.of_token && b->uses.use && b->uses.first && b->uses.active;
}

static int allocate_buffers(struct backend *b, struct err *err)
{
    const struct graph *g = b->graph;
    const struct backend_conf *c = &b->conf;
    size_t rows = larger(c->batch_tokens, c->batch_logits);
    uint32_t widest = widest_input(g, &b->gather_width);
    bool whole = allocate_scattered(b);
    for (unsigned i = 1; i < GRAPH_BUFFERS; i++) {
        bool few = i == GRAPH_LOGITS || i == GRAPH_PICKED;
        if (g->widths[i]) {
            b->buffers[i] = floats(few ? c->batch_logits : c->batch_tokens, g->widths[i]);
            whole = whole && b->buffers[i];
        }
    }
    b->q = floats(rows, widest / 4 + 1);
    b->q_scale = floats(rows, widest / 32 + 1);
    b->q_sum = floats(rows, widest / 32 + 1);
    b->q_totals = floats(rows, widest / 32 + 1); /* likewise */
    b->scores = floats((size_t)team_size(b->team) * ATTEND_QUERIES, c->context);
    b->attend_width = larger(g->model->sizes.key_dim, g->model->sizes.value_dim);
    b->attend_rows = floats((size_t)team_size(b->team) * KV_BLOCK, b->attend_width);
    b->tiles = calloc(c->batch_tokens, sizeof *b->tiles);
    b->picked = calloc(c->batch_logits, sizeof *b->picked);
    b->best = calloc(c->batch_logits, sizeof *b->best);
    b->best_logits = calloc(c->batch_logits, sizeof *b->best_logits);
    b->best_of_thread = calloc((size_t)team_size(b->team) * c->batch_logits, sizeof *b->best_of_thread);
    if (!whole || !b->attend_rows || !b->tiles || !b->best || !b->best_logits || !b->best_of_thread ||
        !b->q || !b->q_scale || !b->q_sum || !b->q_totals || !b->scores || !b->picked) {
        return err_set(err, ERR_NOMEM, "cpu: no memory for %u tokens a step", c->batch_tokens);
    }
    return 0;
}

static void fill_rotation(const struct rope *r, uint32_t context, float *out)
{
    for (uint32_t i = 0; i < r->dims / 2; i++) {
        for (uint32_t position = 0; position < context; position++) {
            float *pair = out + (size_t)position * r->dims + 2UL * i;
            pair[0] = (float)cos(position * r->frequency[i]) * r->magnitude;
            pair[1] = (float)sin(position * r->frequency[i]) * r->magnitude;
        }
    }
}

static int make_rotations(struct backend *b, struct err *err)
{
    for (unsigned i = 0; i < MODEL_ROPES; i++) {
        const struct rope *r = &b->graph->model->rope[i];
        if (r->dims == 0) {
            continue;
        }
        b->rotation[i] = floats(b->conf.context, r->dims);
        if (!b->rotation[i]) {
            return err_set(err, ERR_NOMEM, "cpu: no memory for the rotations of %u positions",
                           b->conf.context);
        }
        fill_rotation(r, b->conf.context, b->rotation[i]);
    }
    return 0;
}

static void tell_weights(const struct backend *b)
{
    bool is_mapped = b->program.file.map != NULL;
    double bytes = (double)b->program.packed_bytes;
    metric_child_set(metric_child(&worker_weights, "mapped"), is_mapped ? bytes : 0);
    metric_child_set(metric_child(&worker_weights, "private"), is_mapped ? 0 : bytes);
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
    free(b->q_totals);
    free(b->gathered);
    free(b->gathered_scale);
    free(b->gathered_sum);
    free(b->gathered_totals);
    free(b->uses.of_token);
    free(b->uses.first);
    free(b->uses.use);
    free(b->uses.active);
    for (unsigned i = 0; i < MODEL_ROPES; i++) {
        free(b->rotation[i]);
    }
    free(b->scores);
    free(b->attend_rows);
    free(b->tiles);
    free(b->picked);
    free(b->best);
    free(b->best_logits);
    free(b->best_of_thread);
    free(b);
}

static const struct cpu_kernels *choose_kernels(const struct backend_conf *conf)
{
    const struct cpu_kernels *best = conf->portable ? &cpu_kernels_portable : cpu_kernels_best();
    struct err why = {.code = ERR_OK};
    if (conf->portable || conf->no_amx) {
        return best;
    }
    const struct cpu_kernels *amx = cpu_kernels_amx(&why);
    if (amx) {
        return amx;
    }
    if (why.code == ERR_UNAVAILABLE) {
        log_info("worker kernels=%s amx=no reason=\"%s\"", best->name, why.msg);
    } else { /* there is one, and it could be used */
        log_warn("worker kernels=%s amx=no reason=\"%s\"", best->name, why.msg);
    }
    return best;
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
    b->kernels = choose_kernels(conf);
    int rc = team_new(conf->threads ? conf->threads : cores_usable(), &b->team, err);
    if (!rc) {
        rc = allocate_buffers(b, err);
    }
    if (!rc) {
        rc = kv_cache_init(&b->kv, g->model, conf->kv_blocks, conf->kv_window_blocks, err);
    }
    if (!rc) {
        rc = make_rotations(b, err);
    }
    if (!rc) {
        rc = cpu_program_init(&b->program, g, conf->packed, team_size(b->team), err);
    }
    if (rc) {
        cpu_close(b);
        return rc;
    }
    tell_weights(b);
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

static void check_place(const struct backend *b, const struct batch *batch, const struct batch_token *t)
{
    uint32_t block = t->position / KV_BLOCK;
    BUG_ON(t->position >= b->conf.context);
    BUG_ON(batch_table(batch, t->sequence)[block] >= b->conf.kv_blocks);
    BUG_ON(b->conf.kv_window_blocks &&
           batch_window_table(batch, t->sequence, 1)[block] >= b->conf.kv_window_blocks);
}

static void clear_best(struct backend *b)
{
    for (size_t i = 0; i < (size_t)team_size(b->team) * b->conf.batch_logits; i++) {
        b->best_of_thread[i] = (struct cpu_best){.value = -INFINITY};
    }
}

/* Threads share the rows of the head in any way: the lowest id of equals is what one of them would find. */
static void join_best(struct backend *b)
{
    for (uint32_t i = 0; i < b->picked_count; i++) {
        struct cpu_best best = b->best_of_thread[i];
        for (unsigned thread = 1; thread < team_size(b->team); thread++) {
            struct cpu_best other = b->best_of_thread[(size_t)thread * b->conf.batch_logits + i];
            if (other.value > best.value || (other.value == best.value && other.id < best.id)) {
                best = other;
            }
        }
        b->best_logits[i] = best.value;
        b->best[i] = b->batch->tokens[b->picked[i]].best_only ? (int32_t)best.id : -1;
    }
}

static int cpu_run(struct backend *b, const struct batch *batch, float **logits, struct err *err)
{
    BUG_ON(batch->n == 0 || batch->n > b->conf.batch_tokens);
    BUG_ON((batch->window_tables != NULL) != (b->conf.kv_window_blocks > 0));
    b->batch = batch;
    b->picked_count = 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct batch_token *t = &batch->tokens[i];
        check_place(b, batch, t);
        BUG_ON(t->token < 0 || (uint32_t)t->token >= b->graph->model->sizes.vocab);
        if (t->wants_logits) {
            BUG_ON(b->picked_count == b->conf.batch_logits);
            b->picked[b->picked_count++] = i;
        }
    }
    cpu_program_rewind(&b->program);
    cpu_tile_batch(b);
    clear_best(b);
    team_run(b->team, run_steps, b);
    join_best(b);
    *logits = b->buffers[GRAPH_LOGITS];
    return 0;
}

static bool cpu_candidates(const struct backend *b, uint32_t row, struct candidates *out)
{
    *out = (struct candidates){.ids = &b->best[row], .logits = &b->best_logits[row], .n = 1};
    return b->best[row] >= 0;
}

static void cpu_describe(const struct backend *b, char *out, size_t n)
{
    const char *place = b->program.file.map ? "mapped" : "private";
    snprintf(out, n, "backend=cpu kernels=%s threads=%u weights=%s weights_mib=%zu kv_mib=%zu",
             b->kernels->name, team_size(b->team), place, b->program.packed_bytes >> 20, b->kv.bytes >> 20);
}

const struct backend_kind backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .run = cpu_run,
    .candidates = cpu_candidates,
    .describe = cpu_describe,
    .close = cpu_close,
};

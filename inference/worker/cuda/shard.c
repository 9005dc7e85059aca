#include "inference/worker/cuda/shard.h"

#include <stdlib.h>

static int refuse(const struct shard *s, const char *what, uint32_t n, struct err *err)
{
    return err_set(err, ERR_INVALID, "cuda: %u %s do not divide among %u devices", n, what, s->ranks);
}

static int check(const struct shard *s, const struct model *m, struct err *err)
{
    const struct model_sizes *all = &m->sizes;
    if (all->heads % s->ranks != 0) {
        return refuse(s, "query heads", all->heads, err);
    }
    if (all->kv_heads % s->ranks != 0 && s->ranks % all->kv_heads != 0) {
        return refuse(s, "key heads", all->kv_heads, err);
    }
    if (all->ff_width % s->ranks != 0) {
        return refuse(s, "feed-forward values", all->ff_width, err);
    }
    if (all->experts.width % s->ranks != 0) {
        return refuse(s, "values of an expert", all->experts.width, err);
    }
    return (uint64_t)s->vocab_part * (s->ranks - 1) >= all->vocab ? refuse(s, "tokens", all->vocab, err) : 0;
}

static void set_sizes(struct shard *s)
{
    struct model_sizes *mine = &s->model.sizes;
    mine->heads /= s->ranks;
    mine->kv_heads = mine->kv_heads > s->ranks ? mine->kv_heads / s->ranks : 1;
    mine->ff_width /= s->ranks;
    mine->experts.width /= s->ranks;
    mine->experts.shared_width /= s->ranks;
    graph_set_widths(&s->graph);
    s->graph.widths[GRAPH_LOGITS] = s->vocab_part * s->ranks;
}

/* --- operations ------------------------------------------------------------------------------------------ */

/* The first of `buffer`'s values that are this rank's, counted among all. */
static uint32_t first_value(const struct shard *s, enum graph_buffer buffer, uint32_t kv_heads)
{
    uint32_t width = s->graph.widths[buffer];
    if (buffer == GRAPH_KEY || buffer == GRAPH_VALUE) {
        uint32_t own_heads = s->model.sizes.kv_heads;
        uint32_t head = kv_heads >= s->ranks ? s->rank * own_heads : s->rank * kv_heads / s->ranks;
        return head * (width / own_heads);
    }
    return s->rank * width;
}

static bool is_cut(enum graph_buffer buffer)
{
    return buffer == GRAPH_QUERY || buffer == GRAPH_KEY || buffer == GRAPH_VALUE || buffer == GRAPH_MIXED ||
           buffer == GRAPH_GATE || buffer == GRAPH_UP || buffer == GRAPH_SHARED_GATE ||
           buffer == GRAPH_SHARED_UP;
}

static void cut_product(struct shard *s, struct graph_op *op, struct shard_part *part, uint32_t kv_heads)
{
    if (op->dst == GRAPH_LOGITS) {
        uint32_t from = s->rank * s->vocab_part;
        uint32_t to = from + s->vocab_part;
        uint32_t vocab = s->model.sizes.vocab;
        part->cut = (struct shard_cut){.row_from = from, .row_to = to < vocab ? to : vocab};
        part->join = SHARD_GATHER;
    } else if (is_cut(op->dst)) {
        uint32_t from = first_value(s, op->dst, kv_heads);
        part->cut = (struct shard_cut){.row_from = from, .row_to = from + s->graph.widths[op->dst]};
    } else if (is_cut(op->a)) {
        uint32_t from = first_value(s, op->a, kv_heads);
        part->cut = (struct shard_cut){.column_from = from, .column_to = from + s->graph.widths[op->a]};
        part->join = SHARD_SUM;
        bool is_begun = op->a == GRAPH_SHARED_GATE; /* by the experts */
        op->kind = s->rank == 0 || is_begun ? op->kind : GRAPH_MATMUL;
    }
}

static void cut_heads(struct shard *s, struct graph_op *op, struct shard_part *part)
{
    uint32_t rows = (uint32_t)op->weight->rows / s->ranks;
    part->cut = (struct shard_cut){.row_from = s->rank * rows, .row_to = (s->rank + 1) * rows};
}

static void cut_experts(struct shard *s, struct graph_op *op, struct shard_part *part)
{
    const struct model_experts *mine = &s->model.sizes.experts;
    uint32_t from = s->rank * mine->width;
    uint32_t to = from + mine->width;
    if (op->kind == GRAPH_EXPERTS) {
        part->cut = (struct shard_cut){.row_from = from, .row_to = to, .pieces = mine->count};
    } else {
        part->cut = (struct shard_cut){.column_from = from, .column_to = to};
        part->join = mine->shared_width ? SHARD_ALONE : SHARD_SUM; /* the shared ones follow, for both */
        part->clears = s->rank > 0;
    }
}

static void cut_op(struct shard *s, struct graph_op *op, struct shard_part *part, uint32_t kv_heads)
{
    const struct model_sizes *mine = &s->model.sizes;
    if (op->kind == GRAPH_MATMUL || op->kind == GRAPH_MATMUL_ADD) {
        cut_product(s, op, part, kv_heads);
    } else if (op->kind == GRAPH_EXPERTS || op->kind == GRAPH_EXPERTS_ADD) {
        cut_experts(s, op, part);
    } else if (op->a == GRAPH_QUERY || op->a == GRAPH_ABSORBED || op->a == GRAPH_LATENTS) {
        op->heads = mine->heads; /* norm, rope, attend, and products of heads */
        if (op->kind == GRAPH_MATMUL_HEADS) {
            cut_heads(s, op, part);
        }
    } else if (op->a == GRAPH_KEY && op->heads) {
        op->heads = mine->kv_heads;
    }
}

int shard_init(struct shard *s, const struct graph *g, uint32_t rank, uint32_t ranks, struct err *err)
{
    uint32_t kv_heads = g->model->sizes.kv_heads;
    *s = (struct shard){.rank = rank, .ranks = ranks, .model = *g->model, .graph = *g};
    s->vocab_part = (g->model->sizes.vocab + ranks - 1) / ranks;
    s->graph.model = &s->model;
    s->graph.ops = NULL;
    int rc = check(s, g->model, err);
    if (rc) {
        return rc;
    }
    set_sizes(s);
    s->graph.ops = calloc(g->op_count, sizeof *s->graph.ops);
    s->parts = calloc(g->op_count, sizeof *s->parts);
    if (!s->graph.ops || !s->parts) {
        shard_clear(s);
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu operations", g->op_count);
    }
    for (size_t i = 0; i < g->op_count; i++) {
        s->graph.ops[i] = g->ops[i];
        cut_op(s, &s->graph.ops[i], &s->parts[i], kv_heads);
    }
    return 0;
}

void shard_clear(struct shard *s)
{
    free(s->graph.ops);
    free(s->parts);
    s->graph.ops = NULL;
    s->parts = NULL;
}

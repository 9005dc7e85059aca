/* One function an operation: the graph's names become a kernel's parameters. */
#include "inference/worker/cuda/cuda_backend.h"

#include "kernels/activation.h"
#include "kernels/attend_prompt.h"
#include "kernels/embed.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

static uint32_t rows_of(const struct backend *b, const struct graph_op *op)
{
    return op->picked ? b->picked_count : b->n;
}

static cudaError_t launch_embed(struct backend *b, const struct cuda_step *step)
{
    struct embed_params p = {.table = step->weight->matrix,
                             .rows = b->device.tokens,
                             .out = b->buffers[step->op->dst],
                             .count = b->n,
                             .scale = step->op->scale};
    return embed_launch(&p, b->stream);
}

static cudaError_t launch_pick(struct backend *b, const struct graph_op *op)
{
    struct embed_params p = {.table = {.kind = MATRIX_F32,
                                       .rows = b->n,
                                       .columns = b->graph->widths[op->a],
                                       .values = b->buffers[op->a]},
                             .rows = b->device.picked,
                             .out = b->buffers[op->dst],
                             .count = b->picked_count,
                             .scale = 1.0F};
    return embed_launch(&p, b->stream);
}

static cudaError_t launch_norm(struct backend *b, const struct cuda_step *step)
{
    const struct graph_op *op = step->op;
    struct norm_params p = {.x = b->buffers[op->a],
                            .weight = step->weight->vector,
                            .out = b->buffers[op->dst],
                            .pieces = rows_of(b, op) * op->heads,
                            .x_piece = b->graph->widths[op->a] / op->heads,
                            .out_piece = b->graph->widths[op->dst] / op->heads,
                            .width = (uint32_t)op->weight->dims[0],
                            .eps = b->graph->model->sizes.rms_eps};
    return norm_launch(&p, b->stream);
}

/* --- products --------------------------------------------------------------------------------------------------- */

bool cuda_is_product(enum graph_op_kind kind)
{
    return kind == GRAPH_MATMUL || kind == GRAPH_MATMUL_ADD || kind == GRAPH_MATMUL_HEADS ||
           kind == GRAPH_EXPERTS || kind == GRAPH_EXPERTS_ADD;
}

cudaError_t cuda_quantize(struct backend *b, const struct cuda_step *step)
{
    const struct graph_op *op = step->op;
    struct quantize_params p = {.x = b->buffers[op->a],
                                .out = b->quantized,
                                .rows = rows_of(b, op),
                                .width = b->graph->widths[op->a]};
    return step->quantizes ? quantize_launch(&p, b->stream) : cudaSuccess;
}

cudaError_t cuda_round(struct backend *b, const struct cuda_step *step, uint32_t rows, uint32_t width)
{
    struct quantize_fp8_params p = {
        .x = b->buffers[step->op->a], .out = b->fp8, .rows = rows, .width = width};
    return step->rounds ? quantize_fp8_launch(&p, b->stream) : cudaSuccess;
}

static cudaError_t launch_halves(struct backend *b, const struct cuda_step *step,
                                 const struct matvec_params *p)
{
    struct matmul_half_params q = {
        .w = p->w, .x = b->halves, .bias = p->bias, .out = p->out, .count = p->count, .adds = p->adds};
    struct split_params split = {.x = p->x,
                                 .out = b->halves,
                                 .n = (size_t)p->count * p->w.columns,
                                 .is_bf16 = p->w.kind == MATRIX_BF16};
    cudaError_t rc = step->splits ? split_launch(&split, b->stream) : cudaSuccess;
    return rc != cudaSuccess ? rc : matmul_half_launch(&q, b->stream);
}

static cudaError_t launch_fp8(struct backend *b, const struct cuda_step *step, const struct matvec_params *p)
{
    struct matmul_fp8_params q = {
        .w = p->w, .x = b->fp8, .bias = p->bias, .out = p->out, .count = p->count, .adds = p->adds};
    cudaError_t rc = cuda_round(b, step, p->count, p->w.columns);
    return rc != cudaSuccess ? rc : matmul_fp8_launch(&q, b->stream);
}

/* Few columns a row at a time, many on tensor cores. */
static cudaError_t launch_product(struct backend *b, const struct cuda_step *step)
{
    const struct graph_op *op = step->op;
    struct matvec_params p = {.w = step->weight->matrix,
                              .x = b->buffers[op->a],
                              .x_q = b->quantized,
                              .bias = step->bias,
                              .out = step->join == SHARD_GATHER ? b->logits_part : b->buffers[op->dst],
                              .count = rows_of(b, op),
                              .adds = op->kind == GRAPH_MATMUL_ADD};
    cudaError_t rc = cuda_quantize(b, step);
    if (rc != cudaSuccess) {
        return rc;
    }
    if (matmul_half_takes(&p.w, p.count)) {
        return launch_halves(b, step, &p);
    }
    if (matmul_fp8_takes(&p.w, p.count)) {
        return launch_fp8(b, step, &p);
    }
    return matmul_takes(p.w.kind, p.count) ? matmul_launch(&p, b->stream) : matvec_launch(&p, b->stream);
}

/* --- positions --------------------------------------------------------------------------------------------------- */

static cudaError_t launch_rope(struct backend *b, const struct graph_op *op)
{
    const struct rope *rope = &b->graph->model->rope[op->rope];
    struct rope_params p = {.x = b->buffers[op->a],
                            .out = b->buffers[op->dst],
                            .table = b->rotation[op->rope],
                            .positions = b->device.positions,
                            .tokens = b->n,
                            .heads = op->heads,
                            .x_piece = b->graph->widths[op->a] / op->heads,
                            .out_piece = b->graph->widths[op->dst] / op->heads,
                            .from = op->from,
                            .to = op->to,
                            .dims = rope->dims,
                            .has_halves = rope->style == ROPE_HALVES};
    return rope_launch(&p, b->stream);
}

/* --- the cache ---------------------------------------------------------------------------------------------- */

static struct kv_cache_layer layer_of(const struct backend *b, uint32_t layer)
{
    const struct model_sizes *s = &b->graph->model->sizes;
    size_t positions = (size_t)layer * (b->conf.kv_blocks + 1) * KV_BLOCK;
    return (struct kv_cache_layer){.keys = b->keys + positions * s->kv_heads * s->key_dim,
                                   .values = b->values + positions * s->kv_heads * s->value_dim,
                                   .heads = s->kv_heads,
                                   .key_dim = s->key_dim,
                                   .value_dim = s->value_dim};
}

static struct kv_cache_tokens tokens_of(const struct backend *b)
{
    return (struct kv_cache_tokens){.positions = b->device.positions,
                                    .sequences = b->device.sequences,
                                    .tables = b->device.tables,
                                    .table_width = b->table_width,
                                    .count = b->n};
}

static cudaError_t launch_store(struct backend *b, const struct graph_op *op)
{
    struct kv_store_params p = {.layer = layer_of(b, op->layer),
                                .tokens = tokens_of(b),
                                .keys = b->buffers[op->a],
                                .values = b->buffers[op->b]};
    return kv_store_launch(&p, b->stream);
}

static cudaError_t launch_attend(struct backend *b, const struct graph_op *op)
{
    struct attend_params p = {.layer = layer_of(b, op->layer),
                              .tokens = tokens_of(b),
                              .query = b->buffers[op->a],
                              .out = b->buffers[op->dst],
                              .heads = op->heads,
                              .out_dim = b->graph->widths[op->dst] / op->heads,
                              .window = op->window,
                              .positions = b->positions,
                              .scale = op->scale,
                              .scratch = b->scratch};
    return attend_prompt_takes(&p, b->table_rows) ? attend_prompt_launch(&p, b->stream)
                                                  : attend_launch(&p, b->stream);
}

static cudaError_t launch_activation(struct backend *b, const struct graph_op *op)
{
    bool is_add = op->kind == GRAPH_ADD;
    struct activation_params p = {.kind = is_add                     ? ACTIVATION_ADD
                                          : op->kind == GRAPH_SWIGLU ? ACTIVATION_SWIGLU
                                                                     : ACTIVATION_GEGLU,
                                  .a = b->buffers[op->a],
                                  .b = b->buffers[is_add ? op->dst : op->b],
                                  .out = b->buffers[op->dst],
                                  .n = (size_t)b->n * b->graph->widths[op->dst]};
    return activation_launch(&p, b->stream);
}

/* --- all ------------------------------------------------------------------------------------------------------ */

cudaError_t cuda_step_launch(struct backend *b, const struct cuda_step *step)
{
    const struct graph_op *op = step->op;
    switch (op->kind) {
    case GRAPH_EMBED:
        return launch_embed(b, step);
    case GRAPH_NORM:
        return launch_norm(b, step);
    case GRAPH_MATMUL:
    case GRAPH_MATMUL_ADD:
        return launch_product(b, step);
    case GRAPH_ROPE:
        return launch_rope(b, op);
    case GRAPH_STORE_KV:
        return launch_store(b, op);
    case GRAPH_ATTEND:
        return launch_attend(b, op);
    case GRAPH_SWIGLU:
    case GRAPH_GEGLU:
    case GRAPH_ADD:
        return launch_activation(b, op);
    case GRAPH_PICK:
        return launch_pick(b, op);
    case GRAPH_MATMUL_HEADS:
        return cuda_launch_heads(b, step);
    case GRAPH_ROUTE:
        return cuda_launch_route(b, step);
    case GRAPH_EXPERTS:
        return cuda_launch_experts(b, step);
    case GRAPH_EXPERTS_ADD:
        return cuda_launch_experts_add(b, step);
    }
    return cudaErrorInvalidValue;
}

const char *cuda_op_name(enum graph_op_kind kind)
{
    static const char *const names[] = {
        "embed", "norm",   "product",   "product and sum", "products of heads",
        "rope",  "store",  "attention", "swiglu",          "geglu",
        "add",   "router", "experts",   "experts and sum", "pick"};
    return names[kind];
}

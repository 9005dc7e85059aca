/* Products of columns that do not stand side by side: a head's part of each row, the tokens that use an expert. */
#include "inference/worker/cuda/cuda_backend.h"

#include "kernels/combine.h"
#include "kernels/pieces.h"

cudaError_t cuda_launch_heads(struct backend *b, const struct cuda_step *step)
{
    const struct graph_op *op = step->op;
    size_t from = b->graph->widths[op->a];
    size_t to = b->graph->widths[op->dst];
    struct pieces_params p = {.w = step->weight->matrix,
                              .x = b->buffers[op->a],
                              .x_q = b->quantized,
                              .out = b->buffers[op->dst],
                              .pieces = op->heads,
                              .count = b->n,
                              .uses_of_row = 1,
                              .x_pitch = from,
                              .x_piece = from / op->heads,
                              .out_pitch = to,
                              .out_piece = to / op->heads};
    cudaError_t rc = cuda_quantize(b, step);
    return rc != cudaSuccess ? rc : pieces_launch(&p, b->stream);
}

cudaError_t cuda_launch_route(struct backend *b, const struct cuda_step *step)
{
    const struct model_experts *x = &b->graph->model->sizes.experts;
    struct route_params p = {.scores = b->buffers[step->op->dst],
                             .bias = step->bias,
                             .expert_of = b->experts.expert_of,
                             .by_expert = b->experts.uses,
                             .count = b->n,
                             .experts = x->count,
                             .used = x->used,
                             .groups = x->groups,
                             .groups_used = x->groups_used,
                             .is_sigmoid = x->gating == MODEL_GATING_SIGMOID,
                             .is_normalised = x->is_normalised,
                             .scale = x->scale};
    return route_launch(&p, b->stream);
}

/* Uses of a token that read one row: all of them when they begin with the stream, one after that. */
static cudaError_t launch_uses(struct backend *b, const struct cuda_step *step, uint32_t uses_of_row,
                               float *out)
{
    const struct model_experts *x = &b->graph->model->sizes.experts;
    const struct graph_op *op = step->op;
    const struct matrix *w = &step->weight->matrix;
    struct pieces_params p = {.w = *w,
                              .x = b->buffers[op->a],
                              .x_q = b->quantized,
                              .out = out,
                              .pieces = x->count,
                              .count = b->n * x->used,
                              .uses = &b->experts.uses,
                              .uses_of_row = uses_of_row,
                              .x_pitch = w->columns,
                              .out_pitch = w->rows / x->count};
    cudaError_t rc = cuda_quantize(b, step);
    if (rc == cudaSuccess && pieces_take_fp8(&p)) {
        p.x_fp8 = b->fp8;
        rc = cuda_round(b, step, p.count / uses_of_row, w->columns);
    }
    return rc != cudaSuccess ? rc : pieces_launch(&p, b->stream);
}

cudaError_t cuda_launch_experts(struct backend *b, const struct cuda_step *step)
{
    return launch_uses(b, step, b->graph->model->sizes.experts.used, b->buffers[step->op->dst]);
}

cudaError_t cuda_launch_experts_add(struct backend *b, const struct cuda_step *step)
{
    const struct model_experts *x = &b->graph->model->sizes.experts;
    struct combine_params p = {.answers = b->experts.answers,
                               .weights = b->buffers[step->op->b],
                               .expert_of = b->experts.expert_of,
                               .out = b->buffers[step->op->dst],
                               .count = b->n,
                               .experts = x->count,
                               .used = x->used,
                               .width = b->graph->model->sizes.width};
    cudaError_t rc = launch_uses(b, step, 1, b->experts.answers);
    if (rc == cudaSuccess && step->clears) {
        rc = cudaMemsetAsync(p.out, 0, (size_t)p.count * p.width * sizeof *p.out, b->stream);
    }
    return rc != cudaSuccess ? rc : combine_launch(&p, b->stream);
}

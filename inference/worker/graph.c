#include "inference/worker/graph.h"

#include <stdlib.h>

enum { MOST_OPS_PER_LAYER = 32, OPS_AROUND = 4 };

static void add(struct graph *g, struct graph_op op)
{
    g->ops[g->op_count++] = op;
}

static void add_norm(struct graph *g, enum graph_buffer dst, enum graph_buffer a,
                     const struct gguf_tensor *weight, uint32_t heads)
{
    add(g, (struct graph_op){GRAPH_NORM, dst, a, .weight = weight, .heads = heads});
}

/* What attention or feed-forward gives joins the stream, through a norm where the model has one there. */
static void add_to_stream(struct graph *g, enum graph_buffer a, const struct gguf_tensor *weight,
                          const struct gguf_tensor *post_norm)
{
    if (!post_norm) {
        add(g, (struct graph_op){GRAPH_MATMUL_ADD, GRAPH_STREAM, a, .weight = weight});
        return;
    }
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_BRANCH, a, .weight = weight});
    add_norm(g, GRAPH_BRANCH, GRAPH_BRANCH, post_norm, 1);
    add(g, (struct graph_op){GRAPH_ADD, GRAPH_STREAM, .a = GRAPH_BRANCH});
}

/* --- attention --------------------------------------------------------------------------------------- */

static void add_grouped_attention(struct graph *g, uint32_t layer)
{
    const struct model_layer *l = &g->model->layer[layer];
    const struct model_sizes *s = &g->model->sizes;
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_QUERY, GRAPH_NORMED, .weight = l->q, .bias = l->q_bias});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_KEY, GRAPH_NORMED, .weight = l->k, .bias = l->k_bias,
                             .beside = true});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_VALUE, GRAPH_NORMED, .weight = l->v, .bias = l->v_bias,
                             .beside = true});
    if (l->q_norm) {
        add_norm(g, GRAPH_QUERY, GRAPH_QUERY, l->q_norm, s->heads);
        add_norm(g, GRAPH_KEY, GRAPH_KEY, l->k_norm, s->kv_heads);
        g->ops[g->op_count - 1].beside = true;
    }
    add(g, (struct graph_op){GRAPH_ROPE, GRAPH_QUERY, GRAPH_QUERY, .heads = s->heads, .rope = l->rope});
    add(g, (struct graph_op){GRAPH_ROPE, GRAPH_KEY, GRAPH_KEY, .heads = s->kv_heads, .rope = l->rope,
                             .beside = true});
    add(g, (struct graph_op){GRAPH_STORE_KV, GRAPH_NONE, GRAPH_KEY, GRAPH_VALUE, .layer = layer,
                             .window = l->window});
    add(g, (struct graph_op){GRAPH_ATTEND, GRAPH_MIXED, GRAPH_QUERY, .heads = s->heads, .layer = layer,
                             .window = l->window, .scale = s->attention_scale});
}

static void add_latent_attention(struct graph *g, uint32_t layer)
{
    const struct model_layer *l = &g->model->layer[layer];
    const struct model_sizes *s = &g->model->sizes;
    uint32_t rank = s->latent.rank;
    enum graph_buffer before_query = l->q_latent ? GRAPH_QUERY_LATENT : GRAPH_NORMED;
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_KEY, GRAPH_NORMED, .weight = l->kv_latent});
    if (l->q_latent) {
        add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_QUERY_LATENT, GRAPH_NORMED, .weight = l->q_latent,
                                 .beside = true});
        add_norm(g, GRAPH_QUERY_LATENT, GRAPH_QUERY_LATENT, l->q_latent_norm, 1);
    }
    add(g,
        (struct graph_op){GRAPH_MATMUL, GRAPH_QUERY, before_query, .weight = l->q, .beside = !l->q_latent});
    add_norm(g, GRAPH_KEY, GRAPH_KEY, l->kv_latent_norm, 1);
    add(g, (struct graph_op){GRAPH_ROPE, GRAPH_ABSORBED, GRAPH_QUERY, .heads = s->heads, .rope = l->rope,
                             .from = s->latent.plain_dim, .to = rank, .beside = true});
    add(g, (struct graph_op){GRAPH_MATMUL_HEADS, GRAPH_ABSORBED, GRAPH_QUERY, .weight = l->k_heads,
                             .heads = s->heads, .beside = true});
    add(g, (struct graph_op){GRAPH_ROPE, GRAPH_KEY, GRAPH_KEY, .heads = 1, .rope = l->rope, .from = rank,
                             .to = rank});
    add(g, (struct graph_op){GRAPH_STORE_KV, GRAPH_NONE, GRAPH_KEY, .layer = layer});
    add(g, (struct graph_op){GRAPH_ATTEND, GRAPH_LATENTS, GRAPH_ABSORBED, .heads = s->heads, .layer = layer,
                             .scale = s->attention_scale});
    add(g, (struct graph_op){GRAPH_MATMUL_HEADS, GRAPH_MIXED, GRAPH_LATENTS, .weight = l->v_heads,
                             .heads = s->heads});
}

/* --- feed-forward ------------------------------------------------------------------------------------ */

static void add_dense(struct graph *g, const struct model_layer *l)
{
    bool silu = g->model->family->activation == MODEL_SILU;
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_GATE, GRAPH_NORMED, .weight = l->gate});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_UP, GRAPH_NORMED, .weight = l->up, .beside = true});
    add(g, (struct graph_op){silu ? GRAPH_SWIGLU : GRAPH_GEGLU, GRAPH_GATE, GRAPH_GATE, .b = GRAPH_UP});
    add_to_stream(g, GRAPH_GATE, l->down, l->ffn_post_norm);
}

static void add_experts(struct graph *g, const struct model_layer *l)
{
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_ROUTER, GRAPH_NORMED, .weight = l->router});
    if (l->shared_gate) {
        add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_SHARED_GATE, GRAPH_NORMED, .weight = l->shared_gate,
                                 .beside = true});
        add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_SHARED_UP, GRAPH_NORMED, .weight = l->shared_up,
                                 .beside = true});
    }
    add(g, (struct graph_op){GRAPH_ROUTE, GRAPH_ROUTER, GRAPH_ROUTER, .bias = l->router_bias});
    add(g, (struct graph_op){GRAPH_EXPERTS, GRAPH_EXPERT_GATE, GRAPH_NORMED, GRAPH_ROUTER,
                             .weight = l->expert_gate});
    add(g, (struct graph_op){GRAPH_EXPERTS, GRAPH_EXPERT_UP, GRAPH_NORMED, GRAPH_ROUTER,
                             .weight = l->expert_up, .beside = true});
    add(g, (struct graph_op){GRAPH_SWIGLU, GRAPH_EXPERT_GATE, GRAPH_EXPERT_GATE, .b = GRAPH_EXPERT_UP});
    add(g, (struct graph_op){GRAPH_EXPERTS_ADD, GRAPH_STREAM, GRAPH_EXPERT_GATE, GRAPH_ROUTER,
                             .weight = l->expert_down});
    if (l->shared_gate) {
        add(g, (struct graph_op){GRAPH_SWIGLU, GRAPH_SHARED_GATE, GRAPH_SHARED_GATE, .b = GRAPH_SHARED_UP});
        add_to_stream(g, GRAPH_SHARED_GATE, l->shared_down, NULL);
    }
}

/* --- the whole --------------------------------------------------------------------------------------- */

static void add_layer(struct graph *g, uint32_t layer)
{
    const struct model_layer *l = &g->model->layer[layer];
    size_t before = g->op_count;
    add_norm(g, GRAPH_NORMED, GRAPH_STREAM, l->attn_norm, 1);
    if (g->model->family->has_latent) {
        add_latent_attention(g, layer);
    } else {
        add_grouped_attention(g, layer);
    }
    add_to_stream(g, GRAPH_MIXED, l->attn_output, l->attn_post_norm);
    add_norm(g, GRAPH_NORMED, GRAPH_STREAM, l->ffn_norm, 1);
    if (l->router) {
        add_experts(g, l);
    } else {
        add_dense(g, l);
    }
    BUG_ON(g->op_count - before > MOST_OPS_PER_LAYER);
}

static void add_head(struct graph *g)
{
    const struct model *m = g->model;
    add(g, (struct graph_op){GRAPH_PICK, GRAPH_PICKED, GRAPH_STREAM, .picked = true});
    add_norm(g, GRAPH_PICKED, GRAPH_PICKED, m->output_norm, 1);
    g->ops[g->op_count - 1].picked = true;
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_LOGITS, GRAPH_PICKED, .weight = m->output, .picked = true});
}

void graph_set_widths(struct graph *g)
{
    const struct model_sizes *s = &g->model->sizes;
    const struct model_experts *x = &s->experts;
    uint32_t mixed = s->latent.rank ? s->latent.value_dim : s->head_dim;
    const uint32_t widths[GRAPH_BUFFERS] = {
        [GRAPH_STREAM] = s->width,
        [GRAPH_NORMED] = s->width,
        [GRAPH_QUERY] = s->heads * s->head_dim,
        [GRAPH_KEY] = s->kv_heads * s->key_dim,
        [GRAPH_VALUE] = s->kv_heads * s->value_dim,
        [GRAPH_MIXED] = s->heads * mixed,
        [GRAPH_GATE] = s->ff_width,
        [GRAPH_UP] = s->ff_width,
        [GRAPH_PICKED] = s->width,
        [GRAPH_LOGITS] = s->vocab,
        [GRAPH_BRANCH] = g->model->family->has_post_norms ? s->width : 0,
        [GRAPH_QUERY_LATENT] = s->latent.query_rank,
        [GRAPH_ABSORBED] = s->latent.rank ? s->heads * s->key_dim : 0,
        [GRAPH_LATENTS] = s->heads * s->latent.rank,
        [GRAPH_ROUTER] = x->count,
        [GRAPH_EXPERT_GATE] = x->used * x->width,
        [GRAPH_EXPERT_UP] = x->used * x->width,
        [GRAPH_SHARED_GATE] = x->shared_width,
        [GRAPH_SHARED_UP] = x->shared_width,
    };
    memcpy(g->widths, widths, sizeof widths);
}

struct graph *graph_new(const struct model *model)
{
    size_t room = (size_t)model->sizes.layers * MOST_OPS_PER_LAYER + OPS_AROUND;
    struct graph *g = calloc(1, sizeof *g);
    struct graph_op *ops = calloc(room, sizeof *ops);
    if (!g || !ops) {
        free(g);
        free(ops);
        return NULL;
    }
    g->model = model;
    g->ops = ops;
    graph_set_widths(g);
    add(g, (struct graph_op){GRAPH_EMBED, GRAPH_STREAM, .weight = model->embedding,
                             .scale = model->sizes.embedding_scale});
    for (uint32_t layer = 0; layer < model->sizes.layers; layer++) {
        add_layer(g, layer);
    }
    add_head(g);
    return g;
}

void graph_free(struct graph *g)
{
    if (g) {
        free(g->ops);
        free(g);
    }
}

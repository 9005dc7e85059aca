#include "inference/worker/graph.h"

#include <stdlib.h>

enum { OPS_PER_LAYER = 14, OPS_AROUND = 4 };

static void add(struct graph *g, struct graph_op op)
{
    g->ops[g->op_count++] = op;
}

static void add_attention(struct graph *g, uint32_t layer)
{
    const struct model_layer *l = &g->model->layer[layer];
    const struct model_sizes *s = &g->model->sizes;
    add(g, (struct graph_op){GRAPH_NORM, GRAPH_NORMED, GRAPH_STREAM, .weight = l->attn_norm});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_QUERY, GRAPH_NORMED, .weight = l->q});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_KEY, GRAPH_NORMED, .weight = l->k, .beside = true});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_VALUE, GRAPH_NORMED, .weight = l->v, .beside = true});
    add(g, (struct graph_op){GRAPH_ROPE, GRAPH_QUERY, GRAPH_QUERY, .heads = s->heads});
    add(g, (struct graph_op){GRAPH_ROPE, GRAPH_KEY, GRAPH_KEY, .heads = s->kv_heads, .beside = true});
    add(g, (struct graph_op){GRAPH_STORE_KV, GRAPH_NONE, GRAPH_KEY, GRAPH_VALUE, .layer = layer});
    add(g, (struct graph_op){GRAPH_ATTEND, GRAPH_MIXED, GRAPH_QUERY, .layer = layer});
    add(g, (struct graph_op){GRAPH_MATMUL_ADD, GRAPH_STREAM, GRAPH_MIXED, .weight = l->attn_output});
}

static void add_feed_forward(struct graph *g, uint32_t layer)
{
    const struct model_layer *l = &g->model->layer[layer];
    add(g, (struct graph_op){GRAPH_NORM, GRAPH_NORMED, GRAPH_STREAM, .weight = l->ffn_norm});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_GATE, GRAPH_NORMED, .weight = l->gate});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_UP, GRAPH_NORMED, .weight = l->up, .beside = true});
    add(g, (struct graph_op){GRAPH_SWIGLU, GRAPH_GATE, GRAPH_GATE, .b = GRAPH_UP});
    add(g, (struct graph_op){GRAPH_MATMUL_ADD, GRAPH_STREAM, GRAPH_GATE, .weight = l->down});
}

static void add_head(struct graph *g)
{
    const struct model *m = g->model;
    add(g, (struct graph_op){GRAPH_PICK, GRAPH_PICKED, GRAPH_STREAM, .picked = true});
    add(g,
        (struct graph_op){GRAPH_NORM, GRAPH_PICKED, GRAPH_PICKED, .weight = m->output_norm, .picked = true});
    add(g, (struct graph_op){GRAPH_MATMUL, GRAPH_LOGITS, GRAPH_PICKED, .weight = m->output, .picked = true});
}

static void set_widths(struct graph *g)
{
    const struct model_sizes *s = &g->model->sizes;
    g->widths[GRAPH_STREAM] = s->width;
    g->widths[GRAPH_NORMED] = s->width;
    g->widths[GRAPH_PICKED] = s->width;
    g->widths[GRAPH_QUERY] = s->heads * s->head_dim;
    g->widths[GRAPH_MIXED] = s->heads * s->head_dim;
    g->widths[GRAPH_KEY] = s->kv_heads * s->head_dim;
    g->widths[GRAPH_VALUE] = s->kv_heads * s->head_dim;
    g->widths[GRAPH_GATE] = s->ff_width;
    g->widths[GRAPH_UP] = s->ff_width;
    g->widths[GRAPH_LOGITS] = s->vocab;
}

struct graph *graph_new(const struct model *model)
{
    size_t room = (size_t)model->sizes.layers * OPS_PER_LAYER + OPS_AROUND;
    struct graph *g = calloc(1, sizeof *g);
    struct graph_op *ops = calloc(room, sizeof *ops);
    if (!g || !ops) {
        free(g);
        free(ops);
        return NULL;
    }
    g->model = model;
    g->ops = ops;
    set_widths(g);
    add(g, (struct graph_op){GRAPH_EMBED, GRAPH_STREAM, .weight = model->embedding});
    for (uint32_t layer = 0; layer < model->sizes.layers; layer++) {
        add_attention(g, layer);
        add_feed_forward(g, layer);
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

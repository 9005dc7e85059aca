/* The forward pass as a list of operations over a flat batch: the same list for every backend.
 *
 * A batch is tokens of any mix of sequences, each with its position; a prompt's chunk and another sequence's
 * single new token stand side by side. Keys and values live in blocks of KV_BLOCK positions. An operation reads and writes named buffers of
 * (tokens x width) float32; which buffer has which width follows from the model's sizes.
 *
 *     embed -> [ norm q k v rope store attend o+ | norm gate up swiglu down+ ] x layers -> pick norm head
 *
 * `beside`: the operation touches nothing that is written by the ones before it, back to the last without
 * this mark, so all of them may run at once.
 * Ownership: a graph borrows tensors from its model.
 * Thread rule: read-only after graph_new. */
#ifndef TIDE_WORKER_GRAPH_H
#define TIDE_WORKER_GRAPH_H

#include "inference/worker/model.h"

enum graph_buffer {
    GRAPH_NONE = 0,
    GRAPH_STREAM = 1,  /* width: the residual stream */
    GRAPH_NORMED = 2,  /* width */
    GRAPH_QUERY = 3,   /* heads * head_dim */
    GRAPH_KEY = 4,     /* kv_heads * head_dim */
    GRAPH_VALUE = 5,   /* kv_heads * head_dim */
    GRAPH_MIXED = 6,   /* heads * head_dim: what attention gives */
    GRAPH_GATE = 7,    /* ff_width */
    GRAPH_UP = 8,      /* ff_width */
    GRAPH_PICKED = 9,  /* width: rows whose logits are wanted */
    GRAPH_LOGITS = 10, /* vocab */
    GRAPH_BUFFERS = 11,
};

enum graph_op_kind {
    GRAPH_EMBED = 0,      /* dst = rows of weight by token */
    GRAPH_NORM = 1,       /* dst = rms_norm(a) * weight */
    GRAPH_MATMUL = 2,     /* dst = weight . a */
    GRAPH_MATMUL_ADD = 3, /* dst += weight . a */
    GRAPH_ROPE = 4,       /* dst rotated in place, `heads` heads */
    GRAPH_STORE_KV = 5,   /* the layer's cache takes a (keys) and b (values) */
    GRAPH_ATTEND = 6,     /* dst = attention of the queries a over the layer's cache */
    GRAPH_SWIGLU = 7,     /* dst = silu(a) * b */
    GRAPH_PICK = 8,       /* dst = rows of a whose logits are wanted */
};

struct graph_op {
    enum graph_op_kind kind;
    enum graph_buffer dst;
    enum graph_buffer a;
    enum graph_buffer b;
    const struct gguf_tensor *weight; /* NULL: none */
    uint32_t layer;                   /* of STORE_KV and ATTEND */
    uint32_t heads;                   /* of ROPE */
    bool picked;                      /* runs over the picked rows, not over all tokens */
    bool beside;                      /* may run at the same time as the operation before */
};

struct graph {
    const struct model *model; /* borrowed */
    struct graph_op *ops;
    size_t op_count;
    uint32_t widths[GRAPH_BUFFERS]; /* values in a row of each buffer */
};

struct graph *graph_new(const struct model *model); /* NULL: no memory */
void graph_free(struct graph *g);

enum { KV_BLOCK = 16 }; /* positions of a block of the KV cache */

struct batch_token {
    int32_t token;     /* vocabulary id */
    uint32_t sequence; /* whose table of blocks */
    uint32_t position; /* from 0; its block stands in the table */
    bool wants_logits;
};

/* Tokens of one sequence stand in rising order of position; each position below is in the cache already
 * or earlier in the same batch. Position p of sequence s lives in block tables[s * table_width + p / KV_BLOCK]. */
struct batch {
    const struct batch_token *tokens;
    uint32_t n;
    const uint32_t *tables;
    uint32_t table_width;
};

static inline const uint32_t *batch_table(const struct batch *b, uint32_t sequence)
{
    return b->tables + (size_t)sequence * b->table_width;
}

#endif

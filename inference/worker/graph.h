/* The forward pass as a list of operations over a flat batch: the same list for every backend.
 *
 * A batch is tokens of any mix of sequences, each with its position; a prompt's chunk and another sequence's
 * single new token stand side by side. Keys and values live in blocks of KV_BLOCK positions. An operation reads
 * and writes named buffers of (tokens x width) float32; which buffer has which width follows from the model's
 * sizes. A row of a buffer is cut into `heads` equal pieces where an operation works on pieces.
 *
 *     embed -> [ norm q k v rope store attend o+ | norm gate up swiglu down+ ] x layers -> pick norm head
 *
 * Attention over latents (deepseek2) keeps to one key of (latent | rotated part) a position:
 *
 *     norm -> query ------- rope (rotated part) ------> absorbed -> attend -> latents -> v_heads -> mixed -> o+
 *          |       `------- k_heads (plain part) ----->            /
 *          `-> key -- norm (latent), rope (rest) -> store --------'
 *
 * A layer of experts: norm router route | experts gate, experts up, swiglu, experts_add down | shared gate up
 * swiglu down+.
 *
 * `beside`: the operation touches no value that is written by the ones before it, back to the last without
 * this mark, so all of them may run at once.
 * Ownership: a graph borrows tensors from its model.
 * Thread rule: read-only after graph_new. */
#ifndef TIDE_WORKER_GRAPH_H
#define TIDE_WORKER_GRAPH_H

#include "inference/worker/model.h"

enum graph_buffer {
    GRAPH_NONE = 0,
    GRAPH_STREAM = 1,        /* width: the residual stream */
    GRAPH_NORMED = 2,        /* width */
    GRAPH_QUERY = 3,         /* heads * head_dim */
    GRAPH_KEY = 4,           /* kv_heads * key_dim */
    GRAPH_VALUE = 5,         /* kv_heads * value_dim */
    GRAPH_MIXED = 6,         /* what attention gives: heads * head_dim, or heads * latent.value_dim */
    GRAPH_GATE = 7,          /* ff_width */
    GRAPH_UP = 8,            /* ff_width */
    GRAPH_PICKED = 9,        /* width: rows whose logits are wanted */
    GRAPH_LOGITS = 10,       /* vocab */
    GRAPH_BRANCH = 11,       /* width: what is normed before it is added to the stream */
    GRAPH_QUERY_LATENT = 12, /* latent.query_rank */
    GRAPH_ABSORBED = 13,     /* heads * key_dim: queries that meet latents */
    GRAPH_LATENTS = 14,      /* heads * latent.rank: mixed latents */
    GRAPH_ROUTER = 15,       /* experts.count: scores, then the weight of each expert, 0 for those not used */
    GRAPH_EXPERT_GATE =
        16, /* experts.used * experts.width: a piece for each used expert, lowest number first */
    GRAPH_EXPERT_UP = 17,   /* the same */
    GRAPH_SHARED_GATE = 18, /* experts.shared_width */
    GRAPH_SHARED_UP = 19,   /* experts.shared_width */
    GRAPH_BUFFERS = 20,     /* a model without one of them has width 0 there */
};

enum graph_op_kind {
    GRAPH_EMBED = 0,      /* dst = scale * rows of weight by token */
    GRAPH_NORM = 1,       /* of the first n = weight's columns values x of each piece, dst likewise:
                         dst = x / sqrt(mean(x^2) + rms_eps) * weight; what follows them in a piece stays */
    GRAPH_MATMUL = 2,     /* dst = weight . a + bias */
    GRAPH_MATMUL_ADD = 3, /* dst += weight . a */
    GRAPH_MATMUL_HEADS =
        4, /* first rows of piece h of dst = matrix h of weight . first columns of piece h of a */
    GRAPH_ROPE =
        5, /* values [to, to + dims) of each piece of dst = values [from, from + dims) of the piece of
                               a, rotated (rope.h); dst may be a */
    GRAPH_STORE_KV = 6, /* the layer's cache takes a (keys) and b (values; NONE: keys only) */
    GRAPH_ATTEND =
        7, /* piece h of dst = sum over positions p of softmax_p(scale * query h . key p) * value p;
                               queries a, key head h * kv_heads / heads, positions up to the token's own, with
                               `window` only so many; without values the beginning of the key serves */
    GRAPH_SWIGLU = 8,   /* dst = silu(a) * b (MODEL_SILU) */
    GRAPH_GEGLU = 9,    /* dst = gelu(a) * b (MODEL_GELU) */
    GRAPH_ADD = 10,     /* dst += a */
    GRAPH_ROUTE = 11,   /* dst, scores of experts, becomes their weights: route.h */
    GRAPH_EXPERTS = 12, /* piece i of dst = matrix e of weight . a; e: the i-th used expert of b (ROUTER) */
    GRAPH_EXPERTS_ADD = 13, /* dst += sum over used e of b[e] * (matrix e of weight . piece i of a) */
    GRAPH_PICK = 14,        /* dst = rows of a whose logits are wanted */
};

struct graph_op {
    enum graph_op_kind kind;
    enum graph_buffer dst;
    enum graph_buffer a;
    enum graph_buffer b;
    const struct gguf_tensor *weight; /* NULL: none */
    const struct gguf_tensor *bias;   /* of MATMUL, a value a row, and of ROUTE, one an expert; NULL: none */
    uint32_t layer;                   /* of STORE_KV and ATTEND */
    uint32_t heads;                   /* pieces of a row: of NORM, MATMUL_HEADS, ROPE, ATTEND */
    enum model_rope rope;             /* of ROPE: which of the model's */
    uint32_t from;                    /* of ROPE, values */
    uint32_t to;                      /* of ROPE, values */
    uint32_t window;                  /* of ATTEND: positions, the token's own included; 0: all */
    float scale;                      /* of EMBED and ATTEND */
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

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
    GRAPH_EXPERT_GATE = 16,  /* experts.used * experts.width: a piece for each used expert, rising */
    GRAPH_EXPERT_UP = 17,    /* the same */
    GRAPH_SHARED_GATE = 18,  /* experts.shared_width */
    GRAPH_SHARED_UP = 19,    /* experts.shared_width */
    GRAPH_BUFFERS = 20,      /* a model without one of them has width 0 there */
};

/* What each computes, for every row. W is `weight`; matrix i of it is the i-th of its heads or experts.
 *
 *     EMBED        dst = scale * row of W by token
 *     NORM         dst = x / sqrt(mean(x^2) + rms_eps) * W, for the first n values x of each piece of a, n being
 *                  those of W; the values after them stay as they are in dst
 *     MATMUL       dst = W . a + bias                            MATMUL_ADD   dst += W . a
 *     MATMUL_HEADS piece h of dst begins with matrix h . (beginning of piece h of a)
 *     ROPE         in each piece, dst[to ...] = a[from ...] rotated (rope.h), the rope's dims of them; dst may be a
 *     STORE_KV     the layer's cache takes keys a and values b (NONE: keys only)
 *     ATTEND       piece h of dst = sum over p of softmax over p (scale * piece h of a . key p) * value p, with the
 *                  keys and values of key head h * kv_heads / heads at positions p up to the token's own, the last
 *                  `window` of them; a cache without values gives the beginning of the key
 *     SWIGLU       dst = silu(a) * b                              GEGLU        dst = gelu(a) * b (model.h)
 *     ADD          dst += a
 *     ROUTE        dst, the experts' scores, becomes their weights (route.h)
 *     EXPERTS      piece i of dst = matrix e . a, e being the i-th expert whose weight in b is not 0
 *     EXPERTS_ADD  dst += sum over i of b[e] * (matrix e . piece i of a), e likewise
 *     PICK         dst = rows of a whose logits are wanted */
enum graph_op_kind {
    GRAPH_EMBED = 0,
    GRAPH_NORM = 1,
    GRAPH_MATMUL = 2,
    GRAPH_MATMUL_ADD = 3,
    GRAPH_MATMUL_HEADS = 4,
    GRAPH_ROPE = 5,
    GRAPH_STORE_KV = 6,
    GRAPH_ATTEND = 7,
    GRAPH_SWIGLU = 8,
    GRAPH_GEGLU = 9,
    GRAPH_ADD = 10,
    GRAPH_ROUTE = 11,
    GRAPH_EXPERTS = 12,
    GRAPH_EXPERTS_ADD = 13,
    GRAPH_PICK = 14,
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
    uint32_t window;                  /* of the layer, of STORE_KV and ATTEND; 0: it sees all positions */
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
void graph_set_widths(struct graph *g);             /* from its model's sizes */
void graph_free(struct graph *g);

enum { KV_BLOCK = 16 }; /* positions of a block of the KV cache */

struct batch_token {
    int32_t token;     /* vocabulary id */
    uint32_t sequence; /* whose table of blocks */
    uint32_t position; /* from 0; its block stands in the table */
    bool wants_logits;
    bool best_only;     /* of these, the largest one's id is all that is wanted */
    uint8_t candidates; /* so many of the largest will do, up to CANDIDATES_MAX; 0: the whole row is wanted */
};

/* Tokens of one sequence stand in rising order of position; each position below is in the cache already
 * or earlier in the same batch. Position p of sequence s lives in block tables[s * table_width + p / KV_BLOCK].
 * Layers with a window may have blocks of their own: those of window_tables, where only the positions count that a
 * token of the batch sees. A backend may as well keep them by `tables`, which always has all positions. */
struct batch {
    const struct batch_token *tokens;
    uint32_t n;
    const uint32_t *tables;
    const uint32_t *window_tables; /* NULL: none */
    uint32_t table_width;
};

static inline const uint32_t *batch_table(const struct batch *b, uint32_t sequence)
{
    return b->tables + (size_t)sequence * b->table_width;
}

/* For a layer with that window (0: none). */
static inline const uint32_t *batch_window_table(const struct batch *b, uint32_t sequence, uint32_t window)
{
    const uint32_t *tables = window && b->window_tables ? b->window_tables : b->tables;
    return tables + (size_t)sequence * b->table_width;
}

#endif

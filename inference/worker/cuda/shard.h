/* What one of several devices (a rank) computes of a graph: tensor parallel.
 *
 *     rows cut      queries, keys, values (whole heads), gate, up, head (vocabulary): a rank has its own values of a row
 *     columns cut   attention's output, down: a rank has a part of every sum, SHARD_SUM puts them together
 *     whole         embedding, norms, latents and the cache of them, router: every rank computes all of it
 *
 * Experts are cut as gate, up and down are, each of them: whichever a token uses, all ranks have the same work.
 * The residual stream joins such a sum on rank 0 only: elsewhere MATMUL_ADD becomes MATMUL, and EXPERTS_ADD begins with
 * zeros. Experts and what all tokens use beside them are one sum. Where there are fewer key heads than ranks, neighbours
 * keep the same one. The vocabulary is filled up to a multiple of the ranks.
 * Ownership: borrows the graph and its model until shard_clear.
 * Errors: ERR_INVALID (what does not divide), ERR_NOMEM.
 * Thread rule: read-only after shard_init. */
#ifndef TIDE_WORKER_SHARD_H
#define TIDE_WORKER_SHARD_H

#include "inference/worker/graph.h"

struct shard_cut { /* of a matrix; to = 0: not cut that way */
    uint32_t row_from;
    uint32_t row_to;
    uint32_t column_from;
    uint32_t column_to;
    uint32_t pieces; /* rows are counted in each of so many, experts; 0: in the whole matrix */
};

enum shard_join {
    SHARD_ALONE = 0,
    SHARD_SUM = 1,    /* dst becomes the sum of all ranks' */
    SHARD_GATHER = 2, /* the ranks' values stand one after the other in a row of dst */
};

struct shard_part {       /* of an operation */
    struct shard_cut cut; /* of its weight; the rows, of its bias too */
    enum shard_join join;
    bool clears; /* dst becomes zeros before */
};

struct shard {
    uint32_t rank;
    uint32_t ranks;
    struct model model;       /* sizes are this rank's, but the vocabulary */
    struct graph graph;       /* widths and heads are this rank's; owns its ops */
    struct shard_part *parts; /* one an operation */
    uint32_t vocab_part;      /* logits of a row that a rank sends */
};

int shard_init(struct shard *s, const struct graph *g, uint32_t rank, uint32_t ranks,
               struct err *err) TIDE_CHECK;
void shard_clear(struct shard *s);

#endif

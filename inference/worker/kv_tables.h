/* Which blocks of the KV cache each running sequence has: a table for the layers that see every position and,
 * where a model has layers that see a window, a second one for those, from blocks of their own.
 * Not the choice of who runs: scheduler.h. Not the references of a block: kv_blocks.h.
 *
 *     positions      0 ........................ computed ... | the step's |
 *     all layers     [b][b][b][b][b][b][b][b][b][b][b][b][b][b][b]           every block, to the end of the prompt
 *     window layers                     [w][w][w][w][w][w][w]                what the next query sees, and the step
 *
 * A block of the window that no later query sees is given back at once; it stays known until another needs it. A
 * prompt begins after as many known blocks as it can go on from: those of all layers from its start, and those of
 * the window just before. Blocks of the window are taken step by step and never run out: there are enough for
 * all slots and the largest step, and as many again for prefixes that are kept (kv_tables_plan).
 * Ownership: the tables are borrowed until kv_tables_free. A slot is empty after kv_tables_end.
 * Units: KV_BLOCK positions a block.
 * Errors: kv_tables_new gives ERR_NOMEM; the functions that may find no room say so and change nothing.
 * Thread rule: one thread at a time. */
#ifndef TIDE_WORKER_KV_TABLES_H
#define TIDE_WORKER_KV_TABLES_H

#include "inference/worker/kv_blocks.h"

struct kv_tables;

struct kv_tables_conf {
    uint32_t slots;   /* sequences that run at once */
    uint32_t context; /* positions of a sequence */
    uint32_t blocks;  /* of the layers that see everything, and of all layers where there is no window */
    uint32_t window_blocks; /* of those that see a window; 0: they keep all positions, in `blocks` */
    uint32_t window;        /* positions that these see, their own included */
};

/* Sets the numbers of blocks for slots, context and window. kv_tokens: positions of all sequences and kept prefixes;
 * 0: slots * context. step_tokens: of the largest step. Windows get no blocks of their own where that saves nothing. */
void kv_tables_plan(struct kv_tables_conf *conf, uint32_t kv_tokens, uint32_t step_tokens);

int kv_tables_new(const struct kv_tables_conf *conf, struct kv_tables **out, struct err *err) TIDE_CHECK;
void kv_tables_free(struct kv_tables *kt);

/* Gives the slot all blocks that n tokens and the next one need, leaving `spare` blocks to others. Sets *found: so
 * many of the tokens are in the cache already. False: no room. */
bool kv_tables_begin(struct kv_tables *kt, uint32_t slot, uint64_t tenant, const int32_t *tokens, uint32_t n,
                     uint32_t spare, uint32_t *found);
bool kv_tables_extend(struct kv_tables *kt, uint32_t slot, uint32_t position); /* room for it; false: none */
/* A step will compute the n positions from `from` on. */
void kv_tables_step(struct kv_tables *kt, uint32_t slot, uint32_t from, uint32_t n);
/* The first `computed` tokens are in the cache; to be called for each of them, in order. */
void kv_tables_computed(struct kv_tables *kt, uint32_t slot, const int32_t *tokens, uint32_t computed);
void kv_tables_end(struct kv_tables *kt, uint32_t slot);

/* As struct batch has them: `width` numbers a slot. */
uint32_t kv_tables_width(const struct kv_tables *kt);
const uint32_t *kv_tables_all(const struct kv_tables *kt);
const uint32_t *kv_tables_window(const struct kv_tables *kt); /* NULL: none */

struct kv_tables_load {
    uint32_t used; /* blocks referred to; what is kept for later does not count */
    uint32_t blocks;
    uint32_t window_used;
    uint32_t window_blocks;
};
struct kv_tables_load kv_tables_load(const struct kv_tables *kt);

#endif

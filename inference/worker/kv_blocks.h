/* Who holds which block of the KV cache, and which finished blocks a new prompt may use again.
 * Not the memory: a backend owns the keys and values of `blocks` blocks; here are only their numbers.
 *
 *     empty -> taken (1 reference) -> full and known by its hash -> kept, when nobody refers to it -> taken for another
 *
 * A block holds KV_BLOCK positions of all layers, or of all that see a window (kv_tables.h). A full block is never written again, so it may be
 * shared: its hash covers its tokens and the hash of the block before, and the first block's covers the
 * tenant, so that nobody learns from timing what another tenant asked. Hashes are keyed per process and the
 * tokens are compared besides. Kept blocks are taken in the order of their last use, ends of prompts first.
 * Sources: vLLM docs/design/prefix_caching.md (hash chain, salt), nano-vllm nanovllm/engine/block_manager.py
 * (tokens kept beside the hash).
 * Errors: kv_blocks_take gives KV_BLOCK_NONE when all are referred to.
 * Thread rule: one thread at a time. */
#ifndef TIDE_WORKER_KV_BLOCKS_H
#define TIDE_WORKER_KV_BLOCKS_H

#include <stdint.h>

#include "base/err.h"
#include "inference/worker/graph.h"

#define KV_BLOCK_NONE UINT32_MAX

struct kv_blocks;

int kv_blocks_new(uint32_t blocks, struct kv_blocks **out, struct err *err) TIDE_CHECK;
void kv_blocks_free(struct kv_blocks *kb);

uint32_t kv_blocks_available(const struct kv_blocks *kb); /* empty or kept: what take can give */

uint32_t kv_blocks_take(struct kv_blocks *kb); /* one reference; KV_BLOCK_NONE: none is left */
/* Gives a reference back. Of several blocks of one sequence: the last first. */
void kv_blocks_release(struct kv_blocks *kb, uint32_t block);

/* Where a chain begins: the hash before the first block. */
uint64_t kv_blocks_root(uint64_t tenant);
/* The block, referred to and now full, holds these KV_BLOCK tokens after the chain `before`. Returns its hash. */
uint64_t kv_blocks_seal(struct kv_blocks *kb, uint32_t block, uint64_t before, const int32_t *tokens);
/* Whether a block of these KV_BLOCK tokens after `before` is known; its hash in either case. */
bool kv_blocks_knows(const struct kv_blocks *kb, uint64_t before, const int32_t *tokens, uint64_t *hash);
/* The known block of these KV_BLOCK tokens after `before`, with one reference more, and its hash;
 * KV_BLOCK_NONE: not known. */
uint32_t kv_blocks_find(struct kv_blocks *kb, uint64_t before, const int32_t *tokens, uint64_t *hash);

#endif

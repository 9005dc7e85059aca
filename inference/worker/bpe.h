/* Byte-pair encoding of one piece of text: bytes become tokens, and neighbours merge in rank order. In the SPM
 * family characters do, and the ranks come from scores; a character without token falls back to its bytes.
 *
 *     "hello":  h e l l o  ->  h e ll o  ->  he ll o  ->  hell o  ->  hello
 *
 * The pair with the lowest rank merges first, the leftmost of equals. A heap of candidate pairs keeps
 * this at n log n, so a piece of a megabyte costs no more per byte than a word.
 * Ownership: the scratch grows and is kept between calls; bpe_clear frees it.
 * Bytes that have no token are left out, as llama.cpp does.
 * Thread rule: a struct bpe is used by one thread at a time. */
#ifndef TIDE_WORKER_BPE_H
#define TIDE_WORKER_BPE_H

#include "inference/worker/vocab.h"

/* Token ids, growing. */
struct token_list {
    token_id *p;
    size_t n;
    size_t cap;
};
void token_list_add(struct token_list *l, token_id id);
void token_list_clear(struct token_list *l); /* frees; usable again */

struct bpe_symbol;
struct bpe {
    const struct vocab *vocab; /* borrowed */
    bool takes_whole;          /* a piece that is a token is that token, whatever the merges say */
    struct bpe_symbol *symbols;
    size_t symbol_cap;
    uint64_t *heap; /* pairs that merge: rank, then index of the left symbol; stale ones among them */
    size_t heap_n;
    size_t heap_cap;
};

void bpe_init(struct bpe *b, const struct vocab *vocab, bool takes_whole);
void bpe_clear(struct bpe *b);
void bpe_encode(struct bpe *b, struct str piece, struct token_list *out); /* appends */

#endif

/* Which tokens may follow when an answer has to be JSON: response_format {"type": "json_object"}.
 *
 * For each place of the grammar and the container around it, the tokens that fit are found once and kept as bits; the
 * few that open a container, or close more than that one, are tried anew each time. (The idea of "context-independent tokens" is
 * XGrammar's: Dong et al. 2024, section 3.1.)
 * White space: of a token at most JSON_MASK_SPACES, and none after a token that ended in white space, so a
 * model cannot fill its answer with it.
 * Ownership: borrows the tokenizer. Memory: vocab / 8 bytes a place that occurred, below 300 places.
 * Thread rule: one thread at a time. */
#ifndef TIDE_WORKER_JSON_MASK_H
#define TIDE_WORKER_JSON_MASK_H

#include "inference/worker/json_state.h"
#include "inference/worker/tokenizer.h"

enum { JSON_MASK_SPACES = 32 };

/* How far one answer is. All zero: nothing said yet. */
struct json_answer {
    struct json_state state;
    bool after_space; /* the last token ended in white space between tokens of the grammar */
};

struct json_mask;

struct json_mask *json_mask_new(const struct tokenizer *tokenizer); /* NULL: no memory */
void json_mask_free(struct json_mask *m);
/* Bit i of the result: token i may follow. Borrowed until the next call; NULL: none can. */
const uint64_t *json_mask_allowed(struct json_mask *m, const struct json_answer *a);
/* Takes a token that was allowed. True: the object is whole. */
bool json_mask_accept(const struct json_mask *m, struct json_answer *a, token_id id);

#endif

/* Chooses the next token from logits.
 *
 *     bias, penalties, mask -> temperature -> min_p -> top_k -> top_p -> draw
 *
 * The draw comes from a counter-based generator keyed by (seed, position): the same request gives the same
 * text whatever else is in the batch. Temperature 0 takes the largest logit, the lowest id of equals.
 * A row is read twice: for the largest logit of each ROW_BLOCK, and for the weights. Where top_k or min_p leave few
 * tokens, only blocks that hold one of them are looked at again.
 * Ownership: a sampler is scratch memory for one vocabulary.
 * Thread rule: a sampler is used by one thread at a time. */
#ifndef TIDE_WORKER_SAMPLER_H
#define TIDE_WORKER_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inference/worker/candidates.h"

struct sampler_params {
    float temperature;       /* 0 and up; 0 is greedy */
    float top_p;             /* above 0, up to 1; 1: off */
    float min_p;             /* 0 to 1: share of the best token's probability; 0: off */
    float presence_penalty;  /* -2 to 2, once for a token that occurred in the answer */
    float frequency_penalty; /* -2 to 2, for each time */
    float
        repetition_penalty; /* of what occurred in the prompt or the answer: positive logits are divided by it, others
                               * multiplied; 0 and 1: off */
    uint32_t top_k;         /* 0: off */
    uint64_t seed;
    const struct sampler_bias *bias; /* borrowed */
    uint32_t bias_n;
    const int32_t *prompt; /* borrowed; repetition_penalty looks at it and nothing else does */
    size_t prompt_n;
};

struct sampler_bias {
    int32_t id;
    float add; /* to the token's logit, -100 to 100 */
};

enum { SAMPLER_TOP_MAX = 20, SAMPLER_NONE = -1 };

/* What the model thought before any parameter changed it: natural logarithms of probabilities. */
struct token_logprob {
    int32_t id;
    float logprob;
    uint32_t top_n;
    struct {
        int32_t id;
        float logprob;
    } top[SAMPLER_TOP_MAX]; /* best first, lowest id of equals */
};

struct sampler;
struct cpu_kernels;

struct sampler *sampler_new(uint32_t vocab, const struct cpu_kernels *kernels); /* NULL: no memory */
void sampler_free(struct sampler *s);
/* answer: the tokens of the answer so far; its length is the position. allowed: bit i: token i may be chosen;
 * NULL: all may. SAMPLER_NONE: no logit that may be chosen is a number. */
int32_t sampler_pick(struct sampler *s, const struct sampler_params *p, const float *logits,
                     const int32_t *answer, size_t answer_n, const uint64_t *allowed);
void sampler_logprob(struct sampler *s, const float *logits, int32_t id, uint32_t top_n,
                     struct token_logprob *out); /* top_n: 0 to SAMPLER_TOP_MAX */

/* How many of the largest logits decide, whatever the others are; 0: it takes all of them. */
uint32_t sampler_candidates(const struct sampler_params *p);
/* The token that sampler_pick takes of the whole row, where sampler_candidates says that so many decide. (Two logits that
 * differ, but whose weights do not, may change places.) */
int32_t sampler_pick_among(struct sampler *s, const struct sampler_params *p, const struct candidates *c,
                           size_t answer_n);
/* Of one of the candidates; top_n: at most as many as there are. */
void sampler_logprob_among(const struct candidates *c, int32_t id, uint32_t top_n, struct token_logprob *out);

/* A number in 0..1 (1 excluded) that depends on nothing but its arguments (Philox4x32-10). */
double sampler_uniform(uint64_t seed, uint64_t position);

#endif

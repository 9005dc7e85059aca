/* Chooses the next token from logits.
 *
 *     penalties -> temperature -> min_p -> top_k -> top_p -> draw
 *
 * The draw comes from a counter-based generator keyed by (seed, position): the same request gives the same
 * text whatever else is in the batch. Temperature 0 takes the largest logit, the lowest id of equals.
 * Ownership: a sampler is scratch memory for one vocabulary.
 * Thread rule: a sampler is used by one thread at a time. */
#ifndef TIDE_WORKER_SAMPLER_H
#define TIDE_WORKER_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

struct sampler_params {
    float temperature;       /* 0 and up; 0 is greedy */
    float top_p;             /* above 0, up to 1; 1: off */
    float min_p;             /* 0 to 1: share of the best token's probability; 0: off */
    float presence_penalty;  /* -2 to 2, once for a token that occurred in the answer */
    float frequency_penalty; /* -2 to 2, for each time */
    uint32_t top_k;          /* 0: off */
    uint64_t seed;
};

struct sampler;

struct sampler *sampler_new(uint32_t vocab); /* NULL: no memory */
void sampler_free(struct sampler *s);
/* logits are changed by the penalties. answer: the tokens of the answer so far; its length is the position. */
int32_t sampler_pick(struct sampler *s, const struct sampler_params *p, float *logits, const int32_t *answer,
                     size_t answer_n);
/* A number in 0..1 (1 excluded) that depends on nothing but its arguments (Philox4x32-10). */
double sampler_uniform(uint64_t seed, uint64_t position);

#endif

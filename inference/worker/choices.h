/* Tokens that may be drawn, with their weights: sorting, top_k, top_p and the draw itself.
 * Not where weights come from: sampler.h.
 * Ownership: arrays are the caller's.
 * Thread rule: pure functions. */
#ifndef TIDE_WORKER_CHOICES_H
#define TIDE_WORKER_CHOICES_H

#include <stdint.h>

struct choice {
    float weight; /* above 0; relative to the best token, which has 1 */
    int32_t id;
};

/* Heaviest first, then lowest id; they come by id. spare: room for n. */
void choices_sort(struct choice *choices, struct choice *spare, uint32_t n);
/* Of sorted ones, how many top_k keeps: at most the k heaviest; their sum in *total. */
uint32_t choices_heaviest(const struct choice *choices, uint32_t n, uint32_t k, double *total);
/* Likewise top_p: the heaviest that together reach top_p of *total, which becomes their sum. */
uint32_t choices_nucleus(const struct choice *choices, uint32_t n, float top_p, double *total);
/* The id on which `target`, from 0 to below the sum, falls. */
int32_t choices_draw(const struct choice *choices, uint32_t n, double target);

#endif

/* Which experts a token uses, and with which weights (DeepSeek-V2, 2.1.2, and V3, 2.1.2; GRAPH_ROUTE).
 *
 *     share[e] = softmax over e, or sigmoid, of score[e]
 *     choice[e] = share[e] + bias[e]
 *     groups of neighbours are ranked by their best choice (softmax) or the sum of their two best (sigmoid);
 *     of those in the first groups_used groups, the `used` best choices are used; of equals the lower number wins
 *     weight[e] = share[e], if is_normalised over the sum of the used ones, times scale; 0 for the others
 *
 * Thread rule: pure function. */
#ifndef TIDE_WORKER_ROUTE_H
#define TIDE_WORKER_ROUTE_H

#include "inference/worker/model.h"

enum { ROUTE_MOST_EXPERTS = 1024 };

/* scores: x->count of them, which become weights; bias: as many, or NULL. used: the x->used numbers of those
 * that are used, rising. */
void route(const struct model_experts *x, const float *bias, float *scores, uint32_t *used);

#endif

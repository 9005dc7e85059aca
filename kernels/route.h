/* Which experts each token uses, and with which weights; and the uses sorted by expert, for the products that follow.
 *
 *     share[e] = softmax over e, or sigmoid, of score[e]        choice[e] = share[e] + bias[e]
 *     groups of neighbours are ranked by their best choice (softmax) or the sum of their two best (sigmoid); of those in
 *     the first groups_used groups, the `used` best choices are used; of equals the lower number wins
 *     weight[e] = share[e], if is_normalised over the sum of the used ones, times scale; 0 for the others
 *
 * Use i * used + k is the k-th expert of token i, rising.
 * Errors: cudaErrorInvalidValue for more experts than ROUTE_MOST or groups that do not divide; else what the launch answers.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_ROUTE_H
#define TIDE_KERNELS_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ROUTE_MOST = 1024,      /* experts */
    ROUTE_MOST_GROUPS = 32, /* groups */
};

/* The uses of a batch by expert: those of expert e are use[first[e]] to use[first[e + 1] - 1], rising. Device memory. */
struct expert_uses {
    uint32_t *active; /* (1 + experts): how many experts are used, then which, rising */
    uint32_t *first;  /* (experts + 1) */
    uint32_t *use;    /* (count * used) */
};

struct route_params {
    float *scores;       /* (count, experts); become weights */
    const float *bias;   /* (experts), decides and does not weigh; NULL: none */
    uint32_t *expert_of; /* (count, used): the expert of each use */
    struct expert_uses by_expert;
    uint32_t count; /* tokens */
    uint32_t experts;
    uint32_t used; /* by a token */
    uint32_t groups;
    uint32_t groups_used;
    bool is_sigmoid;
    bool is_normalised;
    float scale;
};

cudaError_t route_launch(const struct route_params *p, cudaStream_t stream);
void route_ref(const struct route_params *p);

#ifdef __cplusplus
}
#endif
#endif

/* The attention of attend.h for prompts, on tensor cores: many tokens of a sequence share what is read of the cache. Same
 * parameters (no scratch), same reference (attend_ref).
 *
 * Tokens of a sequence stand side by side, in rising order of position.
 * Errors: as attend_launch; cudaErrorInvalidValue also for dimensions that it does not take.
 * Thread rule: one host thread a stream. */
#ifndef TIDE_KERNELS_ATTEND_PROMPT_H
#define TIDE_KERNELS_ATTEND_PROMPT_H

#include "kernels/attend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ATTEND_PROMPT_MOST_DIM = 256, /* of keys and of values; both multiples of 8 */
    ATTEND_PROMPT_LEAST = 8,      /* tokens a sequence: below, attend reads no more and computes less */
};

/* It has these dimensions, and that many tokens of so many sequences are better off here. */
bool attend_prompt_takes(const struct attend_params *p, uint32_t sequences);
cudaError_t attend_prompt_launch(const struct attend_params *p, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif

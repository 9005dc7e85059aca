/* The largest logits of a row in place of the row: all that greedy choice, top-k and log-probabilities need of it. A device
 * that finds them itself copies some bytes a token and not the whole vocabulary.
 *
 * Falling logits, of equals the lower id first; what is no number comes last.
 * Ownership: borrowed from the backend until its next run.
 * Units: natural logarithms.
 * Thread rule: plain data. */
#ifndef TIDE_WORKER_CANDIDATES_H
#define TIDE_WORKER_CANDIDATES_H

#include <stdint.h>

enum { CANDIDATES_MAX = 64 }; /* that can be asked for */

struct candidates {
    const int32_t *ids;  /* tokens */
    const float *logits; /* as the model gives them */
    float log_sum;       /* of the whole row: the logarithm of its sum of exponentials */
    uint32_t n;          /* at least 1 */
};

#endif

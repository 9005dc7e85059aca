/* How well a model predicts a text: e to the mean negative log-probability of its tokens.
 *
 * The text's tokens are cut into parts of --context tokens (512), each computed by itself; a shorter rest is left out. The
 * first half of a part is context only, the tokens of the second half count. That is what llama-perplexity does, so the
 * two can be compared.
 * Thread rule: main thread. */
#ifndef TIDE_WORKER_PERPLEXITY_H
#define TIDE_WORKER_PERPLEXITY_H

#include "inference/worker/options.h"

int perplexity_run(const struct options *o, struct err *err) TIDE_CHECK; /* prints a line */

#endif

/* `tide-worker logits`, `tensor` and `tokens`: what the engine computes, for comparison with others.
 * They write to standard output and serve nobody.
 *
 *     logits: a JSON line a position: {"position":0,"log_sum":12.5,"top":[[token,logit],...]}
 *     tensor: the tensor's values as little-endian float32
 *     tokens: for each line of standard input, a body of /tokenize, an array of token ids; needs no weights
 *
 * Thread rule: called once, from main. */
#ifndef TIDE_WORKER_DIAGNOSE_H
#define TIDE_WORKER_DIAGNOSE_H

#include "inference/worker/options.h"

int diagnose_logits(const struct options *o, struct err *err) TIDE_CHECK;
int diagnose_tokens(const struct options *o, struct err *err) TIDE_CHECK;
int diagnose_tensor(const struct options *o, struct err *err) TIDE_CHECK;

#endif

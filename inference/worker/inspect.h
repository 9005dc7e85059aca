/* `tide-worker inspect`: what a GGUF file holds, and what serving it would cost in memory. */
#ifndef TIDE_WORKER_INSPECT_H
#define TIDE_WORKER_INSPECT_H

#include "inference/worker/options.h"

/* Prints on stdout, also of a model that cannot be served, and then says why. ERR_IO, ERR_INVALID: no GGUF. */
int inspect_run(const struct options *o, struct err *err) TIDE_CHECK;

#endif

/* `tide-worker bench`: tokens a second of the engine's computing part, without HTTP and sampling. */
#ifndef TIDE_WORKER_SPEED_H
#define TIDE_WORKER_SPEED_H

#include "inference/worker/options.h"

/* Prints a table on stdout. Errors: as model_open and the backend's open. */
int speed_run(const struct options *o, struct err *err) TIDE_CHECK;

#endif

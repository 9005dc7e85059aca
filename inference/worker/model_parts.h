/* What model.c puts a model together from; no one else includes this.
 * Ownership: both read m->file and write into m.
 * Errors: as model.h.
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_MODEL_PARTS_H
#define TIDE_WORKER_MODEL_PARTS_H

#include "inference/worker/model.h"

/* The keys: m->family, m->sizes but for the vocabulary, m->rope. */
int model_read_sizes(struct model *m, struct err *err) TIDE_CHECK;
/* The tensors: m->embedding ... m->layer, and the vocabulary's size. */
int model_find_tensors(struct model *m, struct err *err) TIDE_CHECK;

#endif

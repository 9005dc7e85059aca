/* What model.c puts a model together from; no one else includes this.
 * Ownership: all read m->file and write into m; model_settle_forms changes its tensors.
 * Errors: as model.h.
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_MODEL_PARTS_H
#define TIDE_WORKER_MODEL_PARTS_H

#include "inference/worker/model.h"

/* The keys: m->family, m->sizes but for the vocabulary, m->rope. */
int model_read_sizes(struct model *m, struct err *err) TIDE_CHECK;
/* The layers that the model itself has: those at the end that predict further tokens do not count. */
uint32_t model_own_layers(const struct gguf *file, uint32_t layers);
/* Brings the file's tensors into the form that is looked for. */
int model_settle_forms(struct model *m, struct err *err) TIDE_CHECK;
/* The tensors: m->embedding ... m->layer, and the vocabulary's size. */
int model_find_tensors(struct model *m, struct err *err) TIDE_CHECK;

#endif

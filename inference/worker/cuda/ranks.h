/* Several devices that compute one model: a thread and a backend a rank, and the caller, who watches them.
 *
 *     ranks_run -> every thread runs its shard of the batch -> rank 0's logits
 *                  a rank fails, NCCL reports an error, or a step takes longer than collective_ms:
 *                  all communicators are aborted, so that nobody waits for who does not come;
 *                  an abort that the devices do not answer either ends the process, with status 1
 *
 * Device i is rank i's. After a failure every run answers the same error; close works.
 * Ownership: borrows the graph until close; logits are borrowed until the next run.
 * Errors: as backend.h, with the rank's number.
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_RANKS_H
#define TIDE_WORKER_RANKS_H

#include "inference/worker/backend.h"

struct ranks;

int ranks_open(const struct graph *g, const struct backend_conf *conf, struct ranks **out,
               struct err *err) TIDE_CHECK;
int ranks_run(struct ranks *r, const struct batch *batch, float **logits, struct err *err) TIDE_CHECK;
void ranks_close(struct ranks *r);

const struct backend *ranks_backend(const struct ranks *r, uint32_t rank); /* borrowed */

#endif

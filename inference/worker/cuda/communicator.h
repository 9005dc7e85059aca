/* One rank's end of NCCL: the collectives that ranks need, none of which can hang its caller.
 *
 * Calls never block: a call that NCCL still works on is asked about until it is queued, or until another thread aborts.
 * What is queued may hang on the devices: who waits for the stream, and for how long, is ranks.h's.
 * Collectives may be recorded into a graph. NCCL's abort and close wait until no graph has any of them: who aborts says so first
 * (communicator_stop), so that nobody goes on recording, then lets go of the graphs (decode_graphs.h).
 * Life: communicator_open by the rank's thread -> calls -> communicator_stop and _abort (any thread), or not ->
 * communicator_close.
 * Errors: ERR_UNAVAILABLE with NCCL's words; after an abort, "aborted".
 * Thread rule: the rank's thread; communicator_stop, _abort, _check and _calls from any. */
#ifndef TIDE_WORKER_COMMUNICATOR_H
#define TIDE_WORKER_COMMUNICATOR_H

#include <pthread.h>
#include <stdatomic.h>

#include <nccl.h>

#include "base/err.h"

struct communicator {
    pthread_mutex_t mutex; /* of comm */
    ncclComm_t comm;       /* NULL: none */
    _Atomic bool is_stopped;
    _Atomic uint32_t calls; /* collectives asked for */
};

void communicator_init(struct communicator *c);
void communicator_clear(struct communicator *c); /* after close */
int communicator_id(ncclUniqueId *id, struct err *err) TIDE_CHECK;
/* Waits until all ranks have come. The thread's device is the rank's. */
int communicator_open(struct communicator *c, const ncclUniqueId *id, uint32_t rank, uint32_t ranks,
                      struct err *err) TIDE_CHECK;
void communicator_close(struct communicator *c);

/* values: n of each rank become their sum. */
int communicator_sum(struct communicator *c, float *values, size_t n, cudaStream_t stream,
                     struct err *err) TIDE_CHECK;
/* Each of `rows` rows of out becomes the ranks' parts of it; rows of parts lie `stride` values apart. */
int communicator_gather(struct communicator *c, const float *parts, size_t stride, float *out, size_t rows,
                        size_t part, uint32_t ranks, cudaStream_t stream, struct err *err) TIDE_CHECK;

void communicator_stop(struct communicator *c);  /* calls end with "aborted" from now on */
void communicator_abort(struct communicator *c); /* stopped; what is queued ends without a result */
int communicator_check(struct communicator *c, struct err *err) TIDE_CHECK; /* what NCCL noticed meanwhile */
uint32_t communicator_calls(struct communicator *c);
void communicator_replayed(struct communicator *c, uint32_t calls); /* by a graph that recorded them */

#endif

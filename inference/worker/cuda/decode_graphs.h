/* Steps that only continue answers, recorded as CUDA graphs and replayed: one launch a step instead of hundreds.
 *
 * A graph has its sizes for good, so a step is padded: rows to a power of two, the positions that attention is told to a power
 * of two too. A row that is added is token 0 at position 0 of a block of the cache that no sequence has; nobody reads
 * its logits. A graph is recorded at the first step of its size; when there are DECODE_GRAPHS_MAX, steps of other
 * sizes are launched one operation after the other, as prompts are.
 * Of several devices each records its own, collectives too, at the same step and in the same order, for all see the same
 * steps. As long as a graph has any of them, NCCL's abort and close wait for it: decode_graphs_end comes before those.
 * Ownership: decode_graphs_clear frees them.
 * Errors: the device's, as everywhere in this folder; ERR_UNAVAILABLE after decode_graphs_end.
 * Thread rule: as backend.h; decode_graphs_end from any, also while another records: that one has to be stopped first
 * (communicator_stop), or it is waited for. */
#ifndef TIDE_WORKER_DECODE_GRAPHS_H
#define TIDE_WORKER_DECODE_GRAPHS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <cuda_runtime.h>

#include "base/err.h"

enum { DECODE_GRAPHS_MAX = 64 };

struct decode_graph {
    uint32_t rows;
    uint32_t positions;
    uint32_t collectives;
    cudaGraphExec_t exec; /* NULL: not recorded yet */
};

struct decode_graphs {
    pthread_mutex_t mutex; /* of every exec, and of is_over */
    bool is_over;
    struct decode_graph list[DECODE_GRAPHS_MAX];
    uint32_t count;
};

struct backend;

void decode_graphs_init(struct decode_graphs *graphs);
/* Pads the batch that was taken over, if its step has or may get a graph; NULL: launch it as it is. */
struct decode_graph *decode_graphs_pad(struct backend *b);
int decode_graphs_launch(struct backend *b, struct decode_graph *g, struct err *err) TIDE_CHECK;
void decode_graphs_end(
    struct decode_graphs *graphs); /* frees the graphs; nothing is recorded or launched any more */
void decode_graphs_clear(struct decode_graphs *graphs);

#endif

/* A graph lowered for the CPU: each operation with its weights laid out, and the steps that only this
 * backend needs (turning activations to int8 before they are multiplied).
 * Not the arithmetic: ops.h.
 *
 * Weights are repacked at every start, or mapped from a file that workers of a machine share (packed_file.h).
 * Ownership: the program owns its packed weights; it borrows graph and model.
 * Thread rule: read-only after program_init, but for `next` and `taken`, the work counters of a step. */
#ifndef TIDE_WORKER_CPU_PROGRAM_H
#define TIDE_WORKER_CPU_PROGRAM_H

#include <stdatomic.h>

#include "inference/worker/cpu/packed_file.h"
#include "inference/worker/graph.h"

struct cpu_step {
    const struct graph_op *op;
    bool quantizes;        /* this step only turns op->a to int8 */
    bool quantizes_too;    /* each thread also turns what it wrote of op->dst to int8 */
    bool waits;            /* a barrier stands before this step */
    struct packed *matrix; /* of matrix products */
    const float *norm;     /* of norms: the weight as float32 */
    const float *bias;     /* of matrix products and routers: the bias as float32; NULL: none */
    atomic_uint next;      /* first piece of work that no thread has taken yet */
    atomic_uint *taken;    /* of matrix products: how many strips of each thread's part have been taken */
};

struct cpu_program {
    struct cpu_step *steps;
    size_t step_count;
    struct packed *matrices; /* one a matrix product */
    size_t matrix_count;
    atomic_uint *taken; /* of all matrices, `threads` each */
    unsigned threads;
    float *vectors; /* all norm weights and biases, one after the other */
    size_t packed_bytes;
    struct packed_file file; /* where the packed weights stand; not open: in memory of this worker's own */
};

/* `packed` is the path of that file; NULL: none. Where it cannot be used the log says why. `threads` run it. */
int cpu_program_init(struct cpu_program *p, const struct graph *g, const char *packed, unsigned threads,
                     struct err *err) TIDE_CHECK;
void cpu_program_clear(struct cpu_program *p);
void cpu_program_rewind(struct cpu_program *p); /* before each run */

#endif

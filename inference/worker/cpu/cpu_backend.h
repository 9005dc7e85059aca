/* The state of the CPU backend, shared by its files: backend.c (life), ops.c (one function an operation).
 * Thread rule: as backend.h; inside a run, `team` threads work on it between barriers. */
#ifndef TIDE_WORKER_CPU_BACKEND_H
#define TIDE_WORKER_CPU_BACKEND_H

#include "inference/worker/backend.h"
#include "inference/worker/cpu/kernels.h"
#include "inference/worker/cpu/kv_cache.h"
#include "inference/worker/cpu/program.h"
#include "inference/worker/cpu/team.h"

struct backend {
    const struct graph *graph; /* borrowed */
    struct backend_conf conf;
    const struct cpu_kernels *kernels;
    struct team *team;
    struct cpu_program program;
    struct kv_cache kv;
    float *buffers[GRAPH_BUFFERS]; /* batch_tokens (or batch_logits) rows each */
    int8_t *q;                     /* the int8 form of the current product's input */
    float *q_scale;
    float *q_sum;
    float *rotation;  /* context x rope_dims: cosine and sine of each pair */
    float *scores;    /* context floats a thread */
    uint32_t *picked; /* batch rows that want logits */
    uint32_t picked_count;
    const struct batch *batch; /* of the running step; borrowed */
};

void cpu_step_run(struct backend *b, struct cpu_step *step, unsigned thread);

#endif

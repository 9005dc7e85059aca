/* The state of the CPU backend, shared by its files: backend.c (life), ops.c (one function an operation),
 * attention.c (tiles of queries), scattered.c (products of heads and of experts).
 * Thread rule: as backend.h; inside a run, `team` threads work on it between barriers. */
#ifndef TIDE_WORKER_CPU_BACKEND_H
#define TIDE_WORKER_CPU_BACKEND_H

#include "inference/worker/backend.h"
#include "inference/worker/cpu/kernels.h"
#include "inference/worker/cpu/kv_cache.h"
#include "inference/worker/cpu/program.h"
#include "inference/worker/cpu/team.h"

/* Who uses which expert in the layer that runs: a use is token * experts.used + piece. */
struct cpu_uses {
    uint32_t *of_token; /* the expert of each use */
    uint32_t *first;    /* experts.count + 1: where an expert's uses begin in `use` */
    uint32_t *use;
    uint32_t *active; /* experts that somebody uses, rising */
    uint32_t active_count;
};

/* Neighbouring positions of one sequence: their queries read the same keys and values. */
struct cpu_tile {
    uint32_t first; /* token of the batch */
    uint32_t n;
};

/* The largest logit of a row so far. */
struct cpu_best {
    float value;
    uint32_t id;
};

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
    int16_t *q_totals;
    int8_t *gathered; /* a thread's columns side by side: team x KERNEL_TILE x gather_width */
    float *gathered_scale;
    float *gathered_sum;
    int16_t *gathered_totals;
    uint32_t gather_width;        /* values of the widest scattered column; 0: there are none */
    float *rotation[MODEL_ROPES]; /* context x dims: cosine and sine of each pair, times magnitude */
    float *scores;                /* ATTEND_QUERIES * context floats a thread */
    float *attend_rows;           /* KV_BLOCK keys or values a thread, as float32 */
    uint32_t attend_width;        /* values of the wider of them */
    struct cpu_tile *tiles;       /* batch_tokens; of the running step */
    uint32_t tile_count;
    uint32_t *picked; /* batch rows that want logits */
    uint32_t picked_count;
    struct cpu_best *best_of_thread; /* batch_logits a thread */
    int32_t *best;                   /* of the rows that want no more; -1: the row is there */
    float *best_logits;              /* theirs; -INFINITY: no logit of the row is a number */
    struct cpu_uses uses;
    const struct batch *batch; /* of the running step; borrowed */
};

void cpu_step_run(struct backend *b, struct cpu_step *step, unsigned thread);

/* Turns n blocks of 32 values of a buffer to int8, from block `first` of its rows laid end to end. */
static inline void cpu_quantize_blocks(struct backend *b, enum graph_buffer buffer, size_t first, size_t n)
{
    if (n > 0) {
        b->kernels->quantize(b->buffers[buffer] + 32 * first, (uint32_t)n, b->q + 32 * first,
                             b->q_scale + first, b->q_sum + first, b->q_totals + 2 * first);
    }
}

/* The operation of attention.c, and its tiles for a batch: once before each run. */
void cpu_tile_batch(struct backend *b);
void cpu_run_attend(struct backend *b, struct cpu_step *step, unsigned thread);

/* The operations of scattered.c. */
void cpu_run_heads(struct backend *b, struct cpu_step *step, unsigned thread);
void cpu_run_route(struct backend *b, const struct cpu_step *step, unsigned thread);
void cpu_run_experts(struct backend *b, struct cpu_step *step, unsigned thread);
void cpu_run_experts_add(struct backend *b, struct cpu_step *step, unsigned thread);

static inline float *cpu_row(const struct backend *b, enum graph_buffer buffer, size_t row)
{
    return b->buffers[buffer] + row * b->graph->widths[buffer];
}

/* Whether activations stay float32 in products with such weights. */
static inline bool cpu_is_float(enum packed_kind kind)
{
    return kind == PACKED_F32 || kind == PACKED_F16 || kind == PACKED_BF16;
}

/* The kernel of plain rows: those of cpu_is_float. */
static inline dot_cb cpu_dot_kernel(const struct backend *b, enum packed_kind kind)
{
    return kind == PACKED_F32   ? b->kernels->dot_f32
           : kind == PACKED_F16 ? b->kernels->dot_f16
                                : b->kernels->dot_bf16;
}

/* The kernel of packed strips: the others. */
static inline strip_cb cpu_strip_kernel(const struct backend *b, enum packed_kind kind)
{
    return cpu_kernels_strip(b->kernels, kind);
}

#endif

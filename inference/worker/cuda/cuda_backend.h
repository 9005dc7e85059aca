/* The state of the CUDA backend, shared by its files: backend.c (life), launches.c (one function an operation),
 * scattered.c (heads and experts), decode_graphs.c (steps that are replayed), results.c (what comes back).
 *
 * All device memory is taken at open: weights, buffers of the graph, cache, scratch. A run copies what the batch is to the
 * device, launches the operations on one stream, or a graph of them, and waits once, for the logits or candidates.
 * Of several devices each has such a backend, with a shard and a communicator; the one that the engine knows has only
 * `ranks`.
 * Thread rule: as backend.h. */
#ifndef TIDE_WORKER_CUDA_BACKEND_H
#define TIDE_WORKER_CUDA_BACKEND_H

#include "inference/worker/backend.h"
#include "inference/worker/cuda/communicator.h"
#include "inference/worker/cuda/decode_graphs.h"
#include "inference/worker/cuda/device_weights.h"
#include "inference/worker/cuda/ranks.h"
#include "kernels/kv_cache.h"
#include "kernels/matmul_fp8.h"
#include "kernels/matmul_half.h"
#include "kernels/quantize.h"
#include "kernels/route.h"

struct cuda_batch { /* of the running step: host memory, and the same on the device */
    uint32_t *tokens;
    uint32_t *positions;
    uint32_t *sequences; /* row of tables */
    uint32_t *picked;    /* rows that want logits */
    uint32_t *tables;    /* a row for each run of tokens of one sequence */
};

struct cuda_experts {    /* what the router of the running layer says; device */
    uint32_t *expert_of; /* batch_tokens x used */
    struct expert_uses uses;
    float *answers; /* batch_tokens x used rows of the stream's width */
};

struct cuda_candidates { /* of the rows that want logits; n of each, one row after the other */
    uint32_t n;          /* the most that one of them wants; 0: nobody wants any */
    uint8_t *wanted;     /* of each row; 0: its logits */
    uint32_t *ids;       /* host, pinned, as what follows */
    float *logits;
    float *log_sum;
    uint32_t *device_ids;
    float *device_logits;
    float *device_log_sum;
};

struct cuda_step {
    const struct graph_op *op;
    const struct device_weight *weight; /* NULL: none */
    const float *bias;                  /* device; NULL: none */
    bool quantizes;                     /* op->a becomes int8 before the product */
    bool splits;                        /* or two parts of 16 bits, of many rows */
    bool rounds;                        /* or FP8, of many rows */
    enum shard_join join;               /* with the other ranks, after the launch */
    bool clears;                        /* op->dst, before it */
};

struct backend {
    const struct graph *graph; /* borrowed */
    struct backend_conf conf;
    struct ranks *ranks;               /* NULL: this is one device's */
    const struct shard *shard;         /* borrowed; NULL: the whole model */
    struct communicator *communicator; /* borrowed, with a shard */
    float *logits_part;                /* device; this rank's, with a shard */
    cudaStream_t stream;
    struct device_weights weights;
    struct cuda_step *steps;
    struct decode_graphs graphs;
    void **owned; /* device memory, to free */
    size_t owned_count;
    size_t buffer_bytes;
    size_t kv_bytes;
    float *buffers[GRAPH_BUFFERS]; /* device; batch_tokens (or batch_logits) rows each */
    struct quantized_rows quantized;
    struct half_rows halves;      /* of models with weights of 16 bits */
    struct fp8_rows fp8;          /* of models with weights in FP8 */
    float *rotation[MODEL_ROPES]; /* device; context x dims */
    uint16_t *keys;               /* kv_blocks and one that is nobody's (decode_graphs.h), of each layer */
    uint16_t *values;
    float *scratch; /* of attention */
    struct cuda_experts experts;
    struct cuda_batch host;
    struct cuda_batch device;
    struct cuda_candidates candidates;
    float *logits; /* host, pinned */
    uint32_t n;
    uint32_t picked_count;
    uint32_t table_rows;
    uint32_t positions; /* one more than the largest of the batch */
    uint32_t table_width;
    bool has_fp8; /* the device has the instructions */
    char device_name[64];
};

cudaError_t cuda_step_launch(struct backend *b, const struct cuda_step *step);
int cuda_shard_open(const struct shard *shard, struct communicator *communicator,
                    const struct backend_conf *conf, struct backend **out, struct err *err) TIDE_CHECK;
/* What it waits for ends without a result. From any thread; b may be NULL, not opened yet. */
void cuda_shard_abort(struct backend *b, struct communicator *communicator);
int cuda_shard_run(struct backend *b, const struct batch *batch, float **logits, struct err *err) TIDE_CHECK;
bool cuda_is_product(enum graph_op_kind kind);
cudaError_t cuda_quantize(struct backend *b,
                          const struct cuda_step *step); /* op->a, where the step does so */
/* The same as FP8, in rows of `width` each. */
cudaError_t cuda_round(struct backend *b, const struct cuda_step *step, uint32_t rows, uint32_t width);

cudaError_t cuda_launch_heads(struct backend *b, const struct cuda_step *step);
cudaError_t cuda_launch_route(struct backend *b, const struct cuda_step *step);
cudaError_t cuda_launch_experts(struct backend *b, const struct cuda_step *step);
cudaError_t cuda_launch_experts_add(struct backend *b, const struct cuda_step *step);
int cuda_launch_steps(struct backend *b, struct err *err) TIDE_CHECK; /* all, in order; waits for nothing */
const char *cuda_op_name(enum graph_op_kind kind);

/* Device memory until the backend is closed; never NULL. */
int cuda_take(struct backend *b, size_t bytes, void **out, struct err *err) TIDE_CHECK;

int results_init(struct backend *b, struct err *err) TIDE_CHECK;
void results_clear(struct backend *b);
cudaError_t results_copy(struct backend *b, uint32_t rows); /* of the first `rows` that want logits */
bool results_candidates(const struct backend *b, uint32_t row, struct candidates *out);

#endif

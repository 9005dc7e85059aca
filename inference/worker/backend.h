/* What computes a graph: one struct of functions a kind of machine. The CPU's is in cpu/; another kind
 * (CUDA) adds another struct and nothing above this header changes.
 *
 * Life: open (weights laid out, KV cache reserved, both fixed from then on) -> run per step -> close.
 * Ownership: borrows model and graph until close. Logits are borrowed until the next run.
 * Units: the KV cache has `kv_blocks` blocks of KV_BLOCK positions; kv_tables.h says whose they are.
 * Errors: open gives ERR_NOMEM, ERR_INVALID (a tensor type the backend cannot use); run cannot fail on a
 * CPU; a device backend answers ERR_UNAVAILABLE (or ERR_NOMEM) and must then be closed.
 * Thread rule: run is called by one thread at a time; a backend has threads of its own. */
#ifndef TIDE_WORKER_BACKEND_H
#define TIDE_WORKER_BACKEND_H

#include "inference/worker/candidates.h"
#include "inference/worker/graph.h"

struct backend; /* each kind has its own */

struct backend_conf {
    uint32_t kv_blocks;        /* blocks of the KV cache */
    uint32_t kv_window_blocks; /* of the layers with a window; 0: they are kept as all others */
    uint32_t context;          /* positions of a sequence */
    uint32_t batch_tokens;     /* most tokens of one run */
    uint32_t batch_logits;     /* most of them that want logits */
    uint32_t ranks;            /* devices that share the work; 0 and 1: one */
    uint32_t collective_ms;    /* that several of them may take to meet, and for one run; 0: any time */
    uint32_t threads;          /* of computation, the caller's included; 0: one a core that may be used */
    const char *packed; /* of the CPU: a file that keeps packed weights, borrowed for open; NULL: none */
    bool portable;      /* plain C even where the processor has better, no CUDA graphs: for tests */
    bool no_amx;        /* of the CPU: AVX-512 where the processor has AMX too */
};

struct backend_kind {
    const char *name; /* "cpu" */
    int (*open)(const struct graph *g, const struct backend_conf *conf, struct backend **out,
                struct err *err);
    /* Computes the batch; *logits has one row of vocab values for each token that wanted them, in order. */
    int (*run)(struct backend *b, const struct batch *batch, float **logits, struct err *err);
    /* After a run: what stands in for that row of logits, which then holds nothing. False: the row is there. A kind that
     * finds the best only does so where that is all that is wanted. */
    bool (*candidates)(const struct backend *b, uint32_t row, struct candidates *out);
    void (*describe)(const struct backend *b, char *out, size_t n); /* "avx2 threads=2 kv=94MiB" */
    void (*close)(struct backend *b);
};

extern const struct backend_kind backend_cpu;
extern const struct backend_kind backend_cuda; /* in programs that are linked with it: device.h */

#endif

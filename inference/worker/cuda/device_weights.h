/* Weights in device memory: each tensor once, in the planes of kernels/matrix.h.
 *
 * The values are those that the CPU backend multiplies (cpu/packed.h), so both backends meet the same numbers. But for FP8:
 * a device that has its instructions gets the file's values and scales, half the bytes of the BF16 that they are for others.
 * There a part of a matrix has to begin with a block of 128 x 128 or lie within one; where it does not, it is BF16 too.
 * The host makes BF16 of those only (gguf_fill).
 * Ownership: device_weights_clear frees the memory; the tensors are borrowed.
 * Errors: ERR_NOMEM (host or device), ERR_INVALID (a type that is not multiplied), ERR_UNAVAILABLE (the device's words).
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_DEVICE_WEIGHTS_H
#define TIDE_WORKER_DEVICE_WEIGHTS_H

#include "inference/worker/cuda/shard.h"
#include "kernels/matrix.h"

struct device_weight {
    const struct gguf_tensor *tensor;
    struct shard_cut cut;
    struct matrix matrix; /* of matrices */
    float *vector;        /* of norms and biases; NULL for matrices */
};

struct device_weights {
    struct device_weight *rows;
    size_t count;
    size_t bytes;     /* on the device */
    size_t fp8_bytes; /* of these, in FP8 with its scales */
};

/* parts: one for each operation of the graph, or NULL: no matrix is cut. has_fp8: the device has the instructions. */
int device_weights_init(struct device_weights *w, const struct graph *g, const struct shard_part *parts,
                        bool has_fp8, struct err *err) TIDE_CHECK;
void device_weights_clear(struct device_weights *w);
const struct device_weight *device_weights_find(const struct device_weights *w, const struct gguf_tensor *t,
                                                struct shard_cut cut);

/* err_set with what the device says; 0 for cudaSuccess. */
int device_error(cudaError_t rc, const char *doing, struct err *err);

#endif

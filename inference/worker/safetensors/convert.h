/* Tensors that GGUF keeps in another way than safetensors files: where nothing has to change, they are the file's.
 *
 *     FP8          value times the scale of its 128 x 128 block, rounded to BF16, once somebody asks (gguf_fill)
 *     pairs        llama's rows of a head: those of values i and i + n/2 become neighbours
 *     experts      one matrix each becomes one tensor
 *     norms        of gemma: 1 is added, as float32
 *
 * Ownership: what has to change gets memory in the gguf; the rest points into the shard's mapping.
 * Errors: ERR_INVALID names the file and the tensor; ERR_NOMEM.
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_SAFETENSORS_CONVERT_H
#define TIDE_WORKER_SAFETENSORS_CONVERT_H

#include "inference/worker/gguf_made.h"
#include "inference/worker/safetensors/shard.h"

struct source {
    const struct shard *shard;
    const struct shard_tensor *tensor;
    const struct shard_tensor *scale; /* of FP8; else NULL */
};

/* Is it of a type that can be read, and FP8 with scales that fit? */
int convert_check(const struct source *s, struct err *err) TIDE_CHECK;
int convert_plain(struct gguf *g, const char *name, const struct source *s, struct err *err) TIDE_CHECK;
int convert_pairs(struct gguf *g, const char *name, const struct source *s, uint32_t heads,
                  struct err *err) TIDE_CHECK;
int convert_norm(struct gguf *g, const char *name, const struct source *s, struct err *err) TIDE_CHECK;
/* All of the same type and shape. */
int convert_experts(struct gguf *g, const char *name, const struct source *experts, uint32_t count,
                    struct err *err) TIDE_CHECK;

#endif

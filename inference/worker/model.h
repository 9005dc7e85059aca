/* A transformer read from a GGUF file: its sizes and its tensors, all shapes checked.
 * Not the arithmetic: graph.h says what is computed, a backend computes it.
 *
 * Architecture llama: RMS norms before attention and feed-forward, rotary positions on adjacent pairs,
 * grouped-query attention, SwiGLU, no biases, head tied to the embedding when output.weight is absent.
 * Ownership: the model owns the mapped file; tensors are borrowed from it until model_close.
 * Errors: ERR_INVALID names the key or tensor that is missing, misshaped or of another architecture.
 * Thread rule: read-only after model_open. */
#ifndef TIDE_WORKER_MODEL_H
#define TIDE_WORKER_MODEL_H

#include "inference/worker/gguf.h"

struct model_sizes {
    uint32_t layers;
    uint32_t width;     /* values of the residual stream */
    uint32_t ff_width;  /* values inside the feed-forward */
    uint32_t heads;     /* query heads */
    uint32_t kv_heads;  /* divides heads */
    uint32_t head_dim;  /* values of one head */
    uint32_t rope_dims; /* rotated values of a head, even */
    uint32_t context;   /* positions the model was trained for */
    uint32_t vocab;     /* tokens */
    float rms_eps;
    float rope_base;
};

struct model_layer {
    const struct gguf_tensor *attn_norm;
    const struct gguf_tensor *q;
    const struct gguf_tensor *k;
    const struct gguf_tensor *v;
    const struct gguf_tensor *attn_output;
    const struct gguf_tensor *ffn_norm;
    const struct gguf_tensor *gate;
    const struct gguf_tensor *up;
    const struct gguf_tensor *down;
};

struct model {
    struct gguf *file;
    struct str name; /* general.name, or empty */
    struct model_sizes sizes;
    const struct gguf_tensor *embedding;
    const struct gguf_tensor *output_norm;
    const struct gguf_tensor *output;     /* the embedding when tied */
    const struct gguf_tensor *rope_freqs; /* divisors of the rotary frequencies; NULL: none */
    struct model_layer *layer;            /* sizes.layers of them */
};

int model_open(const char *path, struct model **out, struct err *err) TIDE_CHECK;
void model_close(struct model *m);

#endif

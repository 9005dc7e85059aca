/* What folder.c puts a model together from; no one outside of this folder includes this.
 * Ownership: all borrow the folder.
 * Errors: as folder.h.
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_SAFETENSORS_FOLDER_PARTS_H
#define TIDE_WORKER_SAFETENSORS_FOLDER_PARTS_H

#include "inference/worker/gguf_made.h"
#include "inference/worker/safetensors/fields.h"

struct folder {
    const char *path;
    struct arena arena;
    struct gguf_pairs pairs; /* what was read so far, in GGUF's words */
    /* from config.json */
    const char *family;   /* GGUF's architecture */
    uint32_t layers;      /* that the model uses */
    uint32_t more_layers; /* that predict further tokens, behind them: not loaded */
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t experts; /* of a layer */
    uint32_t vocab;   /* rows of the embedding */
    bool is_tied;     /* the head is the embedding */
    bool is_fp8;
    bool has_images; /* it takes images too: only its text model is loaded */
    int64_t bos;     /* -1: not said */
    int64_t eos;
    int64_t eot;     /* another one that ends an answer */
    float *divisors; /* of the frequencies; NULL: none */
    uint32_t divisor_count;
};

int folder_read_config(struct folder *f, struct err *err) TIDE_CHECK;
int folder_read_rope(struct folder *f, struct fields *config, uint32_t head_dim); /* for folder_read_config */
int folder_read_vocabulary(struct folder *f, struct err *err) TIDE_CHECK;
/* The name that GGUF has for a pre_tokenizer, or an error that shows it. */
int folder_find_splits(struct fields *tokenizer, const char **pre) TIDE_CHECK;
int folder_read_weights(struct folder *f, struct gguf *g, struct err *err) TIDE_CHECK;

/* A key of the architecture: "llama." before the name. */
void folder_pair_u32(struct folder *f, const char *name, uint32_t v);
void folder_pair_f32(struct folder *f, const char *name, double v);

#endif

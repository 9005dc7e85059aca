/* A transformer read from a GGUF file or a folder of safetensors: how its architecture differs, its sizes, its tensors, all shapes checked.
 * Not the arithmetic: graph.h says what is computed, a backend computes it.
 *
 *     llama      RMS norms, rotary positions on pairs, grouped-query attention, SwiGLU
 *     qwen2      rotation of halves; queries, keys and values have biases
 *     qwen3      rotation of halves; each head of queries and keys is normed
 *     gemma3     as qwen3, with GeGLU, norms after attention and feed-forward too, a scaled embedding, and five
 *                layers that see a window and have a rotation of their own between two that see everything
 *     deepseek2  keys and values are products of one latent a position; a router picks experts (V2, V3, R1)
 *
 * Files: model_sizes.c reads the keys, model_tensors.c finds the tensors, rope.c makes the frequencies. The head
 * is tied to the embedding when output.weight is absent. A tensor that nothing would use is refused: the model
 * would not be what its file means.
 * Ownership: the model owns the mapped file; tensors are borrowed from it until model_close.
 * Errors: ERR_INVALID names the key or tensor that is missing, misshaped or of another architecture.
 * Thread rule: read-only after model_open. */
#ifndef TIDE_WORKER_MODEL_H
#define TIDE_WORKER_MODEL_H

#include "inference/worker/gguf.h"
#include "inference/worker/rope.h"

enum model_activation {
    MODEL_SILU = 0, /* x / (1 + exp(-x)) */
    MODEL_GELU = 1, /* its tanh form: x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3))) */
};

enum model_rope { /* which rotation a layer has */
                  MODEL_ROPE_GLOBAL = 0,
                  MODEL_ROPE_LOCAL = 1,
                  MODEL_ROPES = 2,
};

/* What an architecture has; one constant each in model_sizes.c. */
struct model_family {
    const char *name; /* general.architecture, and what its keys begin with */
    enum rope_style rope_style;
    enum model_activation activation;
    bool has_biases;       /* of queries, keys and values */
    bool has_head_norms;   /* of each head of queries and keys, before the rotation */
    bool has_post_norms;   /* of what attention and feed-forward give, before it is added */
    bool scales_embedding; /* by the root of the width */
    bool has_local_layers; /* that see a window only */
    bool has_latent;       /* struct model_latent, and experts where the file has them */
};

/* Attention over latents (DeepSeek-V2, 2.1): the cache has one latent and one rotated key a position, shared by
 * all heads; the products that would make a head's keys and values are taken on the query and the answer. */
struct model_latent {
    uint32_t rank;       /* values of the latent; 0: no such attention */
    uint32_t query_rank; /* of the latent that queries come from; 0: they come from the stream */
    uint32_t plain_dim;  /* values of a head of queries that are not rotated; the rotated ones follow */
    uint32_t value_dim;  /* values of a head's answer */
};

enum model_gating {
    MODEL_GATING_SOFTMAX = 1, /* the numbers are GGUF's */
    MODEL_GATING_SIGMOID = 2,
};

struct model_experts {
    uint32_t count;        /* of a layer; 0: every layer is dense */
    uint32_t used;         /* by a token */
    uint32_t width;        /* values inside one */
    uint32_t shared_width; /* values inside those that every token uses, as one; 0: none */
    uint32_t first_layer;  /* that has experts; the ones before are dense */
    uint32_t groups;       /* of count / groups experts each */
    uint32_t groups_used;  /* that a token may use experts of */
    enum model_gating gating;
    bool is_normalised; /* the weights of the used ones are divided by their sum */
    float scale;        /* the weights are multiplied by it */
};

struct model_sizes {
    uint32_t layers;
    uint32_t width;     /* values of the residual stream */
    uint32_t ff_width;  /* values inside a dense feed-forward */
    uint32_t heads;     /* query heads */
    uint32_t kv_heads;  /* of the cache, divides heads; 1 with a latent */
    uint32_t head_dim;  /* values of a head of queries */
    uint32_t key_dim;   /* values of a key in the cache; with a latent: the latent, then the rotated key */
    uint32_t value_dim; /* values of a value in the cache; 0: the latent at the beginning of the key serves */
    uint32_t context;   /* positions the model was trained for */
    uint32_t vocab;     /* tokens */
    uint32_t window;    /* positions that local layers see, their own included; 0: no local layers */
    uint32_t period;    /* of local layers: every period-th layer sees everything */
    float rms_eps;
    float embedding_scale; /* rows of the embedding are multiplied by it */
    float attention_scale; /* products of queries and keys are multiplied by it */
    struct model_latent latent;
    struct model_experts experts;
};

struct model_layer { /* NULL: the architecture has no such thing */
    uint32_t window; /* positions it sees, its own included; 0: all */
    enum model_rope rope;
    const struct gguf_tensor *attn_norm;
    const struct gguf_tensor *q; /* from the stream, or from the queries' latent */
    const struct gguf_tensor *q_bias;
    const struct gguf_tensor *q_norm; /* of a head */
    const struct gguf_tensor *k;
    const struct gguf_tensor *k_bias;
    const struct gguf_tensor *k_norm;
    const struct gguf_tensor *v;
    const struct gguf_tensor *v_bias;
    const struct gguf_tensor *attn_output;
    const struct gguf_tensor *attn_post_norm;
    const struct gguf_tensor *q_latent; /* width -> latent.query_rank */
    const struct gguf_tensor *q_latent_norm;
    const struct gguf_tensor *kv_latent; /* width -> key_dim */
    const struct gguf_tensor *kv_latent_norm;
    const struct gguf_tensor *k_heads; /* a head: latent.plain_dim -> latent.rank */
    const struct gguf_tensor *v_heads; /* a head: latent.rank -> latent.value_dim */
    const struct gguf_tensor *ffn_norm;
    const struct gguf_tensor *gate;
    const struct gguf_tensor *up;
    const struct gguf_tensor *down;
    const struct gguf_tensor *ffn_post_norm;
    const struct gguf_tensor *router;      /* width -> experts.count */
    const struct gguf_tensor *router_bias; /* decides who is picked, not with which weight; may be NULL */
    const struct gguf_tensor *expert_gate; /* an expert: width -> experts.width */
    const struct gguf_tensor *expert_up;
    const struct gguf_tensor *expert_down; /* an expert: experts.width -> width */
    const struct gguf_tensor *shared_gate;
    const struct gguf_tensor *shared_up;
    const struct gguf_tensor *shared_down;
};

struct model {
    struct gguf *file;
    struct str name; /* general.name, or empty */
    const struct model_family *family;
    struct model_sizes sizes;
    struct rope rope[MODEL_ROPES];
    const struct gguf_tensor *embedding;
    const struct gguf_tensor *output_norm;
    const struct gguf_tensor *output; /* the embedding when tied */
    struct model_layer *layer;        /* sizes.layers of them */
};

/* A GGUF file, or the folder of a safetensors model: its keys and tensors, whatever they are of. */
int model_open_file(const char *path, struct gguf **out, struct err *err) TIDE_CHECK;
int model_open(const char *path, struct model **out, struct err *err) TIDE_CHECK;
void model_close(struct model *m);

/* Values that one position takes in the caches of all layers. */
size_t model_cached_values(const struct model_sizes *s);
uint32_t model_window_layers(const struct model *m); /* that see a window */

#endif

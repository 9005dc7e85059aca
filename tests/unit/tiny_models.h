/* Tiny models of every architecture with random weights, as GGUF files: float32, whose logits are compared with
 * transformers' (tests/oracles/logits.py), or quantized, for what must hold whatever the weights are.
 * Not the plain tiny model of gguf_builder.h. */
#ifndef TIDE_TESTS_TINY_MODELS_H
#define TIDE_TESTS_TINY_MODELS_H

#include "tests/unit/gguf_builder.h"

struct tiny_spec {
    const char *name;
    const char *family;
    uint32_t layers;
    uint32_t width; /* 0: TINY_FAMILY_WIDTH */
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t ff;       /* 0: TINY_FAMILY_FF */
    bool has_own_head; /* output.weight */
    bool has_divisors; /* rope_freqs.weight */
    float rope_base;
    const char *scaling; /* NULL: none */
    float factor;
    float log_multiplier; /* of YaRN; 0: the rotation grows instead */
    uint32_t window;
    uint32_t query_rank;
    uint32_t rank; /* of the latent; 0: none */
    uint32_t rotated;
    uint32_t value_dim;
    uint32_t experts;
    uint32_t used;
    uint32_t shared;
    uint32_t expert_ff; /* 0: TINY_EXPERT_FF */
    uint32_t groups;
    uint32_t groups_used;
    bool is_sigmoid; /* and normalised, with a bias for the choice */
    float expert_scale;
};

enum {
    TINY_FAMILY_WIDTH = 64,
    TINY_FAMILY_FF = 96,
    TINY_EXPERT_FF = 32,
    TINY_ORIGINAL_CONTEXT = 32, /* of YaRN */
    TINY_CONTEXT = 256,
};

static const struct tiny_spec tiny_specs[] = {
    {.name = "llama2",
     .family = "llama",
     .layers = 2,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 16,
     .has_own_head = true,
     .rope_base = 10000},
    {.name = "llama3",
     .family = "llama",
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .has_divisors = true,
     .rope_base = 500000},
    {.name = "qwen2",
     .family = "qwen2",
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .rope_base = 1000000},
    {.name = "qwen3",
     .family = "qwen3",
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 32,
     .rope_base = 1000000},
    {.name = "qwen3-yarn",
     .family = "qwen3",
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 32,
     .has_own_head = true,
     .rope_base = 10000,
     .scaling = "yarn",
     .factor = 4},
    {.name = "gemma3",
     .family = "gemma3",
     .layers = 7,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 32,
     .rope_base = 1000000,
     .scaling = "linear",
     .factor = 8,
     .window = 8},
    {.name = "deepseek2-lite",
     .family = "deepseek2",
     .layers = 3,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 64,
     .has_own_head = true,
     .rope_base = 10000,
     .scaling = "yarn",
     .factor = 40,
     .log_multiplier = 0.0707F,
     .rank = 64,
     .rotated = 32,
     .value_dim = 32,
     .experts = 8,
     .used = 3,
     .shared = 2,
     .expert_scale = 1},
    {.name = "deepseek2-v2",
     .family = "deepseek2",
     .layers = 2,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 64,
     .has_own_head = true,
     .rope_base = 10000,
     .query_rank = 32,
     .rank = 64,
     .rotated = 32,
     .value_dim = 32,
     .experts = 16,
     .used = 3,
     .shared = 2,
     .groups = 4,
     .groups_used = 2,
     .expert_scale = 16},
    {.name = "deepseek2-v3",
     .family = "deepseek2",
     .layers = 3,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 96,
     .has_own_head = true,
     .rope_base = 10000,
     .scaling = "yarn",
     .factor = 40,
     .log_multiplier = 0.1F,
     .query_rank = 32,
     .rank = 64,
     .rotated = 32,
     .value_dim = 32,
     .experts = 16,
     .used = 4,
     .shared = 1,
     .groups = 4,
     .groups_used = 2,
     .is_sigmoid = true,
     .expert_scale = 2.5F},
};
enum { TINY_SPECS = sizeof tiny_specs / sizeof *tiny_specs };

__attribute__((unused)) static const struct tiny_spec *tiny_spec_find(const char *name)
{
    for (unsigned i = 0; i < TINY_SPECS; i++) {
        if (strcmp(tiny_specs[i].name, name) == 0) {
            return &tiny_specs[i];
        }
    }
    fail_msg("no tiny model %s", name);
    return NULL;
}

struct tiny_builder {
    struct builder b;
    const struct tiny_spec *spec;
    bool is_quantized;
    unsigned layer;
    unsigned matrices; /* so far: they take turns in type */
};

static uint32_t tiny_width(const struct tiny_spec *s)
{
    return s->width ? s->width : TINY_FAMILY_WIDTH;
}

static uint32_t tiny_ff(const struct tiny_spec *s)
{
    return s->ff ? s->ff : TINY_FAMILY_FF;
}

static uint32_t tiny_expert_ff(const struct tiny_spec *s)
{
    return s->expert_ff ? s->expert_ff : TINY_EXPERT_FF;
}

static void tiny_u32(struct tiny_builder *t, const char *key, uint32_t v)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", t->spec->family, key);
    pair_u32(&t->b, name, v);
}

static void tiny_f32(struct tiny_builder *t, const char *key, float v)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", t->spec->family, key);
    pair_f32(&t->b, name, v);
}

static void tiny_vector(struct tiny_builder *t, const char *name, uint64_t n, float middle, float reach)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s", t->layer, name);
    add_reals(&t->b, full, n, 1, middle, reach);
}

static void tiny_norm(struct tiny_builder *t, const char *name, uint64_t n)
{
    tiny_vector(t, name, n, 1.0F, 0.25F);
}

static void tiny_matrix(struct tiny_builder *t, const char *name, uint64_t columns, uint64_t rows,
                        uint64_t pieces)
{
    static const enum tensor_type types[] = {TENSOR_Q4_1, TENSOR_Q8_0, TENSOR_Q5_0, TENSOR_Q4_0, TENSOR_F16};
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s.weight", t->layer, name);
    if (t->is_quantized) {
        add_tensor(&t->b, full, types[t->matrices++ % 5], columns, pieces ? rows * pieces : rows);
    } else {
        add_reals(&t->b, full, columns, pieces ? rows * pieces : rows, 0.0F, 0.25F);
    }
    t->b.tensors[t->b.tensor_count - 1].pieces = pieces;
}

static void tiny_pairs(struct tiny_builder *t)
{
    const struct tiny_spec *s = t->spec;
    pair_text(&t->b, "general.architecture", s->family);
    pair_text(&t->b, "general.name", s->name);
    tiny_u32(t, "block_count", s->layers);
    tiny_u32(t, "context_length", TINY_CONTEXT);
    tiny_u32(t, "embedding_length", tiny_width(s));
    tiny_u32(t, "feed_forward_length", tiny_ff(t->spec));
    tiny_u32(t, "attention.head_count", s->heads);
    tiny_u32(t, "attention.head_count_kv", s->kv_heads);
    tiny_f32(t, "attention.layer_norm_rms_epsilon", 1e-6F);
    tiny_f32(t, "rope.freq_base", s->rope_base);
    if (s->rank == 0) {
        tiny_u32(t, "attention.key_length", s->head_dim);
        tiny_u32(t, "attention.value_length", s->head_dim);
        tiny_u32(t, "rope.dimension_count", s->head_dim);
    }
    if (s->window) {
        tiny_u32(t, "attention.sliding_window", s->window);
    }
    if (s->scaling) {
        char key[64];
        snprintf(key, sizeof key, "%s.rope.scaling.type", s->family);
        pair_text(&t->b, key, s->scaling);
        tiny_f32(t, "rope.scaling.factor", s->factor);
        tiny_u32(t, "rope.scaling.original_context_length", TINY_ORIGINAL_CONTEXT);
    }
    if (s->log_multiplier > 0) {
        tiny_f32(t, "rope.scaling.yarn_log_multiplier", s->log_multiplier);
    }
}

static void tiny_latent_pairs(struct tiny_builder *t)
{
    const struct tiny_spec *s = t->spec;
    if (s->query_rank) {
        tiny_u32(t, "attention.q_lora_rank", s->query_rank);
    }
    tiny_u32(t, "attention.kv_lora_rank", s->rank);
    tiny_u32(t, "attention.key_length", s->rank + s->rotated);
    tiny_u32(t, "attention.value_length", s->rank);
    tiny_u32(t, "attention.key_length_mla", s->head_dim);
    tiny_u32(t, "attention.value_length_mla", s->value_dim);
    tiny_u32(t, "rope.dimension_count", s->rotated);
    tiny_u32(t, "leading_dense_block_count", 1);
    tiny_u32(t, "expert_count", s->experts);
    tiny_u32(t, "expert_used_count", s->used);
    tiny_u32(t, "expert_shared_count", s->shared);
    tiny_u32(t, "expert_feed_forward_length", tiny_expert_ff(s));
    tiny_f32(t, "expert_weights_scale", s->expert_scale);
    if (s->groups) {
        tiny_u32(t, "expert_group_count", s->groups);
        tiny_u32(t, "expert_group_used_count", s->groups_used);
    }
    if (s->is_sigmoid) {
        uint8_t yes = 1;
        tiny_u32(t, "expert_gating_func", 2);
        put_key(&t->b, "deepseek2.expert_weights_norm", GGUF_BOOL);
        buf_add(&t->b.pairs, &yes, 1);
    }
}

static void tiny_grouped(struct tiny_builder *t)
{
    const struct tiny_spec *s = t->spec;
    uint64_t q_width = (uint64_t)s->heads * s->head_dim;
    uint64_t kv_width = (uint64_t)s->kv_heads * s->head_dim;
    tiny_matrix(t, "attn_q", tiny_width(s), q_width, 0);
    tiny_matrix(t, "attn_k", tiny_width(s), kv_width, 0);
    tiny_matrix(t, "attn_v", tiny_width(s), kv_width, 0);
    tiny_matrix(t, "attn_output", q_width, tiny_width(s), 0);
    if (strcmp(s->family, "qwen2") == 0) {
        tiny_vector(t, "attn_q.bias", q_width, 0.0F, 0.5F);
        tiny_vector(t, "attn_k.bias", kv_width, 0.0F, 0.5F);
        tiny_vector(t, "attn_v.bias", kv_width, 0.0F, 0.5F);
    }
    if (strcmp(s->family, "qwen3") == 0 || strcmp(s->family, "gemma3") == 0) {
        tiny_norm(t, "attn_q_norm.weight", s->head_dim);
        tiny_norm(t, "attn_k_norm.weight", s->head_dim);
    }
    if (strcmp(s->family, "gemma3") == 0) {
        tiny_norm(t, "post_attention_norm.weight", tiny_width(s));
        tiny_norm(t, "post_ffw_norm.weight", tiny_width(s));
    }
}

static void tiny_latent(struct tiny_builder *t)
{
    const struct tiny_spec *s = t->spec;
    uint64_t q_width = (uint64_t)s->heads * s->head_dim;
    if (s->query_rank) {
        tiny_matrix(t, "attn_q_a", tiny_width(s), s->query_rank, 0);
        tiny_norm(t, "attn_q_a_norm.weight", s->query_rank);
        tiny_matrix(t, "attn_q_b", s->query_rank, q_width, 0);
    } else {
        tiny_matrix(t, "attn_q", tiny_width(s), q_width, 0);
    }
    tiny_matrix(t, "attn_kv_a_mqa", tiny_width(s), s->rank + s->rotated, 0);
    tiny_norm(t, "attn_kv_a_norm.weight", s->rank);
    tiny_matrix(t, "attn_k_b", s->head_dim - s->rotated, s->rank, s->heads);
    tiny_matrix(t, "attn_v_b", s->rank, s->value_dim, s->heads);
    tiny_matrix(t, "attn_output", (uint64_t)s->heads * s->value_dim, tiny_width(s), 0);
}

static void tiny_feed_forward(struct tiny_builder *t)
{
    const struct tiny_spec *s = t->spec;
    uint64_t ff = tiny_expert_ff(s);
    uint64_t shared = (uint64_t)s->shared * ff;
    if (s->experts == 0 || t->layer == 0) {
        tiny_matrix(t, "ffn_gate", tiny_width(s), tiny_ff(s), 0);
        tiny_matrix(t, "ffn_up", tiny_width(s), tiny_ff(s), 0);
        tiny_matrix(t, "ffn_down", tiny_ff(s), tiny_width(s), 0);
        return;
    }
    char name[64];
    snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", t->layer);
    add_reals(&t->b, name, tiny_width(s), s->experts, 0.0F, 0.5F);
    tiny_matrix(t, "ffn_gate_exps", tiny_width(s), ff, s->experts);
    tiny_matrix(t, "ffn_up_exps", tiny_width(s), ff, s->experts);
    tiny_matrix(t, "ffn_down_exps", ff, tiny_width(s), s->experts);
    if (shared) {
        tiny_matrix(t, "ffn_gate_shexp", tiny_width(s), shared, 0);
        tiny_matrix(t, "ffn_up_shexp", tiny_width(s), shared, 0);
        tiny_matrix(t, "ffn_down_shexp", shared, tiny_width(s), 0);
    }
    if (s->is_sigmoid) {
        tiny_vector(t, "exp_probs_b.bias", s->experts, 0.25F, 0.25F);
    }
}

/* Everything but the file; the caller may still change it. */
static void tiny_build(struct tiny_builder *t, const struct tiny_spec *spec, bool is_quantized)
{
    *t = (struct tiny_builder){.spec = spec, .is_quantized = is_quantized};
    builder_init(&t->b);
    tiny_pairs(t);
    if (spec->rank) {
        tiny_latent_pairs(t);
    }
    add_tiny_vocabulary(&t->b);
    if (is_quantized) {
        add_tensor(&t->b, "token_embd.weight", TENSOR_Q8_0, tiny_width(spec), TINY_VOCAB);
    } else {
        add_reals(&t->b, "token_embd.weight", tiny_width(spec), TINY_VOCAB, 0.0F, 0.5F);
    }
    if (spec->has_own_head) {
        add_reals(&t->b, "output.weight", tiny_width(spec), TINY_VOCAB, 0.0F, 0.5F);
    }
    add_reals(&t->b, "output_norm.weight", tiny_width(spec), 1, 1.0F, 0.25F);
    if (spec->has_divisors) {
        add_reals(&t->b, "rope_freqs.weight", spec->head_dim / 2, 1, 4.5F, 3.5F);
    }
    for (t->layer = 0; t->layer < spec->layers; t->layer++) {
        tiny_norm(t, "attn_norm.weight", tiny_width(spec));
        tiny_norm(t, "ffn_norm.weight", tiny_width(spec));
        if (spec->rank) {
            tiny_latent(t);
        } else {
            tiny_grouped(t);
        }
        tiny_feed_forward(t);
    }
}

/* The model's path, in the test's folder; as temp_path. */
__attribute__((unused)) static const char *write_tiny_spec(const struct tiny_spec *spec, bool is_quantized)
{
    struct tiny_builder t;
    char name[64];
    tiny_build(&t, spec, is_quantized);
    struct buf file = built_file(&t.b);
    snprintf(name, sizeof name, "%s.gguf", spec->name);
    const char *path = write_bytes(name, file.p, file.n);
    buf_clear(&file);
    builder_clear(&t.b);
    return path;
}

#endif

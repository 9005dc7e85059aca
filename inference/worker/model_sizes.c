/* The keys of a GGUF file that say what a model is: "<architecture>.block_count" and so on, named as llama.cpp
 * names them. The first error stays; what is read after it is not used. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/model_parts.h"
#include "inference/worker/route.h"

static const struct model_family families[] = {
    {.name = "llama", .rope_style = ROPE_PAIRS},
    {.name = "qwen2", .rope_style = ROPE_HALVES, .has_biases = true},
    {.name = "qwen3", .rope_style = ROPE_HALVES, .has_head_norms = true},
    {.name = "gemma3",
     .rope_style = ROPE_HALVES,
     .activation = MODEL_GELU,
     .has_head_norms = true,
     .has_post_norms = true,
     .scales_embedding = true,
     .has_local_layers = true},
    {.name = "deepseek2", .rope_style = ROPE_PAIRS, .has_latent = true},
};

enum {
    WIDE = 1 << 20,
    MOST_HEADS = 4096,
    MOST_RANK = 1 << 14,
    MOST_EXPERTS = ROUTE_MOST_EXPERTS,
    MOST_POSITIONS = 1 << 24
};

struct keys {
    const struct gguf *file;
    const char *family;
    struct err *err;
    int rc;
    char name[96]; /* of the key read last */
};

static bool has(struct keys *k, const char *name)
{
    snprintf(k->name, sizeof k->name, "%s.%s", k->family, name);
    return gguf_has(k->file, k->name);
}

/* 0 where the key is absent: callers say whether that may be. */
static uint32_t number(struct keys *k, const char *name, uint32_t min, uint32_t max, uint32_t absent)
{
    uint64_t v = 0;
    if (k->rc || !has(k, name)) {
        return absent;
    }
    k->rc = gguf_get_u64(k->file, k->name, &v, k->err);
    if (!k->rc && (v < min || v > max)) {
        k->rc = err_set(k->err, ERR_INVALID, "model: %s is %llu, expected %u to %u", k->name,
                        (unsigned long long)v, min, max);
    }
    return k->rc ? absent : (uint32_t)v;
}

static uint32_t required(struct keys *k, const char *name, uint32_t max)
{
    if (!k->rc && !has(k, name)) {
        k->rc = err_set(k->err, ERR_INVALID, "model: no key %s", k->name);
    }
    return number(k, name, 1, max, 0);
}

static float real(struct keys *k, const char *name, float absent)
{
    float v = absent;
    if (!k->rc && has(k, name)) {
        k->rc = gguf_get_f32(k->file, k->name, &v, k->err);
    }
    return v;
}

static bool truth(struct keys *k, const char *name, bool absent)
{
    bool v = absent;
    if (!k->rc && has(k, name)) {
        k->rc = gguf_get_bool(k->file, k->name, &v, k->err);
    }
    return v;
}

static void refuse(struct keys *k, const char *why)
{
    if (!k->rc) {
        k->rc = err_set(k->err, ERR_INVALID, "model: %s", why);
    }
}

static int find_family(struct model *m, struct err *err)
{
    struct str name;
    int rc = gguf_get_str(m->file, "general.architecture", &name, err);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (str_is(name, families[i].name)) {
            m->family = &families[i];
            return 0;
        }
    }
    return err_set(err, ERR_INVALID,
                   "model: architecture \"" STR_FMT
                   "\", supported are llama, qwen2, qwen3, gemma3, deepseek2",
                   STR_ARG(name));
}

/* --- rotations --------------------------------------------------------------------------------------- */

/* The divisors of rope_freqs.weight as float32; NULL: the file has none. */
static float *read_divisors(struct keys *k, uint32_t count)
{
    const struct gguf_tensor *t = gguf_tensor_find(k->file, "rope_freqs.weight");
    if (!t || k->rc) {
        return NULL;
    }
    if (t->dims[0] != count || t->rows != 1 || t->type->block_values != 1) {
        k->rc = err_set(k->err, ERR_INVALID,
                        "model: tensor rope_freqs.weight is %llu x %llu of %s, expected %u x 1",
                        (unsigned long long)t->dims[0], (unsigned long long)t->rows, t->type->name, count);
        return NULL;
    }
    float *divisors = malloc(count * sizeof *divisors);
    if (!divisors) {
        k->rc = err_set(k->err, ERR_NOMEM, "model: no memory for %u frequencies", count);
        return NULL;
    }
    t->type->dequantize(t->data, divisors, count);
    return divisors;
}

/* Scores grow with the stretching of positions, either in the rotation or, where the file says so, in the scale
 * of attention. */
static void read_yarn(struct keys *k, struct rope_conf *c, struct model_sizes *s)
{
    float per_octave = real(k, "rope.scaling.yarn_log_multiplier", 0.0F);
    float grown = 1.0F + per_octave * logf((float)c->factor);
    c->is_yarn = true;
    c->original_context = number(k, "rope.scaling.original_context_length", 1, MOST_POSITIONS, s->context);
    c->beta_fast = (double)real(k, "rope.scaling.yarn_beta_fast", 32.0F);
    c->beta_slow = (double)real(k, "rope.scaling.yarn_beta_slow", 1.0F);
    if (!(per_octave >= 0.0F && per_octave < 10.0F)) {
        refuse(k, "rope.scaling.yarn_log_multiplier makes no sense");
    } else if (per_octave > 0.0F) {
        s->attention_scale *= grown * grown;
    } else {
        c->magnitude *= 1.0F + 0.1F * logf((float)c->factor);
    }
}

static void read_scaling(struct keys *k, struct rope_conf *c, struct model_sizes *s)
{
    struct str type = STR("none");
    if (!k->rc && has(k, "rope.scaling.type")) {
        k->rc = gguf_get_str(k->file, k->name, &type, k->err);
    }
    c->factor = 1.0;
    c->magnitude = 1.0F;
    if (k->rc || str_is(type, "none")) {
        return;
    }
    c->factor = (double)real(k, "rope.scaling.factor", 1.0F);
    c->magnitude = real(k, "rope.scaling.attn_factor", 1.0F);
    if (str_is(type, "yarn")) {
        read_yarn(k, c, s);
    } else if (!str_is(type, "linear")) {
        k->rc = err_set(k->err, ERR_INVALID, "model: rope scaling \"" STR_FMT "\" is not supported",
                        STR_ARG(type));
    }
}

static void read_ropes(struct keys *k, struct model *m)
{
    struct model_sizes *s = &m->sizes;
    uint32_t most = m->family->has_latent ? s->head_dim - s->latent.plain_dim : s->head_dim;
    struct rope_conf c = {.style = m->family->rope_style,
                          .base = (double)real(k, "rope.freq_base", 10000.0F)};
    c.dims = number(k, "rope.dimension_count", 2, most, most);
    if (m->family->has_latent && c.dims != most) {
        refuse(k, "rope.dimension_count is not what the keys' sizes leave for the rotation");
    }
    read_scaling(k, &c, s);
    float *divisors = read_divisors(k, c.dims / 2);
    c.divisors = divisors;
    if (!k->rc) {
        k->rc = rope_init(&m->rope[MODEL_ROPE_GLOBAL], &c, k->err);
    }
    free(divisors);
    if (m->family->has_local_layers && !k->rc) {
        struct rope_conf local = {.style = c.style, .dims = c.dims, .factor = 1.0, .magnitude = 1.0F};
        local.base = (double)real(k, "rope.freq_base_swa", 10000.0F);
        k->rc = k->rc ? k->rc : rope_init(&m->rope[MODEL_ROPE_LOCAL], &local, k->err);
    }
}

/* --- attention and experts --------------------------------------------------------------------------- */

static void read_grouped(struct keys *k, struct model_sizes *s)
{
    s->kv_heads = number(k, "attention.head_count_kv", 1, MOST_HEADS, s->heads);
    s->head_dim = number(k, "attention.key_length", 1, MOST_HEADS, s->heads ? s->width / s->heads : 0);
    s->key_dim = s->head_dim;
    s->value_dim = number(k, "attention.value_length", 1, MOST_HEADS, s->head_dim);
    if (!k->rc && (s->kv_heads > s->heads || s->heads % s->kv_heads)) {
        k->rc = err_set(k->err, ERR_INVALID, "model: %u heads over %u key heads", s->heads, s->kv_heads);
    }
    if (s->value_dim != s->head_dim) {
        refuse(k, "keys and values of different lengths are not supported");
    }
}

static void read_latent(struct keys *k, struct model_sizes *s)
{
    struct model_latent *l = &s->latent;
    l->rank = required(k, "attention.kv_lora_rank", MOST_RANK);
    l->query_rank = number(k, "attention.q_lora_rank", 0, MOST_RANK, 0);
    /* before attn_k_b and attn_v_b were stored apart, these were the lengths of a head's keys and values */
    bool is_split = has(k, "attention.key_length_mla");
    s->head_dim = required(k, is_split ? "attention.key_length_mla" : "attention.key_length", MOST_HEADS);
    l->value_dim =
        required(k, is_split ? "attention.value_length_mla" : "attention.value_length", MOST_HEADS);
    uint32_t rotated = required(k, "rope.dimension_count", MOST_HEADS);
    if (!k->rc && rotated >= s->head_dim) {
        refuse(k, "rope.dimension_count leaves nothing of attention.key_length_mla");
    }
    l->plain_dim = s->head_dim - rotated;
    s->kv_heads = 1;
    s->key_dim = l->rank + rotated;
    s->value_dim = 0;
    if (l->rank % 32 || l->plain_dim % 32 || rotated % 32 || l->value_dim % 32) {
        refuse(k, "parts of latent attention that are not multiples of 32 are not supported");
    }
}

static void check_experts(struct keys *k, const struct model_sizes *s)
{
    const struct model_experts *x = &s->experts;
    if (x->gating != MODEL_GATING_SOFTMAX && x->gating != MODEL_GATING_SIGMOID) {
        refuse(k, "expert_gating_func is neither 1 (softmax) nor 2 (sigmoid)");
    }
    if (x->used > x->count || x->groups_used > x->groups || x->count % x->groups ||
        x->used > x->count / x->groups * x->groups_used ||
        (x->gating == MODEL_GATING_SIGMOID && x->groups > 1 && x->count / x->groups < 2)) {
        refuse(k, "the numbers of experts, of groups and of those used do not fit");
    }
    if (x->width % 32 || x->shared_width % 32 || s->width % 32) {
        refuse(k, "experts and a stream whose width is not a multiple of 32 are not supported");
    }
    if (!(x->scale > 0.0F && x->scale < 1000.0F)) {
        refuse(k, "expert_weights_scale makes no sense");
    }
}

static void read_experts(struct keys *k, struct model_sizes *s)
{
    struct model_experts *x = &s->experts;
    x->count = number(k, "expert_count", 0, MOST_EXPERTS, 0);
    if (k->rc || x->count == 0) {
        return;
    }
    x->used = required(k, "expert_used_count", x->count);
    x->width = required(k, "expert_feed_forward_length", WIDE);
    x->shared_width = x->width * number(k, "expert_shared_count", 0, MOST_EXPERTS, 0);
    x->first_layer = number(k, "leading_dense_block_count", 0, s->layers, 0);
    x->groups = number(k, "expert_group_count", 1, x->count, 1);
    x->groups_used = number(k, "expert_group_used_count", 1, x->groups, x->groups);
    x->gating = (enum model_gating)number(k, "expert_gating_func", 0, 9, MODEL_GATING_SOFTMAX);
    x->is_normalised = truth(k, "expert_weights_norm", false);
    x->scale = real(k, "expert_weights_scale", 1.0F);
    x->scale = x->scale == 0.0F ? 1.0F : x->scale; /* as files of V2-Lite say "none" */
    if (!k->rc) {
        check_experts(k, s);
    }
}

static void read_windows(struct keys *k, struct model_sizes *s)
{
    s->window = required(k, "attention.sliding_window", MOST_POSITIONS);
    s->period = number(k, "attention.sliding_window_pattern", 1, 1024, 6);
}

/* Gemma 3 divides by the root of a number of its own: the values of a head, but 168 in the 27B model, whose
 * file says so by its 62 layers only. */
static float attention_scale(const struct model *m)
{
    const struct model_sizes *s = &m->sizes;
    bool by_width = m->family->has_local_layers && s->layers == 62;
    return 1.0F / sqrtf((float)(by_width ? s->width / s->heads : s->head_dim));
}

static void refuse_unknown(struct keys *k, const struct model_family *f)
{
    static const char *const unknown[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        if (real(k, unknown[i], 0.0F) != 0.0F) {
            k->rc = err_set(k->err, ERR_INVALID, "model: %s is not supported", k->name);
        }
    }
    if (!f->has_latent && number(k, "expert_count", 0, UINT32_MAX, 0) > 0) {
        k->rc = err_set(k->err, ERR_INVALID, "model: %s: experts are supported in deepseek2 only", k->name);
    }
    if (!f->has_local_layers && number(k, "attention.sliding_window", 0, UINT32_MAX, 0) > 0) {
        k->rc = err_set(k->err, ERR_INVALID, "model: %s is supported in gemma3 only", k->name);
    }
}

int model_read_sizes(struct model *m, struct err *err)
{
    struct model_sizes *s = &m->sizes;
    int rc = find_family(m, err);
    if (rc) {
        return rc;
    }
    const struct model_family *f = m->family;
    struct keys k = {.file = m->file, .family = f->name, .err = err};
    refuse_unknown(&k, f);
    s->layers = required(&k, "block_count", 1024);
    s->layers = f->has_latent ? model_own_layers(m->file, s->layers) : s->layers;
    s->context = required(&k, "context_length", MOST_POSITIONS);
    s->width = required(&k, "embedding_length", WIDE);
    s->ff_width = required(&k, "feed_forward_length", WIDE);
    s->heads = required(&k, "attention.head_count", MOST_HEADS);
    s->rms_eps = real(&k, "attention.layer_norm_rms_epsilon", 0.0F);
    if (f->has_latent) {
        read_latent(&k, s);
        read_experts(&k, s);
    } else {
        read_grouped(&k, s);
    }
    if (f->has_local_layers) {
        read_windows(&k, s);
    }
    if (k.rc) {
        return k.rc;
    }
    if (s->ff_width % 32) {
        return err_set(err, ERR_INVALID, "model: feed-forward of %u, not a multiple of 32", s->ff_width);
    }
    if (!(s->rms_eps > 0 && s->rms_eps < 1)) {
        return err_set(err, ERR_INVALID, "model: rms epsilon %g", (double)s->rms_eps);
    }
    s->embedding_scale = f->scales_embedding ? sqrtf((float)s->width) : 1.0F;
    s->attention_scale = attention_scale(m);
    read_ropes(&k, m);
    return k.rc;
}

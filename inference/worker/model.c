#include "inference/worker/model.h"

#include <stdio.h>
#include <stdlib.h>

static int read_size(const struct gguf *file, const char *key, uint32_t max, uint32_t *out, struct err *err)
{
    uint64_t v;
    int rc = gguf_get_u64(file, key, &v, err);
    if (rc) {
        return rc;
    }
    if (v == 0 || v > max) {
        return err_set(err, ERR_INVALID, "model: %s is %llu, expected 1 to %u", key, (unsigned long long)v,
                       max);
    }
    *out = (uint32_t)v;
    return 0;
}

static int read_size_or(const struct gguf *file, const char *key, uint32_t max, uint32_t *out,
                        struct err *err)
{
    return gguf_has(file, key) ? read_size(file, key, max, out, err) : 0; /* *out keeps the default */
}

static int check_sizes(const struct model_sizes *s, struct err *err)
{
    if (s->heads % s->kv_heads) {
        return err_set(err, ERR_INVALID, "model: %u heads over %u key heads", s->heads, s->kv_heads);
    }
    if (s->rope_dims > s->head_dim || s->rope_dims % 2) {
        return err_set(err, ERR_INVALID, "model: %u rotary values in a head of %u", s->rope_dims,
                       s->head_dim);
    }
    if (s->ff_width % 32) {
        return err_set(err, ERR_INVALID, "model: feed-forward of %u, not a multiple of 32", s->ff_width);
    }
    if (!(s->rms_eps > 0 && s->rms_eps < 1) || !(s->rope_base >= 1 && s->rope_base <= 1e9F)) {
        return err_set(err, ERR_INVALID, "model: rms epsilon %g, rope base %g", (double)s->rms_eps,
                       (double)s->rope_base);
    }
    return 0;
}

static int check_family(const struct gguf *file, struct err *err)
{
    struct str arch;
    struct str scaling;
    uint64_t experts = 0;
    int rc = gguf_get_str(file, "general.architecture", &arch, err);
    if (rc) {
        return rc;
    }
    if (!str_is(arch, "llama")) {
        return err_set(err, ERR_INVALID, "model: architecture \"" STR_FMT "\", supported is llama",
                       STR_ARG(arch));
    }
    rc = gguf_get_str(file, "llama.rope.scaling.type", &scaling, NULL);
    if (!rc && !str_is(scaling, "none")) {
        return err_set(err, ERR_INVALID, "model: rope scaling \"" STR_FMT "\" is not supported",
                       STR_ARG(scaling));
    }
    if (gguf_get_u64(file, "llama.expert_count", &experts, NULL) == 0 && experts > 0) {
        return err_set(err, ERR_INVALID, "model: mixtures of experts are not supported");
    }
    return 0;
}

static int read_sizes(const struct gguf *file, struct model_sizes *s, struct err *err)
{
    enum { WIDE = 1 << 20 };
    int rc = 0;
    s->rope_base = 10000.0F;
#define READ(call)                                                                                           \
    if (!rc) {                                                                                               \
        rc = (call);                                                                                         \
    }
    READ(read_size(file, "llama.block_count", 1024, &s->layers, err))
    READ(read_size(file, "llama.context_length", 1 << 24, &s->context, err))
    READ(read_size(file, "llama.embedding_length", WIDE, &s->width, err))
    READ(read_size(file, "llama.feed_forward_length", WIDE, &s->ff_width, err))
    READ(read_size(file, "llama.attention.head_count", 4096, &s->heads, err))
    s->kv_heads = s->heads;
    READ(read_size_or(file, "llama.attention.head_count_kv", s->heads, &s->kv_heads, err))
    s->head_dim = rc ? 0 : s->width / s->heads;
    READ(read_size_or(file, "llama.attention.key_length", 4096, &s->head_dim, err))
    s->rope_dims = s->head_dim;
    READ(read_size_or(file, "llama.rope.dimension_count", 4096, &s->rope_dims, err))
    READ(gguf_get_f32(file, "llama.attention.layer_norm_rms_epsilon", &s->rms_eps, err))
    if (gguf_has(file, "llama.rope.freq_base")) {
        READ(gguf_get_f32(file, "llama.rope.freq_base", &s->rope_base, err))
    }
    READ(check_sizes(s, err))
#undef READ
    return rc;
}

static int find_tensor(const struct model *m, const char *name, uint64_t columns, uint64_t rows,
                       const struct gguf_tensor **out, struct err *err)
{
    const struct gguf_tensor *t = gguf_tensor_find(m->file, name);
    if (!t) {
        return err_set(err, ERR_INVALID, "model: tensor %s is missing", name);
    }
    if (t->dims[0] != columns || t->rows != rows || t->n_dims > 2) {
        return err_set(err, ERR_INVALID, "model: tensor %s is %llu x %llu, expected %llu x %llu", name,
                       (unsigned long long)t->dims[0], (unsigned long long)t->rows,
                       (unsigned long long)columns, (unsigned long long)rows);
    }
    *out = t;
    return 0;
}

static int find_layer(struct model *m, uint32_t layer, struct err *err)
{
    const struct model_sizes *s = &m->sizes;
    struct model_layer *l = &m->layer[layer];
    uint64_t q_width = (uint64_t)s->heads * s->head_dim;
    uint64_t kv_width = (uint64_t)s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        uint64_t columns;
        uint64_t rows;
        const struct gguf_tensor **out;
    } wanted[] = {
        {"attn_norm", s->width, 1, &l->attn_norm},
        {"attn_q", s->width, q_width, &l->q},
        {"attn_k", s->width, kv_width, &l->k},
        {"attn_v", s->width, kv_width, &l->v},
        {"attn_output", q_width, s->width, &l->attn_output},
        {"ffn_norm", s->width, 1, &l->ffn_norm},
        {"ffn_gate", s->width, s->ff_width, &l->gate},
        {"ffn_up", s->width, s->ff_width, &l->up},
        {"ffn_down", s->ff_width, s->width, &l->down},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, wanted[i].name);
        int rc = find_tensor(m, name, wanted[i].columns, wanted[i].rows, wanted[i].out, err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int check_no_bias(const struct model *m, struct err *err)
{
    size_t count;
    const struct gguf_tensor *tensors = gguf_tensors(m->file, &count);
    for (size_t i = 0; i < count; i++) {
        if (str_ends(tensors[i].name, STR(".bias"))) {
            return err_set(err, ERR_INVALID, "model: biases (" STR_FMT ") are not supported",
                           STR_ARG(tensors[i].name));
        }
    }
    return 0;
}

static int find_tensors(struct model *m, struct err *err)
{
    struct model_sizes *s = &m->sizes;
    const struct gguf_tensor *embedding = gguf_tensor_find(m->file, "token_embd.weight");
    if (!embedding || embedding->rows > INT32_MAX) {
        return err_set(err, ERR_INVALID, "model: tensor token_embd.weight is missing or too large");
    }
    s->vocab = (uint32_t)embedding->rows;
    int rc = find_tensor(m, "token_embd.weight", s->width, s->vocab, &m->embedding, err);
    if (!rc) {
        rc = find_tensor(m, "output_norm.weight", s->width, 1, &m->output_norm, err);
    }
    m->output = m->embedding;
    if (!rc && gguf_tensor_find(m->file, "output.weight")) {
        rc = find_tensor(m, "output.weight", s->width, s->vocab, &m->output, err);
    }
    if (!rc && gguf_tensor_find(m->file, "rope_freqs.weight")) {
        rc = find_tensor(m, "rope_freqs.weight", s->rope_dims / 2, 1, &m->rope_freqs, err);
    }
    m->layer = calloc(s->layers, sizeof *m->layer);
    if (!rc && !m->layer) {
        rc = err_set(err, ERR_NOMEM, "model: no memory for %u layers", s->layers);
    }
    for (uint32_t i = 0; i < s->layers && !rc; i++) {
        rc = find_layer(m, i, err);
    }
    return rc ? rc : check_no_bias(m, err);
}

int model_open(const char *path, struct model **out, struct err *err)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        return err_set(err, ERR_NOMEM, "model: no memory");
    }
    int rc = gguf_open(path, &m->file, err);
    if (!rc) {
        rc = check_family(m->file, err);
    }
    if (!rc) {
        rc = read_sizes(m->file, &m->sizes, err);
    }
    if (!rc) {
        rc = find_tensors(m, err);
    }
    if (rc) {
        model_close(m);
        return rc;
    }
    m->name = STR("");
    if (gguf_get_str(m->file, "general.name", &m->name, NULL) || !str_is_utf8(m->name)) {
        m->name = STR("");
    }
    *out = m;
    return 0;
}

void model_close(struct model *m)
{
    if (!m) {
        return;
    }
    gguf_close(m->file);
    free(m->layer);
    free(m);
}

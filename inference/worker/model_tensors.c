/* The tensors of a model, by the names llama.cpp gives them, each with the shape that the sizes demand. */
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/model_parts.h"

struct search {
    struct model *m;
    bool *taken; /* tensors of the file that the model uses */
    uint32_t layer;
    struct err *err;
};

struct wanted {
    const char *name; /* with ".weight" or ".bias" */
    uint64_t columns;
    uint64_t rows; /* of a piece */
    const struct gguf_tensor **out;
    uint64_t pieces; /* heads or experts, one matrix each; 0: a plain matrix */
};

static int misshaped(const struct gguf_tensor *t, const struct wanted *w, const char *name, struct err *err)
{
    char pieces[32] = "";
    if (w->pieces) {
        snprintf(pieces, sizeof pieces, " x %llu", (unsigned long long)w->pieces);
    }
    return err_set(err, ERR_INVALID, "model: tensor %s is %llu x %llu x %llu, expected %llu x %llu%s", name,
                   (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                   (unsigned long long)t->dims[2], (unsigned long long)w->columns,
                   (unsigned long long)w->rows, pieces);
}

static int find(struct search *s, const struct wanted *w, const char *name)
{
    size_t count;
    const struct gguf_tensor *t = gguf_tensor_find(s->m->file, name);
    if (!t) {
        return err_set(s->err, ERR_INVALID, "model: tensor %s is missing", name);
    }
    uint64_t pieces = w->pieces ? w->pieces : 1;
    if (t->dims[0] != w->columns || t->dims[1] != w->rows || t->dims[2] != pieces || t->dims[3] != 1) {
        return misshaped(t, w, name, s->err);
    }
    s->taken[t - gguf_tensors(s->m->file, &count)] = true;
    *w->out = t;
    return 0;
}

static int find_in_layer(struct search *s, const struct wanted *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", s->layer, wanted[i].name);
        int rc = find(s, &wanted[i], name);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
#define FIND(search, list) find_in_layer(search, list, sizeof(list) / sizeof *(list))

static int find_grouped(struct search *s, struct model_layer *l)
{
    const struct model_family *f = s->m->family;
    const struct model_sizes *z = &s->m->sizes;
    uint64_t q_width = (uint64_t)z->heads * z->head_dim;
    uint64_t kv_width = (uint64_t)z->kv_heads * z->head_dim;
    const struct wanted matrices[] = {
        {"attn_q.weight", z->width, q_width, .out = &l->q},
        {"attn_k.weight", z->width, kv_width, .out = &l->k},
        {"attn_v.weight", z->width, kv_width, .out = &l->v},
        {"attn_output.weight", q_width, z->width, .out = &l->attn_output},
    };
    const struct wanted biases[] = {
        {"attn_q.bias", q_width, 1, .out = &l->q_bias},
        {"attn_k.bias", kv_width, 1, .out = &l->k_bias},
        {"attn_v.bias", kv_width, 1, .out = &l->v_bias},
    };
    const struct wanted norms[] = {
        {"attn_q_norm.weight", z->head_dim, 1, .out = &l->q_norm},
        {"attn_k_norm.weight", z->head_dim, 1, .out = &l->k_norm},
    };
    int rc = FIND(s, matrices);
    if (!rc && f->has_biases) {
        rc = FIND(s, biases);
    }
    if (!rc && f->has_head_norms) {
        rc = FIND(s, norms);
    }
    return rc;
}

static int find_latent(struct search *s, struct model_layer *l)
{
    const struct model_sizes *z = &s->m->sizes;
    const struct model_latent *t = &z->latent;
    uint64_t q_width = (uint64_t)z->heads * z->head_dim;
    const struct wanted always[] = {
        {"attn_kv_a_mqa.weight", z->width, z->key_dim, .out = &l->kv_latent},
        {"attn_kv_a_norm.weight", t->rank, 1, .out = &l->kv_latent_norm},
        {"attn_k_b.weight", t->plain_dim, t->rank, .out = &l->k_heads, .pieces = z->heads},
        {"attn_v_b.weight", t->rank, t->value_dim, .out = &l->v_heads, .pieces = z->heads},
        {"attn_output.weight", (uint64_t)z->heads * t->value_dim, z->width, .out = &l->attn_output},
    };
    const struct wanted through_latent[] = {
        {"attn_q_a.weight", z->width, t->query_rank, .out = &l->q_latent},
        {"attn_q_a_norm.weight", t->query_rank, 1, .out = &l->q_latent_norm},
        {"attn_q_b.weight", t->query_rank, q_width, .out = &l->q},
    };
    const struct wanted straight[] = {{"attn_q.weight", z->width, q_width, .out = &l->q}};
    int rc = t->query_rank ? FIND(s, through_latent) : FIND(s, straight);
    return rc ? rc : FIND(s, always);
}

static int find_norms(struct search *s, struct model_layer *l)
{
    uint32_t width = s->m->sizes.width;
    const struct wanted before[] = {
        {"attn_norm.weight", width, 1, .out = &l->attn_norm},
        {"ffn_norm.weight", width, 1, .out = &l->ffn_norm},
    };
    const struct wanted after[] = {
        {"post_attention_norm.weight", width, 1, .out = &l->attn_post_norm},
        {"post_ffw_norm.weight", width, 1, .out = &l->ffn_post_norm},
    };
    int rc = FIND(s, before);
    return !rc && s->m->family->has_post_norms ? FIND(s, after) : rc;
}

static int find_dense(struct search *s, struct model_layer *l)
{
    const struct model_sizes *z = &s->m->sizes;
    const struct wanted list[] = {
        {"ffn_gate.weight", z->width, z->ff_width, .out = &l->gate},
        {"ffn_up.weight", z->width, z->ff_width, .out = &l->up},
        {"ffn_down.weight", z->ff_width, z->width, .out = &l->down},
    };
    return FIND(s, list);
}

static int find_experts(struct search *s, struct model_layer *l)
{
    const struct model_sizes *z = &s->m->sizes;
    const struct model_experts *x = &z->experts;
    const struct wanted routed[] = {
        {"ffn_gate_inp.weight", z->width, x->count, .out = &l->router},
        {"ffn_gate_exps.weight", z->width, x->width, .out = &l->expert_gate, .pieces = x->count},
        {"ffn_up_exps.weight", z->width, x->width, .out = &l->expert_up, .pieces = x->count},
        {"ffn_down_exps.weight", x->width, z->width, .out = &l->expert_down, .pieces = x->count},
    };
    const struct wanted shared[] = {
        {"ffn_gate_shexp.weight", z->width, x->shared_width, .out = &l->shared_gate},
        {"ffn_up_shexp.weight", z->width, x->shared_width, .out = &l->shared_up},
        {"ffn_down_shexp.weight", x->shared_width, z->width, .out = &l->shared_down},
    };
    const struct wanted bias[] = {{"exp_probs_b.bias", x->count, 1, .out = &l->router_bias}};
    char name[64];
    int rc = FIND(s, routed);
    if (!rc && x->shared_width) {
        rc = FIND(s, shared);
    }
    snprintf(name, sizeof name, "blk.%u.%s", s->layer, bias->name);
    return !rc && gguf_tensor_find(s->m->file, name) ? FIND(s, bias) : rc;
}

static int find_layer(struct search *s)
{
    const struct model_sizes *z = &s->m->sizes;
    struct model_layer *l = &s->m->layer[s->layer];
    bool is_local = z->window && (s->layer + 1) % z->period != 0;
    bool has_experts = z->experts.count && s->layer >= z->experts.first_layer;
    l->window = is_local ? z->window : 0;
    l->rope = is_local ? MODEL_ROPE_LOCAL : MODEL_ROPE_GLOBAL;
    int rc = find_norms(s, l);
    if (!rc) {
        rc = s->m->family->has_latent ? find_latent(s, l) : find_grouped(s, l);
    }
    if (!rc) {
        rc = has_experts ? find_experts(s, l) : find_dense(s, l);
    }
    return rc;
}

static int find_around(struct search *s)
{
    struct model *m = s->m;
    struct model_sizes *z = &m->sizes;
    const struct gguf_tensor *embedding = gguf_tensor_find(m->file, "token_embd.weight");
    if (!embedding || embedding->rows > INT32_MAX) {
        return err_set(s->err, ERR_INVALID, "model: tensor token_embd.weight is missing or too large");
    }
    z->vocab = (uint32_t)embedding->rows;
    const struct wanted list[] = {
        {"token_embd.weight", z->width, z->vocab, .out = &m->embedding},
        {"output_norm.weight", z->width, 1, .out = &m->output_norm},
        {"output.weight", z->width, z->vocab, .out = &m->output},
    };
    m->output = embedding;
    size_t n = gguf_tensor_find(m->file, "output.weight") ? 3 : 2;
    for (size_t i = 0; i < n; i++) {
        int rc = find(s, &list[i], list[i].name);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int check_all_taken(const struct search *s)
{
    size_t count;
    const struct gguf_tensor *tensors = gguf_tensors(s->m->file, &count);
    for (size_t i = 0; i < count; i++) {
        bool is_read = str_is(tensors[i].name, "rope_freqs.weight"); /* with the sizes */
        if (!s->taken[i] && !is_read) {
            return err_set(s->err, ERR_INVALID, "model: %s has no use for tensor " STR_FMT,
                           s->m->family->name, STR_ARG(tensors[i].name));
        }
    }
    return 0;
}

int model_find_tensors(struct model *m, struct err *err)
{
    size_t count;
    gguf_tensors(m->file, &count);
    struct search s = {.m = m, .taken = calloc(count + 1, sizeof *s.taken), .err = err};
    m->layer = calloc(m->sizes.layers, sizeof *m->layer);
    int rc = s.taken && m->layer ? find_around(&s)
                                 : err_set(err, ERR_NOMEM, "model: no memory for %u layers", m->sizes.layers);
    for (; s.layer < m->sizes.layers && !rc; s.layer++) {
        rc = find_layer(&s);
    }
    if (!rc) {
        rc = check_all_taken(&s);
    }
    free(s.taken);
    return rc;
}

/* The safetensors files of a folder: which there are, and what GGUF calls each of their tensors. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "inference/worker/safetensors/convert.h"
#include "inference/worker/safetensors/folder_parts.h"

enum { MOST_SHARDS = 1000 };

enum change {
    PLAIN = 0,
    NORM = 1,        /* gemma's get 1 added */
    QUERY_PAIRS = 2, /* llama's rows change places */
    KEY_PAIRS = 3,
    UNUSED = 4, /* follows from config.json */
};

struct naming {
    const char *published; /* without "model.layers.N." */
    const char *ours;      /* without "blk.N." */
    enum change change;
    const char *family; /* NULL: all */
};

static const struct naming around[] = {
    {"model.embed_tokens.weight", "token_embd.weight", PLAIN, NULL},
    {"model.norm.weight", "output_norm.weight", NORM, NULL},
    {"lm_head.weight", "output.weight", PLAIN, NULL},
};

static const struct naming in_layer[] = {
    {"input_layernorm.weight", "attn_norm.weight", NORM, NULL},
    {"post_attention_layernorm.weight", "post_attention_norm.weight", NORM, "gemma3"},
    {"post_attention_layernorm.weight", "ffn_norm.weight", NORM, NULL},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight", NORM, "gemma3"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight", NORM, "gemma3"},
    {"self_attn.q_proj.weight", "attn_q.weight", QUERY_PAIRS, NULL},
    {"self_attn.q_proj.bias", "attn_q.bias", PLAIN, NULL},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", NORM, NULL},
    {"self_attn.k_proj.weight", "attn_k.weight", KEY_PAIRS, NULL},
    {"self_attn.k_proj.bias", "attn_k.bias", PLAIN, NULL},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", NORM, NULL},
    {"self_attn.v_proj.weight", "attn_v.weight", PLAIN, NULL},
    {"self_attn.v_proj.bias", "attn_v.bias", PLAIN, NULL},
    {"self_attn.o_proj.weight", "attn_output.weight", PLAIN, NULL},
    {"self_attn.q_a_proj.weight", "attn_q_a.weight", PLAIN, NULL},
    {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight", PLAIN, NULL},
    {"self_attn.q_b_proj.weight", "attn_q_b.weight", PLAIN, NULL},
    {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight", PLAIN, NULL},
    {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight", PLAIN, NULL},
    {"self_attn.kv_b_proj.weight", "attn_kv_b.weight", PLAIN,
     NULL}, /* split with the model's sizes at hand */
    {"self_attn.rotary_emb.inv_freq", NULL, UNUSED, NULL},
    {"mlp.gate_proj.weight", "ffn_gate.weight", PLAIN, NULL},
    {"mlp.up_proj.weight", "ffn_up.weight", PLAIN, NULL},
    {"mlp.down_proj.weight", "ffn_down.weight", PLAIN, NULL},
    {"mlp.gate.weight", "ffn_gate_inp.weight", PLAIN, NULL},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", PLAIN, NULL},
    {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight", PLAIN, NULL},
    {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight", PLAIN, NULL},
    {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight", PLAIN, NULL},
};

static const struct naming of_expert[] = {
    {"gate_proj.weight", "ffn_gate_exps.weight", PLAIN, NULL},
    {"up_proj.weight", "ffn_up_exps.weight", PLAIN, NULL},
    {"down_proj.weight", "ffn_down_exps.weight", PLAIN, NULL},
};

struct weights {
    struct folder *folder;
    struct gguf *g;
    struct shard *shards[MOST_SHARDS];
    unsigned shard_count;
    struct source *sources; /* of all shards, by name */
    size_t count;
    bool has_head;
    struct err *err;
};

/* --- files ------------------------------------------------------------------------------------------- */

static int open_shard(struct weights *w, struct str name)
{
    if (name.n == 0 || name.p[0] == '.' || memchr(name.p, '/', name.n)) {
        return err_set(w->err, ERR_INVALID,
                       "model.safetensors.index.json: \"%.60s\" is not a file of this folder", name.p);
    }
    if (w->shard_count == MOST_SHARDS) {
        return err_set(w->err, ERR_LIMIT, "model.safetensors.index.json: more than %d files", MOST_SHARDS);
    }
    struct str path = arena_printf(&w->folder->arena, "%s/%s", w->folder->path, name.p);
    int rc = shard_open(path.p, &w->shards[w->shard_count], w->err);
    w->shard_count += rc ? 0 : 1;
    return rc;
}

static const struct shard *find_shard(const struct weights *w, struct str name)
{
    for (unsigned i = w->shard_count; i-- > 0;) { /* mostly the last one again */
        if (str_is(name, shard_name(w->shards[i]))) {
            return w->shards[i];
        }
    }
    return NULL;
}

static int open_listed(struct weights *w, struct fields *index)
{
    struct fields map;
    fields_open_member(index, &map, "weight_map");
    int rc = map.rc;
    for (uint32_t i = 0; i < map.doc.member_count && !rc; i++) {
        struct str file;
        if (!json_get_str(index->arena, &map.doc.members[i], &file)) {
            fields_refuse(&map, "a member", "is not a file's name");
            rc = map.rc;
        } else if (!find_shard(w, file)) {
            rc = open_shard(w, file);
        }
    }
    return rc;
}

static int compare_names(const void *a, const void *b)
{
    struct str x = ((const struct source *)a)->tensor->name;
    struct str y = ((const struct source *)b)->tensor->name;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

static const struct source *find_source(const struct weights *w, const char *name)
{
    struct shard_tensor tensor = {.name = str_from(name)};
    struct source wanted = {.tensor = &tensor};
    return bsearch(&wanted, w->sources, w->count, sizeof wanted, compare_names);
}

static int list_sources(struct weights *w)
{
    size_t n;
    for (unsigned i = 0; i < w->shard_count; i++) {
        shard_tensors(w->shards[i], &n);
        w->count += n;
    }
    w->sources = calloc(w->count + 1, sizeof *w->sources);
    if (!w->sources) {
        return err_set(w->err, ERR_NOMEM, "safetensors: no memory for %zu tensors", w->count);
    }
    struct source *next = w->sources;
    for (unsigned i = 0; i < w->shard_count; i++) {
        const struct shard_tensor *t = shard_tensors(w->shards[i], &n);
        for (size_t k = 0; k < n; k++) {
            *next++ = (struct source){.shard = w->shards[i], .tensor = &t[k]};
        }
    }
    qsort(w->sources, w->count, sizeof *w->sources, compare_names);
    for (size_t i = 1; i < w->count; i++) {
        if (compare_names(&w->sources[i - 1], &w->sources[i]) == 0) {
            return err_set(w->err, ERR_INVALID, "%.50s and %.50s both have tensor " STR_FMT,
                           shard_name(w->sources[i - 1].shard), shard_name(w->sources[i].shard),
                           STR_ARG(w->sources[i].tensor->name));
        }
    }
    return 0;
}

/* What the index lists must be where it says. */
static int check_listed(struct weights *w, struct fields *index)
{
    struct fields map;
    struct str file;
    fields_open_member(index, &map, "weight_map");
    for (uint32_t i = 0; i < map.doc.member_count; i++) {
        struct str name = fields_key(index, &map.doc.members[i]);
        const struct source *s = find_source(w, name.p);
        BUG_ON(!json_get_str(index->arena, &map.doc.members[i], &file)); /* read before */
        if (!s || !str_is(file, shard_name(s->shard))) {
            return err_set(w->err, ERR_INVALID, "%.60s: no tensor %.80s, which the index lists", file.p,
                           name.p);
        }
    }
    return 0;
}

static int open_shards(struct weights *w)
{
    struct folder *f = w->folder;
    struct fields index;
    int rc = fields_open(&index, &f->arena, f->path, "model.safetensors.index.json", w->err);
    if (rc && rc != ERR_NOT_FOUND) {
        return rc;
    }
    bool is_listed = rc == 0;
    rc = is_listed ? open_listed(w, &index) : open_shard(w, STR("model.safetensors"));
    rc = rc ? rc : list_sources(w);
    return !rc && is_listed ? check_listed(w, &index) : rc;
}

/* --- names ------------------------------------------------------------------------------------------- */

/* "12.rest" */
static bool take_number(struct str *in, uint32_t *out)
{
    struct str digits;
    uint64_t n;
    if (!str_cut(in, '.', &digits) || !str_u64(digits, &n) || n > UINT16_MAX) {
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

static const struct naming *find_naming(const struct naming *list, size_t n, struct str name,
                                        const char *family)
{
    for (size_t i = 0; i < n; i++) {
        if (str_is(name, list[i].published) && (!list[i].family || strcmp(list[i].family, family) == 0)) {
            return &list[i];
        }
    }
    return NULL;
}
#define FIND(list, name, family) find_naming(list, sizeof(list) / sizeof *(list), name, family)

static int no_use(const struct weights *w, const struct source *s)
{
    return err_set(w->err, ERR_INVALID, "%.60s: %s has no use for tensor " STR_FMT, shard_name(s->shard),
                   w->folder->family, STR_ARG(s->tensor->name));
}

static int convert(struct weights *w, const struct naming *n, const char *name, const struct source *s)
{
    const struct folder *f = w->folder;
    int rc = convert_check(s, w->err);
    if (rc) {
        return rc;
    }
    bool has_pairs = strcmp(f->family, "llama") == 0;
    if (n->change == NORM && strcmp(f->family, "gemma3") == 0) {
        return convert_norm(w->g, name, s, w->err);
    }
    if (has_pairs && (n->change == QUERY_PAIRS || n->change == KEY_PAIRS)) {
        return convert_pairs(w->g, name, s, n->change == KEY_PAIRS ? f->kv_heads : f->heads, w->err);
    }
    return convert_plain(w->g, name, s, w->err);
}

/* All experts of a layer, when the first is met. */
static int take_experts(struct weights *w, const struct source *s, uint32_t layer, struct str rest)
{
    const struct folder *f = w->folder;
    uint32_t number;
    if (!take_number(&rest, &number) || number >= f->experts) {
        return no_use(w, s);
    }
    const struct naming *n = FIND(of_expert, rest, f->family);
    if (!n) {
        return no_use(w, s);
    }
    if (number > 0) {
        return 0;
    }
    struct source *experts = calloc(f->experts, sizeof *experts);
    char name[GGUF_MAX_NAME + 1];
    int rc = experts ? 0 : err_set(w->err, ERR_NOMEM, "safetensors: no memory for the experts");
    for (uint32_t i = 0; i < f->experts && !rc; i++) {
        snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s", layer, i, n->published);
        const struct source *expert = find_source(w, name);
        if (!expert) {
            rc = err_set(w->err, ERR_INVALID, "safetensors: tensor %s is missing", name);
        } else {
            experts[i] = *expert;
            rc = convert_check(expert, w->err);
        }
    }
    if (!rc) {
        snprintf(name, sizeof name, "blk.%u.%s", layer, n->ours);
        rc = convert_experts(w->g, name, experts, f->experts, w->err);
    }
    free(experts);
    return rc;
}

static int take_in_layer(struct weights *w, const struct source *s, struct str rest)
{
    const struct folder *f = w->folder;
    uint32_t layer;
    char name[GGUF_MAX_NAME + 1];
    if (!take_number(&rest, &layer) || layer >= (uint64_t)f->layers + f->more_layers) {
        return no_use(w, s);
    }
    if (layer >= f->layers) {
        return 0; /* predicts further tokens */
    }
    if (str_starts(rest, STR("mlp.experts."))) {
        return take_experts(w, s, layer, str_skip(rest, STR("mlp.experts.").n));
    }
    const struct naming *n = FIND(in_layer, rest, f->family);
    if (!n) {
        return no_use(w, s);
    }
    snprintf(name, sizeof name, "blk.%u.%s", layer, n->ours ? n->ours : "");
    return n->change == UNUSED ? 0 : convert(w, n, name, s);
}

/* Scales go with the matrix whose name they have. */
static int take_scales(struct weights *w)
{
    static const struct str suffix = STR_INIT("_scale_inv");
    for (size_t i = 0; i < w->count; i++) {
        struct str name = w->sources[i].tensor->name;
        char of[GGUF_MAX_NAME + 1];
        if (!str_ends(name, suffix)) {
            continue;
        }
        snprintf(of, sizeof of, "%.*s", (int)(name.n - suffix.n), name.p);
        struct source *s = (struct source *)(uintptr_t)find_source(w, of);
        if (!s || !w->folder->is_fp8) {
            return no_use(w, &w->sources[i]);
        }
        s->scale = w->sources[i].tensor;
    }
    return 0;
}

static bool is_of_images(struct str name)
{
    struct str rest = str_starts(name, STR("model.")) ? str_skip(name, STR("model.").n) : name;
    return str_starts(rest, STR("vision_tower.")) || str_starts(rest, STR("multi_modal_projector."));
}

/* A model that takes images has its text model's tensors under language_model: around "model." in older files, within it
 * in newer ones. */
static struct str text_name(struct folder *f, struct str name)
{
    static const struct str older = STR_INIT("language_model.");
    static const struct str newer = STR_INIT("model.language_model.");
    if (str_starts(name, newer)) {
        return arena_printf(&f->arena, "model." STR_FMT, STR_ARG(str_skip(name, newer.n)));
    }
    return str_starts(name, older) ? str_skip(name, older.n) : name;
}

static int take(struct weights *w, const struct source *s)
{
    struct str name = s->tensor->name;
    if (w->folder->has_images && is_of_images(name)) {
        return 0;
    }
    name = w->folder->has_images ? text_name(w->folder, name) : name;
    if (str_ends(name, STR("_scale_inv"))) {
        return 0; /* with its matrix */
    }
    if (str_starts(name, STR("model.layers."))) {
        return take_in_layer(w, s, str_skip(name, STR("model.layers.").n));
    }
    const struct naming *n = FIND(around, name, w->folder->family);
    if (!n) {
        return no_use(w, s);
    }
    if (strcmp(n->ours, "output.weight") == 0) {
        w->has_head = true;
        if (w->folder->is_tied) {
            return 0; /* a copy of the embedding */
        }
    }
    return convert(w, n, n->ours, s);
}

static int add_divisors(struct weights *w)
{
    const struct folder *f = w->folder;
    struct gguf_shape shape = {1, {f->divisor_count, 1, 1, 1}};
    uint8_t *data = NULL;
    if (!f->divisor_count) {
        return 0;
    }
    int rc = gguf_make_tensor(w->g, "rope_freqs.weight", TENSOR_F32, &shape, &data, w->err);
    if (!rc) {
        memcpy(data, f->divisors, f->divisor_count * sizeof *f->divisors);
    }
    return rc;
}

/* The files' memory is the model's from here on. */
static int give_files(struct weights *w)
{
    int rc = 0;
    for (unsigned i = 0; i < w->shard_count && !rc; i++) {
        size_t n;
        const uint8_t *map = shard_take_map(w->shards[i], &n);
        rc = gguf_adopt_file(w->g, map, n, w->err);
    }
    return rc;
}

static int take_all(struct weights *w)
{
    int rc = take_scales(w);
    for (unsigned i = 0; i < w->shard_count && !rc; i++) {
        size_t n;
        const struct shard_tensor *t = shard_tensors(w->shards[i], &n);
        for (size_t k = 0; k < n && !rc; k++) {
            char name[256];
            snprintf(name, sizeof name, STR_FMT, STR_ARG(t[k].name));
            rc = take(w, find_source(w, name));
        }
    }
    if (!rc && !w->has_head && !w->folder->is_tied) {
        rc = err_set(w->err, ERR_INVALID, "safetensors: tensor lm_head.weight is missing");
    }
    rc = rc ? rc : add_divisors(w);
    return rc ? rc : give_files(w);
}

int folder_read_weights(struct folder *f, struct gguf *g, struct err *err)
{
    struct weights w = {.folder = f, .g = g, .err = err};
    int rc = open_shards(&w);
    rc = rc ? rc : take_all(&w);
    for (unsigned i = 0; i < w.shard_count; i++) {
        shard_close(w.shards[i]);
    }
    free(w.sources);
    return rc;
}

/* config.json: the sizes of a model, written as the keys that model_sizes.c reads. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "inference/worker/safetensors/folder_parts.h"

static const struct published {
    const char *model_type;
    const char *family; /* GGUF's architecture */
} published[] = {
    {"llama", "llama"},        {"qwen2", "qwen2"},           {"qwen3", "qwen3"},
    {"gemma3_text", "gemma3"}, {"deepseek_v2", "deepseek2"}, {"deepseek_v3", "deepseek2"},
};

static bool is_family(const struct folder *f, const char *name)
{
    return strcmp(f->family, name) == 0;
}

void folder_pair_u32(struct folder *f, const char *name, uint32_t v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", f->family, name);
    gguf_pairs_u32(&f->pairs, key, v);
}

void folder_pair_f32(struct folder *f, const char *name, double v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", f->family, name);
    gguf_pairs_f32(&f->pairs, key, (float)v);
}

static void find_family(struct folder *f, struct fields *c)
{
    struct str type = fields_str(c, "model_type", "");
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        if (str_is(type, published[i].model_type)) {
            f->family = published[i].family;
            return;
        }
    }
    if (!c->rc) {
        c->rc = err_set(c->err, ERR_INVALID,
                        "config.json: model_type \"%.40s\", supported are llama, qwen2, qwen3, gemma3, "
                        "gemma3_text, deepseek_v2, deepseek_v3",
                        type.p);
    }
}

/* --- what would have to be ignored ------------------------------------------------------------------- */

static void refuse_truth(struct fields *c, const char *name)
{
    if (fields_bool(c, name, false)) {
        fields_refuse(c, name, "is true, which is not supported");
    }
}

static void expect_text(struct fields *c, const char *name, const char *wanted)
{
    struct str text = fields_str(c, name, wanted);
    if (!c->rc && !str_is(text, wanted)) {
        c->rc = err_set(c->err, ERR_INVALID, "config.json: %s is \"%.60s\", supported is %s", name, text.p,
                        wanted);
    }
}

static void expect_real(struct fields *c, const char *name, double wanted)
{
    if (fields_real(c, name, wanted) != wanted) {
        fields_refuse(c, name, "has a value that is not supported");
    }
}

static void read_quantization(struct folder *f, struct fields *c)
{
    struct fields q;
    fields_open_member(c, &q, "quantization_config");
    if (!q.rc && q.doc.member_count) {
        struct str method = fields_str(&q, "quant_method", "");
        const struct json_slice *size = fields_find(&q, "weight_block_size");
        struct str rows = size ? size->raw : STR("");
        struct json_slice side;
        unsigned sides = 0;
        for (int64_t n = 0; size && size->type == JSON_ARRAY && json_next(&rows, &side);) {
            sides += json_get_i64(&side, &n) && n == 128 ? 1 : 3;
        }
        if (!str_is(method, "fp8") || sides != 2 || !str_is(fields_str(&q, "fmt", "e4m3"), "e4m3")) {
            fields_refuse(&q, "quant_method", "is not fp8 in e4m3 with a weight_block_size of [128, 128]");
        }
        f->is_fp8 = true;
    }
    fields_close_member(c, &q);
}

static void refuse_unknown(struct folder *f, struct fields *c)
{
    bool is_gemma = is_family(f, "gemma3");
    expect_text(c, is_gemma ? "hidden_activation" : "hidden_act", is_gemma ? "gelu_pytorch_tanh" : "silu");
    if (!is_family(f, "qwen2")) {
        refuse_truth(c, "attention_bias");
    }
    refuse_truth(c, "mlp_bias");
    refuse_truth(c, "use_bidirectional_attention");
    expect_real(c, "partial_rotary_factor", 1);
    if (fields_find(c, "final_logit_softcapping") || fields_find(c, "attn_logit_softcapping")) {
        fields_refuse(c, "final_logit_softcapping or attn_logit_softcapping", "is not supported");
    }
    if (!is_gemma && fields_bool(c, "use_sliding_window", false)) {
        fields_refuse(c, "use_sliding_window", "is true, which is not supported");
    }
}

/* --- attention --------------------------------------------------------------------------------------- */

/* A size that must be there; but Gemma 3's files leave out what is as in the 4B model. */
static uint32_t read_size(const struct folder *f, struct fields *c, const char *name)
{
    static const struct {
        const char *name;
        uint32_t value;
    } gemma[] = {{"vocab_size", 262208}, {"num_attention_heads", 8}, {"max_position_embeddings", 131072}};
    for (size_t i = 0; is_family(f, "gemma3") && i < sizeof gemma / sizeof *gemma; i++) {
        if (strcmp(gemma[i].name, name) == 0 && !fields_find(c, name)) {
            return gemma[i].value;
        }
    }
    return fields_required(c, name);
}

static uint32_t read_grouped(struct folder *f, struct fields *c, uint32_t width)
{
    bool is_gemma = is_family(f, "gemma3");
    f->kv_heads = fields_u32(c, "num_key_value_heads", is_gemma ? 4 : f->heads);
    uint32_t head_dim = fields_u32(c, "head_dim", is_gemma ? 256 : f->heads ? width / f->heads : 0);
    folder_pair_u32(f, "attention.head_count_kv", f->kv_heads);
    folder_pair_u32(f, "attention.key_length", head_dim);
    folder_pair_u32(f, "attention.value_length", head_dim);
    folder_pair_u32(f, "rope.dimension_count", head_dim);
    return head_dim;
}

/* The graph has five layers with a window, then one without, and the scale that all but the 27B model have. */
static void read_windows(struct folder *f, struct fields *c, uint32_t head_dim, uint32_t width)
{
    const struct json_slice *types = fields_find(c, "layer_types");
    struct str rest = types ? types->raw : STR("");
    uint32_t period = fields_u32(c, "sliding_window_pattern", 6);
    struct json_slice item;
    uint32_t layer = 0;
    if (period == 0) {
        fields_refuse(c, "sliding_window_pattern", "is 0");
        return;
    }
    for (; types && types->type == JSON_ARRAY && json_next(&rest, &item); layer++) {
        bool sees_all = str_is(item.raw, "\"full_attention\"");
        if (sees_all != ((layer + 1) % period == 0) ||
            (!sees_all && !str_is(item.raw, "\"sliding_attention\""))) {
            fields_refuse(c, "layer_types", "is not sliding_attention but for every 6th layer");
        }
    }
    if (types && layer != f->layers) {
        fields_refuse(c, "layer_types", "is not a list of all layers");
    }
    uint32_t by_width = f->heads && f->layers == 62 ? width / f->heads : head_dim;
    expect_real(c, "query_pre_attn_scalar", by_width);
    folder_pair_u32(f, "attention.sliding_window", fields_required(c, "sliding_window"));
    folder_pair_u32(f, "attention.sliding_window_pattern", period);
}

static uint32_t read_latent(struct folder *f, struct fields *c)
{
    uint32_t rotated = fields_required(c, "qk_rope_head_dim");
    uint32_t rank = fields_required(c, "kv_lora_rank");
    uint32_t query_rank = fields_u32(c, "q_lora_rank", 0);
    f->kv_heads = 1;
    if (query_rank) {
        folder_pair_u32(f, "attention.q_lora_rank", query_rank);
    }
    folder_pair_u32(f, "attention.kv_lora_rank", rank);
    folder_pair_u32(f, "attention.key_length_mla", fields_required(c, "qk_nope_head_dim") + rotated);
    folder_pair_u32(f, "attention.value_length_mla", fields_required(c, "v_head_dim"));
    folder_pair_u32(f, "rope.dimension_count", rotated);
    if (!fields_bool(c, "rope_interleave", true)) {
        fields_refuse(c, "rope_interleave", "is false, which is not supported");
    }
    return rotated;
}

/* --- experts ----------------------------------------------------------------------------------------- */

static void read_router(struct folder *f, struct fields *c)
{
    bool is_v3 = str_is(fields_str(c, "model_type", ""), "deepseek_v3");
    struct str scores = fields_str(c, "scoring_func", is_v3 ? "sigmoid" : "softmax");
    struct str method = fields_str(c, "topk_method", is_v3 ? "noaux_tc" : "greedy");
    bool is_sigmoid = str_is(scores, "sigmoid");
    char key[64];
    if (!is_sigmoid && !str_is(scores, "softmax")) {
        fields_refuse(c, "scoring_func", "is neither softmax nor sigmoid");
    }
    if (!str_is(method, is_sigmoid ? "noaux_tc" : "greedy") &&
        (is_sigmoid || !str_is(method, "group_limited_greedy"))) {
        fields_refuse(c, "topk_method", "does not fit scoring_func");
    }
    if (!str_is(method, "greedy")) {
        folder_pair_u32(f, "expert_group_count", fields_u32(c, "n_group", 1));
        folder_pair_u32(f, "expert_group_used_count", fields_u32(c, "topk_group", 1));
    }
    folder_pair_u32(f, "expert_gating_func", is_sigmoid ? 2 : 1);
    snprintf(key, sizeof key, "%s.expert_weights_norm", f->family);
    gguf_pairs_bool(&f->pairs, key, fields_bool(c, "norm_topk_prob", is_v3));
}

static void read_experts(struct folder *f, struct fields *c)
{
    f->experts = fields_u32(c, "n_routed_experts", 0);
    f->more_layers = fields_u32(c, "num_nextn_predict_layers", 0);
    if (f->experts == 0) {
        return;
    }
    folder_pair_u32(f, "expert_count", f->experts);
    folder_pair_u32(f, "expert_used_count", fields_required(c, "num_experts_per_tok"));
    folder_pair_u32(f, "expert_shared_count", fields_u32(c, "n_shared_experts", 0));
    folder_pair_u32(f, "expert_feed_forward_length", fields_required(c, "moe_intermediate_size"));
    folder_pair_u32(f, "leading_dense_block_count", fields_u32(c, "first_k_dense_replace", 0));
    folder_pair_f32(f, "expert_weights_scale", fields_real(c, "routed_scaling_factor", 1));
    expect_real(c, "moe_layer_freq", 1);
    read_router(f, c);
}

/* --- the whole --------------------------------------------------------------------------------------- */

/* One id, or several of which the first two are taken: an answer ends at any. */
static void read_ends(struct folder *f, struct fields *c)
{
    const struct json_slice *eos = fields_find(c, "eos_token_id");
    struct str rest = eos ? eos->raw : STR("");
    struct json_slice item;
    f->bos = f->eos = f->eot = -1;
    const struct json_slice *bos = fields_find(c, "bos_token_id");
    if (bos && !json_get_i64(bos, &f->bos)) {
        fields_refuse(c, "bos_token_id", "is not a token id");
    }
    if (eos && eos->type != JSON_ARRAY) {
        if (!json_get_i64(eos, &f->eos)) {
            fields_refuse(c, "eos_token_id", "is not a token id");
        }
        return;
    }
    for (unsigned n = 0; n < 2 && eos && json_next(&rest, &item); n++) {
        if (!json_get_i64(&item, n ? &f->eot : &f->eos)) {
            fields_refuse(c, "eos_token_id", "is not a list of token ids");
        }
    }
}

static void read_name(struct folder *f)
{
    struct str path = str_from(f->path);
    while (path.n > 1 && path.p[path.n - 1] == '/') {
        path.n--;
    }
    const char *slash = memrchr(path.p, '/', path.n);
    gguf_pairs_str(&f->pairs, "general.name", slash ? str_skip(path, (size_t)(slash - path.p) + 1) : path);
}

static void read_sizes(struct folder *f, struct fields *c)
{
    uint32_t width = fields_required(c, "hidden_size");
    f->layers = fields_required(c, "num_hidden_layers");
    f->heads = read_size(f, c, "num_attention_heads");
    f->vocab = read_size(f, c, "vocab_size");
    f->is_tied = fields_bool(c, "tie_word_embeddings", is_family(f, "gemma3"));
    gguf_pairs_str(&f->pairs, "general.architecture", str_from(f->family));
    read_name(f);
    folder_pair_u32(f, "block_count", f->layers);
    folder_pair_u32(f, "context_length", read_size(f, c, "max_position_embeddings"));
    folder_pair_u32(f, "embedding_length", width);
    folder_pair_u32(f, "feed_forward_length", fields_required(c, "intermediate_size"));
    folder_pair_u32(f, "attention.head_count", f->heads);
    folder_pair_f32(f, "attention.layer_norm_rms_epsilon", fields_real(c, "rms_norm_eps", 1e-6));
    uint32_t rotated;
    if (is_family(f, "deepseek2")) {
        rotated = read_latent(f, c);
        read_experts(f, c);
    } else {
        rotated = read_grouped(f, c, width);
    }
    if (is_family(f, "gemma3")) {
        read_windows(f, c, rotated, width);
    }
    c->rc = c->rc ? c->rc : folder_read_rope(f, c, rotated);
}

static void read_text_model(struct folder *f, struct fields *c)
{
    find_family(f, c);
    if (!c->rc) {
        refuse_unknown(f, c);
        read_quantization(f, c);
        read_ends(f, c);
        read_sizes(f, c);
    }
}

/* Gemma 3 with images: the text model's sizes stand one deeper, the tokens that end an answer mostly outside. */
static void read_with_images(struct folder *f, struct fields *c)
{
    struct fields text;
    f->has_images = true;
    fields_open_member(c, &text, "text_config");
    read_text_model(f, &text);
    fields_close_member(c, &text);
    if (c->rc) {
        return;
    }
    read_quantization(f, c);
    if (fields_find(c, "eos_token_id")) {
        int64_t bos = f->bos;
        read_ends(f, c);
        f->bos = f->bos < 0 ? bos : f->bos;
    }
    if (!fields_bool(c, "tie_word_embeddings", true)) {
        fields_refuse(c, "tie_word_embeddings", "is false, which is not supported beside text_config");
    }
    log_info("model folder=%s what=images text=\"left out: only its text model is loaded\"", f->path);
}

int folder_read_config(struct folder *f, struct err *err)
{
    struct fields c;
    int rc = fields_open(&c, &f->arena, f->path, "config.json", err);
    if (rc) {
        return rc;
    }
    if (str_is(fields_str(&c, "model_type", ""), "gemma3")) {
        read_with_images(f, &c);
    } else {
        read_text_model(f, &c);
    }
    return c.rc;
}

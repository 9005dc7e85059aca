/* The tiny models of tiny_models.h as folders of safetensors, in the names and order of values that transformers
 * writes. What they hold is checked against what transformers itself wrote (tests/oracles/NAME.tensors). */
#ifndef TIDE_TESTS_PUBLISHED_MODELS_H
#define TIDE_TESTS_PUBLISHED_MODELS_H

#include "tests/unit/tiny_models.h"

#include "base/json.h"

struct published {
    char name[128];
    const char *dtype;
    uint64_t dims[2];
    unsigned n_dims;
    size_t offset; /* in data */
    size_t bytes;
};

struct published_model {
    struct published tensors[512];
    unsigned count;
    struct buf data;
};

__attribute__((unused)) static void published_init(struct published_model *m)
{
    m->count = 0;
    buf_init(&m->data, 1 << 26);
}

__attribute__((unused)) static void published_clear(struct published_model *m)
{
    buf_clear(&m->data);
}

/* A tensor of `rows` rows (0: one dimension); its zeroed values, which the caller fills before the next. */
__attribute__((unused)) static uint8_t *publish(struct published_model *m, const char *name,
                                                const char *dtype, uint64_t rows, uint64_t columns)
{
    struct published *p = &m->tensors[m->count++];
    size_t each = strcmp(dtype, "F32") == 0 ? 4 : strcmp(dtype, "F8_E4M3") == 0 ? 1 : 2;
    assert_true(m->count < sizeof m->tensors / sizeof *m->tensors);
    *p = (struct published){.dtype = dtype,
                            .dims = {rows ? rows : columns, columns},
                            .n_dims = rows ? 2 : 1,
                            .offset = m->data.n,
                            .bytes = (rows ? rows : 1) * columns * each};
    snprintf(p->name, sizeof p->name, "%s", name);
    uint8_t *out = buf_reserve(&m->data, p->bytes);
    assert_non_null(out);
    memset(out, 0, p->bytes);
    buf_commit(&m->data, p->bytes);
    return out;
}

__attribute__((unused)) static uint8_t *published_data(const struct published_model *m, unsigned i)
{
    return (uint8_t *)m->data.p + m->tensors[i].offset;
}

/* --- files ------------------------------------------------------------------------------------------- */

/* Replaces a file: one that is mapped keeps its contents. */
__attribute__((unused)) static void write_anew(const char *name, const void *p, size_t n)
{
    unlink(temp_path(name));
    write_bytes(name, p, n);
}

__attribute__((unused)) static void write_text(const char *name, const char *text)
{
    write_anew(name, text, strlen(text));
}

/* The head of a file with tensors from..to, without its length. */
__attribute__((unused)) static struct buf published_head(const struct published_model *m, unsigned from,
                                                         unsigned to)
{
    struct buf head;
    buf_init(&head, 1 << 20);
    buf_add_cstr(&head, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (unsigned i = from; i < to; i++) {
        const struct published *p = &m->tensors[i];
        size_t at = p->offset - m->tensors[from].offset;
        buf_addf(&head, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", p->name, p->dtype);
        buf_addf(&head, p->n_dims == 2 ? "%llu,%llu" : "%llu", (unsigned long long)p->dims[0],
                 (unsigned long long)p->dims[1]);
        buf_addf(&head, "],\"data_offsets\":[%zu,%zu]}", at, at + p->bytes);
    }
    buf_add_char(&head, '}');
    while (head.n % 8) {
        buf_add_char(&head, ' ');
    }
    return head;
}

__attribute__((unused)) static void write_head_and_data(const char *file, struct str head, const void *data,
                                                        size_t n)
{
    struct buf out;
    uint64_t length = head.n;
    buf_init(&out, 1 << 27);
    buf_add(&out, &length, sizeof length);
    buf_add_str(&out, head);
    buf_add(&out, data, n);
    write_anew(file, out.p, out.n);
    buf_clear(&out);
}

__attribute__((unused)) static void write_shard(const struct published_model *m, const char *file,
                                                unsigned from, unsigned to)
{
    struct buf head = published_head(m, from, to);
    size_t begin = m->tensors[from].offset;
    size_t end = m->tensors[to - 1].offset + m->tensors[to - 1].bytes;
    write_head_and_data(file, buf_str(&head), m->data.p + begin, end - begin);
    buf_clear(&head);
}

/* One file, or `shards` of them and their index. */
__attribute__((unused)) static void write_published(const struct published_model *m, unsigned shards)
{
    struct buf index;
    unlink(temp_path("model.safetensors"));
    unlink(temp_path("model.safetensors.index.json"));
    if (shards == 1) {
        write_shard(m, "model.safetensors", 0, m->count);
        return;
    }
    buf_init(&index, 1 << 20);
    buf_add_cstr(&index, "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (unsigned s = 0; s < shards; s++) {
        char file[64];
        unsigned from = m->count * s / shards;
        unsigned to = m->count * (s + 1) / shards;
        snprintf(file, sizeof file, "model-%05u-of-%05u.safetensors", s + 1, shards);
        write_shard(m, file, from, to);
        for (unsigned i = from; i < to; i++) {
            buf_addf(&index, "%s\"%s\":\"%s\"", i ? "," : "", m->tensors[i].name, file);
        }
    }
    buf_add_cstr(&index, "}}");
    write_anew("model.safetensors.index.json", index.p, index.n);
    buf_clear(&index);
}

/* add_tiny_vocabulary's tokens, as a tokenizer.json. */
__attribute__((unused)) static void write_tiny_tokenizer(void)
{
    static const char *const added[] = {"<think>", "</think>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"};
    struct buf out;
    char text[3];
    buf_init(&out, 1 << 20);
    buf_add_cstr(
        &out, "{\"version\":\"1.0\",\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\","
              "\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\","
              "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}]},\"added_tokens\":[");
    for (unsigned i = 0; i < 5; i++) {
        buf_addf(&out, "%s{\"id\":%u,\"content\":\"%s\",\"special\":%s}", i ? "," : "",
                 i < 2 ? 254 + i : 257 + i, added[i], i < 2 ? "false" : "true");
    }
    buf_add_cstr(&out, "],\"model\":{\"type\":\"BPE\",\"ignore_merges\":false,\"vocab\":{");
    for (unsigned c = 0; c < 254; c++) {
        buf_add_cstr(&out, c ? ",\"" : "\"");
        json_escape(&out, alphabet_text(c, text));
        buf_addf(&out, "\":%u", c);
    }
    buf_add_cstr(&out, ",\"he\":256,\"ll\":257,\"hell\":258},\"merges\":[\"h e\",[\"l\",\"l\"],\"he ll\"]}}");
    write_anew("tokenizer.json", out.p, out.n);
    write_text("tokenizer_config.json", "{\"bos_token\":null,\"eos_token\":{\"content\":\"<|im_end|>\"},"
                                        "\"add_bos_token\":false}");
    buf_clear(&out);
}

/* --- from a model's GGUF ------------------------------------------------------------------------------- */

static const struct {
    const char *ours;
    const char *published;
} published_names[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_q_a.weight", "self_attn.q_a_proj.weight"},
    {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
    {"attn_q_b.weight", "self_attn.q_b_proj.weight"},
    {"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"},
    {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
    {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
    {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
    {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
};

static const char *published_dtype(const struct built_tensor *t)
{
    return t->type == TENSOR_F32 ? "F32" : t->type == TENSOR_F16 ? "F16" : "BF16";
}

static size_t value_bytes_of(const struct built_tensor *t)
{
    return t->type == TENSOR_F32 ? 4 : 2;
}

static void publish_plain(struct published_model *m, const struct builder *b, const struct built_tensor *t,
                          const char *name, bool takes_one)
{
    uint8_t *out = publish(m, name, published_dtype(t), t->rows == 1 ? 0 : t->rows, t->columns);
    memcpy(out, b->data.p + t->offset, t->bytes);
    for (size_t i = 0; takes_one && i < t->bytes; i += sizeof(float)) {
        float v;
        memcpy(&v, out + i, sizeof v);
        v -= 1.0F;
        memcpy(out + i, &v, sizeof v);
    }
}

/* Values that llama.cpp keeps side by side stand half a head apart. */
static void publish_halves(struct published_model *m, const struct builder *b, const struct built_tensor *t,
                           const char *name, uint64_t head_dim)
{
    size_t row = t->columns * value_bytes_of(t);
    uint8_t *out = publish(m, name, published_dtype(t), t->rows, t->columns);
    for (uint64_t r = 0; r < t->rows; r++) {
        uint64_t in_head = r % head_dim;
        uint64_t to = r - in_head + in_head / 2 + in_head % 2 * (head_dim / 2);
        memcpy(out + to * row, b->data.p + t->offset + r * row, row);
    }
}

/* The keys' matrices lie on their side in GGUF. */
static void publish_joined(struct published_model *m, const struct builder *b,
                           const struct built_tensor *keys, const struct built_tensor *values,
                           const char *name)
{
    size_t each = value_bytes_of(keys);
    uint64_t heads = keys->pieces;
    uint64_t rank = keys->rows / heads;
    uint64_t value_rows = values->rows / heads;
    const char *in = b->data.p;
    uint8_t *out = publish(m, name, published_dtype(keys), heads * (keys->columns + value_rows), rank);
    for (uint64_t h = 0; h < heads; h++) {
        for (uint64_t i = 0; i < keys->columns; i++) {
            for (uint64_t k = 0; k < rank; k++, out += each) {
                memcpy(out, in + keys->offset + ((h * rank + k) * keys->columns + i) * each, each);
            }
        }
        memcpy(out, in + values->offset + h * value_rows * rank * each, value_rows * rank * each);
        out += value_rows * rank * each;
    }
}

static void publish_experts(struct published_model *m, const struct builder *b, const struct built_tensor *t,
                            unsigned layer, const char *what)
{
    size_t bytes = t->bytes / t->pieces;
    for (uint64_t e = 0; e < t->pieces; e++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s_proj.weight", layer, (unsigned)e,
                 what);
        uint8_t *out = publish(m, name, published_dtype(t), t->rows / t->pieces, t->columns);
        memcpy(out, b->data.p + t->offset + e * bytes, bytes);
    }
}

static const char *name_in_gemma(const char *ours)
{
    return strcmp(ours, "ffn_norm.weight") == 0              ? "pre_feedforward_layernorm.weight"
           : strcmp(ours, "post_attention_norm.weight") == 0 ? "post_attention_layernorm.weight"
           : strcmp(ours, "post_ffw_norm.weight") == 0       ? "post_feedforward_layernorm.weight"
                                                             : NULL;
}

static void publish_in_layer(struct published_model *m, const struct tiny_spec *spec, const struct builder *b,
                             const struct built_tensor *t, unsigned layer, const char *ours)
{
    char name[128];
    bool is_gemma = strcmp(spec->family, "gemma3") == 0;
    const char *found = is_gemma ? name_in_gemma(ours) : NULL;
    if (strcmp(ours, "attn_k_b.weight") == 0) {
        snprintf(name, sizeof name, "model.layers.%u.self_attn.kv_b_proj.weight", layer);
        publish_joined(m, b, t, t + 1, name);
    } else if (t->pieces && strstr(ours, "_exps")) {
        publish_experts(m, b, t, layer, strstr(ours, "gate") ? "gate" : strstr(ours, "up") ? "up" : "down");
    } else if (strcmp(ours, "attn_v_b.weight") != 0) {
        for (size_t i = 0; !found && i < sizeof published_names / sizeof *published_names; i++) {
            found = strcmp(ours, published_names[i].ours) == 0 ? published_names[i].published : NULL;
        }
        assert_non_null(found);
        snprintf(name, sizeof name, "model.layers.%u.%s", layer, found);
        bool has_halves = strcmp(spec->family, "llama") == 0 &&
                          (strcmp(ours, "attn_q.weight") == 0 || strcmp(ours, "attn_k.weight") == 0);
        if (has_halves) {
            publish_halves(m, b, t, name, spec->head_dim);
        } else {
            publish_plain(m, b, t, name, is_gemma && strstr(ours, "norm"));
        }
    }
}

__attribute__((unused)) static void publish_model(struct published_model *m, const struct tiny_spec *spec,
                                                  const struct builder *b)
{
    published_init(m);
    for (uint64_t i = 0; i < b->tensor_count; i++) {
        const struct built_tensor *t = &b->tensors[i];
        unsigned layer;
        int at = 0;
        if (sscanf(t->name, "blk.%u.%n", &layer, &at) == 1 && at > 0) {
            publish_in_layer(m, spec, b, t, layer, t->name + at);
        } else if (strcmp(t->name, "rope_freqs.weight") != 0) {
            bool is_norm = strcmp(t->name, "output_norm.weight") == 0;
            publish_plain(m, b, t,
                          is_norm                                 ? "model.norm.weight"
                          : strcmp(t->name, "output.weight") == 0 ? "lm_head.weight"
                                                                  : "model.embed_tokens.weight",
                          is_norm && strcmp(spec->family, "gemma3") == 0);
        }
    }
}

/* The oracle's config.json, tokenizer and weights, in the test's folder. */
__attribute__((unused)) static void write_config_of(const char *oracle)
{
    char path[128];
    char text[8192];
    snprintf(path, sizeof path, "tests/oracles/%s.config.json", oracle);
    FILE *f = fopen(path, "re");
    if (!f) {
        fail_msg("no %s: tests/oracles/logits.py writes it", path);
    }
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    assert_true(n > 100 && n < sizeof text);
    write_anew("config.json", text, n);
}

/* All of a model's values in another type. */
__attribute__((unused)) static void narrow_tensors(struct builder *b, enum tensor_type type)
{
    struct buf wide = b->data;
    buf_init(&b->data, wide.max);
    for (uint64_t i = 0; i < b->tensor_count; i++) {
        struct built_tensor *t = &b->tensors[i];
        size_t from = t->offset;
        while (b->data.n % b->alignment) {
            buf_add_char(&b->data, 0);
        }
        t->offset = b->data.n;
        for (size_t at = 0; at < t->bytes; at += sizeof(float)) {
            float v;
            memcpy(&v, wide.p + from + at, sizeof v);
            uint16_t narrow = type == TENSOR_BF16 ? float_to_bfloat(v) : float_to_half(v);
            buf_add(&b->data, &narrow, sizeof narrow);
        }
        t->bytes /= 2;
        t->type = type;
    }
    buf_clear(&wide);
}

#endif

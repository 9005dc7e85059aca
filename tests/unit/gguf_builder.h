/* Writes GGUF files for tests: pairs and tensors first, then built_file puts them together.
 * Also a whole tiny llama model with random weights and a byte-level vocabulary. */
#ifndef TIDE_TESTS_GGUF_BUILDER_H
#define TIDE_TESTS_GGUF_BUILDER_H

#include "tests/unit/temp.h"

#include "base/buf.h"
#include "inference/worker/vocab.h"

struct built_tensor {
    char name[64];
    uint32_t type;
    uint64_t columns;
    uint64_t rows;   /* 1: written with one dimension */
    uint64_t pieces; /* above 0: written with three dimensions, rows / pieces of a piece */
    size_t bytes;
    uint64_t offset;
};

struct builder {
    struct buf pairs;
    struct buf infos; /* filled by built_file */
    struct buf data;
    uint64_t pair_count;
    struct built_tensor tensors[256];
    uint64_t tensor_count;
    uint32_t alignment;
    uint64_t random;
};

__attribute__((unused)) static void builder_init(struct builder *b)
{
    memset(b, 0, sizeof *b);
    buf_init(&b->pairs, 1 << 24);
    buf_init(&b->infos, 1 << 20);
    buf_init(&b->data, 1 << 26);
    b->alignment = 32;
    b->random = 88172645463325252ULL;
}

__attribute__((unused)) static void builder_clear(struct builder *b)
{
    buf_clear(&b->pairs);
    buf_clear(&b->infos);
    buf_clear(&b->data);
}

__attribute__((unused)) static uint64_t built_random(struct builder *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

/* From -1 up to 1, in steps that float32 and f16 have. */
__attribute__((unused)) static float built_real(struct builder *b)
{
    return (float)(built_random(b) >> 54) / 512.0F - 1.0F;
}

static void put_u32(struct buf *out, uint32_t v)
{
    buf_add(out, &v, sizeof v);
}

static void put_u64(struct buf *out, uint64_t v)
{
    buf_add(out, &v, sizeof v);
}

static void put_text(struct buf *out, struct str s)
{
    put_u64(out, s.n);
    buf_add_str(out, s);
}

static void put_key(struct builder *b, const char *key, enum gguf_type type)
{
    put_text(&b->pairs, str_from(key));
    put_u32(&b->pairs, type);
    b->pair_count++;
}

__attribute__((unused)) static void pair_u32(struct builder *b, const char *key, uint32_t v)
{
    put_key(b, key, GGUF_U32);
    put_u32(&b->pairs, v);
}

__attribute__((unused)) static void pair_f32(struct builder *b, const char *key, float v)
{
    put_key(b, key, GGUF_F32);
    buf_add(&b->pairs, &v, sizeof v);
}

__attribute__((unused)) static void pair_text(struct builder *b, const char *key, const char *text)
{
    put_key(b, key, GGUF_STRING);
    put_text(&b->pairs, str_from(text));
}

__attribute__((unused)) static void pair_array(struct builder *b, const char *key, enum gguf_type type,
                                               uint64_t count)
{
    put_key(b, key, GGUF_ARRAY);
    put_u32(&b->pairs, type);
    put_u64(&b->pairs, count); /* the elements follow, by the caller */
}

/* The f16 scale of a block, and its minimum where the type has one. */
static void put_scales(uint8_t *block, enum tensor_type type, uint16_t small, uint16_t base)
{
    size_t scale = type == TENSOR_Q6_K ? 208 : type == TENSOR_Q3_K ? 108 : type == TENSOR_Q2_K ? 80 : 0;
    memcpy(block + scale, &small, sizeof small);
    if (type == TENSOR_Q4_1 || type == TENSOR_Q5_1) {
        memcpy(block + 2, &base, sizeof base);
    } else if (type == TENSOR_Q4_K || type == TENSOR_Q5_K || type == TENSOR_Q2_K) {
        memcpy(block + scale + 2, &small, sizeof small);
    }
}

/* A tensor whose bytes follow, by the caller. */
__attribute__((unused)) static struct built_tensor *new_tensor(struct builder *b, const char *name,
                                                               enum tensor_type type, uint64_t columns,
                                                               uint64_t rows)
{
    struct built_tensor *t = &b->tensors[b->tensor_count++];
    const struct quant_type *q = quant_type_find(type);
    assert_true(b->tensor_count < sizeof b->tensors / sizeof *b->tensors);
    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = type;
    t->columns = columns;
    t->rows = rows;
    t->bytes = columns / q->block_values * q->block_bytes * rows;
    while (b->data.n % b->alignment) {
        buf_add_char(&b->data, 0);
    }
    t->offset = b->data.n;
    return t;
}

/* A float32 tensor of random values from middle - reach up to middle + reach. */
__attribute__((unused)) static void add_reals(struct builder *b, const char *name, uint64_t columns,
                                              uint64_t rows, float middle, float reach)
{
    new_tensor(b, name, TENSOR_F32, columns, rows);
    for (uint64_t i = 0; i < columns * rows; i++) {
        float v = middle + reach * built_real(b);
        buf_add(&b->data, &v, sizeof v);
    }
}

/* A tensor of random bytes that are small finite numbers in every type: f16 scales get a small exponent. */
__attribute__((unused)) static void add_tensor(struct builder *b, const char *name, enum tensor_type type,
                                               uint64_t columns, uint64_t rows)
{
    const struct quant_type *q = quant_type_find(type);
    struct built_tensor *t = new_tensor(b, name, type, columns, rows);
    uint8_t *p = buf_reserve(&b->data, t->bytes);
    assert_non_null(p);
    for (size_t i = 0; i < t->bytes; i++) {
        p[i] = (uint8_t)built_random(b);
    }
    for (size_t at = 0; at < t->bytes; at += q->block_bytes) {
        float f = (float)((double)(built_random(b) % 2001) / 1000.0 - 1.0);
        uint16_t small = float_to_half(0.01F + 0.02F * (f < 0 ? -f : f));
        uint16_t base = float_to_half(-0.12F + 0.01F * f);
        if (type == TENSOR_F32) {
            memcpy(p + at, &f, sizeof f);
        } else if (type == TENSOR_BF16) {
            uint32_t bits;
            memcpy(&bits, &f, sizeof bits);
            uint16_t upper = (uint16_t)(bits >> 16);
            memcpy(p + at, &upper, sizeof upper);
        } else if (type == TENSOR_F16) {
            uint16_t h = float_to_half(f);
            memcpy(p + at, &h, sizeof h);
        } else {
            put_scales(p + at, type, small, base);
        }
    }
    buf_commit(&b->data, t->bytes);
}

static void put_info(struct builder *b, const struct built_tensor *t)
{
    put_text(&b->infos, str_from(t->name));
    put_u32(&b->infos, t->pieces ? 3 : t->rows == 1 ? 1 : 2);
    put_u64(&b->infos, t->columns);
    if (t->rows != 1) {
        put_u64(&b->infos, t->pieces ? t->rows / t->pieces : t->rows);
    }
    if (t->pieces) {
        put_u64(&b->infos, t->pieces);
    }
    put_u32(&b->infos, t->type);
    put_u64(&b->infos, t->offset);
}

/* The whole file; the caller clears it. */
__attribute__((unused)) static struct buf built_file(struct builder *b)
{
    struct buf out;
    buf_init(&out, 1 << 27);
    buf_add_cstr(&out, "GGUF");
    put_u32(&out, 3);
    put_u64(&out, b->tensor_count);
    put_u64(&out, b->pair_count);
    buf_add_str(&out, buf_str(&b->pairs));
    buf_truncate(&b->infos);
    for (uint64_t i = 0; i < b->tensor_count; i++) {
        put_info(b, &b->tensors[i]);
    }
    buf_add_str(&out, buf_str(&b->infos));
    while (out.n % b->alignment) {
        buf_add_char(&out, 0);
    }
    buf_add_str(&out, buf_str(&b->data));
    return out;
}

__attribute__((unused)) static const char *write_bytes(const char *name, const void *p, size_t n)
{
    const char *path = temp_path(name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
    return path;
}

/* --- a tiny model ------------------------------------------------------------------------------------ */

enum { TINY_WIDTH = 64, TINY_FF = 96, TINY_LAYERS = 2, TINY_HEADS = 4, TINY_KV_HEADS = 2, TINY_VOCAB = 262 };

/* Byte `c` in GPT-2's alphabet, as UTF-8. */
__attribute__((unused)) static struct str alphabet_text(unsigned c, char out[3])
{
    unsigned next = 256;
    unsigned code = c;
    for (unsigned i = 0; i <= c; i++) {
        bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        code = plain ? i : next++;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        return str_of(out, 1);
    }
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return str_of(out, 2);
}

/* 256 bytes, three merged tokens ("he", "ll", "hell"), and the control tokens <|im_start|>, <|im_end|>,
 * <|endoftext|>. In place of 0xFE and 0xFF, which no
 * text holds: the tags <think> and </think>. */
__attribute__((unused)) static void add_tiny_vocabulary(struct builder *b)
{
    char text[3];
    pair_text(b, "tokenizer.ggml.model", "gpt2");
    pair_text(b, "tokenizer.ggml.pre", "smollm");
    pair_array(b, "tokenizer.ggml.tokens", GGUF_STRING, TINY_VOCAB);
    for (unsigned c = 0; c < 254; c++) {
        put_text(&b->pairs, alphabet_text(c, text));
    }
    put_text(&b->pairs, STR("<think>"));
    put_text(&b->pairs, STR("</think>"));
    put_text(&b->pairs, STR("he"));
    put_text(&b->pairs, STR("ll"));
    put_text(&b->pairs, STR("hell"));
    put_text(&b->pairs, STR("<|im_start|>"));
    put_text(&b->pairs, STR("<|im_end|>"));
    put_text(&b->pairs, STR("<|endoftext|>"));
    pair_array(b, "tokenizer.ggml.token_type", GGUF_I32, TINY_VOCAB);
    for (unsigned i = 0; i < TINY_VOCAB; i++) {
        put_u32(&b->pairs, i == 254 || i == 255 ? TOKEN_USER_DEFINED
                           : i < 259            ? TOKEN_NORMAL
                                                : TOKEN_CONTROL);
    }
    pair_array(b, "tokenizer.ggml.merges", GGUF_STRING, 3);
    put_text(&b->pairs, STR("h e"));
    put_text(&b->pairs, STR("l l"));
    put_text(&b->pairs, STR("he ll"));
    pair_u32(b, "tokenizer.ggml.eos_token_id", 260);
}

__attribute__((unused)) static void add_tiny_layer(struct builder *b, unsigned layer)
{
    static const struct {
        const char *name;
        enum tensor_type type;
        uint64_t columns;
        uint64_t rows;
    } rows[] = {
        {"attn_norm", TENSOR_F32, TINY_WIDTH, 1},       {"attn_q", TENSOR_Q4_1, TINY_WIDTH, 64},
        {"attn_k", TENSOR_Q8_0, TINY_WIDTH, 32},        {"attn_v", TENSOR_Q5_0, TINY_WIDTH, 32},
        {"attn_output", TENSOR_Q4_0, 64, TINY_WIDTH},   {"ffn_norm", TENSOR_F32, TINY_WIDTH, 1},
        {"ffn_gate", TENSOR_Q4_1, TINY_WIDTH, TINY_FF}, {"ffn_up", TENSOR_F16, TINY_WIDTH, TINY_FF},
        {"ffn_down", TENSOR_Q8_0, TINY_FF, TINY_WIDTH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, rows[i].name);
        add_tensor(b, name, rows[i].type, rows[i].columns, rows[i].rows);
    }
}

__attribute__((unused)) static void build_tiny_model(struct builder *b)
{
    builder_init(b);
    pair_text(b, "general.architecture", "llama");
    pair_text(b, "general.name", "tiny");
    pair_u32(b, "llama.block_count", TINY_LAYERS);
    pair_u32(b, "llama.context_length", 256);
    pair_u32(b, "llama.embedding_length", TINY_WIDTH);
    pair_u32(b, "llama.feed_forward_length", TINY_FF);
    pair_u32(b, "llama.attention.head_count", TINY_HEADS);
    pair_u32(b, "llama.attention.head_count_kv", TINY_KV_HEADS);
    pair_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    add_tiny_vocabulary(b);
    pair_text(b, "tokenizer.chat_template",
              "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
              "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt "
              "%}{{ '<|im_start|>assistant\n' }}{% endif %}");
    add_tensor(b, "token_embd.weight", TENSOR_Q8_0, TINY_WIDTH, TINY_VOCAB);
    add_tensor(b, "output_norm.weight", TENSOR_F32, TINY_WIDTH, 1);
    for (unsigned layer = 0; layer < TINY_LAYERS; layer++) {
        add_tiny_layer(b, layer);
    }
}

/* The model's path; the file is in the test's folder. */
__attribute__((unused)) static const char *write_tiny_model(const char *name)
{
    struct builder b;
    build_tiny_model(&b);
    struct buf file = built_file(&b);
    const char *path = write_bytes(name, file.p, file.n);
    buf_clear(&file);
    builder_clear(&b);
    return path;
}

#endif

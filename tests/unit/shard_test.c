/* safetensors files and the folders around them, broken in every way that can be thought of: refused, naming the file
 * and the tensor or the member. */
#include "tests/unit/published_models.h"

#include "inference/worker/model.h"
#include "inference/worker/safetensors/shard.h"
#include "inference/worker/tokenizer.h"

static void expect_shard(const char *head, size_t data, const char *text)
{
    static const uint8_t zeros[4096];
    struct shard *s = NULL;
    struct err err = {0};
    assert_true(data <= sizeof zeros);
    write_head_and_data("x.safetensors", str_from(head), zeros, data);
    int rc = shard_open(temp_path("x.safetensors"), &s, &err);
    if (!text) {
        if (rc) {
            fail_msg("%s: %s", head, err.msg);
        }
        shard_close(s);
    } else if (!rc || !strstr(err.msg, text) || !strstr(err.msg, "x.safetensors")) {
        fail_msg("%s: rc %d, \"%s\" does not say \"%s\"", head, rc, err.msg, text);
    }
}

#define ONE(dtype, shape, offsets)                                                                           \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}}"
#define TWO(first, second)                                                                                   \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" first                                        \
    "]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" second "]}}"

static void heads_are_read_strictly(void **state)
{
    static const struct {
        const char *head;
        size_t data;
        const char *text; /* NULL: it is good */
    } cases[] = {
        {ONE("F32", "2,3", "0,24"), 24, NULL},
        {ONE("BF16", "", "0,2"), 2, NULL},
        {"{}", 0, NULL},
        {"{\"__metadata__\":{\"format\":\"pt\"}}   ", 0, NULL},
        {TWO("4,8", "0,4"), 8, NULL},
        {"[]", 0, "not a JSON object"},
        {" {}", 0, "not a JSON object"},
        {"{\"a\":1}", 0, "tensor a is not described by an object"},
        {"{\"a\":{}}", 0, "tensor a lacks dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor a lacks dtype, shape or data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4,
         "tensor a has a member"},
        {"{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a has a member"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "tensor a has a member"},
        {"{\"a\":{},\"a\":{}}", 0, "a member name twice"},
        {"{\"\":{}}", 0, "name has 0 bytes"},
        {ONE("F33", "1", "0,4"), 4, "tensor a has an unknown dtype"},
        {ONE("F32", "1,1,1,1,1", "0,4"), 4, "more than 4 dimensions"},
        {ONE("F32", "0", "0,0"), 0, "not a whole number above 0"},
        {ONE("F32", "-1", "0,4"), 4, "not a whole number above 0"},
        {ONE("F32", "1.0", "0,4"), 4, "not a whole number above 0"},
        {ONE("F32", "\"1\"", "0,4"), 4, "not a whole number above 0"},
        {ONE("F32", "4294967296,4294967296", "0,4"), 4, "too many values"},
        {ONE("F32", "4611686018427387905", "0,4"), 4, "not the bytes of its dtype and shape"},
        {ONE("F32", "1", "0"), 4, "not a beginning and an end"},
        {ONE("F32", "1", "4,0"), 4, "not a beginning and an end"},
        {ONE("F32", "1", "-4,0"), 4, "not two numbers"},
        {ONE("F32", "1", "0,4,8"), 4, "not two numbers"},
        {ONE("F32", "1", "0,4.0"), 4, "not two numbers"},
        {ONE("F32", "1", "0,8"), 8, "not the bytes of its dtype and shape"},
        {ONE("F32", "2", "0,8"), 7, "tensor a reaches past the end"},
        {ONE("F32", "1", "0,4"), 5, "1 bytes at its end belong to no tensor"},
        {ONE("F32", "1", "4,8"), 8, "tensor a leaves a gap"},
        {TWO("0,4", "2,6"), 6, "tensor b overlaps"},
        {TWO("0,4", "5,9"), 9, "tensor b leaves a gap"},
        {TWO("0,4", "0,4"), 4, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4, "its head: JSON"},
        {"{\"a\":\"\xFF\"}", 0, "invalid UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_shard(cases[i].head, cases[i].data, cases[i].text);
    }
}

static void lengths_that_lie(void **state)
{
    static const uint64_t lengths[] = {0, 1, 25, 26, 1 << 20, 100000001, UINT64_MAX - 7, UINT64_MAX};
    struct shard *s = NULL;
    struct err err = {0};
    for (unsigned i = 0; i < 8; i++) {
        uint8_t file[32] = {0};
        memcpy(file, &lengths[i], 8);
        memset(file + 8, ' ', 24);
        file[8] = '{';
        file[9] = '}';
        write_anew("x.safetensors", file, sizeof file);
        assert_int_equal(shard_open(temp_path("x.safetensors"), &s, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "x.safetensors"));
    }
    write_anew("x.safetensors", "{}", 2);
    assert_int_equal(shard_open(temp_path("x.safetensors"), &s, &err), ERR_INVALID);
    assert_int_equal(shard_open(temp_path("none.safetensors"), &s, &err), ERR_IO);
    assert_int_equal(shard_open(temp_folder, &s, &err), ERR_INVALID);
}

/* --- folders ------------------------------------------------------------------------------------------- */

static struct published_model model;
static char config[8192];

static void expect_folder(const char *text)
{
    struct model *m = NULL;
    struct err err = {0};
    int rc = model_open(temp_folder, &m, &err);
    if (!text) {
        if (rc) {
            fail_msg("%s", err.msg);
        }
        model_close(m);
    } else if (!rc || !strstr(err.msg, text)) {
        fail_msg("rc %d, \"%s\" does not say \"%s\"", rc, err.msg, text);
    }
}

/* A good one, whose config.json is in `config` too. */
static void begin_folder(const char *name)
{
    struct tiny_builder t;
    const struct tiny_spec *spec = tiny_spec_find(name);
    tiny_build(&t, spec, false);
    published_clear(&model);
    publish_model(&model, spec, &t.b);
    builder_clear(&t.b);
    write_config_of(name);
    write_tiny_tokenizer();
    write_published(&model, 1);
    FILE *f = fopen(temp_path("config.json"), "re");
    assert_non_null(f);
    config[fread(config, 1, sizeof config - 1, f)] = '\0';
    fclose(f);
}

/* The text with one part replaced, as a file. */
static void write_changed(const char *file, const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    struct buf out;
    if (!at) {
        fail_msg("%s has no %s", file, from);
    }
    buf_init(&out, 1 << 20);
    buf_add(&out, text, (size_t)(at - text));
    buf_add_cstr(&out, to);
    buf_add_cstr(&out, at + strlen(from));
    write_anew(file, out.p, out.n);
    buf_clear(&out);
}

static void what_a_config_may_not_say(void **state)
{
    static const struct {
        const char *model;
        const char *from;
        const char *to;
        const char *text;
    } cases[] = {
        {"llama2", "\"llama\"", "\"mamba\"", "model_type \"mamba\""},
        {"llama2", "\"hidden_size\": 64", "\"x\": 0", "config.json: hidden_size is missing"},
        {"llama2", "\"hidden_size\": 64", "\"hidden_size\": \"64\"", "hidden_size is not a whole number"},
        {"llama2", "\"hidden_size\": 64", "\"hidden_size\": -1", "hidden_size is not a whole number"},
        {"llama2", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", "hidden_act is \"relu\""},
        {"llama2", "\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias is true"},
        {"llama2", "\"attention_bias\": false", "\"attention_bias\": 1",
         "attention_bias is not true or false"},
        {"llama2", "\"rope_type\": \"default\"", "\"rope_type\": \"dynamic\"",
         "rope_type \"dynamic\" is not supported"},
        {"llama2", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0",
         "config.json: num_attention_heads is 0"},
        {"llama2", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5",
         "an even number of rows for each head"},
        {"llama2", "\"vocab_size\": 262", "\"vocab_size\": 261", "id is missing or not below vocab_size"},
        {"llama2", "\"vocab_size\": 262", "\"vocab_size\": 0", "vocab_size is 0"},
        {"llama2", "\"vocab_size\": 262", "\"vocab_size\": 4294967295", "vocab_size is 4294967295"},
        {"llama2", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
         "no use for tensor model.layers.1."},
        {"llama2", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "blk.2.attn_norm.weight is missing"},
        {"llama2", "{", "[{", "config.json"},
        {"llama2", "{", "{\"partial_rotary_factor\":0.5,", "partial_rotary_factor has a value"},
        {"llama2", "{", "{\"quantization_config\":{\"quant_method\":\"gptq\"},", "quant_method is not fp8"},
        {"llama2", "{", "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[64,128]},",
         "not fp8"},
        {"qwen2", "\"use_sliding_window\": false", "\"use_sliding_window\": true",
         "use_sliding_window is true"},
        {"qwen3-yarn", "\"original_max_position_embeddings\"", "\"x\"",
         "original_max_position_embeddings is missing"},
        {"gemma3", "\"full_attention\",", "\"sliding_attention\",", "layer_types"},
        {"gemma3", "{", "{\"sliding_window_pattern\":0,", "sliding_window_pattern is 0"},
        {"gemma3", "{", "{\"sliding_window_pattern\":5,", "layer_types"},
        {"gemma3", "\"full_attention\": {", "\"x\": {",
         "config.json: rope_parameters: full_attention is missing"},
        {"gemma3", "\"query_pre_attn_scalar\": 32", "\"query_pre_attn_scalar\": 33", "query_pre_attn_scalar"},
        {"gemma3", "\"final_logit_softcapping\": null", "\"final_logit_softcapping\": 30", "softcapping"},
        {"deepseek2-v3", "\"rope_interleave\": true", "\"rope_interleave\": false", "rope_interleave"},
        {"deepseek2-v3", "{", "{\"scoring_func\":\"softplus\",", "scoring_func is neither"},
        {"deepseek2-v3", "{", "{\"moe_layer_freq\":2,", "moe_layer_freq"},
        {"deepseek2-v3", "\"n_routed_experts\": 16", "\"n_routed_experts\": 8",
         "no use for tensor model.layers.1.mlp.experts"},
        {"deepseek2-v3", "\"n_routed_experts\": 16", "\"n_routed_experts\": 32",
         "experts.16.gate_proj.weight is missing"},
        {"deepseek2-v3", "\"v_head_dim\": 32", "\"v_head_dim\": 64",
         "attn_kv_b.weight is 64 x 384, expected 64 x 512"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_folder(cases[i].model);
        expect_folder(NULL);
        write_changed("config.json", config, cases[i].from, cases[i].to);
        expect_folder(cases[i].text);
    }
}

static char *read_temp(const char *name)
{
    static char text[1 << 16];
    FILE *f = fopen(temp_path(name), "re");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static void what_a_tokenizer_may_not_say(void **state)
{
    static const struct {
        const char *from;
        const char *to;
        const char *text;
    } cases[] = {
        {"\"type\":\"Digits\"", "\"type\":\"Bert\"", "pre_tokenizer is not one that is known: Bert"},
        {"\"individual_digits\":true", "\"individual_digits\":false", "known: digits"},
        {"\"add_prefix_space\":false", "\"add_prefix_space\":true", "known: digit"},
        {"{\"type\":\"Digits\",\"individual_digits\":true}",
         "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\d+\"},\"behavior\":\"Isolated\",\"invert\":false}",
         "known: split \\\\d+"},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "type is not BPE"},
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}",
         "normalizer: type is not supported"},
        {"\"ignore_merges\":false", "\"ignore_merges\":true", "ignore_merges is not what"},
        {"\"h e\"", "7", "merges is not a list of pairs"},
        {"[\"l\",\"l\"]", "[\"l\",\"l\",\"l\"]", "merges is not a list of pairs"},
        {"\"he ll\"", "\"ll he\"", "merge 2 names a token that is not there"},
        {"\"he\":256", "\"he\":257", "is there twice"},
        {"\"he\":256", "\"he\":999", "not below vocab_size"},
        {"\"he\":256", "\"he\":null", "is no number"},
        {"{\"id\":254", "{\"id\":999", "id is missing or not below vocab_size"},
        {"{\"id\":254,", "{", "id is missing or not below vocab_size"},
        {"\"added_tokens\":[", "\"added_tokens\":[7,", "added_tokens is not an object"},
        {"\"merges\":", "\"merged\":", "merges is not a list"},
        {"\"vocab\":", "\"vocabulary\":", "vocab is not an object"},
    };
    begin_folder("llama2");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf *g = NULL;
        struct tokenizer *t = NULL;
        struct err err = {0};
        write_tiny_tokenizer();
        write_changed("tokenizer.json", read_temp("tokenizer.json"), cases[i].from, cases[i].to);
        int rc = model_open_file(temp_folder, &g, &err);
        rc = rc ? rc : tokenizer_new(g, &t, &err);
        if (!rc || !strstr(err.msg, cases[i].text)) {
            fail_msg("%s: rc %d, \"%s\" does not say \"%s\"", cases[i].to, rc, err.msg, cases[i].text);
        }
        gguf_close(g);
    }
    write_tiny_tokenizer();
    write_text("tokenizer_config.json", "{\"eos_token\":\"<gone>\"}");
    expect_folder("eos_token is not one of the tokens");
    write_text("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"default\"},7]}");
    expect_folder("chat_template is not an object");
    unlink(temp_path("tokenizer_config.json"));
    expect_folder(NULL);
    unlink(temp_path("tokenizer.json"));
    expect_folder("tokenizer.json: No such file");
}

#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"normalizers\":[" steps "]}"

/* With byte_fallback: what is published with Gemma and Llama is taken, what would have to be ignored is not. */
static void normalizers_of_sentencepiece(void **state)
{
    static const struct {
        const char *normalizer;
        bool prepends;
        const char *text; /* NULL: it is good */
    } cases[] = {
        {"null", false, NULL},
        {REPLACE, false, NULL},
        {PREPEND, true, NULL},
        {SEQUENCE(REPLACE), false, NULL},
        {SEQUENCE(PREPEND "," REPLACE), true, NULL},
        {"{\"type\":\"NFKC\"}", false, "normalizer: type \"NFKC\" is not supported with byte_fallback"},
        {SEQUENCE(PREPEND ",{\"type\":\"Lowercase\"}," REPLACE), false,
         "type \"Lowercase\" is not supported"},
        {SEQUENCE(SEQUENCE(REPLACE)), false, "type \"Sequence\" is not supported"},
        {"{\"prepend\":\"x\"}", false, "type \"\" is not supported"},
        {"7", false, "normalizer is not an object"},
    };
    begin_folder("llama2");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gguf *g = NULL;
        struct err err = {0};
        char normalizer[512];
        bool prepends = !cases[i].prepends;
        write_tiny_tokenizer();
        write_changed("tokenizer.json", read_temp("tokenizer.json"), "\"type\":\"BPE\"",
                      "\"type\":\"BPE\",\"byte_fallback\":true");
        snprintf(normalizer, sizeof normalizer, "\"normalizer\":%s", cases[i].normalizer);
        write_changed("tokenizer.json", read_temp("tokenizer.json"), "\"normalizer\":null", normalizer);
        int rc = model_open_file(temp_folder, &g, &err);
        if (cases[i].text ? !rc || !strstr(err.msg, cases[i].text) : rc) {
            fail_msg("%s: rc %d, \"%s\" does not say \"%s\"", cases[i].normalizer, rc, err.msg,
                     cases[i].text ? cases[i].text : "");
        }
        if (!rc) {
            assert_int_equal(gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &prepends, &err), 0);
            assert_true(prepends == cases[i].prepends);
        }
        gguf_close(g);
    }
}

static void change_tensor(const char *name, const char *to, const char *dtype)
{
    for (unsigned i = 0; i < model.count; i++) {
        if (strcmp(model.tensors[i].name, name) == 0) {
            snprintf(model.tensors[i].name, sizeof model.tensors[i].name, "%s", to);
            model.tensors[i].dtype = dtype;
            return;
        }
    }
    fail_msg("no tensor %s", name);
}

static void tensors_that_do_not_fit(void **state)
{
    static const struct {
        const char *model;
        const char *name;
        const char *to;
        const char *dtype;
        const char *text;
    } cases[] = {
        {"llama2", "model.norm.weight", "model.nrom.weight", "F32", "no use for tensor model.nrom.weight"},
        {"llama2", "lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "F32",
         "lm_head.weight is missing"},
        {"llama2", "model.norm.weight", "model.norm.weight", "I32", "tensor model.norm.weight is not F32"},
        {"llama2", "model.layers.0.mlp.up_proj.weight", "model.layers.x.mlp.up_proj.weight", "F32",
         "no use for tensor"},
        {"llama2", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight_scale_inv", "F32",
         "no use"},
        {"qwen2", "model.layers.1.self_attn.q_proj.bias", "model.layers.1.self_attn.o_proj.bias", "F32",
         "no use for tensor"},
        {"deepseek2-v3", "model.layers.1.mlp.experts.3.up_proj.weight",
         "model.layers.1.mlp.experts.16.up_proj.weight", "F32", "experts.3.up_proj.weight is missing"},
        {"deepseek2-v3", "model.layers.1.mlp.experts.3.up_proj.weight",
         "model.layers.1.mlp.experts.3.x.weight", "F32", "experts.3.up_proj.weight is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_folder(cases[i].model);
        change_tensor(cases[i].name, cases[i].to, cases[i].dtype);
        write_published(&model, 1);
        expect_folder(cases[i].text);
    }
    begin_folder("deepseek2-v3");
    publish(&model, "model.layers.1.mlp.experts.16.up_proj.weight", "F32", 32, 64);
    write_published(&model, 1);
    expect_folder("no use for tensor model.layers.1.mlp.experts.16.up_proj.weight");
    begin_folder("deepseek2-v3");
    publish(&model, "model.layers.9.input_layernorm.weight", "F32", 0, 64);
    write_published(&model, 1);
    expect_folder("no use for tensor model.layers.9.input_layernorm.weight");
}

static void an_index_that_lies(void **state)
{
    begin_folder("llama2");
    write_published(&model, 3);
    expect_folder(NULL);
    char *index = read_temp("model.safetensors.index.json");
    write_changed("model.safetensors.index.json", index, "model.norm.weight", "model.more.weight");
    expect_folder("no tensor model.more.weight, which the index lists");
    write_changed("model.safetensors.index.json", index, "model-00001-of", "../model-00001-of");
    expect_folder("is not a file of this folder");
    write_changed("model.safetensors.index.json", index, "model-00001-of", "model-00009-of");
    expect_folder("model-00009-of-00003.safetensors: No such file");
    write_changed("model.safetensors.index.json", index, "model-00001-of-00003", "model-00002-of-00003");
    expect_folder("which the index lists");
    write_changed("model.safetensors.index.json", index, "\"weight_map\":{", "\"weight_map\":{\"x\":7,");
    expect_folder("weight_map: a member is not a file's name");
    write_changed("model.safetensors.index.json", index, "\"weight_map\":{\"", "\"weight_map\":7,\"x\":{\"");
    expect_folder("weight_map is not an object");
    write_shard(&model, "model-00002-of-00003.safetensors", 0, model.count);
    write_text("model.safetensors.index.json", index);
    expect_folder("both have tensor");
}

/* Any byte of any of the texts may be any other. */
static void changed_bytes_do_no_harm(void **state)
{
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    struct builder random;
    builder_init(&random);
    begin_folder("deepseek2-v3");
    for (unsigned i = 0; i < 450; i++) {
        const char *name = files[i % 3];
        struct model *m = NULL;
        struct err err = {0};
        write_config_of("deepseek2-v3");
        write_tiny_tokenizer();
        write_published(&model, 1);
        FILE *f = fopen(temp_path(name), "r+e");
        assert_non_null(f);
        assert_int_equal(fseek(f, 0, SEEK_END), 0);
        uint64_t end = i % 3 == 2 ? 12000 : (uint64_t)ftell(f); /* of weights, the head */
        assert_int_equal(fseek(f, (long)((built_random(&random) >> 8) % end), SEEK_SET), 0);
        fputc((int)(built_random(&random) & 255), f);
        fclose(f);
        if (model_open(temp_folder, &m, &err) == 0) {
            model_close(m);
        } else {
            assert_true(err.msg[0]);
        }
    }
    builder_clear(&random);
    published_clear(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_read_strictly),      cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(what_a_config_may_not_say),    cmocka_unit_test(what_a_tokenizer_may_not_say),
        cmocka_unit_test(normalizers_of_sentencepiece), cmocka_unit_test(tensors_that_do_not_fit),
        cmocka_unit_test(an_index_that_lies),           cmocka_unit_test(changed_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}

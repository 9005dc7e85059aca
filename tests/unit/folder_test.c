/* Folders of safetensors: what is written here is to the bit what transformers writes of the same models, the logits
 * are transformers', and nothing differs from the same model as a GGUF file; folders that do not fit are refused. */
#include "tests/unit/published_models.h"
#include "tests/unit/tiny_machine.h"

#include <openssl/sha.h>

#include "inference/worker/safetensors/convert.h"
#include "inference/worker/safetensors/folder.h"
#include "inference/worker/tokenizer.h"

/* A name of tests/oracles, and the model whose weights it has. */
static const struct {
    const char *oracle;
    const char *spec;
} folders[] = {
    {"llama2", "llama2"},
    {"llama3-rule", "llama3"},
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
    {"qwen3-yarn", "qwen3-yarn"},
    {"gemma3", "gemma3"},
    {"deepseek2-lite", "deepseek2-lite"},
    {"deepseek2-v2", "deepseek2-v2"},
    {"deepseek2-v3", "deepseek2-v3"},
};
enum { FOLDERS = sizeof folders / sizeof *folders };

static float rows[POSITIONS * TINY_VOCAB];
static float other_rows[POSITIONS * TINY_VOCAB];
static struct oracle oracle;
static struct published_model model;

static void write_folder(const char *name, const char *spec_name, unsigned shards)
{
    struct tiny_builder t;
    const struct tiny_spec *spec = tiny_spec_find(spec_name);
    tiny_build(&t, spec, false);
    publish_model(&model, spec, &t.b);
    builder_clear(&t.b);
    write_config_of(name);
    write_tiny_tokenizer();
    write_published(&model, shards);
}

static void run_model(const char *path, float *out)
{
    struct machine m;
    machine_open(&m, path, false);
    machine_run(&m, oracle.tokens, 0, POSITIONS, out);
    machine_close(&m);
}

/* --- what transformers has ----------------------------------------------------------------------------- */

static void digest_of(unsigned i, char hex[17])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(published_data(&model, i), model.tensors[i].bytes, digest);
    str_hex_encode(digest, 8, hex);
}

static void folders_are_those_of_transformers(void **state)
{
    for (unsigned f = 0; f < FOLDERS; f++) {
        char path[128];
        char name[128];
        char shape[32];
        char wanted[17];
        unsigned lines = 0;
        write_folder(folders[f].oracle, folders[f].spec, 1);
        snprintf(path, sizeof path, "tests/oracles/%s.tensors", folders[f].oracle);
        FILE *list = fopen(path, "re");
        assert_non_null(list);
        for (; fscanf(list, "%127s %31s %16s", name, shape, wanted) == 3; lines++) {
            char hex[17];
            char ours[32];
            unsigned i = 0;
            while (i < model.count && strcmp(model.tensors[i].name, name) != 0) {
                i++;
            }
            assert_true(i < model.count);
            const struct published *p = &model.tensors[i];
            snprintf(ours, sizeof ours, p->n_dims == 2 ? "%ux%u" : "%u", (unsigned)p->dims[0],
                     (unsigned)p->dims[1]);
            digest_of(i, hex);
            assert_string_equal(shape, ours);
            assert_string_equal(wanted, hex);
        }
        fclose(list);
        assert_int_equal(lines, model.count);
        published_clear(&model);
    }
}

static void logits_are_those_of_transformers(void **state)
{
    bool failed = false;
    for (unsigned f = 0; f < FOLDERS; f++) {
        double worst = 0;
        read_oracle(folders[f].oracle, &oracle);
        write_folder(folders[f].oracle, folders[f].spec, 1 + f % 3);
        published_clear(&model);
        run_model(temp_folder, rows);
        for (unsigned p = 0; p < POSITIONS; p++) {
            double d = row_difference(rows + (size_t)p * TINY_VOCAB, oracle.logits[p]);
            worst = !(d <= worst) ? d : worst; /* also when it is no number */
        }
        print_message("%-14s %.2g\n", folders[f].oracle, worst);
        failed = failed || !(worst <= 5e-4);
    }
    assert_false(failed);
}

/* --- what a GGUF file has ------------------------------------------------------------------------------ */

/* The same values, in each type that weights are published in: the same bits come out. */
static void logits_are_those_of_the_same_file(void **state)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};
    static const char *const names[] = {"llama2", "qwen2", "qwen3-yarn", "deepseek2-lite", "deepseek2-v3"};
    for (unsigned i = 0; i < 15; i++) {
        const struct tiny_spec *spec = tiny_spec_find(names[i / 3]);
        struct tiny_builder t;
        tiny_build(&t, spec, false);
        if (i % 3) {
            narrow_tensors(&t.b, types[i % 3]);
        }
        read_oracle(names[i / 3], &oracle);
        publish_model(&model, spec, &t.b);
        write_config_of(names[i / 3]);
        write_tiny_tokenizer();
        write_published(&model, 2);
        published_clear(&model);
        struct buf file = built_file(&t.b);
        write_anew("same.gguf", file.p, file.n);
        buf_clear(&file);
        builder_clear(&t.b);
        run_model(temp_folder, rows);
        run_model(temp_path("same.gguf"), other_rows);
        assert_memory_equal(rows, other_rows, sizeof rows);
    }
}

static void expect_ids(const struct gguf *a, const struct gguf *b, const char *text)
{
    const struct gguf *files[] = {a, b};
    struct token_list ids[2] = {{0}, {0}};
    struct err err = {0};
    for (unsigned i = 0; i < 2; i++) {
        struct tokenizer *t = NULL;
        if (tokenizer_new(files[i], &t, &err) || tokenizer_encode(t, str_from(text), &ids[i], &err)) {
            fail_msg("%s", err.msg);
        }
        assert_true(tokenizer_ends(t, 260) && !tokenizer_ends(t, 1));
        assert_int_equal(tokenizer_control(t, "<|im_start|>"), 259);
        tokenizer_free(t);
    }
    assert_int_equal(ids[0].n, ids[1].n);
    assert_memory_equal(ids[0].p, ids[1].p, ids[0].n * sizeof *ids[0].p);
    token_list_clear(&ids[0]);
    token_list_clear(&ids[1]);
}

static void tokens_are_those_of_the_same_file(void **state)
{
    struct gguf *folder;
    struct gguf *file;
    struct err err = {0};
    write_folder("qwen2", "qwen2", 1);
    published_clear(&model);
    if (folder_open(temp_folder, &folder, &err)) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(gguf_open(write_tiny_spec(tiny_spec_find("qwen2"), false), &file, &err), 0);
    expect_ids(folder, file,
               "hello hell\n<think>12 \xC3\xA9\xE4\xBD\xA0</think> <|im_start|>\t \xF0\x9F\x8C\x8A  ");
    gguf_close(folder);
    gguf_close(file);
}

/* --- FP8 ------------------------------------------------------------------------------------------------ */

/* As the type is defined, in float64. */
static double e4m3(uint8_t b)
{
    int exponent = b >> 3 & 15;
    double v = exponent ? ldexp(1 + (b & 7) / 8.0, exponent - 7) : ldexp((b & 7) / 8.0, -6);
    return b & 0x80 ? -v : v;
}

/* The nearer of the two neighbours in BF16, of equals the even one. */
static uint16_t nearest_bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint16_t below = (uint16_t)(bits >> 16);
    double low = fabs((double)v - (double)bfloat_to_float(below));
    double high = fabs((double)v - (double)bfloat_to_float((uint16_t)(below + 1)));
    return low < high || (low == high && below % 2 == 0) ? below : (uint16_t)(below + 1);
}

/* A matrix in FP8, its scales, and what both mean, in *bf16. */
static void publish_fp8(struct published_model *fp8, struct published_model *bf16, struct builder *random,
                        const char *name, uint64_t height, uint64_t width)
{
    char scale_name[160];
    uint64_t block_rows = (height + 127) / 128;
    uint64_t block_columns = (width + 127) / 128;
    size_t at = fp8->count;
    uint8_t *values = publish(fp8, name, "F8_E4M3", height, width);
    for (uint64_t i = 0; i < height * width; i++) {
        uint8_t b = (uint8_t)(built_random(random) >> 20);
        values[i] = (b & 0x7F) == 0x7F ? 0 : b; /* no NaN */
    }
    snprintf(scale_name, sizeof scale_name, "%s_scale_inv", name);
    uint8_t *scales = publish(fp8, scale_name, "F32", block_rows, block_columns);
    for (uint64_t i = 0; i < block_rows * block_columns; i++) {
        float scale = (1.5F + built_real(random)) / 1000.0F;
        memcpy(scales + i * sizeof scale, &scale, sizeof scale);
    }
    values = published_data(fp8, (unsigned)at); /* it may have moved */
    uint8_t *out = publish(bf16, name, "BF16", height, width);
    for (uint64_t i = 0; i < height * width; i++) {
        float scale;
        uint64_t block = i / width / 128 * block_columns + i % width / 128;
        memcpy(&scale, scales + block * sizeof scale, sizeof scale);
        uint16_t v = nearest_bf16((float)e4m3(values[i]) * scale);
        memcpy(out + 2 * i, &v, sizeof v);
    }
}

static void fp8_is_value_times_scale(void **state)
{
    static const uint64_t shapes[][2] = {{128, 128}, {200, 300}, {129, 127}, {1, 1000}, {384, 256}};
    struct published_model fp8;
    struct published_model bf16;
    struct builder random;
    struct err err = {0};
    builder_init(&random);
    for (unsigned i = 0; i < 5; i++) {
        struct gguf_pairs pairs;
        struct gguf *g;
        struct shard *s;
        size_t count;
        published_init(&fp8);
        published_init(&bf16);
        publish_fp8(&fp8, &bf16, &random, "m", shapes[i][0], shapes[i][1]);
        write_shard(&fp8, "fp8.safetensors", 0, 2);
        gguf_pairs_init(&pairs);
        assert_int_equal(gguf_of_pairs(&pairs, &g, &err), 0);
        assert_int_equal(shard_open(temp_path("fp8.safetensors"), &s, &err), 0);
        const struct shard_tensor *t = shard_tensors(s, &count);
        struct source source = {s, &t[0], &t[1]};
        assert_int_equal(convert_check(&source, &err), 0);
        assert_int_equal(convert_plain(g, "m", &source, &err), 0);
        const struct gguf_tensor *made = gguf_tensor_find(g, "m");
        assert_int_equal(made->type->type, TENSOR_BF16);
        assert_true(made->dims[0] == shapes[i][1] && made->dims[1] == shapes[i][0]);
        assert_int_equal(*made->is_filled, shapes[i][0] == 1); /* nobody has asked; for vectors nobody does */
        gguf_fill(g, made);
        assert_true(*made->is_filled);
        assert_memory_equal(made->data, published_data(&bf16, 0), made->n_bytes);
        shard_close(s);
        gguf_close(g);
        published_clear(&fp8);
        published_clear(&bf16);
    }
    builder_clear(&random);
}

/* The only tensor of the only file, its heads' rows in llama's order. */
static const struct gguf_tensor *paired(struct gguf **g, struct shard **s, const char *file, uint32_t heads)
{
    struct gguf_pairs pairs;
    struct err err = {0};
    size_t count;
    gguf_pairs_init(&pairs);
    assert_int_equal(gguf_of_pairs(&pairs, g, &err), 0);
    assert_int_equal(shard_open(temp_path(file), s, &err), 0);
    const struct shard_tensor *t = shard_tensors(*s, &count);
    struct source source = {*s, &t[0], count > 1 ? &t[1] : NULL};
    assert_int_equal(convert_pairs(*g, "m", &source, heads, &err), 0);
    return gguf_tensor_find(*g, "m");
}

/* Rows change places under their scales where a head lies within 128 rows; else only as BF16. Both mean the same. */
static void pairs_of_fp8(void **state)
{
    static const struct {
        uint64_t rows;
        uint32_t heads;
        bool stays_fp8;
    } shapes[] = {{256, 4, true}, {256, 2, true}, {288, 3, false}, {256, 1, false}};
    struct published_model fp8;
    struct published_model bf16;
    struct builder random;
    builder_init(&random);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct gguf *g[2];
        struct shard *s[2];
        published_init(&fp8);
        published_init(&bf16);
        publish_fp8(&fp8, &bf16, &random, "m", shapes[i].rows, 160);
        write_shard(&fp8, "fp8.safetensors", 0, 2);
        write_shard(&bf16, "bf16.safetensors", 0, 1);
        const struct gguf_tensor *is = paired(&g[0], &s[0], "fp8.safetensors", shapes[i].heads);
        const struct gguf_tensor *wanted = paired(&g[1], &s[1], "bf16.safetensors", shapes[i].heads);
        assert_int_equal(is->fp8 != NULL, shapes[i].stays_fp8);
        gguf_fill(g[0], is);
        assert_memory_equal(is->data, wanted->data, wanted->n_bytes);
        for (unsigned k = 0; k < 2; k++) {
            shard_close(s[k]);
            gguf_close(g[k]);
        }
        published_clear(&fp8);
        published_clear(&bf16);
    }
    builder_clear(&random);
}

static bool is_fp8(const struct published *p)
{
    return p->n_dims == 2 && strstr(p->name, "_proj") != NULL;
}

static void write_fp8_config(void)
{
    char text[8192];
    FILE *f = fopen("tests/oracles/deepseek2-v3.config.json", "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *end = strrchr(text, '}');
    assert_non_null(end);
    snprintf(end, sizeof text - (size_t)(end - text),
             ",\"quantization_config\":{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":"
             "\"fp8\","
             "\"weight_block_size\":[128,128]}}");
    write_text("config.json", text);
}

/* A whole model with FP8 where DeepSeek V3 has it computes what its BF16 form does. */
static void a_model_in_fp8(void **state)
{
    struct published_model fp8;
    struct published_model bf16;
    struct builder random;
    builder_init(&random);
    published_init(&fp8);
    published_init(&bf16);
    read_oracle("deepseek2-v3", &oracle);
    write_folder("deepseek2-v3", "deepseek2-v3", 1);
    for (unsigned i = 0; i < model.count; i++) {
        const struct published *p = &model.tensors[i];
        if (is_fp8(p)) {
            publish_fp8(&fp8, &bf16, &random, p->name, p->dims[0], p->dims[1]);
        } else {
            uint64_t height = p->n_dims == 2 ? p->dims[0] : 0;
            memcpy(publish(&fp8, p->name, p->dtype, height, p->dims[1]), published_data(&model, i), p->bytes);
            memcpy(publish(&bf16, p->name, p->dtype, height, p->dims[1]), published_data(&model, i),
                   p->bytes);
        }
    }
    write_published(&bf16, 1);
    run_model(temp_folder, other_rows);
    write_fp8_config();
    write_published(&fp8, 3);
    run_model(temp_folder, rows);
    assert_memory_equal(rows, other_rows, sizeof rows);
    assert_true(isfinite(rows[0]) && rows[0] != 0.0F);
    published_clear(&model);
    published_clear(&fp8);
    published_clear(&bf16);
    builder_clear(&random);
}

/* --- layers that predict further tokens ----------------------------------------------------------------- */

static void layers_that_predict_further_are_left_out(void **state)
{
    char text[8192];
    read_oracle("deepseek2-v3", &oracle);
    write_folder("deepseek2-v3", "deepseek2-v3", 1);
    run_model(temp_folder, other_rows);
    FILE *f = fopen("tests/oracles/deepseek2-v3.config.json", "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *number = strstr(text, "\"num_nextn_predict_layers\": 0");
    assert_non_null(number);
    number[strlen("\"num_nextn_predict_layers\": ")] = '1';
    write_text("config.json", text);
    publish(&model, "model.layers.3.eh_proj.weight", "F32", 64, 128);
    publish(&model, "model.layers.3.input_layernorm.weight", "F32", 0, 64);
    publish(&model, "model.layers.3.mlp.experts.0.up_proj.weight", "F32", 32, 64);
    write_published(&model, 1);
    run_model(temp_folder, rows);
    assert_memory_equal(rows, other_rows, sizeof rows);
    published_clear(&model);
}

/* --- Gemma 3 with images -------------------------------------------------------------------------------- */

static void write_config_with_images(const char *more)
{
    char text[8192];
    char whole[10000];
    FILE *f = fopen("tests/oracles/gemma3.config.json", "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    snprintf(
        whole, sizeof whole,
        "{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"eos_token_id\":[260,106],\"image_token_"
        "index\":"
        "200,\"mm_tokens_per_image\":256,\"model_type\":\"gemma3\",\"vision_config\":{\"hidden_size\":1152},"
        "\"text_config\":%s%s}",
        text, more);
    write_text("config.json", whole);
}

/* Names as Google's files have them, or as newer versions of transformers write them. */
static void rename_tensors(bool is_newer)
{
    for (unsigned i = 0; i < model.count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s", model.tensors[i].name);
        assert_int_equal(strncmp(name, "model.", 6), 0);
        int n = is_newer ? snprintf(model.tensors[i].name, 128, "model.language_model.%s", name + 6)
                         : snprintf(model.tensors[i].name, 128, "language_model.%s", name);
        assert_true(n < 128);
    }
}

static void the_text_model_of_one_with_images(void **state)
{
    for (unsigned is_newer = 0; is_newer < 2; is_newer++) {
        const char *before = is_newer ? "model." : "";
        char name[128];
        struct gguf *g;
        struct err err = {0};
        uint64_t eot = 0;
        read_oracle("gemma3", &oracle);
        write_folder("gemma3", "gemma3", 1);
        run_model(temp_folder, other_rows);
        rename_tensors(is_newer);
        snprintf(name, sizeof name, "%svision_tower.vision_model.post_layernorm.weight", before);
        publish(&model, name, "F32", 0, 64);
        snprintf(name, sizeof name, "%smulti_modal_projector.mm_input_projection_weight", before);
        publish(&model, name, "F32", 16, 64);
        write_config_with_images("");
        write_published(&model, 2);
        published_clear(&model);
        run_model(temp_folder, rows);
        assert_memory_equal(rows, other_rows, sizeof rows);
        assert_int_equal(folder_open(temp_folder, &g, &err), 0);
        assert_int_equal(gguf_get_u64(g, "tokenizer.ggml.eot_token_id", &eot, &err), 0);
        assert_int_equal(eot, 106);
        gguf_close(g);
    }
}

static void expect_refused(const char *words)
{
    struct gguf *g = NULL;
    struct err err = {0};
    assert_int_equal(folder_open(temp_folder, &g, &err), ERR_INVALID);
    if (strstr(err.msg, words) == NULL) {
        fail_msg("\"%s\" has no %s", err.msg, words);
    }
}

static void what_is_odd_about_images_is_refused(void **state)
{
    write_folder("gemma3", "gemma3", 1);
    publish(&model, "vision_tower.weight", "F32", 0, 64);
    write_published(&model, 1);
    expect_refused("gemma3 has no use for tensor vision_tower.weight"); /* a text model has none */
    write_config_with_images(",\"tie_word_embeddings\":false");
    expect_refused("tie_word_embeddings");
    write_config_with_images(",\"quantization_config\":{\"quant_method\":\"awq\"}");
    expect_refused("quant_method");
    write_text("config.json", "{\"model_type\":\"gemma3\"}");
    expect_refused("model_type");
    publish(&model, "audio_tower.weight", "F32", 0, 64);
    write_published(&model, 1);
    write_config_with_images("");
    expect_refused("no use for tensor audio_tower.weight");
    published_clear(&model);
}

/* As Google publishes the 4B model: what is as in transformers is not said. */
static void what_gemma_leaves_out_is_known(void **state)
{
    static const struct {
        const char *key;
        uint64_t value;
    } wanted[] = {{"gemma3.attention.head_count", 8},        {"gemma3.attention.head_count_kv", 4},
                  {"gemma3.attention.key_length", 256},      {"gemma3.context_length", 131072},
                  {"gemma3.attention.sliding_window", 1024}, {"gemma3.block_count", 34}};
    struct gguf *g;
    struct err err = {0};
    write_folder("gemma3", "gemma3", 1);
    published_clear(&model);
    write_text("config.json",
               "{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"text_config\":{\"hidden_size\":2560,"
               "\"intermediate_size\":10240,\"model_type\":\"gemma3_text\",\"num_hidden_layers\":34,"
               "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024}}");
    if (folder_open(temp_folder, &g, &err)) {
        fail_msg("%s", err.msg);
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        uint64_t found = 0;
        assert_int_equal(gguf_get_u64(g, wanted[i].key, &found, &err), 0);
        assert_int_equal(found, wanted[i].value);
    }
    gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_those_of_transformers),
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(logits_are_those_of_the_same_file),
        cmocka_unit_test(tokens_are_those_of_the_same_file),
        cmocka_unit_test(fp8_is_value_times_scale),
        cmocka_unit_test(pairs_of_fp8),
        cmocka_unit_test(a_model_in_fp8),
        cmocka_unit_test(layers_that_predict_further_are_left_out),
        cmocka_unit_test(the_text_model_of_one_with_images),
        cmocka_unit_test(what_is_odd_about_images_is_refused),
        cmocka_unit_test(what_gemma_leaves_out_is_known),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}

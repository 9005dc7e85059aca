/* Every architecture on tiny random models: the logits are transformers' (tests/oracles), by each kind of kernels,
 * in one batch and token by token; files that do not fit their architecture are refused by name.
 * `architectures_test --write FOLDER` writes the models, for the oracle. */
#include "tests/unit/tiny_machine.h"

#include <math.h>

static void logits_are_those_of_transformers(void **state)
{
    static struct oracle o;
    static float rows[POSITIONS * TINY_VOCAB];
    bool failed = false;
    for (unsigned i = 0; i < 2 * TINY_SPECS; i++) {
        const struct tiny_spec *spec = &tiny_specs[i / 2];
        struct machine m;
        double worst = 0;
        read_oracle(spec->name, &o);
        machine_open(&m, write_tiny_spec(spec, false), i % 2);
        machine_run(&m, o.tokens, 0, POSITIONS, rows);
        for (unsigned p = 0; p < POSITIONS; p++) {
            double d = row_difference(rows + (size_t)p * TINY_VOCAB, o.logits[p]);
            worst = !(d <= worst) ? d : worst; /* also when it is no number */
        }
        machine_close(&m);
        print_message("%-14s %s %.2g\n", spec->name, i % 2 ? "portable" : "best", worst);
        failed = failed || !(worst <= 5e-4); /* a key or value that is rounded to the other side costs 2e-4 */
    }
    assert_false(failed);
}

/* Whole, in parts, or token by token: the same bits, with float32 and with quantized weights. */
static void logits_do_not_depend_on_the_batch(void **state)
{
    static float whole[POSITIONS * TINY_VOCAB];
    static float parts[POSITIONS * TINY_VOCAB];
    static struct oracle o;
    for (unsigned i = 0; i < 2 * TINY_SPECS; i++) {
        struct machine m;
        read_oracle(tiny_specs[i / 2].name, &o);
        machine_open(&m, write_tiny_spec(&tiny_specs[i / 2], i % 2), false);
        machine_run(&m, o.tokens, 0, POSITIONS, whole);
        for (uint32_t from = 0, n = 1; from < POSITIONS; from += n, n = from < 8 ? 1 : 13) {
            uint32_t to = from + n < POSITIONS ? from + n : POSITIONS;
            machine_run(&m, o.tokens, from, to, parts + (size_t)from * TINY_VOCAB);
        }
        for (unsigned k = 0; k < POSITIONS * TINY_VOCAB; k++) {
            assert_true(isfinite(whole[k]));
        }
        assert_memory_equal(whole, parts, sizeof whole);
        machine_close(&m);
    }
}

static int32_t largest_of(const float *row)
{
    int32_t best = 0;
    for (int32_t i = 1; i < TINY_VOCAB; i++) {
        best = row[i] > row[best] ? i : best;
    }
    return best;
}

/* Positions whose best token is all that is wanted, between others: that token, and the others' logits untouched. */
static void check_best(struct machine *m, const int32_t *tokens)
{
    static float whole[POSITIONS * TINY_VOCAB];
    struct batch_token batch[POSITIONS];
    float *logits;
    struct err err;
    machine_run(m, tokens, 0, POSITIONS, whole);
    for (uint32_t i = 0; i < POSITIONS; i++) {
        batch[i] = (struct batch_token){
            .token = tokens[i], .position = i, .wants_logits = i % 5 != 0, .best_only = i % 2};
    }
    struct batch b = {
        .tokens = batch, .n = POSITIONS, .tables = m->table, .table_width = POSITIONS / KV_BLOCK};
    assert_int_equal(backend_cpu.run(m->backend, &b, &logits, &err), 0);
    for (uint32_t i = 0, row = 0; i < POSITIONS; i++) {
        struct candidates best;
        const float *expected = whole + (size_t)i * TINY_VOCAB;
        if (i % 5 == 0) {
            continue;
        }
        assert_int_equal(backend_cpu.candidates(m->backend, row, &best), i % 2);
        if (i % 2) {
            assert_int_equal(best.n, 1);
            assert_int_equal(best.ids[0], largest_of(expected));
        } else {
            assert_memory_equal(logits + (size_t)row * TINY_VOCAB, expected, TINY_VOCAB * sizeof *expected);
        }
        row++;
    }
}

static void the_best_is_found_in_the_head(void **state)
{
    static struct oracle o;
    for (unsigned i = 0; i < 2 * TINY_SPECS; i++) {
        struct machine m;
        read_oracle(tiny_specs[i / 2].name, &o);
        machine_open(&m, write_tiny_spec(&tiny_specs[i / 2], i % 2), false);
        check_best(&m, o.tokens);
        machine_close(&m);
    }
}

/* A head of zeros: all logits are equal, whoever computes them. Often, since a thread does its own part of the rows first,
 * and only sometimes some of another's that come before it. */
static void the_lowest_of_equals_is_best(void **state)
{
    static struct oracle o;
    struct tiny_builder t;
    struct machine m;
    tiny_build(&t, tiny_spec_find("qwen3-yarn"), false);
    assert_string_equal(t.b.tensors[1].name, "output.weight");
    memset(t.b.data.p + t.b.tensors[1].offset, 0, t.b.tensors[1].bytes);
    struct buf file = built_file(&t.b);
    read_oracle("qwen3-yarn", &o);
    machine_open(&m, write_bytes("zeros.gguf", file.p, file.n), false);
    for (unsigned i = 0; i < 500; i++) {
        check_best(&m, o.tokens);
    }
    struct candidates c;
    assert_true(backend_cpu.candidates(m.backend, 0, &c));
    assert_int_equal(c.ids[0], 0);
    machine_close(&m);
    buf_clear(&file);
    builder_clear(&t.b);
}

/* --- files that do not fit --------------------------------------------------------------------------- */

static void expect_refusal(struct tiny_builder *t, const char *text)
{
    struct err err = {0};
    struct model *m = NULL;
    struct buf file = built_file(&t->b);
    int rc = model_open(write_bytes("case.gguf", file.p, file.n), &m, &err);
    if (rc != ERR_INVALID || !strstr(err.msg, text)) {
        fail_msg("rc %d, \"%s\" does not say \"%s\"", rc, err.msg, text);
    }
    buf_clear(&file);
    builder_clear(&t->b);
}

/* Every tensor, taken away or of another shape, is missed by name; one too many is refused by name. */
static void every_tensor_counts(void **state)
{
    for (unsigned i = 0; i < TINY_SPECS; i++) {
        struct tiny_builder t;
        tiny_build(&t, &tiny_specs[i], false);
        uint64_t count = t.b.tensor_count;
        builder_clear(&t.b);
        for (uint64_t k = 0; k < count; k++) {
            tiny_build(&t, &tiny_specs[i], false);
            struct built_tensor *tensor = &t.b.tensors[k];
            bool may_lack = strcmp(tensor->name, "output.weight") == 0 ||
                            strstr(tensor->name, "rope_freqs") || strstr(tensor->name, "exp_probs_b");
            char name[64];
            memcpy(name, tensor->name, sizeof name);
            if (!may_lack) {
                snprintf(tensor->name, sizeof tensor->name, "gone");
                expect_refusal(&t, name);
                tiny_build(&t, &tiny_specs[i], false);
            }
            t.b.tensors[k].columns /= 2; /* less than there is: the file itself stays sound */
            expect_refusal(&t, strcmp(name, "token_embd.weight") ? name : "token_embd");
        }
        tiny_build(&t, &tiny_specs[i], false);
        add_reals(&t.b, "blk.0.attn_sinks.weight", 4, 1, 0.0F, 1.0F);
        expect_refusal(&t, "has no use for tensor blk.0.attn_sinks.weight");
    }
}

static void keys_that_make_no_sense(void **state)
{
    static const struct {
        const char *spec;
        const char *key;
        uint32_t number; /* or */
        float real;      /* where it is not 0 */
        const char *text;
    } cases[] = {
        {"llama2", "llama.expert_count", 8, 0, "experts are supported in deepseek2 only"},
        {"qwen2", "qwen2.attention.sliding_window", 8, 0, "supported in gemma3 only"},
        {"qwen3-yarn", "qwen3.rope.scaling.attn_factor", 0, -1.0F, "magnitude"},
        {"gemma3", "gemma3.final_logit_softcapping", 0, 30.0F, "gemma3.final_logit_softcapping"},
        {"gemma3", "gemma3.rope.freq_base_swa", 0, -1.0F, "rope base -1"},
        {"deepseek2-lite", "deepseek2.expert_gating_func", 7, 0, "expert_gating_func"},
        {"deepseek2-lite", "deepseek2.expert_group_count", 3, 0, "do not fit"},
        {"deepseek2-lite", "deepseek2.rope.scaling.yarn_beta_slow", 0, 33.0F, "beta"},
        {"qwen3-yarn", "qwen3.rope.scaling.yarn_log_multiplier", 0, NAN, "yarn_log_multiplier"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_builder t;
        tiny_build(&t, tiny_spec_find(cases[i].spec), false);
        if (cases[i].real != 0) {
            pair_f32(&t.b, cases[i].key, cases[i].real);
        } else {
            pair_u32(&t.b, cases[i].key, cases[i].number);
        }
        expect_refusal(&t, cases[i].text);
    }
}

/* Any byte of the keys may be any other: the file is refused with a word, or it is a model that can be built. */
static void changed_keys_do_no_harm(void **state)
{
    static const char *const names[] = {"gemma3", "deepseek2-v3"};
    for (unsigned i = 0; i < 600; i++) {
        struct tiny_builder t;
        struct model *m = NULL;
        struct err err = {0};
        tiny_build(&t, tiny_spec_find(names[i % 2]), true);
        char *vocabulary = memmem(t.b.pairs.p, t.b.pairs.n, "tokenizer.", 10);
        assert_non_null(vocabulary);
        t.b.random += i * 7919;
        size_t at = built_random(&t.b) % (size_t)(vocabulary - t.b.pairs.p);
        t.b.pairs.p[at] = (char)built_random(&t.b);
        struct buf file = built_file(&t.b);
        if (model_open(write_bytes("case.gguf", file.p, file.n), &m, &err) == 0) {
            struct graph *g = graph_new(m);
            assert_non_null(g);
            graph_free(g);
            model_close(m);
        } else {
            assert_true(err.msg[0]);
        }
        buf_clear(&file);
        builder_clear(&t.b);
    }
}

/* --- other forms of the same model --------------------------------------------------------------------- */

static const char *write_built(const char *name, struct builder *b)
{
    struct buf file = built_file(b);
    const char *path = write_bytes(name, file.p, file.n);
    buf_clear(&file);
    return path;
}

/* As converters wrote it before attn_k_b and attn_v_b: a head's rows of keys, then its rows of values, together, and
 * the lengths of a head under the names that other architectures have. */
static void join_heads(struct builder *b, unsigned layer, enum tensor_type type)
{
    char name[64];
    struct built_tensor *keys = b->tensors;
    snprintf(name, sizeof name, "blk.%u.attn_k_b.weight", layer);
    while (strcmp(keys->name, name) != 0) {
        keys++;
    }
    struct built_tensor old[2] = {keys[0], keys[1]};
    uint64_t heads = old[0].pieces;
    uint64_t rank = old[0].rows / heads;
    uint64_t value_rows = old[1].rows / heads;
    memmove(keys, keys + 2, (size_t)(b->tensors + b->tensor_count - keys - 2) * sizeof *keys);
    b->tensor_count -= 2;
    snprintf(name, sizeof name, "blk.%u.attn_kv_b.weight", layer);
    if (type != TENSOR_F32) {
        add_tensor(b, name, type, rank, heads * (old[0].columns + value_rows));
        return;
    }
    new_tensor(b, name, TENSOR_F32, rank, heads * (old[0].columns + value_rows));
    for (uint64_t h = 0; h < heads; h++) {
        for (uint64_t i = 0; i < old[0].columns * rank; i++) {
            uint64_t from = (h * rank + i % rank) * old[0].columns + i / rank;
            buf_add(&b->data, b->data.p + old[0].offset + from * sizeof(float), sizeof(float));
        }
        for (uint64_t i = 0; i < value_rows * rank; i++) {
            buf_add(&b->data, b->data.p + old[1].offset + (h * value_rows * rank + i) * sizeof(float),
                    sizeof(float));
        }
    }
}

static void rename_key(struct builder *b, const char *key, const char *to)
{
    assert_int_equal(strlen(key), strlen(to));
    char *found = memmem(b->pairs.p, b->pairs.n, key, strlen(key));
    assert_non_null(found);
    memcpy(found, to, strlen(to));
}

static void build_old(struct tiny_builder *t, const char *spec, enum tensor_type type)
{
    tiny_build(t, tiny_spec_find(spec), false);
    rename_key(&t->b, "attention.key_length_mla", "attention.key_length_mlx");
    rename_key(&t->b, "attention.value_length_mla", "attention.value_length_mlx");
    rename_key(&t->b, "deepseek2.attention.key_length\4", "deepseek2.attention.xey_length\4");
    rename_key(&t->b, "deepseek2.attention.value_length\4", "deepseek2.attention.xalue_length\4");
    tiny_u32(t, "attention.key_length", t->spec->head_dim);
    tiny_u32(t, "attention.value_length", t->spec->value_dim);
    for (unsigned layer = 0; layer < t->spec->layers; layer++) {
        join_heads(&t->b, layer, type);
    }
}

static void run_at_once(const char *path, const struct oracle *o, float *rows)
{
    struct machine m;
    machine_open(&m, path, false);
    machine_run(&m, o->tokens, 0, POSITIONS, rows);
    machine_close(&m);
}

static void heads_that_stand_together_are_split(void **state)
{
    static const char *const names[] = {"deepseek2-lite", "deepseek2-v3"};
    static float rows[POSITIONS * TINY_VOCAB];
    static float old_rows[POSITIONS * TINY_VOCAB];
    static struct oracle o;
    for (unsigned i = 0; i < 2; i++) {
        struct tiny_builder t;
        read_oracle(names[i], &o);
        run_at_once(write_tiny_spec(tiny_spec_find(names[i]), false), &o, rows);
        build_old(&t, names[i], TENSOR_F32);
        run_at_once(write_built("old.gguf", &t.b), &o, old_rows);
        builder_clear(&t.b);
        assert_memory_equal(rows, old_rows, sizeof rows);
        build_old(&t, names[i], TENSOR_F32);
        t.b.tensors[t.b.tensor_count - 1].rows /= 2;
        expect_refusal(&t, "attn_kv_b.weight is 64 x ");
    }
}

/* Of quantized files, values keep their blocks; keys, which are turned over, become F16. */
static void quantized_heads_are_split(void **state)
{
    struct tiny_builder t;
    struct model *m;
    struct err err = {0};
    float joined[64];
    build_old(&t, "deepseek2-v3", TENSOR_Q8_0);
    const struct built_tensor *from = &t.b.tensors[t.b.tensor_count - 1];
    if (model_open(write_built("old.gguf", &t.b), &m, &err)) {
        fail_msg("%s", err.msg);
    }
    const struct gguf_tensor *keys = m->layer[2].k_heads;
    const struct gguf_tensor *values = m->layer[2].v_heads;
    const struct quant_type *type = quant_type_find(TENSOR_Q8_0);
    assert_int_equal(keys->type->type, TENSOR_F16);
    assert_int_equal(values->type->type, TENSOR_Q8_0);
    for (unsigned row = 0; row < 4 * 96; row++) { /* of a head: 64 of keys, 32 of values */
        const uint8_t *old = (const uint8_t *)t.b.data.p + from->offset + row * values->row_bytes;
        unsigned head = row / 96;
        unsigned i = row % 96;
        type->dequantize(old, joined, 64);
        for (unsigned k = 0; k < 64 && i < 64; k++) {
            uint16_t turned;
            memcpy(&turned, keys->data + ((head * 64 + k) * 64 + i) * sizeof turned, sizeof turned);
            assert_int_equal(turned, float_to_half(joined[k]));
        }
        if (i >= 64) {
            assert_memory_equal(values->data + (head * 32 + i - 64) * values->row_bytes, old,
                                values->row_bytes);
        }
    }
    model_close(m);
    builder_clear(&t.b);
}

/* They are counted in block_count, as llama.cpp does, or not; the answers are the same. */
static void layers_that_predict_further_are_left_out(void **state)
{
    static float rows[POSITIONS * TINY_VOCAB];
    static float more_rows[POSITIONS * TINY_VOCAB];
    static struct oracle o;
    struct tiny_spec spec = *tiny_spec_find("deepseek2-v3");
    read_oracle(spec.name, &o);
    run_at_once(write_tiny_spec(&spec, false), &o, rows);
    for (unsigned counted = 0; counted < 2; counted++) {
        struct tiny_builder t;
        tiny_build(&t, &spec, false);
        if (counted) {
            char *count = memmem(t.b.pairs.p, t.b.pairs.n, "block_count", 11);
            assert_non_null(count);
            count = memmem(count, 64, "\3\0\0\0", 4); /* 3 layers; before it stands the type, 4 */
            assert_non_null(count);
            *count = 4;
        }
        add_reals(&t.b, "blk.3.nextn.eh_proj.weight", 128, 64, 0.0F, 1.0F);
        add_reals(&t.b, "blk.3.nextn.enorm.weight", 64, 1, 0.0F, 1.0F);
        add_reals(&t.b, "blk.3.attn_norm.weight", 64, 1, 0.0F, 1.0F);
        run_at_once(write_built("further.gguf", &t.b), &o, more_rows);
        assert_memory_equal(rows, more_rows, sizeof rows);
        add_reals(&t.b, "blk.4.attn_norm.weight", 64, 1, 0.0F, 1.0F);
        expect_refusal(&t, "no use for tensor blk.4.attn_norm.weight");
    }
}

static int write_models(const char *folder)
{
    for (unsigned i = 0; i < TINY_SPECS; i++) {
        struct tiny_builder t;
        char path[256];
        tiny_build(&t, &tiny_specs[i], false);
        struct buf file = built_file(&t.b);
        snprintf(path, sizeof path, "%s/%s.gguf", folder, tiny_specs[i].name);
        FILE *f = fopen(path, "we");
        if (!f || fwrite(file.p, 1, file.n, f) != file.n || fclose(f)) {
            perror(path);
            return 1;
        }
        buf_clear(&file);
        builder_clear(&t.b);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(logits_do_not_depend_on_the_batch),
        cmocka_unit_test(the_best_is_found_in_the_head),
        cmocka_unit_test(the_lowest_of_equals_is_best),
        cmocka_unit_test(every_tensor_counts),
        cmocka_unit_test(keys_that_make_no_sense),
        cmocka_unit_test(heads_that_stand_together_are_split),
        cmocka_unit_test(quantized_heads_are_split),
        cmocka_unit_test(layers_that_predict_further_are_left_out),
        cmocka_unit_test(changed_keys_do_no_harm),
    };
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        return write_models(argv[2]);
    }
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}

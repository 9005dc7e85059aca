/* Models that are published in FP8, on emulated devices: their weights stay FP8 where the device has the instructions, and the
 * logits are the CPU backend's, which computes with BF16; older devices get BF16; parts of a matrix that cut blocks of scales
 * do too. */
#include "tests/kernels/machines.h"
#include "tests/unit/published_models.h"

#include "kernels/ref/half.h"

/* Few columns meet weights as they are, so BF16's rounding is all that differs; many become FP8 themselves, of 3 bits of
 * fraction. */
#define FEW_TOLERANCE 2e-2 /* of a row's largest logit, as expect_same_rows */
#define MANY_TOLERANCE 0.4
#define DENSE_NOISE 0.15 /* of all logits, as their roots of mean squares */
#define EXPERTS_NOISE 0.25

struct fp8_model {
    const char *oracle; /* whose config.json is changed */
    struct tiny_spec spec;
};

static struct fp8_model dense_model(void)
{
    struct fp8_model m = {"qwen3", *tiny_spec_find("qwen3")};
    m.spec.layers = 1;
    m.spec.head_dim = 64;
    m.spec.ff = 256;
    return m;
}

/* A token uses all experts: what rounding does to their scores chooses none. */
static struct fp8_model experts_model(void)
{
    struct fp8_model m = {"deepseek2-v3", *tiny_spec_find("deepseek2-v3")};
    m.spec.layers = 2;
    m.spec.width = 128;
    m.spec.ff = 256;
    m.spec.experts = m.spec.used;
    m.spec.groups = m.spec.groups_used = 1;
    m.spec.expert_ff = 256;
    return m;
}

/* --- a folder in FP8 ------------------------------------------------------------------------------------------- */

/* Values of a row's block of 128, and of the 127 rows that share its scale. */
static float scale_of(const float *values, uint64_t height, uint64_t width, uint64_t row, uint64_t column)
{
    float largest = 1e-6F;
    for (uint64_t r = row; r < height && r < row + 128; r++) {
        for (uint64_t c = column; c < width && c < column + 128; c++) {
            largest = fmaxf(largest, fabsf(values[r * width + c]));
        }
    }
    return largest / 448.0F;
}

static void publish_as_fp8(struct published_model *fp8, const char *name, const float *values,
                           uint64_t height, uint64_t width)
{
    char scale_name[160];
    float scales[64];
    uint64_t across = (width + 127) / 128;
    uint64_t down = (height + 127) / 128;
    assert_true(across * down <= 64);
    for (uint64_t i = 0; i < across * down; i++) {
        scales[i] = scale_of(values, height, width, i / across * 128, i % across * 128);
    }
    uint8_t *q = publish(fp8, name, "F8_E4M3", height, width);
    for (uint64_t i = 0; i < height * width; i++) {
        q[i] = ref_float_to_e4m3(values[i] / scales[i / width / 128 * across + i % width / 128]);
    }
    for (uint64_t i = 0; i < across * down; i++) {
        scales[i] *= 1.0F + (float)(i % 3) / 2; /* no block means what its neighbour does */
    }
    snprintf(scale_name, sizeof scale_name, "%s_scale_inv", name);
    memcpy(publish(fp8, scale_name, "F32", down, across), scales, across * down * sizeof *scales);
}

static void set_number(char *text, size_t room, const char *key, unsigned value)
{
    char rest[8192];
    char name[64];
    snprintf(name, sizeof name, "\"%s\": ", key);
    char *at = strstr(text, name);
    assert_non_null(at);
    at += strlen(name);
    snprintf(rest, sizeof rest, "%s", at + strspn(at, "0123456789"));
    snprintf(at, room - (size_t)(at - text), "%u%s", value, rest);
}

static void write_fp8_config(const struct fp8_model *m)
{
    char path[128];
    char text[8192];
    snprintf(path, sizeof path, "tests/oracles/%s.config.json", m->oracle);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    set_number(text, sizeof text, "num_hidden_layers", m->spec.layers);
    set_number(text, sizeof text, "intermediate_size", m->spec.ff);
    if (m->spec.experts) {
        set_number(text, sizeof text, "hidden_size", m->spec.width);
        set_number(text, sizeof text, "n_routed_experts", m->spec.experts);
        set_number(text, sizeof text, "n_group", m->spec.groups);
        set_number(text, sizeof text, "topk_group", m->spec.groups_used);
        set_number(text, sizeof text, "moe_intermediate_size", m->spec.expert_ff);
    } else {
        set_number(text, sizeof text, "head_dim", m->spec.head_dim);
    }
    char *end = strrchr(text, '}');
    assert_non_null(end);
    snprintf(end, sizeof text - (size_t)(end - text),
             ",\"quantization_config\":{\"fmt\":\"e4m3\",\"quant_method\":\"fp8\","
             "\"weight_block_size\":[128,128]}}");
    write_text("config.json", text);
}

/* Unless it is there already. */
static void write_fp8_model(const struct fp8_model *m)
{
    static struct published_model plain;
    static struct published_model fp8;
    static struct tiny_spec written;
    struct tiny_builder t;
    if (memcmp(&written, &m->spec, sizeof written) == 0) {
        return;
    }
    written = m->spec;
    tiny_build(&t, &m->spec, false);
    publish_model(&plain, &m->spec, &t.b);
    builder_clear(&t.b);
    published_init(&fp8);
    for (unsigned i = 0; i < plain.count; i++) {
        const struct published *p = &plain.tensors[i];
        uint64_t height = p->n_dims == 2 ? p->dims[0] : 0;
        if (height && strstr(p->name, "_proj")) {
            publish_as_fp8(&fp8, p->name, (const float *)(void *)published_data(&plain, i), height,
                           p->dims[1]);
        } else {
            memcpy(publish(&fp8, p->name, p->dtype, height, p->dims[1]), published_data(&plain, i), p->bytes);
        }
    }
    write_fp8_config(m);
    write_tiny_tokenizer();
    write_published(&fp8, 2);
    published_clear(&plain);
    published_clear(&fp8);
}

/* --- runs -------------------------------------------------------------------------------------------------------- */

/* The folder's model on devices of one kind; NULL: on the one that is there. */
static void open_devices(struct machine *m, const struct emu_conf *conf)
{
    uint32_t ranks = conf ? conf->devices : 1;
    struct err err;
    emu_reset(conf);
    if (machine_open_on(m, temp_folder, &backend_cuda, ranks, &err)) {
        fail_msg("%s", err.msg);
    }
}

static double noise(const float *is, const float *wanted, size_t n)
{
    double difference = 0;
    double all = 0;
    for (size_t i = 0; i < n; i++) {
        difference += pow((double)is[i] - (double)wanted[i], 2);
        all += pow((double)wanted[i], 2);
    }
    return sqrt(difference / all);
}

static void compare(const char *name, struct machine *cuda, double most)
{
    static float cpu_rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    static float rows[SEQUENCES * POSITIONS * TINY_VOCAB];
    const uint32_t cuts[] = {0, 1, 2, 8, 0}; /* the last of 12 columns */
    struct machine cpu;
    struct err err;
    assert_int_equal(machine_open(&cpu, temp_folder, &backend_cpu, &err), 0);
    for (unsigned i = 0; cuts[i + 1] > 0; i++) {
        uint32_t each = cuts[i + 1] - cuts[i];
        assert_int_equal(machine_run(&cpu, cuts[i], cuts[i + 1], cpu_rows, &err), 0);
        if (machine_run(cuda, cuts[i], cuts[i + 1], rows, &err)) {
            fail_msg("%s: %s: %s", name, err.msg, emu_fault_text());
        }
        uint32_t wanted = SEQUENCES * (each > 1 ? 2 : 1);
        expect_same_rows(name, rows, cpu_rows, wanted, each > 1 ? MANY_TOLERANCE : FEW_TOLERANCE);
        double n = noise(rows, cpu_rows, (size_t)wanted * TINY_VOCAB);
        print_message("%s: %u columns, noise %.2g\n", name, SEQUENCES * each, n);
        assert_true(n <= most);
    }
    machine_close(&cpu);
}

static enum matrix_kind kind_of(const struct backend *b, const char *tensor)
{
    for (size_t i = 0; i < b->weights.count; i++) {
        if (str_is(b->weights.rows[i].tensor->name, tensor)) {
            return b->weights.rows[i].matrix.kind;
        }
    }
    fail_msg("no %s", tensor);
    return MATRIX_F32;
}

/* The host has BF16 of those matrices only that some device wanted so. */
static void expect_filled(const struct machine *m, const char *tensor, bool wanted)
{
    const struct gguf_tensor *t = gguf_tensor_find(m->model->file, tensor);
    assert_non_null(t);
    assert_non_null(t->fp8);
    assert_int_equal(*t->is_filled, wanted);
}

static void test_dense_weights_stay_fp8(void **state)
{
    static const char *const matrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    struct fp8_model model = dense_model();
    struct machine m;
    write_fp8_model(&model);
    open_devices(&m, NULL);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight", matrices[i]);
        assert_int_equal(kind_of(m.backend, name), MATRIX_E4M3);
        expect_filled(&m, name, false);
    }
    assert_int_equal(kind_of(m.backend, "token_embd.weight"), MATRIX_F32);
    compare("qwen3 in FP8", &m, DENSE_NOISE);
    machine_close(&m);
    assert_int_equal(emu_bytes_allocated(), 0);
}

static void test_experts_stay_fp8(void **state)
{
    struct fp8_model model = experts_model();
    struct machine m;
    write_fp8_model(&model);
    open_devices(&m, NULL);
    assert_int_equal(kind_of(m.backend, "blk.1.ffn_gate_exps.weight"), MATRIX_E4M3);
    assert_int_equal(kind_of(m.backend, "blk.1.ffn_up_exps.weight"), MATRIX_E4M3);
    assert_int_equal(kind_of(m.backend, "blk.1.ffn_down_exps.weight"), MATRIX_E4M3);
    assert_int_equal(kind_of(m.backend, "blk.1.attn_q_b.weight"), MATRIX_E4M3);
    assert_int_equal(kind_of(m.backend, "blk.1.attn_k_b.weight"), MATRIX_BF16); /* made of another */
    compare("deepseek2-v3 in FP8", &m, EXPERTS_NOISE);
    machine_close(&m);
}

static const struct emu_conf older = {.devices = 1, .compute_major = 8};
static const struct emu_conf newer = {.devices = 1, .compute_major = 8, .compute_minor = 9};
static const struct emu_conf two = {.devices = 2};

/* What FP8 saves of the weights: all but a 2^-14th of what is FP8, the scales. */
static void test_older_devices_get_bf16(void **state)
{
    struct fp8_model model = dense_model();
    struct machine m;
    write_fp8_model(&model);
    open_devices(&m, &newer);
    size_t bytes = m.backend->weights.bytes;
    size_t fp8_bytes = m.backend->weights.fp8_bytes;
    assert_true(fp8_bytes > 0);
    machine_close(&m);
    open_devices(&m, &older);
    assert_int_equal(m.backend->weights.fp8_bytes, 0);
    assert_int_equal(kind_of(m.backend, "blk.0.ffn_up.weight"), MATRIX_BF16);
    expect_filled(&m, "blk.0.ffn_up.weight", true);
    size_t saved = m.backend->weights.bytes - bytes;
    print_message("weights: %zu bytes with FP8, %zu without: %zu less\n", bytes, m.backend->weights.bytes,
                  saved);
    assert_true(saved < fp8_bytes && (double)saved > 0.998 * (double)fp8_bytes);
    compare("qwen3 in FP8, as BF16", &m, 1e-3);
    machine_close(&m);
}

/* Keys are 128 rows: the second of two devices begins within a block, and ends there. Of 320 values of the feed-forward layer it
 * has the last 160, which begin within one block and end in the next. */
static void test_parts_that_keep_blocks_stay_fp8(void **state)
{
    struct fp8_model model = dense_model();
    model.spec.ff = 320;
    struct machine m;
    write_fp8_model(&model);
    open_devices(&m, &two);
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct backend *b = ranks_backend(m.backend->ranks, rank);
        assert_int_equal(kind_of(b, "blk.0.attn_q.weight"), MATRIX_E4M3);
        assert_int_equal(kind_of(b, "blk.0.attn_k.weight"), MATRIX_E4M3);
        assert_int_equal(kind_of(b, "blk.0.attn_output.weight"), MATRIX_E4M3);
        assert_int_equal(kind_of(b, "blk.0.ffn_up.weight"), rank ? MATRIX_BF16 : MATRIX_E4M3);
        assert_int_equal(kind_of(b, "blk.0.ffn_down.weight"), rank ? MATRIX_BF16 : MATRIX_E4M3);
    }
    expect_filled(&m, "blk.0.attn_k.weight", false);
    expect_filled(&m, "blk.0.ffn_up.weight", true);
    compare("qwen3 in FP8 on 2", &m, DENSE_NOISE);
    machine_close(&m);
}

static void test_parts_of_experts(void **state)
{
    struct fp8_model model = experts_model();
    struct machine m;
    write_fp8_model(&model);
    open_devices(&m, &two);
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct backend *b = ranks_backend(m.backend->ranks, rank);
        assert_int_equal(kind_of(b, "blk.1.ffn_gate_exps.weight"), MATRIX_E4M3);
        assert_int_equal(kind_of(b, "blk.1.ffn_gate_shexp.weight"), MATRIX_E4M3);
    }
    compare("deepseek2-v3 in FP8 on 2", &m, EXPERTS_NOISE);
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense_weights_stay_fp8),
        cmocka_unit_test(test_older_devices_get_bf16),
        cmocka_unit_test(test_parts_that_keep_blocks_stay_fp8),
        cmocka_unit_test(test_experts_stay_fp8),
        cmocka_unit_test(test_parts_of_experts),
    };
    return cmocka_run_group_tests_name("fp8_model", tests, temp_make, temp_remove);
}

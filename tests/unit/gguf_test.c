/* GGUF files, good and broken: a broken one gets a clear error and nothing else happens. */
#include "tests/unit/gguf_builder.h"

#include "inference/worker/gguf_made.h"
#include "inference/worker/model.h"

static int open_bytes(const void *p, size_t n, struct err *err)
{
    struct gguf *g = NULL;
    int rc = gguf_open(write_bytes("case.gguf", p, n), &g, err);
    gguf_close(g);
    return rc;
}

/* Builds, opens, and expects an error that says `text`. */
static void expect_error(struct builder *b, int code, const char *text)
{
    struct err err = {0};
    struct buf file = built_file(b);
    assert_int_equal(open_bytes(file.p, file.n, &err), code);
    if (!strstr(err.msg, text)) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
    }
    buf_clear(&file);
    builder_clear(b);
}

static void reads_what_was_written(void **state)
{
    struct gguf *g;
    struct err err;
    uint64_t layers;
    float eps;
    struct str name;
    struct gguf_array tokens;
    assert_int_equal(gguf_open(write_tiny_model("tiny.gguf"), &g, &err), 0);
    assert_int_equal(gguf_get_u64(g, "llama.block_count", &layers, &err), 0);
    assert_int_equal(layers, TINY_LAYERS);
    assert_int_equal(gguf_get_f32(g, "llama.attention.layer_norm_rms_epsilon", &eps, &err), 0);
    assert_true(eps == 1e-5F);
    assert_int_equal(gguf_get_str(g, "general.name", &name, &err), 0);
    assert_true(str_is(name, "tiny"));
    assert_int_equal(gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &err), 0);
    assert_int_equal(tokens.count, TINY_VOCAB);
    assert_int_equal(gguf_get_u64(g, "no.such.key", &layers, &err), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_u64(g, "general.name", &layers, &err), ERR_INVALID);
    const struct gguf_tensor *t = gguf_tensor_find(g, "blk.1.ffn_down.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[0], TINY_FF);
    assert_int_equal(t->rows, TINY_WIDTH);
    assert_int_equal(t->n_bytes, TINY_FF / 32 * 34 * TINY_WIDTH);
    assert_null(gguf_tensor_find(g, "blk.9.ffn_down.weight"));
    gguf_close(g);
}

static void every_truncation_is_an_error(void **state)
{
    struct builder b;
    struct err err;
    builder_init(&b);
    pair_u32(&b, "a.number", 7);
    pair_text(&b, "a.text", "words");
    pair_array(&b, "an.array", GGUF_STRING, 2);
    put_text(&b.pairs, STR("one"));
    put_text(&b.pairs, STR("two"));
    add_tensor(&b, "first", TENSOR_Q4_1, 32, 2);
    add_tensor(&b, "second", TENSOR_F32, 8, 1);
    struct buf file = built_file(&b);
    assert_int_equal(open_bytes(file.p, file.n, &err), 0);
    for (size_t n = 0; n < file.n; n++) {
        assert_int_not_equal(open_bytes(file.p, n, &err), 0);
        assert_true(err.msg[0]);
    }
    buf_clear(&file);
    builder_clear(&b);
}

static void changed_bytes_do_no_harm(void **state)
{
    struct builder b;
    struct err err;
    build_tiny_model(&b);
    struct buf file = built_file(&b);
    size_t header = file.n - b.data.n;
    for (unsigned i = 0; i < 3000; i++) {
        size_t at = built_random(&b) % header;
        char before = file.p[at];
        struct model *m = NULL;
        file.p[at] = (char)built_random(&b);
        if (model_open(write_bytes("case.gguf", file.p, file.n), &m, &err) == 0) {
            model_close(m);
        }
        file.p[at] = before;
    }
    buf_clear(&file);
    builder_clear(&b);
}

static void wrong_head(void **state)
{
    struct builder b;
    struct err err;
    builder_init(&b);
    pair_u32(&b, "a", 1);
    struct buf file = built_file(&b);
    file.p[0] = 'X';
    assert_int_equal(open_bytes(file.p, file.n, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "does not start with GGUF"));
    file.p[0] = 'G';
    file.p[4] = 9;
    assert_int_equal(open_bytes(file.p, file.n, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "version 9"));
    buf_clear(&file);
    builder_clear(&b);
    assert_int_equal(gguf_open(temp_path("none.gguf"), &(struct gguf *){NULL}, &err), ERR_IO);
    assert_int_equal(gguf_open("/tmp", &(struct gguf *){NULL}, &err), ERR_INVALID);
}

static void absurd_counts(void **state)
{
    struct builder b;
    builder_init(&b);
    b.pair_count = UINT64_MAX;
    expect_error(&b, ERR_LIMIT, "key-value pairs");
    builder_init(&b);
    pair_array(&b, "many", GGUF_U32, UINT64_MAX / 4 + 1);
    expect_error(&b, ERR_INVALID, "ends inside an array");
    builder_init(&b);
    pair_array(&b, "many", GGUF_STRING, UINT64_MAX / 8);
    expect_error(&b, ERR_INVALID, "ends inside an array");
    builder_init(&b);
    pair_array(&b, "odd", (enum gguf_type)77, 1);
    expect_error(&b, ERR_INVALID, "unknown type 77");
    builder_init(&b);
    put_u64(&b.pairs, UINT64_MAX); /* the length of a key */
    put_u64(&b.pairs, 0);
    b.pair_count = 1;
    expect_error(&b, ERR_INVALID, "ends inside a key");

    struct buf file;
    struct err err;
    builder_init(&b);
    pair_u32(&b, "a", 1);
    file = built_file(&b);
    memset(file.p + 8, 0xFF, 8); /* tensor count */
    assert_int_equal(open_bytes(file.p, file.n, &err), ERR_LIMIT);
    assert_non_null(strstr(err.msg, "tensors"));
    buf_clear(&file);
    builder_clear(&b);
}

static void one_tensor(struct builder *b)
{
    builder_init(b);
    add_tensor(b, "weight", TENSOR_Q8_0, 64, 4);
}

static void bad_tensors(void **state)
{
    struct builder b;
    one_tensor(&b);
    b.tensors[0].offset = 8;
    expect_error(&b, ERR_INVALID, "not a multiple of 32");
    one_tensor(&b);
    b.tensors[0].offset = 1 << 20;
    expect_error(&b, ERR_INVALID, "past the end of the file");
    one_tensor(&b);
    b.tensors[0].offset = UINT64_MAX - 31;
    expect_error(&b, ERR_INVALID, "past the end of the file");
    one_tensor(&b);
    b.tensors[0].rows = 5;
    expect_error(&b, ERR_INVALID, "past the end of the file");
    one_tensor(&b);
    b.tensors[0].rows = UINT64_MAX / 64 + 2;
    expect_error(&b, ERR_INVALID, "too many values");
    one_tensor(&b);
    b.tensors[0].rows = 0;
    expect_error(&b, ERR_INVALID, "dimension 1 of 0");
    one_tensor(&b);
    b.tensors[0].columns = 33;
    expect_error(&b, ERR_INVALID, "not blocks of 32");
    one_tensor(&b);
    b.tensors[0].type = 16;
    expect_error(&b, ERR_INVALID, "IQ2_XXS");
    one_tensor(&b);
    b.tensors[0].type = 12345;
    expect_error(&b, ERR_INVALID, "unknown type");
}

static void tensors_that_collide(void **state)
{
    struct builder b;
    one_tensor(&b);
    add_tensor(&b, "other", TENSOR_F32, 64, 1);
    b.tensors[1].offset = b.tensors[0].offset + 32;
    expect_error(&b, ERR_INVALID, "weight and other overlap");
    one_tensor(&b);
    add_tensor(&b, "weight", TENSOR_F32, 64, 1);
    expect_error(&b, ERR_INVALID, "occurs twice");
    builder_init(&b);
    pair_u32(&b, "same", 1);
    pair_u32(&b, "same", 2);
    expect_error(&b, ERR_INVALID, "same occurs twice");
}

static void bad_alignment(void **state)
{
    static const uint32_t wrong[] = {0, 3, 48, 1U << 30};
    for (unsigned i = 0; i < 4; i++) {
        struct builder b;
        builder_init(&b);
        pair_u32(&b, "general.alignment", wrong[i]);
        add_tensor(&b, "weight", TENSOR_F32, 8, 1);
        expect_error(&b, ERR_INVALID, "power of two");
    }
    struct builder b;
    struct err err;
    builder_init(&b);
    b.alignment = 128;
    pair_u32(&b, "general.alignment", 128);
    add_tensor(&b, "one", TENSOR_F32, 8, 1);
    add_tensor(&b, "two", TENSOR_F32, 8, 1);
    struct buf file = built_file(&b);
    assert_int_equal(open_bytes(file.p, file.n, &err), 0);
    buf_clear(&file);
    builder_clear(&b);
}

static void expect_model_error(struct builder *b, const char *text)
{
    struct err err = {0};
    struct model *m = NULL;
    struct buf file = built_file(b);
    int rc = model_open(write_bytes("case.gguf", file.p, file.n), &m, &err);
    if (rc == 0 || !strstr(err.msg, text)) {
        fail_msg("rc %d, \"%s\" does not say \"%s\"", rc, err.msg, text);
    }
    buf_clear(&file);
    builder_clear(b);
}

static void models_that_do_not_fit(void **state)
{
    struct builder b;
    build_tiny_model(&b);
    b.tensor_count--;
    expect_model_error(&b, "blk.1.ffn_down.weight is missing");
    build_tiny_model(&b);
    b.tensors[3].rows = 32; /* attn_q of layer 0 */
    expect_model_error(&b, "expected 64 x 64");
    build_tiny_model(&b);
    snprintf(b.tensors[4].name, sizeof b.tensors[4].name, "blk.0.attn_k.bias");
    expect_model_error(&b, "missing");
    builder_init(&b);
    pair_text(&b, "general.architecture", "mamba");
    expect_model_error(&b, "\"mamba\", supported are llama, qwen2");
    builder_init(&b);
    expect_model_error(&b, "no key general.architecture");
}

/* One file of a model in `count`; the numbers are what it says, whatever its name. */
static void write_part(const char *name, uint32_t number, uint32_t count, uint32_t tensors,
                       const char *tensor)
{
    struct builder b;
    builder_init(&b);
    pair_u32(&b, "split.no", number);
    pair_u32(&b, "split.count", count);
    pair_u32(&b, "split.tensors.count", tensors);
    add_tensor(&b, tensor, TENSOR_Q8_0, 64, 2);
    struct buf file = built_file(&b);
    write_bytes(name, file.p, file.n);
    buf_clear(&file);
    builder_clear(&b);
}

static void expect_parts_refused(const char *first, const char *words)
{
    struct gguf *g;
    struct err err = {0};
    assert_int_not_equal(gguf_open(temp_path(first), &g, &err), 0);
    if (!strstr(err.msg, words)) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
    }
}

static void models_in_parts(void **state)
{
    struct gguf *g;
    struct err err = {0};
    write_part("m-00001-of-00003.gguf", 0, 3, 3, "a");
    write_part("m-00002-of-00003.gguf", 1, 3, 0, "b");
    expect_parts_refused("m-00001-of-00003.gguf", "m-00003-of-00003.gguf");
    write_part("m-00003-of-00003.gguf", 2, 3, 0, "c");
    if (gguf_open(temp_path("m-00001-of-00003.gguf"), &g, &err)) {
        fail_msg("%s", err.msg);
    }
    size_t count;
    gguf_tensors(g, &count);
    assert_int_equal(count, 3);
    const struct gguf_tensor *c = gguf_tensor_find(g, "c");
    assert_non_null(c);
    assert_true(c->n_bytes == 136 && c->data[0] + c->data[135] >= 0);
    assert_true(gguf_file_bytes(g) > 3 * 136);
    gguf_close(g);
    expect_parts_refused("m-00002-of-00003.gguf", "the first one is to be opened");
    write_part("m-00003-of-00003.gguf", 1, 3, 0, "c");
    expect_parts_refused("m-00001-of-00003.gguf", "file 3 of 3 says that it is number 2 of 3");
    write_part("m-00003-of-00003.gguf", 2, 3, 0, "a");
    expect_parts_refused("m-00001-of-00003.gguf", "tensor a occurs twice");
    write_part("m-00003-of-00003.gguf", 2, 3, 0, "c");
    write_part("m-00001-of-00003.gguf", 0, 3, 4, "a");
    expect_parts_refused("m-00001-of-00003.gguf", "3 tensors in all files, split.tensors.count says 4");
    write_part("m.gguf", 0, 3, 3, "a");
    expect_parts_refused("m.gguf", "does not end with -00001-of-00003.gguf");
    write_part("m.gguf", 0, 1001, 3, "a");
    expect_parts_refused("m.gguf", "split.count is 1001");
}

/* Pages that stand in a file come back from it; those of a tensor that loading made would not. */
static void released_pages_come_back(void **state)
{
    enum { WIDTH = 4096, ROWS = 8 };
    static const struct gguf_shape shape = {2, {WIDTH, ROWS, 1, 1}};
    struct builder b;
    struct gguf *g;
    struct err err = {0};
    uint8_t *data;
    builder_init(&b);
    add_tensor(&b, "read", TENSOR_F32, WIDTH, ROWS);
    struct buf file = built_file(&b);
    assert_int_equal(gguf_open(write_bytes("case.gguf", file.p, file.n), &g, &err), 0);
    assert_int_equal(gguf_make_tensor(g, "made", TENSOR_F32, &shape, &data, &err), 0);
    const struct gguf_tensor *read = gguf_tensor_find(g, "read");
    const struct gguf_tensor *made = gguf_tensor_find(g, "made");
    assert_true(made->is_made && !read->is_made);
    assert_int_equal(made->n_bytes, read->n_bytes);
    memcpy(data, read->data, read->n_bytes);
    gguf_release_pages(g, made);
    gguf_release_pages(g, read);
    assert_memory_equal(made->data, b.data.p, b.data.n);
    assert_memory_equal(read->data, b.data.p, b.data.n);
    gguf_close(g);
    buf_clear(&file);
    builder_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(wrong_head),
        cmocka_unit_test(absurd_counts),
        cmocka_unit_test(bad_tensors),
        cmocka_unit_test(tensors_that_collide),
        cmocka_unit_test(bad_alignment),
        cmocka_unit_test(models_that_do_not_fit),
        cmocka_unit_test(models_in_parts),
        cmocka_unit_test(released_pages_come_back),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}

/* The tokens that a mask allows are those that the grammar takes, at every depth and with tokens that open or close
 * many containers at once. */
#include "tests/unit/gguf_builder.h"

#include "inference/worker/json_mask.h"

enum { BYTES = 254, LONG_TOKEN = 40 };

/* Behind the bytes of text; a token's bytes are its letters here. */
static const char *const parts[] = {"[[",   "]]",     "{\"",    "\":",   "\":[", "\":[[", "}]",    "]}",
                                    "],[[", "]],[[[", "},{\"a", "1]]]]", "\"]",  "true",  "null}", "]]]"};
enum { PARTS = sizeof parts / sizeof *parts, VOCAB = BYTES + PARTS + 2 };

static struct tokenizer *tokenizer;

static int make(void **state)
{
    struct builder b;
    struct gguf *file;
    char text[LONG_TOKEN + 1] = "";
    if (temp_make(state)) {
        return -1;
    }
    builder_init(&b);
    pair_text(&b, "tokenizer.ggml.model", "gpt2");
    pair_text(&b, "tokenizer.ggml.pre", "smollm");
    pair_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, VOCAB);
    for (unsigned c = 0; c < BYTES; c++) {
        put_text(&b.pairs, alphabet_text(c, text));
    }
    for (unsigned i = 0; i < PARTS; i++) {
        put_text(&b.pairs, str_from(parts[i]));
    }
    memset(text, '[', LONG_TOKEN);
    put_text(&b.pairs, str_of(text, LONG_TOKEN));
    memset(text, ']', LONG_TOKEN);
    put_text(&b.pairs, str_of(text, LONG_TOKEN));
    pair_array(&b, "tokenizer.ggml.token_type", GGUF_I32, VOCAB);
    for (unsigned i = 0; i < VOCAB; i++) {
        put_u32(&b.pairs, TOKEN_NORMAL);
    }
    pair_array(&b, "tokenizer.ggml.merges", GGUF_STRING, 0);
    struct buf bytes = built_file(&b);
    const char *path = write_bytes("brackets.gguf", bytes.p, bytes.n);
    buf_clear(&bytes);
    builder_clear(&b);
    assert_int_equal(gguf_open(path, &file, NULL), 0);
    assert_int_equal(tokenizer_new(file, &tokenizer, NULL), 0);
    gguf_close(file);
    return 0;
}

static int unmake(void **state)
{
    tokenizer_free(tokenizer);
    return temp_remove(state);
}

static bool fits(struct json_state s, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        if (s.place == JSON_AT_DONE || !json_state_push(&s, (uint8_t)bytes.p[i])) {
            return false;
        }
    }
    return bytes.n > 0;
}

/* Every token but those of white space, which the mask holds back for its own reasons. */
static void expect_exact(struct json_mask *m, const struct json_answer *a)
{
    const uint64_t *allowed = json_mask_allowed(m, a);
    assert_non_null(allowed);
    for (token_id id = 0; id < VOCAB; id++) {
        struct str bytes = tokenizer_bytes(tokenizer, id);
        bool may = allowed[id / 64] >> (id % 64) & 1;
        bool is_space = bytes.n == 1 && (bytes.p[0] == ' ' || (bytes.p[0] >= '\t' && bytes.p[0] <= '\r'));
        if (!is_space && may != fits(a->state, bytes)) {
            fail_msg("at depth %u, place %u: " STR_FMT " is %s", a->state.depth, a->state.place,
                     STR_ARG(bytes), may ? "allowed" : "refused");
        }
    }
}

static void accept_text(struct json_mask *m, struct json_answer *a, const char *text)
{
    for (; *text; text++) { /* a byte's token is its number */
        expect_exact(m, a);
        assert_false(json_mask_accept(m, a, (token_id)(uint8_t)*text));
    }
}

static void masks_are_exact_at_every_depth(void **state)
{
    struct json_mask *m = json_mask_new(tokenizer);
    struct json_answer a = {0};
    accept_text(m, &a, "{\"k\":");
    while (a.state.depth < JSON_STATE_DEPTH) {
        accept_text(m, &a, a.state.depth % 3 ? "[1," : "{\"n\":");
    }
    expect_exact(m, &a);
    json_mask_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_exact_at_every_depth),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}

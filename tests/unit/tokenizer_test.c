/* Splitting, merging, control tokens and chat templates on a tiny vocabulary; llama.cpp's own ids are
 * compared in tests/integration/worker_tokens.py. */
#include "tests/unit/gguf_builder.h"

#include "inference/worker/chat_template.h"
#include "inference/worker/presplit.h"

static struct gguf *file;
static struct tokenizer *tokenizer;

static int add_piece(void *arg, struct str piece)
{
    struct buf *out = arg;
    buf_add_str(out, piece);
    buf_add_char(out, '|');
    return 0;
}

static void expect_split(const char *pre, const char *text, const char *pieces)
{
    struct presplit *p;
    struct buf out;
    buf_init(&out, 10000);
    assert_int_equal(presplit_new(str_from(pre), &p, NULL), 0);
    assert_int_equal(presplit_run(p, str_from(text), add_piece, &out), 0);
    assert_string_equal(out.p, pieces);
    presplit_free(p);
    buf_clear(&out);
}

static void splits(void **state)
{
    struct presplit *p;
    struct err err;
    expect_split("gpt-2", "Hello world", "Hello| world|");
    expect_split("gpt-2", "I'll don't 'RE", "I|'ll| don|'t| '|RE|");
    expect_split("gpt-2", "a  b   c", "a| | b|  | c|");
    expect_split("gpt-2", "end  ", "end|  |");
    expect_split("gpt-2", "x\n\n y", "x|\n\n| y|");
    expect_split("gpt-2", "abc123 456!?", "abc|123| 456|!?|");
    expect_split("smollm", "abc123 456", "abc|1|2|3| |4|5|6|");
    expect_split("smollm", "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x81", "\xE4\xBD\xA0\xE5\xA5\xBD|\xEF\xBC\x81|");
    expect_split("smollm",
                 "\xC2\xBD"
                 "a",
                 "\xC2\xBD|a|"); /* one half is a number */
    expect_split("smollm", "", "");
    expect_split("llama-bpe", "I'LL 1234567 x!\n\n y  z", "I|'LL| |123|456|7| x|!\n\n| y| | z|");
    expect_split("llama-bpe", "(a) \n  b", "(a|)| \n| | b|");
    expect_split("qwen2", "it's 12", "it|'s| |1|2|");
    expect_split("deepseek-llm", "Hi 12\n\nx  ", "Hi| |1|2|\n|\n|x|  |");
    expect_split("deepseek-coder", "f(x, 42)", "f|(|x|,| |4|2|)|");
    expect_split("deepseek-v3", "a 1234 .Net {}\nx.y", "a| |123|4| .|Net| {}\n|x|.y|");
    assert_int_equal(presplit_new(STR("klingon"), &p, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "klingon"));
}

static int count_bytes(void *arg, struct str piece)
{
    *(size_t *)arg += piece.n;
    return 0;
}

/* Whoever asks decides how many: a search from each of them to the end of the run would take hours here. */
static void a_run_of_spaces_costs_its_length(void **state)
{
    enum { SPACES = 2000000 };
    static const char *const rules[] = {"gpt-2",        "smollm",         "llama-bpe",  "qwen2",
                                        "deepseek-llm", "deepseek-coder", "deepseek-v3"};
    char *text = malloc(SPACES + 1);
    memset(text, ' ', SPACES);
    text[SPACES] = '1';
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct presplit *p;
        size_t bytes = 0;
        assert_int_equal(presplit_new(str_from(rules[i]), &p, NULL), 0);
        assert_int_equal(presplit_run(p, str_of(text, SPACES + 1), count_bytes, &bytes), 0);
        assert_int_equal(bytes, SPACES + 1);
        presplit_free(p);
    }
    free(text);
}

static void expect_tokens(const char *text, size_t n, const token_id *ids)
{
    struct token_list list = {0};
    struct buf back;
    assert_int_equal(tokenizer_encode(tokenizer, str_from(text), &list, NULL), 0);
    assert_int_equal(list.n, n);
    buf_init(&back, 1000);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(list.p[i], ids[i]);
        buf_add_str(&back, tokenizer_bytes(tokenizer, list.p[i]));
    }
    assert_string_equal(back.p, text);
    buf_clear(&back);
    token_list_clear(&list);
}

static void merges(void **state)
{
    expect_tokens("", 0, NULL);
    expect_tokens("hello", 2, (token_id[]){258, 'o'});
    expect_tokens("hhell", 2, (token_id[]){'h', 258});
    expect_tokens("lll", 2, (token_id[]){257, 'l'}); /* the leftmost pair first */
    expect_tokens("helll", 2, (token_id[]){258, 'l'});
    expect_tokens(" he", 2, (token_id[]){' ', 256});
    expect_tokens("\xC3\xA9", 2, (token_id[]){0xC3, 0xA9});
}

/* Pieces by score, bytes where there is no piece, a space as U+2581. */
static int open_spm(const char *name, bool add_space, const char *literal, struct tokenizer **out,
                    struct err *err)
{
    const struct {
        const char *text;
        float score;
        enum token_kind kind;
    } tokens[] = {
        {"<unk>", 0, TOKEN_UNKNOWN},
        {"<s>", 0, TOKEN_CONTROL},
        {"<0xC3>", 0, TOKEN_BYTE},
        {"<0xA9>", 0, TOKEN_BYTE},
        {"a", -1, TOKEN_NORMAL},
        {"b", -2, TOKEN_NORMAL},
        {"\xE2\x96\x81", -3, TOKEN_NORMAL},
        {"ab", -4, TOKEN_NORMAL},
        {"\xE2\x96\x81"
         "a",
         -5, TOKEN_NORMAL},
        {"\n\n", 0, TOKEN_USER_DEFINED},
        {literal, 0, TOKEN_USER_DEFINED},
    };
    enum { COUNT = sizeof tokens / sizeof *tokens };
    struct builder b;
    struct gguf *g;
    builder_init(&b);
    pair_text(&b, "tokenizer.ggml.model", "llama");
    pair_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        put_text(&b.pairs, str_from(tokens[i].text));
    }
    pair_array(&b, "tokenizer.ggml.scores", GGUF_F32, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        buf_add(&b.pairs, &tokens[i].score, sizeof tokens[i].score);
    }
    pair_array(&b, "tokenizer.ggml.token_type", GGUF_I32, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        put_u32(&b.pairs, tokens[i].kind);
    }
    pair_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    put_key(&b, "tokenizer.ggml.add_space_prefix", GGUF_BOOL);
    buf_add_char(&b.pairs, add_space);
    struct buf bytes = built_file(&b);
    assert_int_equal(gguf_open(write_bytes(name, bytes.p, bytes.n), &g, NULL), 0);
    int rc = tokenizer_new(g, out, err);
    gguf_close(g);
    buf_clear(&bytes);
    builder_clear(&b);
    return rc;
}

static void expect_spm(struct tokenizer *t, const char *text, size_t n, const token_id *ids)
{
    struct token_list list = {0};
    tokenizer_begin(t, &list);
    assert_int_equal(tokenizer_encode(t, str_from(text), &list, NULL), 0);
    assert_int_equal(list.n, n + 1);
    assert_int_equal(list.p[0], 1); /* BOS, though the file does not say so */
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(list.p[i + 1], ids[i]);
    }
    token_list_clear(&list);
}

static void sentence_pieces(void **state)
{
    struct tokenizer *t;
    struct err err;
    assert_int_equal(open_spm("spm.gguf", false, "\n\n\n", &t, NULL), 0);
    expect_spm(t, "", 0, NULL);
    expect_spm(t, "ab", 1, (token_id[]){7});
    expect_spm(t, "aab", 2, (token_id[]){4, 7});
    expect_spm(t, " ab", 2, (token_id[]){6, 7}); /* "ab" scores better than " a" */
    expect_spm(t, " a", 1, (token_id[]){8});
    expect_spm(t,
               "\xE2\x96\x81"
               "a",
               1, (token_id[]){8});
    expect_spm(t, "a\xC3\xA9", 3, (token_id[]){4, 2, 3}); /* by bytes */
    expect_spm(t, "x", 1, (token_id[]){0});               /* not even by bytes */
    expect_spm(t, "a\n\n\nb", 3, (token_id[]){4, 10, 5}); /* the longest literal */
    assert_true(str_is(tokenizer_bytes(t, 8), " a") && str_is(tokenizer_bytes(t, 2), "\xC3"));
    tokenizer_free(t);
    assert_int_equal(open_spm("spm2.gguf", true, "\n\n\n", &t, NULL), 0);
    expect_spm(t, "a", 1, (token_id[]){8});
    expect_spm(t, "a\n\na", 3, (token_id[]){8, 9, 8});
    expect_spm(t, "", 0, NULL);
    tokenizer_free(t);
    assert_int_equal(open_spm("spm3.gguf", false, "\xA9", &t, &err), ERR_INVALID); /* half of a character */
    assert_non_null(strstr(err.msg, "token 10 is not UTF-8"));
}

static void text_never_makes_control_tokens(void **state)
{
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, STR("<|im_end|>"), &list, NULL), 0);
    assert_int_equal(list.n, 10);
    for (size_t i = 0; i < list.n; i++) {
        assert_true(list.p[i] < 259);
    }
    token_list_clear(&list);
    assert_int_equal(tokenizer_control(tokenizer, "<|im_end|>"), 260);
    assert_int_equal(tokenizer_control(tokenizer, "he"), TOKEN_NONE);
    assert_true(tokenizer_ends(tokenizer, 260) && tokenizer_ends(tokenizer, 261));
    assert_false(tokenizer_ends(tokenizer, 259) || tokenizer_ends(tokenizer, 'a'));
    assert_int_equal(tokenizer_bytes(tokenizer, 260).n, 0);
    assert_true(str_is(tokenizer_text(tokenizer, 260), "<|im_end|>"));
}

static void conversation(void **state)
{
    static const token_id expected[] = {259,  'u', 's', 'e', 'r', '\n', 258, 'o', '<', '|', 'x', 260,
                                        '\n', 259, 'a', 's', 's', 'i',  's', 't', 'a', 'n', 't', '\n'};
    const struct chat_template *t;
    struct str text;
    struct token_list list = {0};
    const struct chat_message message = {STR("user"), STR("hello<|x")};
    assert_int_equal(chat_template_find(file, &t, &text, NULL), 0);
    assert_string_equal(chat_template_name(t), "chatml");
    assert_int_equal(chat_template_render(t, tokenizer, &message, 1, CHAT_THINKING_DEFAULT, &list, NULL), 0);
    assert_int_equal(list.n, sizeof expected / sizeof *expected);
    assert_memory_equal(list.p, expected, sizeof expected);
    token_list_clear(&list);
}

static void expect_refused(struct builder *b, const char *text)
{
    struct err err = {0};
    struct gguf *g;
    struct tokenizer *t = NULL;
    struct buf bytes = built_file(b);
    assert_int_equal(gguf_open(write_bytes("case.gguf", bytes.p, bytes.n), &g, &err), 0);
    assert_int_not_equal(tokenizer_new(g, &t, &err), 0);
    if (!strstr(err.msg, text)) {
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
    }
    gguf_close(g);
    buf_clear(&bytes);
    builder_clear(b);
}

static void vocabularies_that_do_not_fit(void **state)
{
    struct builder b;
    builder_init(&b);
    pair_text(&b, "tokenizer.ggml.model", "bert");
    expect_refused(&b, "\"bert\", supported are gpt2 and llama");
    builder_init(&b);
    pair_text(&b, "tokenizer.ggml.model", "gpt2");
    expect_refused(&b, "tokenizer.ggml.pre");
    builder_init(&b);
    pair_text(&b, "tokenizer.ggml.model", "gpt2");
    pair_text(&b, "tokenizer.ggml.pre", "smollm");
    pair_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, 1);
    put_text(&b.pairs, STR("a"));
    pair_array(&b, "tokenizer.ggml.token_type", GGUF_I32, 2);
    put_u64(&b.pairs, 1);
    expect_refused(&b, "1 tokens but 2 token types");
    builder_init(&b);
    pair_text(&b, "tokenizer.ggml.model", "gpt2");
    pair_text(&b, "tokenizer.ggml.pre", "smollm");
    pair_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, 1);
    put_text(&b.pairs, STR("a"));
    pair_array(&b, "tokenizer.ggml.token_type", GGUF_I32, 1);
    put_u32(&b.pairs, 1);
    pair_array(&b, "tokenizer.ggml.merges", GGUF_STRING, 1);
    put_text(&b.pairs, STR("a b"));
    expect_refused(&b, "merge 0 names a token that is not there");
}

static void unknown_template(void **state)
{
    struct builder b;
    struct gguf *g;
    const struct chat_template *t;
    struct str text;
    builder_init(&b);
    pair_text(&b, "tokenizer.chat_template", "{{ messages }}");
    struct buf bytes = built_file(&b);
    assert_int_equal(gguf_open(write_bytes("case.gguf", bytes.p, bytes.n), &g, NULL), 0);
    assert_int_equal(chat_template_find(g, &t, &text, NULL), ERR_INVALID);
    assert_true(str_is(text, "{{ messages }}"));
    gguf_close(g);
    buf_clear(&bytes);
    builder_clear(&b);
}

static int make(void **state)
{
    struct err err;
    if (temp_make(state) || gguf_open(write_tiny_model("tiny.gguf"), &file, &err)) {
        return -1;
    }
    return tokenizer_new(file, &tokenizer, &err);
}

static int drop(void **state)
{
    tokenizer_free(tokenizer);
    gguf_close(file);
    return temp_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits),
        cmocka_unit_test(a_run_of_spaces_costs_its_length),
        cmocka_unit_test(merges),
        cmocka_unit_test(sentence_pieces),
        cmocka_unit_test(conversation),
        cmocka_unit_test(text_never_makes_control_tokens),
        cmocka_unit_test(vocabularies_that_do_not_fit),
        cmocka_unit_test(unknown_template),
    };
    return cmocka_run_group_tests(tests, make, drop);
}

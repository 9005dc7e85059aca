#include "inference/worker/tokenizer.h"

#include <stdlib.h>

#include "inference/worker/presplit.h"

enum { MAX_ENDS = 8, TEXT_MAX = 1 << 30 };

struct tokenizer {
    struct vocab *vocab;
    struct presplit *presplit; /* NULL: the text is one piece (SPM) */
    struct bpe bpe;
    bool adds_space; /* SPM: before text at the start and after a control token */
    struct buf text; /* scratch of the SPM family */
    token_id bos;    /* TOKEN_NONE: the model has none */
    bool adds_bos;   /* before every prompt */
    token_id ends[MAX_ENDS];
    unsigned end_count;
};

/* Control tokens that end an answer in the models of this tokenizer family, whatever eos_token_id says. */
static const char *const end_texts[] = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>", /* full-width bars, low lines */
};

static void add_end(struct tokenizer *t, token_id id)
{
    if (id != TOKEN_NONE && !tokenizer_ends(t, id) && t->end_count < MAX_ENDS) {
        t->ends[t->end_count++] = id;
    }
}

static int read_id(const struct gguf *file, const char *key, uint32_t size, token_id *out, struct err *err)
{
    uint64_t id;
    int rc = gguf_get_u64(file, key, &id, err);
    if (rc == ERR_NOT_FOUND) {
        *out = TOKEN_NONE;
        return 0;
    }
    if (!rc && id >= size) {
        rc = err_set(err, ERR_INVALID, "tokenizer: %s is %llu, past the %u tokens", key,
                     (unsigned long long)id, size);
    }
    if (!rc) {
        *out = (token_id)id;
    }
    return rc;
}

static int read_bool(const struct gguf *file, const char *key, bool *out, struct err *err)
{
    int rc = gguf_get_bool(file, key, out, err);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int read_specials(struct tokenizer *t, const struct gguf *file, struct err *err)
{
    token_id eos = TOKEN_NONE;
    token_id eot = TOKEN_NONE;
    bool is_spm = vocab_family_of(t->vocab) == VOCAB_SPM;
    bool add_bos = is_spm || presplit_takes_whole(t->presplit); /* what such files leave unsaid */
    int rc = read_id(file, "tokenizer.ggml.bos_token_id", vocab_size(t->vocab), &t->bos, err);
    if (!rc) {
        rc = read_id(file, "tokenizer.ggml.eos_token_id", vocab_size(t->vocab), &eos, err);
    }
    if (!rc) {
        rc = read_id(file, "tokenizer.ggml.eot_token_id", vocab_size(t->vocab), &eot, err);
    }
    t->adds_space = is_spm;
    if (!rc) {
        rc = read_bool(file, "tokenizer.ggml.add_bos_token", &add_bos, err);
    }
    if (!rc && is_spm) {
        rc = read_bool(file, "tokenizer.ggml.add_space_prefix", &t->adds_space, err);
    }
    t->adds_bos = add_bos && t->bos != TOKEN_NONE;
    add_end(t, eos);
    add_end(t, eot);
    for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++) {
        add_end(t, vocab_find_control(t->vocab, end_texts[i]));
    }
    return rc;
}

static int read_family(struct tokenizer *t, const struct gguf *file, enum vocab_family *family,
                       struct err *err)
{
    struct str model;
    struct str pre;
    int rc = gguf_get_str(file, "tokenizer.ggml.model", &model, err);
    if (rc) {
        return rc;
    }
    if (str_is(model, "llama")) {
        *family = VOCAB_SPM;
        return 0;
    }
    if (!str_is(model, "gpt2")) {
        return err_set(err, ERR_INVALID,
                       "tokenizer: tokenizer.ggml.model is \"" STR_FMT "\", supported are gpt2 and llama",
                       STR_ARG(model));
    }
    *family = VOCAB_BPE;
    rc = gguf_get_str(file, "tokenizer.ggml.pre", &pre, err);
    return rc ? rc : presplit_new(pre, &t->presplit, err);
}

int tokenizer_new(const struct gguf *file, struct tokenizer **out, struct err *err)
{
    enum vocab_family family;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory");
    }
    buf_init(&t->text, TEXT_MAX);
    int rc = read_family(t, file, &family, err);
    if (!rc) {
        rc = vocab_new(file, family, &t->vocab, err);
    }
    if (!rc) {
        bpe_init(&t->bpe, t->vocab, t->presplit && presplit_takes_whole(t->presplit));
        rc = read_specials(t, file, err);
    }
    if (rc) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t) {
        return;
    }
    bpe_clear(&t->bpe);
    presplit_free(t->presplit);
    vocab_free(t->vocab);
    buf_clear(&t->text);
    free(t);
}

struct encoding {
    struct bpe *bpe;
    struct token_list *out;
};

static int on_piece(void *arg, struct str piece)
{
    const struct encoding *e = arg;
    bpe_encode(e->bpe, piece, e->out);
    return 0;
}

/* SentencePiece sees one piece, in which U+2581 and a space are the same. */
static void encode_spm(struct tokenizer *t, struct str text, bool add_space, struct token_list *out)
{
    buf_truncate(&t->text);
    if (add_space) {
        buf_add_char(&t->text, ' ');
    }
    for (size_t i = 0; i < text.n;) {
        bool is_space = str_starts(str_skip(text, i), VOCAB_SPM_SPACE);
        buf_add_char(&t->text, is_space ? ' ' : text.p[i]);
        i += is_space ? VOCAB_SPM_SPACE.n : 1;
    }
    bpe_encode(&t->bpe, buf_str(&t->text), out);
}

static int encode_plain(struct tokenizer *t, struct str text, bool after_token, struct token_list *out,
                        struct err *err)
{
    struct encoding e = {&t->bpe, out};
    if (text.n == 0) {
        return 0;
    }
    if (!t->presplit) {
        encode_spm(t, text, t->adds_space && after_token, out);
        return 0;
    }
    if (presplit_run(t->presplit, text, on_piece, &e)) {
        return err_set(err, ERR_LIMIT, "the text cannot be split into words");
    }
    return 0;
}

int tokenizer_encode(struct tokenizer *t, struct str text, struct token_list *out, struct err *err)
{
    size_t plain = 0;
    bool after_token = true; /* a user-defined one, or what stands before the text */
    for (size_t at = 0; at < text.n;) {
        token_id id = vocab_literal_at(t->vocab, str_skip(text, at));
        if (id == TOKEN_NONE) {
            at++;
            continue;
        }
        int rc = encode_plain(t, str_of(text.p + plain, at - plain), after_token, out, err);
        if (rc) {
            return rc;
        }
        token_list_add(out, id);
        after_token = true;
        at += vocab_bytes(t->vocab, id).n;
        plain = at;
    }
    return encode_plain(t, str_skip(text, plain), after_token, out, err);
}

void tokenizer_begin(const struct tokenizer *t, struct token_list *out)
{
    if (t->adds_bos) {
        token_list_add(out, t->bos);
    }
}

token_id tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

token_id tokenizer_control(const struct tokenizer *t, const char *text)
{
    return vocab_find_control(t->vocab, text);
}

token_id tokenizer_tag(const struct tokenizer *t, const char *text)
{
    token_id id = vocab_find_control(t->vocab, text);
    token_id literal = vocab_literal_at(t->vocab, str_from(text));
    return id == TOKEN_NONE && literal != TOKEN_NONE && str_is(vocab_bytes(t->vocab, literal), text) ? literal
                                                                                                     : id;
}

uint32_t tokenizer_size(const struct tokenizer *t)
{
    return vocab_size(t->vocab);
}

bool tokenizer_ends(const struct tokenizer *t, token_id id)
{
    for (unsigned i = 0; i < t->end_count; i++) {
        if (t->ends[i] == id) {
            return true;
        }
    }
    return false;
}

struct str tokenizer_bytes(const struct tokenizer *t, token_id id)
{
    enum token_kind kind = vocab_kind(t->vocab, id);
    bool is_text = kind == TOKEN_NORMAL || kind == TOKEN_USER_DEFINED || kind == TOKEN_BYTE;
    return is_text ? vocab_bytes(t->vocab, id) : STR("");
}

struct str tokenizer_text(const struct tokenizer *t, token_id id)
{
    return vocab_bytes(t->vocab, id);
}

#include "inference/worker/tokenizer.h"

#include <stdlib.h>

#include "inference/worker/presplit.h"

enum { MAX_ENDS = 8 };

struct tokenizer {
    struct vocab *vocab;
    struct presplit *presplit;
    struct bpe bpe;
    token_id bos; /* TOKEN_NONE: nothing before a prompt */
    token_id ends[MAX_ENDS];
    unsigned end_count;
};

/* Control tokens that end an answer in the models of this tokenizer family, whatever eos_token_id says. */
static const char *const end_texts[] = {
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|end_of_text|>",
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

static int read_specials(struct tokenizer *t, const struct gguf *file, struct err *err)
{
    token_id eos = TOKEN_NONE;
    token_id eot = TOKEN_NONE;
    bool add_bos = false;
    int rc = read_id(file, "tokenizer.ggml.bos_token_id", vocab_size(t->vocab), &t->bos, err);
    if (!rc) {
        rc = read_id(file, "tokenizer.ggml.eos_token_id", vocab_size(t->vocab), &eos, err);
    }
    if (!rc) {
        rc = read_id(file, "tokenizer.ggml.eot_token_id", vocab_size(t->vocab), &eot, err);
    }
    if (!rc) {
        rc = gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &add_bos, err);
        rc = rc == ERR_NOT_FOUND ? 0 : rc;
    }
    if (!add_bos) {
        t->bos = TOKEN_NONE;
    }
    add_end(t, eos);
    add_end(t, eot);
    for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++) {
        add_end(t, vocab_find_control(t->vocab, end_texts[i]));
    }
    return rc;
}

static int check_family(const struct gguf *file, struct str *pre, struct err *err)
{
    struct str family;
    int rc = gguf_get_str(file, "tokenizer.ggml.model", &family, err);
    if (!rc && !str_is(family, "gpt2")) {
        rc =
            err_set(err, ERR_INVALID, "tokenizer: tokenizer.ggml.model is \"" STR_FMT "\", supported is gpt2",
                    STR_ARG(family));
    }
    return rc ? rc : gguf_get_str(file, "tokenizer.ggml.pre", pre, err);
}

int tokenizer_new(const struct gguf *file, struct tokenizer **out, struct err *err)
{
    struct str pre;
    int rc = check_family(file, &pre, err);
    if (rc) {
        return rc;
    }
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory");
    }
    rc = presplit_new(pre, &t->presplit, err);
    if (!rc) {
        rc = vocab_new(file, &t->vocab, err);
    }
    if (!rc) {
        bpe_init(&t->bpe, t->vocab);
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

static int encode_plain(struct tokenizer *t, struct str text, struct token_list *out, struct err *err)
{
    struct encoding e = {&t->bpe, out};
    if (presplit_run(t->presplit, text, on_piece, &e)) {
        return err_set(err, ERR_LIMIT, "the text cannot be split into words");
    }
    return 0;
}

/* The user-defined token that text starts with, the longest. */
static token_id literal_at(const struct tokenizer *t, struct str text)
{
    uint32_t count;
    const token_id *literals = vocab_literals(t->vocab, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (str_starts(text, vocab_bytes(t->vocab, literals[i]))) {
            return literals[i];
        }
    }
    return TOKEN_NONE;
}

int tokenizer_encode(struct tokenizer *t, struct str text, struct token_list *out, struct err *err)
{
    uint32_t literal_count;
    size_t plain = 0;
    vocab_literals(t->vocab, &literal_count);
    for (size_t at = 0; literal_count && at < text.n;) {
        token_id id = literal_at(t, str_skip(text, at));
        if (id == TOKEN_NONE) {
            at++;
            continue;
        }
        int rc = encode_plain(t, str_of(text.p + plain, at - plain), out, err);
        if (rc) {
            return rc;
        }
        token_list_add(out, id);
        at += vocab_bytes(t->vocab, id).n;
        plain = at;
    }
    return encode_plain(t, str_skip(text, plain), out, err);
}

void tokenizer_begin(const struct tokenizer *t, struct token_list *out)
{
    if (t->bos != TOKEN_NONE) {
        token_list_add(out, t->bos);
    }
}

token_id tokenizer_control(const struct tokenizer *t, const char *text)
{
    return vocab_find_control(t->vocab, text);
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

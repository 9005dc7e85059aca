#include "inference/worker/presplit.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "base/buf.h"
#include "inference/worker/cased_letters.h"

enum { MAX_PASSES = 6 };

struct presplit_rules {
    const char *pre;                /* tokenizer.ggml.pre */
    const char *passes[MAX_PASSES]; /* NULL after the last */
    bool takes_whole;
};

/* White space by the White_Space property, written out: \s of PCRE2 with UCP also takes U+180E. */
#define SPACE                                                                                                \
    "\\x09-\\x0D\\x20\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"             \
    "\\x{3000}"

/* How most patterns end: line ends with the space before them, then space up to the one before a word. The last
 * alternative takes a run of spaces at the end of the text whole. */
#define SPACES "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"
#define LINES_AND_SPACES "[" SPACE "]*[\\r\\n]+|" SPACES

/* No pattern looks at a character again and again: where a run of spaces does not match, no later place in it is
 * tried. The cost of a text is in proportion to its length. */
#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|" SPACES

/* Llama 3 and Qwen differ in how many digits stand together. */
#define LLAMA3_WORDS(digits)                                                                                 \
    "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits            \
    "| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*|" LINES_AND_SPACES

#define DEEPSEEK3_WORDS                                                                                      \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"      \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINES_AND_SPACES

/* Chinese; with kana; with Hangul and what lies between. */
#define HAN "\\x{4E00}-\\x{9FA5}"
#define HAN_KANA "[" HAN "\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define HAN_HANGUL "[" HAN "\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"

static const struct presplit_rules rules[] = {
    {"gpt-2", {GPT2_WORDS}, false},
    {"smollm", {"\\p{N}", GPT2_WORDS}, false},
    {"llama-bpe", {LLAMA3_WORDS("\\p{N}{1,3}")}, true},
    {"llama3", {LLAMA3_WORDS("\\p{N}{1,3}")}, true},
    {"llama-v3", {LLAMA3_WORDS("\\p{N}{1,3}")}, true},
    {"qwen2", {LLAMA3_WORDS("\\p{N}")}, false},
    {"deepseek-r1-qwen", {LLAMA3_WORDS("\\p{N}")}, false},
    {"deepseek-llm",
     {"[\\r\\n]", "[" SPACE "]?[" CASED_LETTERS "]+",
      "[" SPACE "]?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
      "(?<![" SPACE "])[" SPACE "]+\\z", HAN_HANGUL, "\\p{N}"},
     false},
    {"deepseek-coder",
     {"[\\r\\n]", "[" SPACE "]?\\p{L}+", "[" SPACE "]?\\p{P}+", HAN_HANGUL, "\\p{N}"},
     false},
    {"deepseek-v3", {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3_WORDS}, false},
};

struct presplit {
    bool takes_whole;
    pcre2_code *passes[MAX_PASSES];
    unsigned pass_count;
    pcre2_match_data *matches[MAX_PASSES]; /* one a pass: a pass runs inside the one before */
};

static const struct presplit_rules *find_rules(struct str pre)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (str_is(pre, rules[i].pre)) {
            return &rules[i];
        }
    }
    return NULL;
}

static int add_pass(struct presplit *p, const char *pattern, struct err *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!compiled) {
        return err_set(err, ERR_INTERNAL, "tokenizer: pattern error %d at %zu", code, (size_t)at);
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* without JIT the interpreter does the same */
    p->passes[p->pass_count] = compiled;
    p->matches[p->pass_count] = pcre2_match_data_create(1, NULL);
    if (!p->matches[p->pass_count++]) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory for the split");
    }
    return 0;
}

static int unknown_rules(struct str pre, struct err *err)
{
    struct buf known;
    buf_init(&known, 1024);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        buf_add_cstr(&known, i ? ", " : "");
        buf_add_cstr(&known, rules[i].pre);
    }
    int rc = err_set(err, ERR_INVALID, "tokenizer: tokenizer.ggml.pre is \"" STR_FMT "\", not one of %s",
                     STR_ARG(pre), known.p);
    buf_clear(&known);
    return rc;
}

int presplit_new(struct str pre, struct presplit **out, struct err *err)
{
    const struct presplit_rules *found = find_rules(pre);
    if (!found) {
        return unknown_rules(pre, err);
    }
    struct presplit *p = calloc(1, sizeof *p);
    if (!p) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory");
    }
    int rc = 0;
    p->takes_whole = found->takes_whole;
    for (unsigned i = 0; i < MAX_PASSES && found->passes[i] && !rc; i++) {
        rc = add_pass(p, found->passes[i], err);
    }
    if (rc) {
        presplit_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void presplit_free(struct presplit *p)
{
    if (!p) {
        return;
    }
    for (unsigned i = 0; i < p->pass_count; i++) {
        pcre2_code_free(p->passes[i]);
        pcre2_match_data_free(p->matches[i]);
    }
    free(p);
}

bool presplit_takes_whole(const struct presplit *p)
{
    return p->takes_whole;
}

static int run_pass(struct presplit *p, unsigned pass, struct str text, presplit_piece_cb on_piece, void *arg)
{
    if (text.n == 0) {
        return 0;
    }
    if (pass == p->pass_count) {
        return on_piece(arg, text);
    }
    size_t done = 0;
    while (done < text.n) {
        int found = pcre2_match(p->passes[pass], (PCRE2_SPTR)text.p, text.n, done, PCRE2_NO_UTF_CHECK,
                                p->matches[pass], NULL);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
            return ERR_LIMIT; /* the matcher's own limits of depth or memory */
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(p->matches[pass]);
        size_t from = found < 0 ? text.n : span[0];
        size_t to = found < 0 ? text.n : span[1];
        int rc = run_pass(p, pass + 1, str_of(text.p + done, from - done), on_piece, arg);
        if (!rc) {
            rc = run_pass(p, pass + 1, str_of(text.p + from, to - from), on_piece, arg);
        }
        if (rc) {
            return rc;
        }
        done = to;
    }
    return 0;
}

int presplit_run(struct presplit *p, struct str text, presplit_piece_cb on_piece, void *arg)
{
    return run_pass(p, 0, text, on_piece, arg);
}

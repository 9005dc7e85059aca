#include "inference/worker/vocab.h"

#include <math.h>
#include <stdlib.h>

#include "inference/worker/byte_alphabet.h"

struct entry {
    uint32_t start; /* in bytes */
    uint32_t n;
    enum token_kind kind;
};

/* Tokens of one kind by their text: open addressing. */
struct text_table {
    token_id *slots; /* TOKEN_NONE: free */
    uint32_t mask;
};

struct merge_slot {
    token_id left; /* TOKEN_NONE: free */
    token_id right;
    struct vocab_merge merge;
};

struct vocab {
    enum vocab_family family;
    struct entry *tokens;
    uint32_t size;
    char *bytes; /* of all tokens, one after the other */
    size_t bytes_used;
    token_id *by_text; /* open addressing over normal tokens; TOKEN_NONE: free */
    uint32_t text_mask;
    struct merge_slot *merges; /* open addressing; NULL in the SPM family */
    uint32_t merge_mask;
    uint32_t *ranks; /* of the SPM family: by token, from its score; else NULL */
    token_id unknown;
    token_id of_byte[256];
    struct text_table literals; /* user-defined tokens */
    struct text_table controls;
    uint64_t literal_lengths[256]; /* by first byte: bit n - 1 for each length n */
};

static uint64_t hash_text(struct str s)
{
    uint64_t h = 0xCBF29CE484222325ULL;
    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ (uint8_t)s.p[i]) * 0x100000001B3ULL;
    }
    return h ^ h >> 29;
}

static uint64_t hash_pair(token_id left, token_id right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15ULL;
    return h ^ h >> 31;
}

static uint32_t table_mask(uint64_t count) /* at most half full */
{
    uint64_t size = 16;
    while (size < 2 * count) {
        size *= 2;
    }
    return (uint32_t)(size - 1);
}

struct str vocab_bytes(const struct vocab *v, token_id id)
{
    return str_of(v->bytes + v->tokens[id].start, v->tokens[id].n);
}

static token_id find_text(const struct vocab *v, const token_id *table, uint32_t mask, struct str bytes)
{
    for (uint64_t at = hash_text(bytes);; at++) {
        token_id id = table[at & mask];
        if (id == TOKEN_NONE || str_eq(vocab_bytes(v, id), bytes)) {
            return id;
        }
    }
}

static void index_text(const struct vocab *v, token_id *table, uint32_t mask, token_id id)
{
    struct str bytes = vocab_bytes(v, id);
    uint64_t at = hash_text(bytes);
    while (table[at & mask] != TOKEN_NONE) {
        if (str_eq(vocab_bytes(v, table[at & mask]), bytes)) {
            return; /* a double: the first one counts */
        }
        at++;
    }
    table[at & mask] = id;
}

token_id vocab_find(const struct vocab *v, struct str bytes)
{
    return find_text(v, v->by_text, v->text_mask, bytes);
}

/* SentencePiece writes a space as U+2581. */
static size_t copy_with_spaces(struct str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        bool is_space = str_starts(str_skip(text, i), VOCAB_SPM_SPACE);
        out[n++] = is_space ? ' ' : text.p[i];
        i += is_space ? VOCAB_SPM_SPACE.n : 1;
    }
    return n;
}

/* "<0x0A>" */
static bool parse_byte(struct str text, char *out)
{
    return text.n == 6 && str_starts(text, STR("<0x")) && text.p[5] == '>' &&
           str_hex_decode(str_of(text.p + 3, 2), (uint8_t *)out, 1) == 1;
}

static int add_token(struct vocab *v, const struct byte_alphabet *a, token_id id, struct str text,
                     enum token_kind kind, struct err *err)
{
    char *out = v->bytes + v->bytes_used;
    int64_t n = (int64_t)text.n;
    if (kind == TOKEN_NORMAL && v->family == VOCAB_SPM) {
        n = (int64_t)copy_with_spaces(text, out);
    } else if (kind == TOKEN_NORMAL) {
        n = byte_alphabet_decode(a, text, out);
        if (n < 0) {
            return err_set(err, ERR_INVALID, "tokenizer: token %d is not in the byte alphabet", id);
        }
    } else if (kind == TOKEN_BYTE && parse_byte(text, out)) {
        n = 1;
        v->of_byte[(uint8_t)*out] = id;
    } else {
        memcpy(out, text.p, text.n);
    }
    v->tokens[id] = (struct entry){.start = (uint32_t)v->bytes_used, .n = (uint32_t)n, .kind = kind};
    v->bytes_used += (size_t)n;
    if (kind == TOKEN_UNKNOWN && v->family == VOCAB_SPM && v->unknown == TOKEN_NONE) {
        v->unknown = id;
    }
    if (kind == TOKEN_NORMAL && n > 0) {
        index_text(v, v->by_text, v->text_mask, id);
    }
    return 0;
}

static size_t text_total(struct gguf_array strings)
{
    size_t total = 0;
    while (strings.count) {
        total += gguf_array_next(&strings).n;
    }
    return total;
}

static int allocate_tokens(struct vocab *v, const struct gguf_array *tokens, struct err *err)
{
    size_t total = text_total(*tokens);
    if (tokens->count == 0 || tokens->count > VOCAB_MAX_TOKENS || total > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "tokenizer: %llu tokens of %zu bytes",
                       (unsigned long long)tokens->count, total);
    }
    v->size = (uint32_t)tokens->count;
    v->text_mask = table_mask(v->size);
    v->tokens = calloc(v->size, sizeof *v->tokens);
    v->bytes = malloc(total + 1);
    v->by_text = malloc((v->text_mask + 1ULL) * sizeof *v->by_text);
    if (!v->tokens || !v->bytes || !v->by_text) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory for %u tokens", v->size);
    }
    memset(v->by_text, 0xFF, (v->text_mask + 1ULL) * sizeof *v->by_text); /* TOKEN_NONE */
    return 0;
}

static int read_tokens(struct vocab *v, const struct gguf *file, const struct byte_alphabet *a,
                       struct err *err)
{
    struct gguf_array tokens;
    struct gguf_array kinds;
    int rc = gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err);
    if (!rc) {
        rc = gguf_get_array(file, "tokenizer.ggml.token_type", GGUF_I32, &kinds, err);
    }
    if (!rc && kinds.count != tokens.count) {
        rc = err_set(err, ERR_INVALID, "tokenizer: %llu tokens but %llu token types",
                     (unsigned long long)tokens.count, (unsigned long long)kinds.count);
    }
    if (!rc) {
        rc = allocate_tokens(v, &tokens, err);
    }
    for (uint32_t i = 0; !rc && i < v->size; i++) {
        int32_t kind = gguf_array_i32(&kinds, i);
        if (kind < TOKEN_NORMAL || kind > TOKEN_BYTE) {
            return err_set(err, ERR_INVALID, "tokenizer: token %u has type %d", i, kind);
        }
        rc = add_token(v, a, (token_id)i, gguf_array_next(&tokens), (enum token_kind)kind, err);
    }
    return rc;
}

static int index_kind(struct vocab *v, enum token_kind kind, struct text_table *out, struct err *err)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->size; i++) {
        count += v->tokens[i].kind == kind;
    }
    out->mask = table_mask(count);
    out->slots = malloc((out->mask + 1ULL) * sizeof *out->slots);
    if (!out->slots) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory for %u tokens", count);
    }
    memset(out->slots, 0xFF, (out->mask + 1ULL) * sizeof *out->slots); /* TOKEN_NONE */
    for (uint32_t i = 0; i < v->size; i++) {
        if (v->tokens[i].kind == kind && v->tokens[i].n > 0) {
            index_text(v, out->slots, out->mask, (token_id)i);
        }
    }
    return 0;
}

static int note_literal_lengths(struct vocab *v, struct err *err)
{
    for (uint32_t i = 0; i < v->size; i++) {
        struct str text = vocab_bytes(v, (token_id)i);
        if (v->tokens[i].kind != TOKEN_USER_DEFINED || text.n == 0) {
            continue;
        }
        if (!str_is_utf8(text)) { /* it would cut characters of a prompt in two */
            return err_set(err, ERR_INVALID, "tokenizer: user-defined token %u is not UTF-8", i);
        }
        if (text.n > VOCAB_MAX_LITERAL) {
            return err_set(err, ERR_LIMIT, "tokenizer: user-defined token %u has %zu bytes, more than %d", i,
                           text.n, VOCAB_MAX_LITERAL);
        }
        v->literal_lengths[(uint8_t)*text.p] |= 1ULL << (text.n - 1);
    }
    return 0;
}

static void index_bytes(struct vocab *v)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        v->of_byte[byte] = vocab_find(v, str_of(&c, 1));
    }
}

static void add_merge(struct vocab *v, token_id left, token_id right, uint32_t rank, token_id whole)
{
    uint64_t at = hash_pair(left, right);
    struct merge_slot *slot = &v->merges[at & v->merge_mask];
    while (slot->left != TOKEN_NONE) {
        if (slot->left == left && slot->right == right) {
            return;
        }
        slot = &v->merges[++at & v->merge_mask];
    }
    *slot = (struct merge_slot){left, right, {rank, whole}};
}

/* "Ġt he": both halves and the whole must be tokens. scratch holds at least text.n bytes. */
static int read_merge(struct vocab *v, const struct byte_alphabet *a, struct str text, uint32_t rank,
                      char *scratch, struct err *err)
{
    const char *space = text.n > 2 ? memchr(text.p + 1, ' ', text.n - 2) : NULL;
    if (!space) {
        return err_set(err, ERR_INVALID, "tokenizer: merge %u is not two words", rank);
    }
    size_t cut = (size_t)(space - text.p);
    int64_t left_n = byte_alphabet_decode(a, str_of(text.p, cut), scratch);
    int64_t right_n = left_n < 0 ? -1 : byte_alphabet_decode(a, str_skip(text, cut + 1), scratch + left_n);
    if (right_n < 0) {
        return err_set(err, ERR_INVALID, "tokenizer: merge %u is not in the byte alphabet", rank);
    }
    token_id left = vocab_find(v, str_of(scratch, (size_t)left_n));
    token_id right = vocab_find(v, str_of(scratch + left_n, (size_t)right_n));
    token_id whole = vocab_find(v, str_of(scratch, (size_t)(left_n + right_n)));
    if (left == TOKEN_NONE || right == TOKEN_NONE || whole == TOKEN_NONE) {
        return err_set(err, ERR_INVALID, "tokenizer: merge %u names a token that is not there", rank);
    }
    add_merge(v, left, right, rank, whole);
    return 0;
}

static int read_merges(struct vocab *v, const struct gguf *file, const struct byte_alphabet *a,
                       struct err *err)
{
    struct gguf_array merges;
    int rc = gguf_get_array(file, "tokenizer.ggml.merges", GGUF_STRING, &merges, err);
    if (rc) {
        return rc;
    }
    if (merges.count > VOCAB_MAX_TOKENS) {
        return err_set(err, ERR_LIMIT, "tokenizer: %llu merges", (unsigned long long)merges.count);
    }
    v->merge_mask = table_mask(merges.count);
    v->merges = malloc((v->merge_mask + 1ULL) * sizeof *v->merges);
    char *scratch = malloc(text_total(merges) + 1);
    if (!v->merges || !scratch) {
        free(scratch);
        return err_set(err, ERR_NOMEM, "tokenizer: no memory for the merges");
    }
    memset(v->merges, 0xFF, (v->merge_mask + 1ULL) * sizeof *v->merges); /* left = TOKEN_NONE */
    for (uint32_t rank = 0; !rc && merges.count; rank++) {
        rc = read_merge(v, a, gguf_array_next(&merges), rank, scratch, err);
    }
    free(scratch);
    return rc;
}

/* A float's order as an integer's, turned round: the highest score is the lowest rank. */
static uint32_t rank_of_score(float score)
{
    uint32_t bits;
    score += 0.0F; /* no negative zero */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000U ? bits : ~(bits | 0x80000000U);
}

static int read_scores(struct vocab *v, const struct gguf *file, struct err *err)
{
    struct gguf_array scores;
    int rc = gguf_get_array(file, "tokenizer.ggml.scores", GGUF_F32, &scores, err);
    if (!rc && scores.count != v->size) {
        rc = err_set(err, ERR_INVALID, "tokenizer: %u tokens but %llu scores", v->size,
                     (unsigned long long)scores.count);
    }
    v->ranks = calloc(v->size, sizeof *v->ranks);
    if (!rc && !v->ranks) {
        rc = err_set(err, ERR_NOMEM, "tokenizer: no memory for the scores");
    }
    for (uint32_t i = 0; !rc && i < v->size; i++) {
        float score;
        memcpy(&score, scores.p + i * sizeof score, sizeof score);
        if (isnan(score)) {
            rc = err_set(err, ERR_INVALID, "tokenizer: the score of token %u is not a number", i);
        }
        v->ranks[i] = rank_of_score(score);
    }
    return rc;
}

int vocab_new(const struct gguf *file, enum vocab_family family, struct vocab **out, struct err *err)
{
    struct byte_alphabet alphabet;
    struct vocab *v = calloc(1, sizeof *v);
    if (!v) {
        return err_set(err, ERR_NOMEM, "tokenizer: no memory");
    }
    v->family = family;
    v->unknown = TOKEN_NONE;
    memset(v->of_byte, 0xFF, sizeof v->of_byte); /* TOKEN_NONE */
    byte_alphabet_init(&alphabet);
    int rc = read_tokens(v, file, &alphabet, err);
    if (!rc) {
        rc = index_kind(v, TOKEN_USER_DEFINED, &v->literals, err);
        rc = rc ? rc : index_kind(v, TOKEN_CONTROL, &v->controls, err);
        rc = rc ? rc : note_literal_lengths(v, err);
    }
    if (!rc && family == VOCAB_SPM) {
        rc = read_scores(v, file, err);
    } else if (!rc) {
        index_bytes(v);
        rc = read_merges(v, file, &alphabet, err);
    }
    if (rc) {
        vocab_free(v);
        return rc;
    }
    *out = v;
    return 0;
}

void vocab_free(struct vocab *v)
{
    if (!v) {
        return;
    }
    free(v->tokens);
    free(v->bytes);
    free(v->by_text);
    free(v->merges);
    free(v->ranks);
    free(v->literals.slots);
    free(v->controls.slots);
    free(v);
}

enum vocab_family vocab_family_of(const struct vocab *v)
{
    return v->family;
}

uint32_t vocab_size(const struct vocab *v)
{
    return v->size;
}

enum token_kind vocab_kind(const struct vocab *v, token_id id)
{
    return v->tokens[id].kind;
}

token_id vocab_find_control(const struct vocab *v, const char *text)
{
    return find_text(v, v->controls.slots, v->controls.mask, str_from(text));
}

token_id vocab_byte(const struct vocab *v, uint8_t byte)
{
    return v->of_byte[byte] == TOKEN_NONE ? v->unknown : v->of_byte[byte];
}

bool vocab_find_merge(const struct vocab *v, token_id left, token_id right, struct vocab_merge *out)
{
    if (left == TOKEN_NONE || right == TOKEN_NONE) {
        return false;
    }
    for (uint64_t at = hash_pair(left, right);; at++) {
        const struct merge_slot *slot = &v->merges[at & v->merge_mask];
        if (slot->left == TOKEN_NONE) {
            return false;
        }
        if (slot->left == left && slot->right == right) {
            *out = slot->merge;
            return true;
        }
    }
}

bool vocab_find_joined(const struct vocab *v, struct str both, struct vocab_merge *out)
{
    token_id id = vocab_find(v, both);
    if (id != TOKEN_NONE) {
        *out = (struct vocab_merge){v->ranks[id], id};
    }
    return id != TOKEN_NONE;
}

token_id vocab_literal_at(const struct vocab *v, struct str text)
{
    uint64_t lengths = text.n ? v->literal_lengths[(uint8_t)*text.p] : 0;
    while (lengths) {
        unsigned n = 64 - (unsigned)__builtin_clzll(lengths);
        lengths &= ~(1ULL << (n - 1));
        token_id id =
            n <= text.n ? find_text(v, v->literals.slots, v->literals.mask, str_of(text.p, n)) : TOKEN_NONE;
        if (id != TOKEN_NONE) {
            return id;
        }
    }
    return TOKEN_NONE;
}

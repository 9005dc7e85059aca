/* tokenizer.json and tokenizer_config.json: tokens, merges and special tokens, written as the keys that vocab.c,
 * tokenizer.c and chat_template.c read.
 *
 * Byte-level BPE has its merges as GGUF has them. A BPE with byte_fallback is SentencePiece written as one: the merges
 * are all pairs whose whole is a token, the best whole first, so a token's score is its first merge's place. */
#include <stdlib.h>

#include "inference/worker/safetensors/folder_parts.h"
#include "inference/worker/vocab.h"

struct token {
    struct str text;
    enum token_kind kind; /* 0: none has this id */
    float score;
};

struct vocabulary {
    struct folder *folder;
    struct fields file;
    struct fields model;  /* of file */
    struct fields config; /* tokenizer_config.json; empty where there is none */
    struct token *tokens;
    uint32_t count;
    bool is_spm;
};

/* --- tokens ------------------------------------------------------------------------------------------ */

static bool is_byte(struct str text)
{
    return text.n == 6 && str_starts(text, STR("<0x")) && text.p[5] == '>';
}

static void read_tokens(struct vocabulary *v)
{
    const struct json_slice *list = fields_find(&v->model, "vocab");
    struct str rest = list ? list->raw : STR("");
    struct str unknown = fields_str(&v->model, "unk_token", "");
    struct json_slice member;
    int64_t id;
    if (!list || list->type != JSON_OBJECT) {
        fields_refuse(&v->model, "vocab", "is not an object of tokens");
        return;
    }
    while (!v->model.rc && json_next(&rest, &member)) {
        if (!json_get_i64(&member, &id) || id < 0 || id >= v->count || v->tokens[id].kind) {
            fields_refuse(&v->model, "vocab",
                          "has an id that is no number, is there twice or is not below vocab_size");
            return;
        }
        struct token *t = &v->tokens[id];
        t->text = fields_key(&v->model, &member);
        t->kind = !v->is_spm                 ? TOKEN_NORMAL
                  : str_eq(t->text, unknown) ? TOKEN_UNKNOWN
                  : is_byte(t->text)         ? TOKEN_BYTE
                                             : TOKEN_NORMAL;
    }
}

/* Some special tokens are not marked so: converters to GGUF go by their look too. */
static bool looks_special(struct str text)
{
    return (str_starts(text, STR("<|")) && str_ends(text, STR("|>"))) ||
           (str_starts(text, STR("<\xEF\xBD\x9C")) && str_ends(text, STR("\xEF\xBD\x9C>")));
}

static void read_added(struct vocabulary *v)
{
    const struct json_slice *list = fields_find(&v->file, "added_tokens");
    struct str rest = list ? list->raw : STR("");
    struct json_slice item;
    while (!v->file.rc && list && list->type == JSON_ARRAY && json_next(&rest, &item)) {
        struct fields added;
        fields_open_value(&v->file, &added, &item, "added_tokens");
        uint32_t id = fields_u32(&added, "id", UINT32_MAX);
        struct str text = fields_str(&added, "content", "");
        bool is_control = fields_bool(&added, "special", false) || looks_special(text);
        if (!added.rc && id >= v->count) {
            fields_refuse(&added, "id", "is missing or not below vocab_size");
        }
        if (!added.rc && v->tokens[id].kind != TOKEN_UNKNOWN) {
            v->tokens[id].text = text;
            v->tokens[id].kind = is_control ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        }
        fields_close_member(&v->file, &added);
    }
}

/* Rows of the embedding beyond the last token. */
static void fill_up(struct vocabulary *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        if (!v->tokens[i].kind) {
            v->tokens[i].text = arena_printf(&v->folder->arena, "[PAD%u]", i);
            v->tokens[i].kind = TOKEN_UNUSED;
        }
    }
}

static void write_tokens(struct vocabulary *v)
{
    struct gguf_pairs *p = &v->folder->pairs;
    gguf_pairs_array(p, "tokenizer.ggml.tokens", GGUF_STRING, v->count);
    for (uint32_t i = 0; i < v->count; i++) {
        gguf_pairs_item_str(p, v->tokens[i].text);
    }
    gguf_pairs_array(p, "tokenizer.ggml.token_type", GGUF_I32, v->count);
    for (uint32_t i = 0; i < v->count; i++) {
        gguf_pairs_item_u32(p, v->tokens[i].kind);
    }
}

static int64_t find_token(const struct vocabulary *v, struct str text)
{
    for (uint32_t i = 0; i < v->count; i++) {
        if (str_eq(v->tokens[i].text, text)) {
            return i;
        }
    }
    return -1;
}

/* --- merges ------------------------------------------------------------------------------------------ */

/* "a b", or in newer files ["a", "b"]: as the first. */
static bool read_merge(struct vocabulary *v, const struct json_slice *item, struct str *out)
{
    struct str rest = item->raw;
    struct json_slice half;
    struct str halves[2];
    unsigned n = 0;
    if (item->type != JSON_ARRAY) {
        return json_get_str(&v->folder->arena, item, out);
    }
    while (json_next(&rest, &half)) {
        if (n == 2 || !json_get_str(&v->folder->arena, &half, &halves[n])) {
            return false;
        }
        n++;
    }
    *out = n == 2
               ? arena_printf(&v->folder->arena, STR_FMT " " STR_FMT, STR_ARG(halves[0]), STR_ARG(halves[1]))
               : STR("");
    return n == 2;
}

struct merge_list {
    struct str *texts;
    uint32_t n;
};

static struct merge_list read_merges(struct vocabulary *v)
{
    const struct json_slice *list = fields_find(&v->model, "merges");
    struct merge_list merges = {0};
    struct json_slice item;
    if (!list || list->type != JSON_ARRAY) {
        fields_refuse(&v->model, "merges", "is not a list");
        return merges;
    }
    uint32_t count = 0;
    for (struct str rest = list->raw; json_next(&rest, &item);) {
        count++;
    }
    merges.texts = arena_alloc(&v->folder->arena, (count + 1UL) * sizeof *merges.texts);
    for (struct str rest = list->raw; json_next(&rest, &item);) {
        if (!read_merge(v, &item, &merges.texts[merges.n++])) {
            fields_refuse(&v->model, "merges", "is not a list of pairs of tokens");
            break;
        }
    }
    return merges;
}

static void write_merges(struct vocabulary *v, const struct merge_list *merges)
{
    gguf_pairs_array(&v->folder->pairs, "tokenizer.ggml.merges", GGUF_STRING, merges->n);
    for (uint32_t i = 0; i < merges->n; i++) {
        gguf_pairs_item_str(&v->folder->pairs, merges->texts[i]);
    }
}

static int compare_texts(const void *a, const void *b)
{
    const struct token *x = *(const struct token *const *)a;
    const struct token *y = *(const struct token *const *)b;
    int order = memcmp(x->text.p, y->text.p, x->text.n < y->text.n ? x->text.n : y->text.n);
    return order ? order : (x->text.n > y->text.n) - (x->text.n < y->text.n);
}

/* The token that both halves of a merge make; NULL: none. */
static struct token *find_whole(struct token **sorted, uint32_t n, struct str merge, char *scratch)
{
    const char *space = merge.n ? memchr(merge.p, ' ', merge.n) : NULL;
    if (!space) {
        return NULL;
    }
    size_t left = (size_t)(space - merge.p);
    memcpy(scratch, merge.p, left);
    memcpy(scratch + left, space + 1, merge.n - left - 1);
    struct token wanted = {.text = str_of(scratch, merge.n - 1)};
    const struct token *key = &wanted;
    struct token **found = bsearch(&key, sorted, n, sizeof(struct token *), compare_texts);
    return found ? *found : NULL;
}

static void write_scores(struct vocabulary *v, const struct merge_list *merges)
{
    struct arena *arena = &v->folder->arena;
    struct token **sorted = arena_alloc(arena, (v->count + 1UL) * sizeof(struct token *));
    size_t longest = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        sorted[i] = &v->tokens[i];
        v->tokens[i].score = -(float)merges->n;
    }
    for (uint32_t i = 0; i < merges->n; i++) {
        longest = merges->texts[i].n > longest ? merges->texts[i].n : longest;
    }
    qsort(sorted, v->count, sizeof *sorted, compare_texts);
    char *scratch = arena_alloc(arena, longest + 1);
    for (uint32_t i = merges->n; i-- > 0;) { /* the first one counts */
        struct token *whole = find_whole(sorted, v->count, merges->texts[i], scratch);
        if (!whole) {
            fields_refuse(&v->model, "merges", "has a pair whose whole is not a token");
            return;
        }
        whole->score = -(float)i;
    }
    gguf_pairs_array(&v->folder->pairs, "tokenizer.ggml.scores", GGUF_F32, v->count);
    for (uint32_t i = 0; i < v->count; i++) {
        gguf_pairs_item_f32(&v->folder->pairs, v->tokens[i].score);
    }
}

/* --- what text becomes before ------------------------------------------------------------------------ */

/* Normalizers: NFC of Qwen's (llama.cpp leaves it out, and so do we) and none. */
static void check_plain_text(struct vocabulary *v)
{
    struct fields normalizer;
    fields_open_member(&v->file, &normalizer, "normalizer");
    struct str type = fields_str(&normalizer, "type", "NFC");
    const struct json_slice *list = fields_find(&normalizer, "normalizers");
    bool is_empty = str_is(type, "Sequence") && list && str_is(list->raw, "[]");
    if (!str_is(type, "NFC") && !is_empty) {
        fields_refuse(&normalizer, "type", "is not supported with byte-level BPE");
    }
    fields_close_member(&v->file, &normalizer);
}

/* One step of a normalizer: whether it puts a space before the text. All others but the one that replaces spaces would
 * have to be ignored. */
static bool is_prepend(struct fields *step)
{
    struct str type = fields_str(step, "type", "");
    bool prepends = str_is(type, "Prepend");
    if (!step->rc && !prepends && !str_is(type, "Replace")) {
        step->rc = err_set(step->err, ERR_INVALID, "%s: type \"%.40s\" is not supported with byte_fallback",
                           step->file, type.p);
    }
    return prepends;
}

/* SentencePiece writes spaces as U+2581; in some models text begins with one. */
static void read_space_prefix(struct vocabulary *v)
{
    struct fields normalizer;
    struct fields before;
    fields_open_member(&v->file, &normalizer, "normalizer");
    fields_open_member(&v->file, &before, "pre_tokenizer");
    bool is_sequence = str_is(fields_str(&normalizer, "type", ""), "Sequence");
    const struct json_slice *list = is_sequence ? fields_find(&normalizer, "normalizers") : NULL;
    struct str rest = list ? list->raw : STR("");
    struct json_slice step;
    bool prepends = str_is(fields_str(&before, "type", ""), "Metaspace") &&
                    !str_is(fields_str(&before, "prepend_scheme", "always"), "never");
    while (list && list->type == JSON_ARRAY && json_next(&rest, &step)) {
        struct fields one;
        fields_open_value(&normalizer, &one, &step, "normalizers");
        prepends = is_prepend(&one) || prepends;
        fields_close_member(&normalizer, &one);
    }
    if (!is_sequence && fields_find(&v->file, "normalizer")) {
        prepends = is_prepend(&normalizer) || prepends;
    }
    fields_close_member(&v->file, &normalizer);
    fields_close_member(&v->file, &before);
    gguf_pairs_bool(&v->folder->pairs, "tokenizer.ggml.add_space_prefix", prepends);
}

static void read_model(struct vocabulary *v)
{
    const char *pre = NULL;
    v->is_spm = fields_bool(&v->model, "byte_fallback", false);
    if (!str_is(fields_str(&v->model, "type", "BPE"), "BPE")) {
        fields_refuse(&v->model, "type", "is not BPE");
    }
    if (fields_str(&v->model, "continuing_subword_prefix", "").n ||
        fields_str(&v->model, "end_of_word_suffix", "").n) {
        fields_refuse(&v->model, "continuing_subword_prefix or end_of_word_suffix", "is not supported");
    }
    gguf_pairs_str(&v->folder->pairs, "tokenizer.ggml.model", v->is_spm ? STR("llama") : STR("gpt2"));
    if (v->is_spm) {
        read_space_prefix(v);
        return;
    }
    check_plain_text(v);
    if (!v->file.rc && !folder_find_splits(&v->file, &pre)) {
        gguf_pairs_str(&v->folder->pairs, "tokenizer.ggml.pre", str_from(pre));
        bool takes_whole = strcmp(pre, "llama-bpe") == 0;
        if (fields_bool(&v->model, "ignore_merges", false) != takes_whole) {
            fields_refuse(&v->model, "ignore_merges", "is not what this pre_tokenizer has elsewhere");
        }
    }
}

/* --- tokenizer_config.json --------------------------------------------------------------------------- */

/* "bos_token": "<s>", or {"content": "<s>", ...}; where it is not said, config.json's id. */
static int64_t special_id(struct vocabulary *v, const char *name, int64_t absent)
{
    const struct json_slice *value = fields_find(&v->config, name);
    struct str text = STR("");
    if (!value) {
        return absent;
    }
    if (value->type == JSON_OBJECT) {
        struct fields token;
        fields_open_member(&v->config, &token, name);
        text = fields_str(&token, "content", "");
        fields_close_member(&v->config, &token);
    } else {
        text = fields_str(&v->config, name, "");
    }
    int64_t id = find_token(v, text);
    if (id < 0) {
        fields_refuse(&v->config, name, "is not one of the tokens");
    }
    return id;
}

static void pair_id(struct vocabulary *v, const char *key, int64_t id)
{
    if (id >= 0 && id <= UINT32_MAX) {
        gguf_pairs_u32(&v->folder->pairs, key, (uint32_t)id);
    }
}

/* A template as text, or the one named "default" of a list. */
static struct str read_template(struct vocabulary *v)
{
    const struct json_slice *value = fields_find(&v->config, "chat_template");
    struct str text = STR("");
    if (!value || value->type != JSON_ARRAY) {
        return fields_str(&v->config, "chat_template", "");
    }
    struct json_slice item;
    for (struct str rest = value->raw; json_next(&rest, &item);) {
        struct fields one;
        fields_open_value(&v->config, &one, &item, "chat_template");
        if (str_is(fields_str(&one, "name", ""), "default")) {
            text = fields_str(&one, "template", "");
        }
        fields_close_member(&v->config, &one);
    }
    return text;
}

static void read_specials(struct vocabulary *v)
{
    struct folder *f = v->folder;
    int64_t eos = special_id(v, "eos_token", f->eos);
    pair_id(v, "tokenizer.ggml.bos_token_id", special_id(v, "bos_token", f->bos));
    pair_id(v, "tokenizer.ggml.eos_token_id", eos);
    pair_id(v, "tokenizer.ggml.eot_token_id", f->eos != eos ? f->eos : f->eot);
    if (fields_find(&v->config, "add_bos_token")) {
        gguf_pairs_bool(&f->pairs, "tokenizer.ggml.add_bos_token",
                        fields_bool(&v->config, "add_bos_token", false));
    }
    if (v->config.rc) {
        return;
    }
    struct str text = STR("");
    int rc = fields_read_file(&f->arena, f->path, "chat_template.jinja", &text, v->config.err);
    if (rc == ERR_NOT_FOUND) {
        text = read_template(v);
    } else if (rc) {
        v->config.rc = rc;
    }
    if (text.n) {
        gguf_pairs_str(&f->pairs, "tokenizer.chat_template", text);
    }
}

/* --- the whole --------------------------------------------------------------------------------------- */

static int open_files(struct vocabulary *v, struct err *err)
{
    struct folder *f = v->folder;
    int rc = fields_open(&v->file, &f->arena, f->path, "tokenizer.json", err);
    if (rc) {
        return rc;
    }
    rc = fields_open(&v->config, &f->arena, f->path, "tokenizer_config.json", err);
    if (rc == ERR_NOT_FOUND) {
        v->config.rc = 0;
    } else if (rc) {
        return rc;
    }
    fields_open_member(&v->file, &v->model, "model");
    if (f->vocab == 0 || f->vocab > VOCAB_MAX_TOKENS) {
        return err_set(err, ERR_LIMIT, "config.json: vocab_size is %u, expected 1 to %d", f->vocab,
                       VOCAB_MAX_TOKENS);
    }
    v->count = f->vocab;
    v->tokens = arena_calloc(&f->arena, v->count * sizeof *v->tokens);
    return v->model.rc;
}

int folder_read_vocabulary(struct folder *f, struct err *err)
{
    struct vocabulary v = {.folder = f};
    int rc = open_files(&v, err);
    if (rc) {
        return rc;
    }
    read_model(&v);
    if (!v.file.rc && !v.model.rc) {
        read_tokens(&v);
        read_added(&v);
    }
    struct merge_list merges = read_merges(&v);
    fields_close_member(&v.file, &v.model);
    if (v.file.rc) {
        return v.file.rc;
    }
    fill_up(&v);
    write_tokens(&v);
    if (v.is_spm) {
        write_scores(&v, &merges);
    } else {
        write_merges(&v, &merges);
    }
    v.config.rc = v.model.rc;
    read_specials(&v);
    return v.config.rc;
}

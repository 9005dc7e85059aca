/* Which of the known splits (presplit.h) the pre_tokenizer of a tokenizer.json is. Its steps are written down in one
 * text, and the text is compared: another one is refused, for a split that is nearly right makes other tokens. */
#include "base/log.h"
#include "inference/worker/cased_letters.h"
#include "inference/worker/safetensors/folder_parts.h"

enum { STEPS_MAX_BYTES = 1 << 16 };

#define WORDS(digits)                                                                                        \
    "split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                               \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"

#define HAN_HANGUL "split [\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+\n"

static const struct known {
    const char *steps;
    const char *pre; /* tokenizer.ggml.pre */
} known[] = {
    {"words\n", "gpt-2"},
    {"digit\nwords\n", "smollm"},
    {WORDS("\\p{N}{1,3}"), "llama-bpe"},
    {WORDS("\\p{N}"), "qwen2"},
    {"split \\p{N}{1,3}\n"
     "split [\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+\n" /* Han and kana */
     "split [!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
     "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n",
     "deepseek-v3"},
    {"split [\\r\\n]\n"
     "split \\s?[" CASED_LETTERS "]+\n"
     "split \\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+\n"
     "split \\s+$\n" HAN_HANGUL "digit\n",
     "deepseek-llm"},
    {"split [\\r\\n]\n"
     "split \\s?\\p{L}+\n"
     "split \\s?\\p{P}+\n" HAN_HANGUL "digit\n",
     "deepseek-coder"},
};

/* The next character of valid UTF-8. */
static uint32_t take_character(struct str *in)
{
    uint8_t first = (uint8_t)in->p[0];
    size_t n = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint32_t c = n == 1 ? first : first & (0x7FU >> n);
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | ((uint8_t)in->p[i] & 0x3FU);
    }
    *in = str_skip(*in, n);
    return c;
}

/* Line ends stand in some files as they are, in others as escapes; what is not ASCII becomes \x{4E00}. */
static void write_regex(struct str regex, struct buf *steps)
{
    while (regex.n > 0) {
        uint32_t c = take_character(&regex);
        if (c == '\r' || c == '\n') {
            buf_add_cstr(steps, c == '\r' ? "\\r" : "\\n");
        } else if (c < 0x80) {
            buf_add_char(steps, (char)c);
        } else {
            buf_addf(steps, "\\x{%X}", c);
        }
    }
}

/* Matches are pieces, and so is what lies between them. */
static void write_split(struct fields *step, struct buf *steps)
{
    struct fields pattern;
    struct str behavior = fields_str(step, "behavior", "");
    bool inverts = fields_bool(step, "invert", false);
    fields_open_member(step, &pattern, "pattern");
    struct str regex = fields_str(&pattern, "Regex", "");
    fields_close_member(step, &pattern);
    if (regex.n == 0 || inverts || !str_is(behavior, "Isolated")) {
        buf_add_cstr(steps, "(behavior ");
        buf_add_str(steps, behavior);
        buf_add_cstr(steps, inverts ? ", inverted) " : ") ");
    }
    buf_add_cstr(steps, "split ");
    write_regex(regex, steps);
    buf_add_char(steps, '\n');
}

static void write_step(struct fields *step, struct buf *steps)
{
    struct str type = fields_str(step, "type", "");
    if (str_is(type, "Split")) {
        write_split(step, steps);
    } else if (str_is(type, "Digits")) {
        buf_add_cstr(steps, fields_bool(step, "individual_digits", false) ? "digit\n" : "digits\n");
    } else if (str_is(type, "ByteLevel") && !fields_bool(step, "add_prefix_space", true)) {
        buf_add_cstr(steps, fields_bool(step, "use_regex", true) ? "words\n" : "");
    } else {
        buf_add_str(steps, type);
        buf_add_char(steps, '\n');
    }
}

static void write_steps(struct fields *pre, struct buf *steps)
{
    const struct json_slice *list = fields_find(pre, "pretokenizers");
    struct str rest = list ? list->raw : STR("");
    struct json_slice item;
    if (!str_is(fields_str(pre, "type", ""), "Sequence")) {
        write_step(pre, steps);
        return;
    }
    while (!pre->rc && list && list->type == JSON_ARRAY && json_next(&rest, &item)) {
        struct fields step;
        fields_open_value(pre, &step, &item, "pretokenizers");
        write_step(&step, steps);
        fields_close_member(pre, &step);
    }
}

static int refuse(struct fields *tokenizer, struct str steps)
{
    struct buf line;
    buf_init(&line, 6 * STEPS_MAX_BYTES);
    json_escape(&line, steps);
    log_error("model pre_tokenizer=unknown steps=\"%s\"",
              line.p); /* whole: an error has room for its beginning */
    tokenizer->rc = err_set(tokenizer->err, ERR_INVALID, "%s: pre_tokenizer is not one that is known: %.90s",
                            tokenizer->file, line.p);
    buf_clear(&line);
    return tokenizer->rc;
}

int folder_find_splits(struct fields *tokenizer, const char **pre)
{
    struct fields step;
    struct buf steps;
    buf_init(&steps, STEPS_MAX_BYTES);
    fields_open_member(tokenizer, &step, "pre_tokenizer");
    write_steps(&step, &steps);
    fields_close_member(tokenizer, &step);
    *pre = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!steps.overflowed && str_is(buf_str(&steps), known[i].steps)) {
            *pre = known[i].pre;
        }
    }
    if (!tokenizer->rc && !*pre) {
        refuse(tokenizer, buf_str(&steps));
    }
    buf_clear(&steps);
    return tokenizer->rc;
}

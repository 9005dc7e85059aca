#include "inference/worker/chat_styles.h"

#define THINK "<think>"
#define END_THINK "</think>"
/* DeepSeek writes its markers with U+FF5C and U+2581. */
#define BAR "\xEF\xBD\x9C"
#define LOW "\xE2\x96\x81"
#define DS_USER "<" BAR "User" BAR ">"
#define DS_ASSISTANT "<" BAR "Assistant" BAR ">"
#define DS_END "<" BAR "end" LOW "of" LOW "sentence" BAR ">"

/* --- the prompt -------------------------------------------------------------------------------------- */

void chat_prompt_flush(struct chat_prompt *p)
{
    if (!p->rc && p->text.n > 0) {
        p->rc = tokenizer_encode(p->tokenizer, buf_str(&p->text), p->out, p->err);
    }
    buf_truncate(&p->text);
}

static void add(struct chat_prompt *p, struct str text)
{
    buf_add_str(&p->text, text);
}

static void refuse(struct chat_prompt *p, const char *text)
{
    if (!p->rc) {
        p->rc = err_set(p->err, ERR_INVALID, "%s", text);
    }
}

static void add_marker(struct chat_prompt *p, const char *text)
{
    token_id id = tokenizer_control(p->tokenizer, text);
    chat_prompt_flush(p);
    if (id != TOKEN_NONE) {
        token_list_add(p->out, id);
    } else if (!p->rc) {
        p->rc = err_set(p->err, ERR_INVALID, "model: its vocabulary lacks %s, which its chat template writes",
                        text);
    }
}

/* A tag that is one token in most vocabularies, and text in others. */
static void add_tag(struct chat_prompt *p, const char *text)
{
    if (tokenizer_control(p->tokenizer, text) != TOKEN_NONE) {
        add_marker(p, text);
    } else {
        add(p, str_from(text)); /* a user-defined token is found in text */
    }
}

static void begin(struct chat_prompt *p)
{
    token_id id = tokenizer_bos(p->tokenizer);
    if (id != TOKEN_NONE) {
        token_list_add(p->out, id);
    } else {
        refuse(p, "model: its chat template begins with a BOS token, but the file names none");
    }
}

static bool is_role(const struct chat_message *m, const char *role)
{
    return str_is(m->role, role);
}

static bool has_system(const struct chat_prompt *p)
{
    return p->count > 0 && is_role(&p->messages[0], "system");
}

static void refuse_tools(struct chat_prompt *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (is_role(&p->messages[i], "tool")) {
            refuse(p, "role: answers of tools are not supported with this model's chat template");
        }
    }
}

/* --- strings as Python cuts them --------------------------------------------------------------------- */

/* Bytes of the white space that s begins with (str.isspace); 0: none. */
static size_t space_n(struct str s)
{
    static const char *const wide[] = {"\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\xA8",
                                       "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    uint8_t c = s.n ? (uint8_t)*s.p : 'x';
    if (c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F)) {
        return 1;
    }
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (str_starts(s, str_from(wide[i]))) {
            return strlen(wide[i]);
        }
    }
    bool is_quad = s.n > 2 && c == 0xE2 && (uint8_t)s.p[1] == 0x80 && (uint8_t)s.p[2] <= 0x8A;
    return is_quad ? 3 : 0; /* U+2000 to U+200A */
}

static struct str trim(struct str s)
{
    while (space_n(s)) {
        s = str_skip(s, space_n(s));
    }
    for (size_t n = 1; n <= 3 && n <= s.n; n++) {
        if (space_n(str_skip(s, s.n - n)) == n) {
            s.n -= n;
            n = 0;
        }
    }
    return s;
}

static struct str trim_lines_left(struct str s)
{
    while (s.n && *s.p == '\n') {
        s = str_skip(s, 1);
    }
    return s;
}

static struct str trim_lines(struct str s)
{
    while (s.n && s.p[s.n - 1] == '\n') {
        s.n--;
    }
    return trim_lines_left(s);
}

static const char *find(struct str s, const char *word)
{
    return s.n ? memmem(s.p, s.n, word, strlen(word)) : NULL;
}

static struct str before_first(struct str s, const char *word)
{
    const char *at = find(s, word);
    return at ? str_of(s.p, (size_t)(at - s.p)) : s;
}

static struct str after_first(struct str s, const char *word)
{
    const char *at = find(s, word);
    return at ? str_skip(s, (size_t)(at - s.p) + strlen(word)) : s;
}

static struct str after_last(struct str s, const char *word)
{
    while (find(s, word)) {
        s = after_first(s, word);
    }
    return s;
}

/* --- ChatML and Qwen: <|im_start|>role \n content <|im_end|> \n --------------------------------------- */

static void open_turn(struct chat_prompt *p, struct str role)
{
    add_marker(p, "<|im_start|>");
    add(p, role);
}

static void close_turn(struct chat_prompt *p)
{
    add_marker(p, "<|im_end|>");
    add(p, STR("\n"));
}

static void add_turn(struct chat_prompt *p, struct str role, struct str content)
{
    open_turn(p, role);
    add(p, STR("\n"));
    add(p, content);
    close_turn(p);
}

static void add_default_system(struct chat_prompt *p)
{
    if (p->system && !has_system(p)) {
        add_turn(p, STR("system"), str_from(p->system));
    }
}

static void open_answer(struct chat_prompt *p)
{
    open_turn(p, STR("assistant\n"));
}

void chat_style_chatml(struct chat_prompt *p)
{
    tokenizer_begin(p->tokenizer, p->out);
    add_default_system(p);
    for (size_t i = 0; i < p->count; i++) {
        add_turn(p, p->messages[i].role, p->messages[i].content);
    }
    open_answer(p);
}

/* Answers of tools that follow each other share a turn of the user's. */
static void add_tool_answer(struct chat_prompt *p, size_t i)
{
    if (i == 0 || !is_role(&p->messages[i - 1], "tool")) {
        open_turn(p, STR("user"));
    }
    add(p, STR("\n<tool_response>\n"));
    add(p, p->messages[i].content);
    add(p, STR("\n</tool_response>"));
    if (i + 1 == p->count || !is_role(&p->messages[i + 1], "tool")) {
        close_turn(p);
    }
}

void chat_style_qwen25(struct chat_prompt *p)
{
    tokenizer_begin(p->tokenizer, p->out);
    add_default_system(p);
    for (size_t i = 0; i < p->count; i++) {
        if (is_role(&p->messages[i], "tool")) {
            add_tool_answer(p, i);
        } else {
            add_turn(p, p->messages[i].role, p->messages[i].content);
        }
    }
    open_answer(p);
}

void chat_style_qwq(struct chat_prompt *p)
{
    tokenizer_begin(p->tokenizer, p->out);
    for (size_t i = 0; i < p->count; i++) {
        const struct chat_message *m = &p->messages[i];
        if (is_role(m, "tool")) {
            add_tool_answer(p, i);
        } else if (is_role(m, "assistant") && i + 1 < p->count) {
            add_turn(p, m->role, trim_lines_left(after_last(m->content, END_THINK)));
        } else {
            add_turn(p, m->role, m->content);
        }
    }
    open_answer(p);
    add_tag(p, THINK);
    add(p, STR("\n"));
    if (!p->thinks) {
        add_tag(p, END_THINK);
    }
}

/* The last message that a user wrote, and not a tool in his name. */
static size_t last_query(const struct chat_prompt *p)
{
    for (size_t i = p->count; i > 0; i--) {
        struct str content = p->messages[i - 1].content;
        bool is_tool =
            str_starts(content, STR("<tool_response>")) && str_ends(content, STR("</tool_response>"));
        if (is_role(&p->messages[i - 1], "user") && !is_tool) {
            return i - 1;
        }
    }
    return p->count - 1;
}

/* Reasoning is kept only in what follows the last query. */
static void add_qwen3_answer(struct chat_prompt *p, size_t i, size_t query)
{
    struct str content = p->messages[i].content;
    struct str reasoning = STR("");
    if (find(content, END_THINK)) {
        reasoning = trim_lines(after_last(trim_lines(before_first(content, END_THINK)), THINK));
        content = trim_lines_left(after_last(content, END_THINK));
    }
    open_turn(p, STR("assistant\n"));
    if (i > query && (i + 1 == p->count || reasoning.n)) {
        add_tag(p, THINK);
        add(p, STR("\n"));
        add(p, reasoning);
        add(p, STR("\n"));
        add_tag(p, END_THINK);
        add(p, STR("\n\n"));
        content = trim_lines_left(content);
    }
    add(p, content);
    close_turn(p);
}

void chat_style_qwen3(struct chat_prompt *p)
{
    size_t query = last_query(p);
    tokenizer_begin(p->tokenizer, p->out);
    for (size_t i = 0; i < p->count; i++) {
        const struct chat_message *m = &p->messages[i];
        if (is_role(m, "tool")) {
            add_tool_answer(p, i);
        } else if (is_role(m, "assistant")) {
            add_qwen3_answer(p, i, query);
        } else {
            add_turn(p, m->role, m->content);
        }
    }
    open_answer(p);
    if (!p->thinks) {
        add_tag(p, THINK);
        add(p, STR("\n\n"));
        add_tag(p, END_THINK);
        add(p, STR("\n\n"));
    }
}

/* --- Llama 3 ----------------------------------------------------------------------------------------- */

static void add_header(struct chat_prompt *p, struct str role)
{
    add_marker(p, "<|start_header_id|>");
    add(p, role);
    add_marker(p, "<|end_header_id|>");
    add(p, STR("\n\n"));
}

static void add_llama3_turns(struct chat_prompt *p, size_t from)
{
    for (size_t i = from; i < p->count; i++) {
        add_header(p, p->messages[i].role);
        add(p, trim(p->messages[i].content));
        add_marker(p, "<|eot_id|>");
    }
    add_header(p, STR("assistant"));
}

void chat_style_llama3(struct chat_prompt *p)
{
    refuse_tools(p);
    begin(p);
    add_llama3_turns(p, 0);
}

/* The date is the one that the template falls back to: one of today would end every kept prefix at midnight. */
void chat_style_llama31(struct chat_prompt *p)
{
    refuse_tools(p);
    begin(p);
    add_header(p, STR("system"));
    add(p, STR("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"));
    if (has_system(p)) {
        add(p, trim(p->messages[0].content));
    }
    add_marker(p, "<|eot_id|>");
    add_llama3_turns(p, has_system(p));
}

/* --- DeepSeek ---------------------------------------------------------------------------------------- */

/* The system messages stand before all turns: the last of them, or all. */
static void add_deepseek_system(struct chat_prompt *p, bool all)
{
    struct str last = STR("");
    bool is_first = true;
    for (size_t i = 0; i < p->count; i++) {
        if (!is_role(&p->messages[i], "system")) {
            continue;
        }
        last = p->messages[i].content;
        if (all) {
            add(p, is_first ? STR("") : STR("\n\n"));
            add(p, last);
        }
        is_first = false;
    }
    if (!all) {
        add(p, last);
    }
}

static void add_deepseek_turns(struct chat_prompt *p, bool drop_reasoning)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct chat_message *m = &p->messages[i];
        if (is_role(m, "user")) {
            add_marker(p, DS_USER);
            add(p, m->content);
        } else if (is_role(m, "assistant")) {
            add_marker(p, DS_ASSISTANT);
            add(p, drop_reasoning ? after_last(m->content, END_THINK) : m->content);
            add_marker(p, DS_END);
        }
    }
    add_marker(p, DS_ASSISTANT);
}

void chat_style_deepseek_r1_unopened(struct chat_prompt *p)
{
    refuse_tools(p);
    begin(p);
    add_deepseek_system(p, false);
    add_deepseek_turns(p, true);
}

void chat_style_deepseek_r1(struct chat_prompt *p)
{
    chat_style_deepseek_r1_unopened(p);
    add_tag(p, THINK);
    add(p, STR("\n"));
}

void chat_style_deepseek_r1_switched(struct chat_prompt *p)
{
    chat_style_deepseek_r1(p);
    if (!p->thinks) {
        add_tag(p, END_THINK);
    }
}

void chat_style_deepseek_v3(struct chat_prompt *p)
{
    refuse_tools(p);
    begin(p);
    add_deepseek_system(p, true);
    add_deepseek_turns(p, false);
}

static void add_deepseek_think(struct chat_prompt *p, bool open)
{
    add_marker(p, DS_ASSISTANT);
    add_tag(p, THINK);
    if (!open) {
        add_tag(p, END_THINK);
    }
}

void chat_style_deepseek_v31(struct chat_prompt *p)
{
    bool after_user = false;
    refuse_tools(p);
    begin(p);
    add_deepseek_system(p, true);
    for (size_t i = 0; i < p->count; i++) {
        const struct chat_message *m = &p->messages[i];
        if (is_role(m, "user")) {
            add_marker(p, DS_USER);
            add(p, m->content);
            after_user = true;
        } else if (is_role(m, "assistant")) {
            if (after_user) {
                add_deepseek_think(p, false);
            }
            add(p, after_first(m->content, END_THINK));
            add_marker(p, DS_END);
            after_user = false;
        }
    }
    if (after_user) {
        add_deepseek_think(p, p->thinks);
    }
}

/* --- Gemma ------------------------------------------------------------------------------------------- */

static void add_gemma_turns(struct chat_prompt *p, size_t from)
{
    for (size_t i = from; i < p->count; i++) {
        const struct chat_message *m = &p->messages[i];
        if (is_role(m, "user") != ((i - from) % 2 == 0)) {
            refuse(p, "roles: this model's chat template wants user and assistant by turns");
        }
        add_marker(p, "<start_of_turn>");
        add(p, is_role(m, "assistant") ? STR("model") : m->role);
        add(p, STR("\n"));
        if (i == 1 && from == 1) {
            add(p, p->messages[0].content); /* the system's words, in the first turn */
            add(p, STR("\n\n"));
        }
        add(p, trim(m->content));
        add_marker(p, "<end_of_turn>");
        add(p, STR("\n"));
    }
    add_marker(p, "<start_of_turn>");
    add(p, STR("model\n"));
}

void chat_style_gemma2(struct chat_prompt *p)
{
    refuse_tools(p);
    if (has_system(p)) {
        refuse(p, "role: this model's chat template has no system message");
    }
    begin(p);
    add_gemma_turns(p, 0);
}

void chat_style_gemma3(struct chat_prompt *p)
{
    refuse_tools(p);
    begin(p);
    add_gemma_turns(p, has_system(p));
}

#include "gateway/chat_body.h"

#include "base/json.h"

enum { SPLICES = 8, BYTES_PER_TOKEN = 4, MODEL_BYTES = 127 };

static const struct json_limits limits = {
    .max_depth = 64, .max_members = 65536, .max_items = 65536, .max_string = 64u << 20};

struct splice {
    const char *at; /* in the text */
    size_t remove;  /* bytes there that go */
    struct str insert;
};

struct reader {
    struct arena *arena;
    const struct chat_conf *conf;
    enum chat_kind kind;
    struct json_doc doc;
    struct chat_body *out;
    struct splice splices[SPLICES];
    unsigned splice_count;
};

/* --- refusing ----------------------------------------------------------------------------------------- */

static void refuse(struct reader *r, const char *code, const char *param, struct str detail)
{
    if (!r->out->problem) {
        r->out->problem = code;
        r->out->param = str_from(param);
        r->out->detail = detail;
    }
}

static void refuse_type(struct reader *r, const char *param, const char *wanted)
{
    refuse(r, "bad_request", param, arena_printf(r->arena, "%s must be %s", param, wanted));
}

static const struct json_slice *given(const struct reader *r, const char *key)
{
    const struct json_slice *v = json_member(&r->doc, key);
    return v && v->type != JSON_NULL ? v : NULL;
}

/* --- splices ------------------------------------------------------------------------------------------ */

static void splice(struct reader *r, const char *at, size_t remove, struct str insert)
{
    BUG_ON(r->splice_count == SPLICES);
    unsigned i = r->splice_count++;
    for (; i > 0 && r->splices[i - 1].at > at; i--) {
        r->splices[i] = r->splices[i - 1];
    }
    r->splices[i] = (struct splice){at, remove, insert};
}

static void replace(struct reader *r, struct str raw, struct str insert)
{
    splice(r, raw.p, raw.n, insert);
}

/* A member at the front of an object given by its text. */
static void insert_member(struct reader *r, struct str object, const char *member)
{
    struct json_slice first;
    struct str walk = object;
    bool is_empty = !json_next(&walk, &first);
    splice(r, object.p + 1, 0, arena_printf(r->arena, "%s%s", member, is_empty ? "" : ","));
}

static struct str apply_splices(const struct reader *r, struct str text)
{
    size_t n = text.n;
    for (unsigned i = 0; i < r->splice_count; i++) {
        n += r->splices[i].insert.n;
    }
    if (r->splice_count == 0) {
        return text;
    }
    char *out = arena_alloc(r->arena, n);
    char *to = out;
    const char *from = text.p;
    for (unsigned i = 0; i < r->splice_count; i++) {
        const struct splice *s = &r->splices[i];
        memcpy(to, from, (size_t)(s->at - from));
        to += s->at - from;
        memcpy(to, s->insert.p, s->insert.n);
        to += s->insert.n;
        from = s->at + s->remove;
    }
    size_t rest = (size_t)(text.p + text.n - from);
    memcpy(to, from, rest);
    return str_of(out, (size_t)(to - out) + rest);
}

/* --- fields ------------------------------------------------------------------------------------------- */

static void read_model(struct reader *r)
{
    const struct json_slice *v = given(r, "model");
    struct str model;
    if (!v) {
        refuse(r, "bad_request", "model", STR("model is missing"));
        return;
    }
    if (v->type != JSON_STRING || !json_get_str(r->arena, v, &model) || model.n == 0 ||
        model.n > MODEL_BYTES) {
        refuse_type(r, "model", "a string of 1 to 127 bytes");
        return;
    }
    r->out->asked = model;
    r->out->model = model;
    const struct chat_alias_conf *alias = r->conf->aliases.items;
    for (unsigned i = 0; i < r->conf->aliases.n; i++) {
        if (str_is(model, alias[i].name)) {
            struct buf quoted;
            buf_init(&quoted, 4096);
            json_escape(&quoted, str_from(alias[i].model));
            r->out->model = str_from(alias[i].model);
            replace(r, v->raw, arena_printf(r->arena, "\"" STR_FMT "\"", STR_ARG(buf_str(&quoted))));
            buf_clear(&quoted);
            return;
        }
    }
}

static void read_input(struct reader *r)
{
    const char *key = r->kind == CHAT_KIND_CHAT ? "messages" : "prompt";
    const struct json_slice *v = given(r, key);
    struct json_slice item;
    if (!v) {
        refuse(r, "bad_request", key, arena_printf(r->arena, "%s is missing", key));
    } else if (r->kind == CHAT_KIND_TEXT) {
        if (v->type != JSON_STRING && v->type != JSON_ARRAY) {
            refuse_type(r, key, "a string or an array");
        }
    } else if (v->type != JSON_ARRAY) {
        refuse_type(r, key, "an array");
    } else {
        struct str walk = v->raw;
        unsigned n = 0;
        while (json_next(&walk, &item)) {
            n++;
            if (item.type != JSON_OBJECT) {
                refuse_type(r, key, "an array of objects");
                return;
            }
        }
        if (n == 0) {
            refuse(r, "bad_request", key, STR("messages must not be empty"));
        }
    }
}

static void read_usage_option(struct reader *r, const struct json_slice *options)
{
    struct json_doc doc;
    json_members(r->arena, options->raw, &doc);
    const struct json_slice *m = json_member(&doc, "include_usage");
    if (m && m->type != JSON_TRUE && m->type != JSON_FALSE && m->type != JSON_NULL) {
        refuse_type(r, "stream_options.include_usage", "a boolean");
    } else if (m) {
        r->out->wants_usage = m->type == JSON_TRUE;
        if (!r->out->wants_usage) {
            replace(r, m->raw, STR("true"));
        }
    } else {
        insert_member(r, options->raw, "\"include_usage\":true");
    }
}

static void read_stream(struct reader *r)
{
    const struct json_slice *stream = given(r, "stream");
    const struct json_slice *any = json_member(&r->doc, "stream_options");
    if (stream && !json_get_bool(stream, &r->out->is_stream)) {
        refuse_type(r, "stream", "a boolean");
    }
    if (any && any->type != JSON_OBJECT && any->type != JSON_NULL) {
        refuse_type(r, "stream_options", "an object");
    }
    if (!r->out->is_stream || r->out->problem) {
        return;
    }
    if (!any) {
        insert_member(r, r->doc.raw, "\"stream_options\":{\"include_usage\":true}");
    } else if (any->type == JSON_NULL) {
        replace(r, any->raw, STR("{\"include_usage\":true}"));
    } else {
        read_usage_option(r, any);
    }
}

static bool read_integer(struct reader *r, const char *key, int64_t min, int64_t max, int64_t *out,
                         struct str *raw)
{
    const struct json_slice *v = given(r, key);
    if (!v) {
        return false;
    }
    if (v->type != JSON_NUMBER || !json_get_i64(v, out) || *out < min || *out > max) {
        refuse(r, "bad_request", key,
               arena_printf(r->arena, "%s must be an integer from %lld to %lld", key, (long long)min,
                            (long long)max));
        return false;
    }
    *raw = v->raw;
    return true;
}

static void read_max_tokens(struct reader *r)
{
    int64_t cap = r->conf->max_tokens;
    static const char *const keys[] = {"max_completion_tokens", "max_tokens"};
    r->out->max_tokens = -1;
    for (unsigned i = 0; i < 2; i++) {
        int64_t n;
        struct str raw;
        if (!read_integer(r, keys[i], 1, INT32_MAX, &n, &raw)) {
            continue;
        }
        if (cap > 0 && n > cap) {
            replace(r, raw, arena_printf(r->arena, "%lld", (long long)cap));
            n = cap;
        }
        if (r->out->max_tokens < 0) {
            r->out->max_tokens = n;
        }
    }
    if (r->out->max_tokens >= 0 || cap == 0 || r->out->problem) {
        return;
    }
    r->out->max_tokens = cap;
    const struct json_slice *null = json_member(&r->doc, "max_tokens");
    if (null) {
        replace(r, null->raw, arena_printf(r->arena, "%lld", (long long)cap));
    } else {
        char member[48];
        struct str text = arena_printf(r->arena, "\"max_tokens\":%lld", (long long)cap);
        memcpy(member, text.p, text.n + 1);
        insert_member(r, r->doc.raw, member);
    }
}

static void check_numbers(struct reader *r)
{
    static const struct {
        const char *key;
        double min, max;
    } rows[] = {
        {"temperature", 0, 2},
        {"top_p", 0, 1},
        {"presence_penalty", -2, 2},
        {"frequency_penalty", -2, 2},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct json_slice *v = given(r, rows[i].key);
        double n;
        if (v && (v->type != JSON_NUMBER || !json_get_f64(v, &n) || n < rows[i].min || n > rows[i].max)) {
            refuse(r, "bad_request", rows[i].key,
                   arena_printf(r->arena, "%s must be a number from %g to %g", rows[i].key, rows[i].min,
                                rows[i].max));
        }
    }
    const struct json_slice *seed = given(r, "seed");
    if (seed && seed->type != JSON_NUMBER) {
        refuse_type(r, "seed", "an integer");
    }
}

static void check_types(struct reader *r)
{
    const struct json_slice *stop = given(r, "stop");
    if (stop && stop->type != JSON_STRING && stop->type != JSON_ARRAY) {
        refuse_type(r, "stop", "a string or an array of strings");
    }
    const struct json_slice *tools = given(r, "tools");
    if (tools && tools->type != JSON_ARRAY) {
        refuse_type(r, "tools", "an array");
    }
    const struct json_slice *user = given(r, "user");
    if (user && user->type != JSON_STRING) {
        refuse_type(r, "user", "a string");
    }
}

/* best_of: as many are made, and the best n sent. */
static void read_choices(struct reader *r)
{
    struct str raw;
    int64_t n = 1, best_of;
    (void)read_integer(r, "n", 1, r->conf->max_choices, &n, &raw);
    r->out->choices = n;
    if (!read_integer(r, "best_of", 1, r->conf->max_choices, &best_of, &raw)) {
        return;
    }
    if (best_of < n) {
        refuse(r, "bad_request", "best_of",
               arena_printf(r->arena, "best_of must be at least n, which is %lld", (long long)n));
        return;
    }
    r->out->choices = best_of;
}

/* Texts, or lists of ids, in a prompt; ids alone are one. */
static int64_t count_prompts(const struct json_slice *prompt)
{
    struct str walk = prompt->raw;
    struct json_slice item;
    int64_t n = 0;
    while (prompt->type == JSON_ARRAY && json_next(&walk, &item)) {
        n += item.type != JSON_NUMBER;
    }
    return n > 0 ? n : 1;
}

/* Each text of a prompt has its answers. */
static void count_choices(struct reader *r)
{
    const struct json_slice *prompt = given(r, "prompt");
    if (r->kind != CHAT_KIND_TEXT || !prompt || r->out->problem) {
        return;
    }
    int64_t most = r->conf->max_choices / r->out->choices;
    int64_t prompts = count_prompts(prompt);
    if (prompts > most) {
        refuse(r, "bad_request", "prompt",
               arena_printf(r->arena, "prompt must hold at most %lld texts, with %lld answers to each",
                            (long long)most, (long long)r->out->choices));
        return;
    }
    r->out->choices *= prompts;
}

void chat_body_read(struct arena *a, struct str text, enum chat_kind kind, const struct chat_conf *conf,
                    struct chat_body *out)
{
    struct reader r = {.arena = a, .conf = conf, .kind = kind, .out = out};
    struct err err;
    *out = (struct chat_body){.detail = STR(""),
                              .param = STR(""),
                              .model = STR(""),
                              .asked = STR(""),
                              .max_tokens = -1,
                              .choices = 1,
                              .prompt_tokens = (int64_t)(text.n / BYTES_PER_TOKEN) + 1,
                              .upstream = text};
    if (json_scan(a, text, &limits, &r.doc, &err) != 0) {
        refuse(&r, "bad_json", "", arena_dup(a, str_from(err.msg)));
        return;
    }
    if (r.doc.type != JSON_OBJECT) {
        refuse(&r, "bad_request", "", STR("the body must be an object"));
        return;
    }
    read_model(&r);
    read_input(&r);
    check_numbers(&r);
    check_types(&r);
    read_choices(&r);
    count_choices(&r);
    read_max_tokens(&r);
    read_stream(&r);
    if (!out->problem) {
        out->upstream = apply_splices(&r, text);
    }
}

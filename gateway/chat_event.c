#include "gateway/chat_event.h"

#include "base/http/sse.h"
#include "base/json.h"

enum { RENAMES = 32, JSON_DEPTH = 64 };

static const struct json_limits limits = {
    .max_depth = JSON_DEPTH, .max_members = 65536, .max_items = 1u << 20, .max_string = 64u << 20};

/* Where "reasoning" stands as a key and must be "reasoning_content". */
struct reader {
    struct arena arena;
    struct chat_event *out;
    const char *renames[RENAMES]; /* first byte of the key, in order */
    unsigned rename_count;
};

static const char *find(struct str s, const char *text, size_t n)
{
    return memmem(s.p, s.n, text, n);
}

/* A member of this name (with quotes) whose value is not null. */
static bool has_value(struct str s, const char *name, size_t n)
{
    const char *at;
    while ((at = find(s, name, n)) != NULL) {
        s = str_skip(s, (size_t)(at - s.p) + n);
        size_t i = 0;
        while (i < s.n && (s.p[i] == ':' || s.p[i] == ' ')) {
            i++;
        }
        if (i == s.n || s.p[i] != 'n') {
            return true;
        }
    }
    return false;
}
#define HAS_VALUE(s, name) has_value((s), name, sizeof(name) - 1)

bool chat_event_is_plain(struct str event)
{
    return event.n > 7 && memcmp(event.p, "data: {", 7) == 0 && !HAS_VALUE(event, "\"finish_reason\"") &&
           !HAS_VALUE(event, "\"usage\"") && !find(event, "\"reasoning\"", 11) &&
           !find(event, "\"error\"", 7) && !find(event, "\ndata", 5) && !memchr(event.p, '\r', event.n);
}

/* --- reading ------------------------------------------------------------------------------------------ */

static bool is_some(const struct json_slice *v)
{
    switch (v->type) {
    case JSON_STRING:
    case JSON_ARRAY:
    case JSON_OBJECT:
        return v->raw.n > 2;
    default:
        return false;
    }
}

/* delta, message, or (text completions) the choice itself. */
static void read_part(struct reader *r, struct str object)
{
    static const char *const content[] = {"content",       "reasoning_content", "reasoning", "tool_calls",
                                          "function_call", "refusal",           "text",      "audio"};
    struct json_doc doc;
    json_members(&r->arena, object, &doc);
    for (unsigned i = 0; i < sizeof content / sizeof *content; i++) {
        const struct json_slice *v = json_member(&doc, content[i]);
        r->out->has_content = r->out->has_content || (v && is_some(v));
    }
    const struct json_slice *old = json_member(&doc, "reasoning");
    if (old && !old->key_escaped && old->type == JSON_STRING && !json_member(&doc, "reasoning_content") &&
        r->rename_count < RENAMES) {
        r->renames[r->rename_count++] = old->key.p;
    }
}

static void read_choice(struct reader *r, struct str object)
{
    struct json_doc doc;
    json_members(&r->arena, object, &doc);
    const struct json_slice *finish = json_member(&doc, "finish_reason");
    const struct json_slice *delta = json_member(&doc, "delta");
    const struct json_slice *message = json_member(&doc, "message");
    r->out->has_finish = r->out->has_finish || (finish && finish->type == JSON_STRING);
    if (delta && delta->type == JSON_OBJECT) {
        read_part(r, delta->raw);
    } else if (message && message->type == JSON_OBJECT) {
        read_part(r, message->raw);
    } else {
        const struct json_slice *text = json_member(&doc, "text");
        r->out->has_content = r->out->has_content || (text && is_some(text));
    }
}

static void read_usage(struct reader *r, struct str object)
{
    struct json_doc doc;
    json_members(&r->arena, object, &doc);
    const struct json_slice *prompt = json_member(&doc, "prompt_tokens");
    const struct json_slice *completion = json_member(&doc, "completion_tokens");
    r->out->has_usage = prompt && completion && json_get_i64(prompt, &r->out->prompt_tokens) &&
                        json_get_i64(completion, &r->out->completion_tokens) && r->out->prompt_tokens >= 0 &&
                        r->out->completion_tokens >= 0;
}

static void read_error(struct reader *r, const struct json_slice *error)
{
    struct json_doc doc;
    struct str code;
    r->out->is_error = error->type != JSON_NULL;
    if (error->type == JSON_OBJECT) {
        json_members(&r->arena, error->raw, &doc);
        const struct json_slice *v = json_member(&doc, "code");
        r->out->is_late = v && json_get_str(&r->arena, v, &code) && str_is(code, "answer_timeout");
    }
}

static void read_json(struct reader *r, struct str json)
{
    struct json_doc doc;
    if (json_scan(&r->arena, json, &limits, &doc, NULL) != 0 || doc.type != JSON_OBJECT) {
        r->out->is_error = true;
        return;
    }
    const struct json_slice *error = json_member(&doc, "error");
    const struct json_slice *choices = json_member(&doc, "choices");
    const struct json_slice *usage = json_member(&doc, "usage");
    if (error) {
        read_error(r, error);
    }
    unsigned n = 0;
    if (choices && choices->type == JSON_ARRAY) {
        struct str walk = choices->raw;
        struct json_slice item;
        while (json_next(&walk, &item)) {
            n++;
            if (item.type == JSON_OBJECT) {
                read_choice(r, item.raw);
            }
        }
    }
    if (usage && usage->type == JSON_OBJECT) {
        read_usage(r, usage->raw);
        r->out->is_usage_only = r->out->has_usage && n == 0;
    }
}

/* json with its renames, behind what stands in out already. */
static void write_renamed(const struct reader *r, struct str json, struct buf *out)
{
    const char *from = json.p;
    for (unsigned i = 0; i < r->rename_count; i++) {
        const char *end = r->renames[i] + sizeof("reasoning") - 1;
        (void)buf_add(out, from, (size_t)(end - from));
        (void)buf_add_cstr(out, "_content");
        from = end;
    }
    (void)buf_add(out, from, (size_t)(json.p + json.n - from));
}

static void reader_init(struct reader *r, struct chat_event *out, struct str text)
{
    *out = (struct chat_event){.text = text};
    r->out = out;
    r->rename_count = 0;
    arena_init(&r->arena);
}

void chat_event_read(struct str event, struct buf *scratch, struct buf *out_text, struct chat_event *out)
{
    struct reader r;
    reader_init(&r, out, event);
    buf_truncate(out_text);
    if (!sse_data(event, scratch)) {
        out->is_comment = true;
        return;
    }
    struct str data = str_trim(buf_str(scratch));
    out->is_done = str_is(data, "[DONE]");
    if (out->is_done) {
        return;
    }
    read_json(&r, data);
    if (r.rename_count > 0) {
        (void)buf_add_cstr(out_text, "data: ");
        write_renamed(&r, data, out_text);
        for (size_t i = 0; i < out_text->n; i++) { /* joined data lines: a line end would cut the event */
            out_text->p[i] = out_text->p[i] == '\n' ? ' ' : out_text->p[i];
        }
        (void)buf_add_cstr(out_text, "\n\n");
        out->is_error = out->is_error || out_text->overflowed;
        out->text = buf_str(out_text);
    }
    arena_clear(&r.arena);
}

void chat_answer_read(struct str json, struct buf *out_text, struct chat_event *out)
{
    struct reader r;
    reader_init(&r, out, json);
    buf_truncate(out_text);
    read_json(&r, json);
    if (r.rename_count > 0) {
        write_renamed(&r, json, out_text);
        out->is_error = out->is_error || out_text->overflowed;
        out->text = buf_str(out_text);
    }
    arena_clear(&r.arena);
}

/* The conversation of a chat request: roles and texts, rendered to tokens by the model's template. */
#include <stdio.h>

#include "inference/worker/openai_field.h"

enum { MAX_MESSAGES = 4096 };

/* [{"type":"text","text":"..."}, ...]: the texts, joined. */
static int read_parts(struct openai_reader *r, struct str array, size_t index, struct str *out)
{
    struct json_slice part;
    struct json_slice field;
    struct buf joined;
    char name[64];
    int rc = 0;
    snprintf(name, sizeof name, "messages[%zu].content", index);
    buf_init(&joined, array.n);
    for (struct str in = array; !rc && json_next(&in, &part);) {
        struct str type = STR("");
        struct str text = STR("");
        bool has_text = false;
        for (struct str fields = part.type == JSON_OBJECT ? part.raw : STR(""); json_next(&fields, &field);) {
            if (str_is(field.key, "type")) {
                json_get_str(r->arena, &field, &type);
            } else if (str_is(field.key, "text")) {
                has_text = json_get_str(r->arena, &field, &text);
            }
        }
        if (!str_is(type, "text") || !has_text) {
            rc = openai_fail(r, name, "expected parts of type \"text\" only");
        }
        buf_add_str(&joined, text);
    }
    *out = arena_dup(r->arena, buf_str(&joined));
    buf_clear(&joined);
    return rc;
}

static bool is_known_role(struct str role)
{
    return str_is(role, "system") || str_is(role, "user") || str_is(role, "assistant") ||
           str_is(role, "developer") || str_is(role, "tool");
}

static int read_message(struct openai_reader *r, const struct json_slice *v, size_t index,
                        struct chat_message *out)
{
    struct json_slice field;
    char name[64];
    bool has_content = false;
    bool has_calls = false;
    snprintf(name, sizeof name, "messages[%zu]", index);
    if (v->type != JSON_OBJECT) {
        return openai_fail(r, name, "expected an object");
    }
    *out = (struct chat_message){STR(""), STR("")};
    for (struct str in = v->raw; json_next(&in, &field);) {
        int rc = 0;
        if (str_is(field.key, "role")) {
            if (!json_get_str(r->arena, &field, &out->role)) {
                rc = openai_fail(r, name, "role: expected a string");
            }
        } else if (str_is(field.key, "content")) {
            has_content = true;
            if (field.type == JSON_ARRAY) {
                rc = read_parts(r, field.raw, index, &out->content);
            } else if (field.type != JSON_NULL && !json_get_str(r->arena, &field, &out->content)) {
                rc = openai_fail(r, name, "content: expected a string or an array of parts");
            }
        } else if (str_is(field.key, "tool_calls") || str_is(field.key, "function_call")) {
            has_calls = has_calls || field.type != JSON_NULL;
        }
        if (rc) {
            return rc;
        }
    }
    if (!is_known_role(out->role)) {
        return openai_fail(r, name, "role: expected system, developer, user, assistant or tool");
    }
    if (str_is(out->role, "developer")) {
        out->role = STR("system");
    }
    has_content = has_content || (has_calls && str_is(out->role, "assistant"));
    return has_content ? 0 : openai_fail(r, name, "content is missing");
}

/* {"type": "enabled"} as DeepSeek has it. */
static int read_thinking_type(struct openai_reader *r, const struct json_slice *v, enum chat_thinking *out)
{
    struct json_slice field;
    struct str type = STR("");
    for (struct str in = v->type == JSON_OBJECT ? v->raw : STR(""); json_next(&in, &field);) {
        if (str_is(field.key, "type") && !json_get_str(r->arena, &field, &type)) {
            type = STR("");
        }
    }
    if (!str_is(type, "enabled") && !str_is(type, "disabled")) {
        return openai_fail(r, "thinking", "expected an object whose type is enabled or disabled");
    }
    *out = str_is(type, "enabled") ? CHAT_THINKING_ON : CHAT_THINKING_OFF;
    return 0;
}

/* {"enable_thinking": true} as vLLM and SGLang have it; other members are the business of other templates. */
static int read_template_switch(struct openai_reader *r, const struct json_slice *v, enum chat_thinking *out)
{
    struct json_slice field;
    if (v->type != JSON_OBJECT) {
        return openai_fail(r, "chat_template_kwargs", "expected an object");
    }
    for (struct str in = v->raw; json_next(&in, &field);) {
        bool on;
        if (!str_is(field.key, "enable_thinking") && !str_is(field.key, "thinking")) {
            continue;
        }
        if (!json_get_bool(&field, &on)) {
            return openai_fail(r, "chat_template_kwargs", "enable_thinking: expected true or false");
        }
        *out = on ? CHAT_THINKING_ON : CHAT_THINKING_OFF;
    }
    return 0;
}

static int read_thinking(struct openai_reader *r, bool json, enum chat_thinking *out)
{
    const struct json_slice *type = openai_member(r, "thinking");
    const struct json_slice *kwargs = openai_member(r, "chat_template_kwargs");
    const char *field = type ? "thinking" : "chat_template_kwargs";
    int rc = kwargs ? read_template_switch(r, kwargs, out) : 0;
    rc = !rc && type ? read_thinking_type(r, type, out) : rc;
    if (rc) {
        return rc;
    }
    if (!chat_template_allows(r->context->chat, *out)) {
        return openai_fail(r, field,
                           *out == CHAT_THINKING_ON ? "this model does not think before it answers"
                                                    : "this model always thinks before it answers");
    }
    if (json && *out == CHAT_THINKING_DEFAULT && chat_template_allows(r->context->chat, CHAT_THINKING_OFF)) {
        *out = CHAT_THINKING_OFF;
    }
    if (json && chat_template_thinks(r->context->chat, *out)) {
        return openai_fail(r, "response_format", "a model that thinks first cannot be held to JSON");
    }
    return 0;
}

static int render(struct openai_reader *r, struct openai_request *q, const struct chat_message *messages,
                  size_t count, struct token_list *out)
{
    const struct chat_template *chat = r->context->chat;
    enum chat_thinking thinking = CHAT_THINKING_DEFAULT;
    struct err err;
    int rc = read_thinking(r, q->json, &thinking);
    if (!rc && chat_template_render(chat, r->context->tokenizer, messages, count, thinking, out, &err)) {
        rc = openai_fail(r, "messages", err.msg);
    }
    q->thinks = chat_template_thinks(chat, thinking);
    q->opens_thinking = chat_template_opens_thinking(chat, thinking);
    return rc;
}

int openai_read_messages(struct openai_reader *r, struct openai_request *q, struct token_list *out)
{
    const struct json_slice *v = openai_member(r, "messages");
    struct json_slice item;
    size_t count = 0;
    if (!r->context->chat) {
        return openai_fail(r, "messages", "this model has no chat template: use /v1/completions");
    }
    if (!v || v->type != JSON_ARRAY) {
        return openai_fail(r, "messages", v ? "expected an array" : "is missing");
    }
    for (struct str in = v->raw; json_next(&in, &item);) {
        count++;
    }
    if (count == 0 || count > MAX_MESSAGES) {
        return openai_fail(r, "messages", count ? "expected at most 4096 messages" : "is empty");
    }
    struct chat_message *messages = arena_calloc(r->arena, count * sizeof *messages);
    struct str in = v->raw;
    size_t bytes = 0;
    for (size_t i = 0; i < count && json_next(&in, &item); i++) {
        int rc = read_message(r, &item, i, &messages[i]);
        if (rc) {
            return rc;
        }
        bytes += messages[i].content.n;
    }
    int rc = openai_check_text(r, "messages", bytes);
    return rc ? rc : render(r, q, messages, count, out);
}

#include "inference/worker/openai_request.h"

#include <stdio.h>

#include "base/id.h"

enum { MAX_MESSAGES = 4096, CACHE_SALT_MAX = 256 };

static const struct json_limits limits = {
    .max_depth = 64, .max_members = 1 << 16, .max_items = 1 << 18, .max_string = 1 << 30};

/* What a reading of one request carries along. */
struct reader {
    struct arena *arena;
    struct json_doc doc;
    const struct openai_context *context;
    struct openai_fault *fault;
};

static int fail(struct reader *r, const char *param, const char *text)
{
    r->fault->code = "validation_failed";
    snprintf(r->fault->param, sizeof r->fault->param, "%s", param);
    return err_set(&r->fault->err, ERR_INVALID, "%s: %s", param, text);
}

/* The member of that name; NULL when absent or null. */
static const struct json_slice *member(const struct reader *r, const char *key)
{
    const struct json_slice *v = json_member(&r->doc, key);
    return v && v->type != JSON_NULL ? v : NULL;
}

static int read_bool(struct reader *r, const char *key, bool *out)
{
    const struct json_slice *v = member(r, key);
    return v && !json_get_bool(v, out) ? fail(r, key, "expected true or false") : 0;
}

static int read_float(struct reader *r, const char *key, double min, double max, float *out)
{
    const struct json_slice *v = member(r, key);
    double number;
    if (!v) {
        return 0;
    }
    if (!json_get_f64(v, &number)) {
        return fail(r, key, "expected a number");
    }
    if (!(number >= min && number <= max)) {
        char text[64];
        snprintf(text, sizeof text, "expected a number from %g to %g", min, max);
        return fail(r, key, text);
    }
    *out = (float)number;
    return 0;
}

static int read_integer(struct reader *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const struct json_slice *v = member(r, key);
    if (!v) {
        return 0;
    }
    if (!json_get_i64(v, out)) {
        return fail(r, key, "expected a whole number");
    }
    if (*out < min || *out > max) {
        char text[80];
        snprintf(text, sizeof text, "expected a whole number from %lld to %lld", (long long)min,
                 (long long)max);
        return fail(r, key, text);
    }
    return 0;
}

static int scan(struct reader *r, struct arena *a, struct str body, const struct openai_context *c,
                struct openai_fault *fault)
{
    *fault = (struct openai_fault){.code = "bad_json"};
    *r = (struct reader){.arena = a, .context = c, .fault = fault};
    int rc = json_scan(a, body, &limits, &r->doc, &fault->err);
    if (!rc && r->doc.type != JSON_OBJECT) {
        rc = err_set(&fault->err, ERR_INVALID, "the body is not a JSON object");
    }
    return rc;
}

/* --- what the model shall do ------------------------------------------------------------------------- */

static int read_model(struct reader *r)
{
    const struct json_slice *v = member(r, "model");
    struct str model;
    if (!v) {
        return 0;
    }
    if (!json_get_str(r->arena, v, &model)) {
        return fail(r, "model", "expected a string");
    }
    if (!str_eq(model, r->context->model)) {
        fail(r, "model", "this server has no such model");
        r->fault->code = "model_not_found";
        return ERR_NOT_FOUND;
    }
    return 0;
}

static int read_sampling(struct reader *r, struct openai_request *q)
{
    struct sampler_params *s = &q->sampling;
    int64_t seed = 0;
    int64_t top_k = 0;
    *s = (struct sampler_params){.temperature = 1.0F, .top_p = 1.0F};
    int rc = read_float(r, "temperature", 0, 2, &s->temperature);
    rc = rc ? rc : read_float(r, "top_p", 0, 1, &s->top_p);
    rc = rc ? rc : read_float(r, "min_p", 0, 1, &s->min_p);
    rc = rc ? rc : read_float(r, "presence_penalty", -2, 2, &s->presence_penalty);
    rc = rc ? rc : read_float(r, "frequency_penalty", -2, 2, &s->frequency_penalty);
    rc = rc ? rc : read_integer(r, "top_k", -1, INT32_MAX, &top_k);
    rc = rc ? rc : read_integer(r, "seed", INT64_MIN, INT64_MAX, &seed);
    if (!rc && s->top_p <= 0) {
        rc = fail(r, "top_p", "expected a number above 0, up to 1");
    }
    s->top_k = top_k > 0 ? (uint32_t)top_k : 0;
    s->seed = (uint64_t)seed;
    if (!rc && !member(r, "seed")) {
        id_random(&s->seed, sizeof s->seed);
    }
    return rc;
}

static int add_stop(struct reader *r, struct openai_request *q, const struct json_slice *v)
{
    struct str stop;
    if (!json_get_str(r->arena, v, &stop)) {
        return fail(r, "stop", "expected a string or an array of strings");
    }
    if (stop.n == 0 || stop.n > STOPPER_MAX_BYTES) {
        return fail(r, "stop", "expected strings of 1 to 512 bytes");
    }
    if (q->stop_count == STOPPER_MAX_STOPS) {
        return fail(r, "stop", "expected at most 16 strings");
    }
    q->stops[q->stop_count++] = stop;
    return 0;
}

static int read_stops(struct reader *r, struct openai_request *q)
{
    const struct json_slice *v = member(r, "stop");
    struct json_slice item;
    if (!v) {
        return 0;
    }
    if (v->type != JSON_ARRAY) {
        return add_stop(r, q, v);
    }
    int rc = 0;
    for (struct str in = v->raw; !rc && json_next(&in, &item);) {
        rc = add_stop(r, q, &item);
    }
    return rc;
}

static int read_stream(struct reader *r, struct openai_request *q)
{
    const struct json_slice *options = member(r, "stream_options");
    struct json_slice option;
    int rc = read_bool(r, "stream", &q->stream);
    if (rc || !options) {
        return rc;
    }
    if (options->type != JSON_OBJECT) {
        return fail(r, "stream_options", "expected an object");
    }
    for (struct str in = options->raw; json_next(&in, &option);) {
        if (str_is(option.key, "include_usage") && option.type != JSON_NULL &&
            !json_get_bool(&option, &q->include_usage)) {
            return fail(r, "stream_options.include_usage", "expected true or false");
        }
    }
    return 0;
}

/* Wishes that change what an answer means and that this engine cannot fulfil. */
static int refuse_unsupported(struct reader *r)
{
    int64_t n = 1;
    bool flag = false;
    const struct json_slice *format = member(r, "response_format");
    const struct json_slice *logprobs = member(r, "logprobs");
    struct json_slice part;
    int rc = read_integer(r, "n", 1, INT32_MAX, &n);
    if (!rc && n != 1) {
        rc = fail(r, "n", "only one answer is made");
    }
    if (!rc && logprobs && logprobs->type != JSON_FALSE) {
        rc = fail(r, "logprobs", "not supported");
    }
    rc = rc ? rc : read_bool(r, "echo", &flag);
    if (!rc && flag) {
        rc = fail(r, "echo", "not supported");
    }
    if (!rc && format && format->type != JSON_OBJECT) {
        rc = fail(r, "response_format", "expected an object");
    }
    for (struct str in = format ? format->raw : STR(""); !rc && json_next(&in, &part);) {
        if (str_is(part.key, "type") && !str_is(part.raw, "\"text\"")) {
            rc = fail(r, "response_format.type", "only \"text\" is supported");
        }
    }
    return rc;
}

/* How much may be answered: what is asked for, within what the context leaves. */
static int read_length(struct reader *r, struct openai_request *q)
{
    uint32_t context = r->context->context;
    int64_t wanted = 0;
    int rc = read_integer(r, "max_tokens", 1, INT32_MAX, &wanted);
    rc = rc ? rc : read_integer(r, "max_completion_tokens", 1, INT32_MAX, &wanted);
    if (rc) {
        return rc;
    }
    if (q->prompt.n == 0) {
        return fail(r, q->is_chat ? "messages" : "prompt", "has no tokens");
    }
    if (q->prompt.n + (uint64_t)(wanted ? wanted : 1) > context) {
        r->fault->code = "context_length_exceeded";
        snprintf(r->fault->param, sizeof r->fault->param, "%s", q->is_chat ? "messages" : "prompt");
        return err_set(&r->fault->err, ERR_INVALID,
                       "This model's maximum context length is %u tokens. However, you requested %llu tokens "
                       "(%zu in the %s, %lld in the completion).",
                       context, (unsigned long long)(q->prompt.n + (uint64_t)wanted), q->prompt.n,
                       q->is_chat ? "messages" : "prompt", (long long)wanted);
    }
    q->max_tokens = wanted ? (uint32_t)wanted : context - (uint32_t)q->prompt.n;
    return 0;
}

/* Whose prompts may share what was computed: vLLM's field of this name. */
static int read_cache_salt(struct reader *r, struct openai_request *q)
{
    const struct json_slice *v = member(r, "cache_salt");
    struct str salt;
    if (!v) {
        return 0;
    }
    if (!json_get_str(r->arena, v, &salt) || salt.n == 0 || salt.n > CACHE_SALT_MAX) {
        return fail(r, "cache_salt", "expected a string of 1 to 256 bytes");
    }
    q->tenant = id_siphash(salt.p, salt.n);
    return 0;
}

static int read_common(struct reader *r, struct openai_request *q)
{
    int rc = read_model(r);
    rc = rc ? rc : refuse_unsupported(r);
    rc = rc ? rc : read_stream(r, q);
    rc = rc ? rc : read_sampling(r, q);
    rc = rc ? rc : read_stops(r, q);
    rc = rc ? rc : read_cache_salt(r, q);
    return rc ? rc : read_bool(r, "ignore_eos", &q->ignore_end);
}

/* --- conversations ----------------------------------------------------------------------------------- */

/* [{"type":"text","text":"..."}, ...]: the texts, joined. */
static int read_parts(struct reader *r, struct str array, size_t index, struct str *out)
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
            rc = fail(r, name, "expected parts of type \"text\" only");
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

static int read_message(struct reader *r, const struct json_slice *v, size_t index, struct chat_message *out)
{
    struct json_slice field;
    char name[64];
    bool has_content = false;
    snprintf(name, sizeof name, "messages[%zu]", index);
    if (v->type != JSON_OBJECT) {
        return fail(r, name, "expected an object");
    }
    *out = (struct chat_message){STR(""), STR("")};
    for (struct str in = v->raw; json_next(&in, &field);) {
        int rc = 0;
        if (str_is(field.key, "role")) {
            if (!json_get_str(r->arena, &field, &out->role)) {
                rc = fail(r, name, "role: expected a string");
            }
        } else if (str_is(field.key, "content")) {
            has_content = true;
            if (field.type == JSON_ARRAY) {
                rc = read_parts(r, field.raw, index, &out->content);
            } else if (field.type != JSON_NULL && !json_get_str(r->arena, &field, &out->content)) {
                rc = fail(r, name, "content: expected a string or an array of parts");
            }
        }
        if (rc) {
            return rc;
        }
    }
    if (!is_known_role(out->role)) {
        return fail(r, name, "role: expected system, developer, user, assistant or tool");
    }
    if (str_is(out->role, "developer")) {
        out->role = STR("system");
    }
    return has_content ? 0 : fail(r, name, "content is missing");
}

static int render_messages(struct reader *r, struct token_list *out)
{
    const struct json_slice *v = member(r, "messages");
    struct json_slice item;
    size_t count = 0;
    if (!r->context->chat) {
        return fail(r, "messages", "this model has no chat template: use /v1/completions");
    }
    if (!v || v->type != JSON_ARRAY) {
        return fail(r, "messages", v ? "expected an array" : "is missing");
    }
    for (struct str in = v->raw; json_next(&in, &item);) {
        count++;
    }
    if (count == 0 || count > MAX_MESSAGES) {
        return fail(r, "messages", count ? "expected at most 4096 messages" : "is empty");
    }
    struct chat_message *messages = arena_calloc(r->arena, count * sizeof *messages);
    struct str in = v->raw;
    for (size_t i = 0; i < count && json_next(&in, &item); i++) {
        int rc = read_message(r, &item, i, &messages[i]);
        if (rc) {
            return rc;
        }
    }
    struct err err;
    if (chat_template_render(r->context->chat, r->context->tokenizer, messages, count, out, &err)) {
        return fail(r, "messages", err.msg);
    }
    return 0;
}

/* --- plain prompts ----------------------------------------------------------------------------------- */

static int read_ids(struct reader *r, const char *key, struct str array, struct token_list *out)
{
    struct json_slice item;
    int64_t id;
    for (struct str in = array; json_next(&in, &item);) {
        if (!json_get_i64(&item, &id) || id < 0 || id >= tokenizer_size(r->context->tokenizer)) {
            return fail(r, key, "expected token ids of this model");
        }
        token_list_add(out, (token_id)id);
    }
    return 0;
}

static int encode_prompt(struct reader *r, const struct json_slice *v, struct token_list *out)
{
    struct str text;
    struct err err;
    if (!json_get_str(r->arena, v, &text)) {
        return fail(r, "prompt", "expected a string or an array of token ids");
    }
    tokenizer_begin(r->context->tokenizer, out);
    return tokenizer_encode(r->context->tokenizer, text, out, &err) ? fail(r, "prompt", err.msg) : 0;
}

/* A string, an array of token ids, or an array with one of either. */
static int read_prompt(struct reader *r, struct token_list *out)
{
    const struct json_slice *v = member(r, "prompt");
    struct json_slice first;
    struct json_slice second;
    if (!v) {
        return fail(r, "prompt", "is missing");
    }
    if (v->type != JSON_ARRAY) {
        return encode_prompt(r, v, out);
    }
    struct str in = v->raw;
    if (!json_next(&in, &first)) {
        return fail(r, "prompt", "is empty");
    }
    if (first.type == JSON_NUMBER) {
        return read_ids(r, "prompt", v->raw, out);
    }
    if (json_next(&in, &second)) {
        return fail(r, "prompt", "only one prompt is answered");
    }
    return first.type == JSON_ARRAY ? read_ids(r, "prompt", first.raw, out) : encode_prompt(r, &first, out);
}

/* --- whole requests ---------------------------------------------------------------------------------- */

static int finish_reading(struct openai_request *q, int rc)
{
    if (rc) {
        token_list_clear(&q->prompt);
    }
    return rc;
}

int openai_parse_chat(struct arena *a, struct str body, const struct openai_context *c,
                      struct openai_request *out, struct openai_fault *fault)
{
    struct reader r;
    *out = (struct openai_request){.is_chat = true};
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : read_common(&r, out);
    rc = rc ? rc : render_messages(&r, &out->prompt);
    return finish_reading(out, rc ? rc : read_length(&r, out));
}

int openai_parse_completion(struct arena *a, struct str body, const struct openai_context *c,
                            struct openai_request *out, struct openai_fault *fault)
{
    struct reader r;
    *out = (struct openai_request){0};
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : read_common(&r, out);
    rc = rc ? rc : read_prompt(&r, &out->prompt);
    return finish_reading(out, rc ? rc : read_length(&r, out));
}

int openai_parse_tokenize(struct arena *a, struct str body, const struct openai_context *c,
                          struct token_list *out, struct openai_fault *fault)
{
    struct reader r;
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : read_model(&r);
    if (rc) {
        return rc;
    }
    return member(&r, "messages") ? render_messages(&r, out) : read_prompt(&r, out);
}

int openai_parse_detokenize(struct arena *a, struct str body, const struct openai_context *c,
                            struct token_list *out, struct openai_fault *fault)
{
    struct reader r;
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : read_model(&r);
    if (rc) {
        return rc;
    }
    const struct json_slice *v = member(&r, "tokens");
    if (!v || v->type != JSON_ARRAY) {
        return fail(&r, "tokens", "expected an array of token ids");
    }
    return read_ids(&r, "tokens", v->raw, out);
}

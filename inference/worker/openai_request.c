#include "inference/worker/openai_request.h"

#include <stdio.h>

#include "inference/worker/openai_field.h"

static const struct json_limits limits = {
    .max_depth = 64, .max_members = 1 << 16, .max_items = 1 << 18, .max_string = 1 << 30};

static int scan(struct openai_reader *r, struct arena *a, struct str body, const struct openai_context *c,
                struct openai_fault *fault)
{
    *fault = (struct openai_fault){.code = "bad_json"};
    *r = (struct openai_reader){.arena = a, .context = c, .fault = fault};
    int rc = json_scan(a, body, &limits, &r->doc, &fault->err);
    if (!rc && r->doc.type != JSON_OBJECT) {
        rc = err_set(&fault->err, ERR_INVALID, "the body is not a JSON object");
    }
    return rc;
}

/* --- plain prompts ----------------------------------------------------------------------------------- */

static int read_ids(struct openai_reader *r, const char *key, struct str array, struct token_list *out)
{
    struct json_slice item;
    int64_t id;
    for (struct str in = array; json_next(&in, &item);) {
        if (!json_get_i64(&item, &id) || id < 0 || id >= tokenizer_size(r->context->tokenizer)) {
            return openai_fail(r, key, "expected token ids of this model");
        }
        token_list_add(out, (token_id)id);
    }
    return 0;
}

static int encode_prompt(struct openai_reader *r, const struct json_slice *v, struct token_list *out)
{
    struct str text;
    struct err err;
    if (!json_get_str(r->arena, v, &text)) {
        return openai_fail(r, "prompt", "expected a string or an array of token ids");
    }
    int rc = openai_check_text(r, "prompt", text.n);
    if (rc) {
        return rc;
    }
    tokenizer_begin(r->context->tokenizer, out);
    return tokenizer_encode(r->context->tokenizer, text, out, &err) ? openai_fail(r, "prompt", err.msg) : 0;
}

/* A string, an array of token ids, or an array with one of either. */
static int read_prompt(struct openai_reader *r, struct token_list *out)
{
    const struct json_slice *v = openai_member(r, "prompt");
    struct json_slice first;
    struct json_slice second;
    if (!v) {
        return openai_fail(r, "prompt", "is missing");
    }
    if (v->type != JSON_ARRAY) {
        return encode_prompt(r, v, out);
    }
    struct str in = v->raw;
    if (!json_next(&in, &first)) {
        return openai_fail(r, "prompt", "is empty");
    }
    if (first.type == JSON_NUMBER) {
        return read_ids(r, "prompt", v->raw, out);
    }
    if (json_next(&in, &second)) {
        return openai_fail(r, "prompt", "only one prompt is answered");
    }
    return first.type == JSON_ARRAY ? read_ids(r, "prompt", first.raw, out) : encode_prompt(r, &first, out);
}

/* How much may be answered: what is asked for, within what the context leaves. */
static int read_length(struct openai_reader *r, struct openai_request *q)
{
    uint32_t context = r->context->context;
    int64_t wanted = 0;
    int rc = openai_integer(r, "max_tokens", 1, INT32_MAX, &wanted);
    rc = rc ? rc : openai_integer(r, "max_completion_tokens", 1, INT32_MAX, &wanted);
    if (rc) {
        return rc;
    }
    if (q->prompt.n == 0) {
        return openai_fail(r, q->is_chat ? "messages" : "prompt", "has no tokens");
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
    struct openai_reader r;
    *out = (struct openai_request){.is_chat = true};
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : openai_read_wishes(&r, out);
    rc = rc ? rc : openai_read_messages(&r, out, &out->prompt);
    return finish_reading(out, rc ? rc : read_length(&r, out));
}

int openai_parse_completion(struct arena *a, struct str body, const struct openai_context *c,
                            struct openai_request *out, struct openai_fault *fault)
{
    struct openai_reader r;
    *out = (struct openai_request){0};
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : openai_read_wishes(&r, out);
    rc = rc ? rc : read_prompt(&r, &out->prompt);
    return finish_reading(out, rc ? rc : read_length(&r, out));
}

int openai_parse_tokenize(struct arena *a, struct str body, const struct openai_context *c,
                          struct token_list *out, struct openai_fault *fault)
{
    struct openai_reader r;
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : openai_read_model(&r);
    if (rc) {
        return rc;
    }
    struct openai_request q = {0};
    return openai_member(&r, "messages") ? openai_read_messages(&r, &q, out) : read_prompt(&r, out);
}

int openai_parse_detokenize(struct arena *a, struct str body, const struct openai_context *c,
                            struct token_list *out, struct openai_fault *fault)
{
    struct openai_reader r;
    int rc = scan(&r, a, body, c, fault);
    rc = rc ? rc : openai_read_model(&r);
    if (rc) {
        return rc;
    }
    const struct json_slice *v = openai_member(&r, "tokens");
    if (!v || v->type != JSON_ARRAY) {
        return openai_fail(&r, "tokens", "expected an array of token ids");
    }
    return read_ids(&r, "tokens", v->raw, out);
}

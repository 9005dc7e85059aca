/* How an answer shall be made: the model, the sampling, where it stops, how it is sent. */
#include <math.h>
#include <stdlib.h>

#include "base/id.h"
#include "inference/worker/openai_field.h"

enum { CACHE_SALT_MAX = 256, BIAS_MAX = 300 };

int openai_read_model(struct openai_reader *r)
{
    const struct json_slice *v = openai_member(r, "model");
    struct str model;
    if (!v) {
        return 0;
    }
    if (!json_get_str(r->arena, v, &model)) {
        return openai_fail(r, "model", "expected a string");
    }
    if (!str_eq(model, r->context->model)) {
        openai_fail(r, "model", "this server has no such model");
        r->fault->code = "model_not_found";
        return ERR_NOT_FOUND;
    }
    return 0;
}

/* vLLM's name, or llama.cpp's. */
static int read_repetition_penalty(struct openai_reader *r, float *out)
{
    const char *name = openai_member(r, "repeat_penalty") ? "repeat_penalty" : "repetition_penalty";
    if (openai_member(r, "repeat_penalty") && openai_member(r, "repetition_penalty")) {
        return openai_fail(r, name, "expected this or repetition_penalty, which means the same, not both");
    }
    return openai_float(r, name, 0.01, 10, out);
}

static int read_sampling(struct openai_reader *r, struct openai_request *q)
{
    struct sampler_params *s = &q->sampling;
    int64_t seed = 0;
    int64_t top_k = 0;
    *s = (struct sampler_params){.temperature = 1.0F, .top_p = 1.0F};
    int rc = openai_float(r, "temperature", 0, 2, &s->temperature);
    rc = rc ? rc : openai_float(r, "top_p", 0, 1, &s->top_p);
    rc = rc ? rc : openai_float(r, "min_p", 0, 1, &s->min_p);
    rc = rc ? rc : openai_float(r, "presence_penalty", -2, 2, &s->presence_penalty);
    rc = rc ? rc : openai_float(r, "frequency_penalty", -2, 2, &s->frequency_penalty);
    rc = rc ? rc : read_repetition_penalty(r, &s->repetition_penalty);
    rc = rc ? rc : openai_integer(r, "top_k", -1, INT32_MAX, &top_k);
    rc = rc ? rc : openai_integer(r, "seed", INT64_MIN, INT64_MAX, &seed);
    if (!rc && s->top_p <= 0) {
        rc = openai_fail(r, "top_p", "expected a number above 0, up to 1");
    }
    s->top_k = top_k > 0 ? (uint32_t)top_k : 0;
    s->seed = (uint64_t)seed;
    if (!rc && !openai_member(r, "seed")) {
        id_random(&s->seed, sizeof s->seed);
    }
    return rc;
}

static int add_stop(struct openai_reader *r, struct openai_request *q, const struct json_slice *v)
{
    struct str stop;
    if (!json_get_str(r->arena, v, &stop)) {
        return openai_fail(r, "stop", "expected a string or an array of strings");
    }
    if (stop.n == 0 || stop.n > STOPPER_MAX_BYTES) {
        return openai_fail(r, "stop", "expected strings of 1 to 512 bytes");
    }
    if (q->stop_count == STOPPER_MAX_STOPS) {
        return openai_fail(r, "stop", "expected at most 16 strings");
    }
    q->stops[q->stop_count++] = stop;
    return 0;
}

static int read_stops(struct openai_reader *r, struct openai_request *q)
{
    const struct json_slice *v = openai_member(r, "stop");
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

/* vLLM's field: ends that the tokenizer does not know as such. */
static int read_stop_ids(struct openai_reader *r, struct openai_request *q)
{
    const struct json_slice *v = openai_member(r, "stop_token_ids");
    struct json_slice item;
    int64_t id;
    if (v && v->type != JSON_ARRAY) {
        return openai_fail(r, "stop_token_ids", "expected an array of token ids");
    }
    for (struct str in = v ? v->raw : STR(""); json_next(&in, &item);) {
        if (!json_get_i64(&item, &id) || id < 0 || id >= tokenizer_size(r->context->tokenizer)) {
            return openai_fail(r, "stop_token_ids", "expected token ids of this model");
        }
        if (q->stop_id_count == STOPPER_MAX_STOPS) {
            return openai_fail(r, "stop_token_ids", "expected at most 16 token ids");
        }
        q->stop_ids[q->stop_id_count++] = (token_id)id;
    }
    return 0;
}

static int read_stream(struct openai_reader *r, struct openai_request *q)
{
    const struct json_slice *options = openai_member(r, "stream_options");
    struct json_slice option;
    int rc = openai_bool(r, "stream", &q->stream);
    if (rc || !options) {
        return rc;
    }
    if (options->type != JSON_OBJECT) {
        return openai_fail(r, "stream_options", "expected an object");
    }
    for (struct str in = options->raw; json_next(&in, &option);) {
        if (str_is(option.key, "include_usage") && option.type != JSON_NULL &&
            !json_get_bool(&option, &q->include_usage)) {
            return openai_fail(r, "stream_options.include_usage", "expected true or false");
        }
    }
    return 0;
}

/* Functions are no wish while the client says that none shall be called. */
static int refuse_functions(struct openai_reader *r, const char *functions, const char *choice)
{
    const struct json_slice *list = openai_member(r, functions);
    const struct json_slice *chosen = openai_member(r, choice);
    struct json_slice item;
    struct str word = STR("");
    if (chosen &&
        (!json_get_str(r->arena, chosen, &word) || !(str_is(word, "none") || str_is(word, "auto")))) {
        return openai_fail(r, choice, "expected \"none\" or \"auto\": tool calls are not supported");
    }
    if (!list || str_is(word, "none")) {
        return 0;
    }
    if (list->type != JSON_ARRAY) {
        return openai_fail(r, functions, "expected an array");
    }
    struct str in = list->raw;
    return json_next(&in, &item) ? openai_fail(r, functions, "tool calls are not supported") : 0;
}

/* Fields of OpenAI's, vLLM's and llama.cpp's clients that change what an answer is. */
static const struct wish {
    const char *name;
    double number; /* that wishes for nothing; NAN: every number is a wish */
    bool truth;    /* likewise */
} unfulfilled[] = {
    {"suffix", NAN, false},
    {"best_of", 1, false},
    {"min_tokens", 0, false},
    {"prompt_logprobs", NAN, false},
    {"bad_words", NAN, false},
    {"allowed_token_ids", NAN, false},
    {"use_beam_search", NAN, false},
    {"include_stop_str_in_output", NAN, false},
    {"continue_final_message", NAN, false},
    {"add_generation_prompt", NAN, true},
    {"guided_json", NAN, false},
    {"guided_regex", NAN, false},
    {"guided_choice", NAN, false},
    {"guided_grammar", NAN, false},
    {"structured_outputs", NAN, false},
    {"grammar", NAN, false},
    {"json_schema", NAN, false},
    {"web_search_options", NAN, false},
};

static bool wishes_for_nothing(const struct wish *w, const struct json_slice *v)
{
    struct json_slice item;
    struct str in = v->raw;
    double number;
    switch (v->type) {
    case JSON_STRING:
        return str_is(v->raw, "\"\"");
    case JSON_ARRAY:
        return !json_next(&in, &item);
    case JSON_NUMBER:
        return json_get_f64(v, &number) && number == w->number;
    case JSON_TRUE:
    case JSON_FALSE:
        return (v->type == JSON_TRUE) == w->truth;
    default:
        return false;
    }
}

static int refuse_wishes(struct openai_reader *r)
{
    for (size_t i = 0; i < sizeof unfulfilled / sizeof *unfulfilled; i++) {
        const struct json_slice *v = openai_member(r, unfulfilled[i].name);
        if (v && !wishes_for_nothing(&unfulfilled[i], v)) {
            return openai_fail(r, unfulfilled[i].name, "not supported");
        }
    }
    return 0;
}

/* Answers are text. */
static int refuse_modalities(struct openai_reader *r)
{
    const struct json_slice *v = openai_member(r, "modalities");
    struct json_slice item;
    if (v && v->type != JSON_ARRAY) {
        return openai_fail(r, "modalities", "expected an array");
    }
    for (struct str in = v ? v->raw : STR(""); json_next(&in, &item);) {
        if (!str_is(item.raw, "\"text\"")) {
            return openai_fail(r, "modalities", "only \"text\" is supported");
        }
    }
    return 0;
}

/* Wishes that change what an answer means and that this engine cannot fulfil. */
static int refuse_unsupported(struct openai_reader *r)
{
    int64_t n = 1;
    bool echo = false;
    int rc = openai_integer(r, "n", 1, INT32_MAX, &n);
    if (!rc && n != 1) {
        rc = openai_fail(r, "n", "only one answer is made");
    }
    rc = rc ? rc : refuse_functions(r, "tools", "tool_choice");
    rc = rc ? rc : refuse_functions(r, "functions", "function_call");
    rc = rc ? rc : refuse_wishes(r);
    rc = rc ? rc : refuse_modalities(r);
    rc = rc ? rc : openai_bool(r, "echo", &echo);
    return !rc && echo ? openai_fail(r, "echo", "not supported") : rc;
}

static int read_format(struct openai_reader *r, struct openai_request *q)
{
    const struct json_slice *format = openai_member(r, "response_format");
    struct json_slice part;
    struct str type = STR("");
    if (!format) {
        return 0;
    }
    if (format->type != JSON_OBJECT) {
        return openai_fail(r, "response_format", "expected an object");
    }
    for (struct str in = format->raw; json_next(&in, &part);) {
        if (str_is(part.key, "type") && !json_get_str(r->arena, &part, &type)) {
            return openai_fail(r, "response_format.type", "expected a string");
        }
    }
    q->json = str_is(type, "json_object");
    if (str_is(type, "json_schema")) {
        return openai_fail(r, "response_format.type", "schemas are not supported; \"json_object\" is");
    }
    return q->json || str_is(type, "text")
               ? 0
               : openai_fail(r, "response_format.type", "expected \"text\" or \"json_object\"");
}

/* A chat asks with true and a number beside it, a completion with the number itself. */
static int read_logprobs(struct openai_reader *r, struct openai_request *q)
{
    int64_t top = 0;
    int rc;
    if (!q->is_chat) {
        q->logprobs = openai_member(r, "logprobs") != NULL;
        rc = openai_integer(r, "logprobs", 0, SAMPLER_TOP_MAX, &top);
    } else {
        rc = openai_bool(r, "logprobs", &q->logprobs);
        rc = rc ? rc : openai_integer(r, "top_logprobs", 0, SAMPLER_TOP_MAX, &top);
        if (!rc && top > 0 && !q->logprobs) {
            rc = openai_fail(r, "top_logprobs", "needs logprobs to be true");
        }
    }
    q->top_logprobs = (uint32_t)top;
    return rc;
}

/* {"50256": -100, ...}: token ids as OpenAI writes them, in strings. */
static int read_bias(struct openai_reader *r, struct openai_request *q)
{
    const struct json_slice *v = openai_member(r, "logit_bias");
    struct sampler_bias *bias;
    struct json_slice item;
    if (!v) {
        return 0;
    }
    if (v->type != JSON_OBJECT) {
        return openai_fail(r, "logit_bias", "expected an object");
    }
    bias = arena_alloc(r->arena, BIAS_MAX * sizeof *bias);
    for (struct str in = v->raw; json_next(&in, &item);) {
        uint64_t id;
        double add;
        if (!str_u64(item.key, &id) || id >= tokenizer_size(r->context->tokenizer)) {
            return openai_fail(r, "logit_bias", "expected token ids of this model as names");
        }
        if (!json_get_f64(&item, &add) || !(add >= -100 && add <= 100)) {
            return openai_fail(r, "logit_bias", "expected numbers from -100 to 100");
        }
        if (q->sampling.bias_n == BIAS_MAX) {
            return openai_fail(r, "logit_bias", "expected at most 300 tokens");
        }
        bias[q->sampling.bias_n++] = (struct sampler_bias){(int32_t)id, (float)add};
    }
    q->sampling.bias = bias;
    return 0;
}

/* Whose prompts may share what was computed: vLLM's field of this name. */
static int read_cache_salt(struct openai_reader *r, struct openai_request *q)
{
    const struct json_slice *v = openai_member(r, "cache_salt");
    struct str salt;
    if (!v) {
        return 0;
    }
    if (!json_get_str(r->arena, v, &salt) || salt.n == 0 || salt.n > CACHE_SALT_MAX) {
        return openai_fail(r, "cache_salt", "expected a string of 1 to 256 bytes");
    }
    q->tenant = id_siphash(salt.p, salt.n);
    return 0;
}

int openai_read_wishes(struct openai_reader *r, struct openai_request *q)
{
    int rc = openai_read_model(r);
    rc = rc ? rc : refuse_unsupported(r);
    rc = rc ? rc : read_stream(r, q);
    rc = rc ? rc : read_sampling(r, q);
    rc = rc ? rc : read_bias(r, q);
    rc = rc ? rc : read_format(r, q);
    rc = rc ? rc : read_logprobs(r, q);
    rc = rc ? rc : read_stops(r, q);
    rc = rc ? rc : read_stop_ids(r, q);
    rc = rc ? rc : read_cache_salt(r, q);
    return rc ? rc : openai_bool(r, "ignore_eos", &q->ignore_end);
}

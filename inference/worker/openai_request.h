/* Requests in the OpenAI dialect, read strictly: wrong types and impossible values are refused with the
 * field's name; fields that are not known are ignored, as OpenAI's servers do.
 *
 * Ownership: texts are borrowed from the arena or the body; prompt is a token list that the caller clears.
 * Errors: ERR_INVALID (with `param`), ERR_NOT_FOUND (another model is asked for), ERR_LIMIT (JSON past its
 * limits). `code` is the row of the error table to answer with.
 * Thread rule: the thread that may use the tokenizer. */
#ifndef TIDE_WORKER_OPENAI_REQUEST_H
#define TIDE_WORKER_OPENAI_REQUEST_H

#include "base/json.h"
#include "inference/worker/chat_template.h"
#include "inference/worker/sampler.h"
#include "inference/worker/stopper.h"

struct openai_context {
    struct tokenizer *tokenizer;
    const struct chat_template *chat; /* NULL: no chat model */
    struct str model;                 /* the id that clients use */
    uint32_t context;                 /* tokens of prompt and answer */
    size_t text_bytes;                /* most text of a prompt; 0: any */
};

struct openai_request {
    bool is_chat;
    bool stream;
    bool include_usage;
    bool ignore_end;
    bool json;           /* the answer has to be a JSON object */
    bool thinks;         /* the answer may hold reasoning between <think> and </think> */
    bool opens_thinking; /* and begins inside: the prompt ends with <think> */
    bool logprobs;       /* of each token */
    uint32_t top_logprobs;
    uint64_t tenant;                /* who shares prefixes: of cache_salt; 0: none given */
    uint64_t payer;                 /* whose turn it is, whatever the salt; 0: the tenant's */
    uint32_t max_tokens;            /* filled in: what the context leaves when the request has none */
    struct sampler_params sampling; /* seed drawn when the request has none; bias in the arena */
    struct str stops[STOPPER_MAX_STOPS];
    unsigned stop_count;
    token_id stop_ids[STOPPER_MAX_STOPS];
    unsigned stop_id_count;
    struct token_list prompt;
};

struct openai_fault {
    const char *code; /* "validation_failed", "context_length_exceeded", ... */
    char param[64];   /* the field, or empty */
    struct err err;   /* what is wrong with it */
    bool is_long;     /* more text than a request may have */
};

int openai_parse_chat(struct arena *a, struct str body, const struct openai_context *c,
                      struct openai_request *out, struct openai_fault *fault) TIDE_CHECK;
int openai_parse_completion(struct arena *a, struct str body, const struct openai_context *c,
                            struct openai_request *out, struct openai_fault *fault) TIDE_CHECK;
/* {prompt | messages} -> tokens; {tokens} -> tokens. */
int openai_parse_tokenize(struct arena *a, struct str body, const struct openai_context *c,
                          struct token_list *out, struct openai_fault *fault) TIDE_CHECK;
int openai_parse_detokenize(struct arena *a, struct str body, const struct openai_context *c,
                            struct token_list *out, struct openai_fault *fault) TIDE_CHECK;

#endif

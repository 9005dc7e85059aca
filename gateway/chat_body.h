/* The body of a chat request: scanned once, checked, and what goes to the worker instead of it: the text as received,
 * with splices only, so that unknown fields, tools and 64-bit seeds survive byte for byte.
 *
 * Splices: the model's name where an alias was used; max_tokens where it passes the cap or is missing under one;
 * stream_options.include_usage true for every stream (the usage event is taken out again for a client that did not ask).
 * Ownership: everything is borrowed from the arena or the text.
 * Errors: a row of the error table with the field at fault.
 * Thread rule: pure. */
#ifndef TIDE_GATEWAY_CHAT_BODY_H
#define TIDE_GATEWAY_CHAT_BODY_H

#include "base/http/problem.h"
#include "gateway/chat_conf.h"

enum chat_kind {
    CHAT_KIND_CHAT = 0, /* /v1/chat/completions: messages */
    CHAT_KIND_TEXT = 1, /* /v1/completions: prompt */
};

struct chat_body {
    const char *problem; /* code of the error; NULL: all is well */
    struct str detail;   /* what is wrong */
    struct str param;    /* the field at fault, may be empty */
    struct str model;    /* as workers know it */
    struct str asked;    /* as the client wrote it */
    bool is_stream;
    bool wants_usage;      /* the client asked for the usage event */
    int64_t max_tokens;    /* as sent upstream; -1: unbounded */
    int64_t choices;       /* to be made: n, or best_of, for each text of a prompt */
    int64_t prompt_tokens; /* estimate from the size */
    struct str upstream;   /* what is sent */
};

void chat_body_read(struct arena *a, struct str text, enum chat_kind kind, const struct chat_conf *conf,
                    struct chat_body *out);

#endif

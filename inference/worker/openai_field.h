/* Fields of a request in the OpenAI dialect, read with their types and ranges; shared by the files that read
 * a request: openai_request.c (all of it), openai_messages.c (the conversation), openai_wishes.c (how to answer).
 *
 * Errors: ERR_INVALID; the reader's fault then names the field.
 * Thread rule: as openai_request.h. */
#ifndef TIDE_WORKER_OPENAI_FIELD_H
#define TIDE_WORKER_OPENAI_FIELD_H

#include "inference/worker/openai_request.h"

/* What a reading of one request carries along. */
struct openai_reader {
    struct arena *arena;
    struct json_doc doc;
    const struct openai_context *context;
    struct openai_fault *fault;
};

int openai_fail(struct openai_reader *r, const char *param, const char *text);

/* Turning text into tokens costs time on the one thread that reads requests: so much of it, and no more. */
int openai_check_text(struct openai_reader *r, const char *param, size_t bytes);

/* The member of that name; NULL when absent or null. */
const struct json_slice *openai_member(const struct openai_reader *r, const char *key);
/* *out keeps its value when the member is absent. */
int openai_bool(struct openai_reader *r, const char *key, bool *out);
int openai_float(struct openai_reader *r, const char *key, double min, double max, float *out);
int openai_integer(struct openai_reader *r, const char *key, int64_t min, int64_t max, int64_t *out);

int openai_read_model(struct openai_reader *r);
int openai_read_wishes(struct openai_reader *r, struct openai_request *q);
/* Fills in what the template says of thinking; the tokens go to *out. */
int openai_read_messages(struct openai_reader *r, struct openai_request *q, struct token_list *out);

#endif

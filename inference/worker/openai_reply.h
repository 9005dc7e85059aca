/* Answers in the OpenAI dialect, written into a buf: whole ones, and the events of a stream as vLLM shapes
 * them: a first chunk with the role, a chunk for each piece of text, one with finish_reason, one with usage
 * where it was asked for, [DONE].
 * Thread rule: pure functions. */
#ifndef TIDE_WORKER_OPENAI_REPLY_H
#define TIDE_WORKER_OPENAI_REPLY_H

#include "base/json.h"
#include "inference/worker/engine.h"

struct openai_answer {
    char id[48]; /* "chatcmpl-..." or "cmpl-..." */
    bool is_chat;
    struct str model; /* borrowed */
    int64_t created;  /* Unix seconds */
    uint32_t prompt_tokens;
    uint32_t cached_tokens;            /* of the prompt */
    const struct tokenizer *tokenizer; /* borrowed: names of tokens in logprobs */
    bool logprobs;
    bool thinks;          /* usage tells the tokens of reasoning */
    uint32_t text_offset; /* characters whose logprobs have been written: completions tell it */
    uint32_t answer_tokens;
    uint32_t reasoning_tokens; /* of these */
};

/* New text and, where they are asked for, the tokens it is made of. */
struct openai_piece {
    struct str text;
    struct str reasoning;
    const struct token_logprob *logprobs;
    size_t logprob_n;
};

void openai_write_first(struct buf *out, struct openai_answer *a); /* chat only: the role */
void openai_write_piece(struct buf *out, struct openai_answer *a, const struct openai_piece *piece);
void openai_write_finish(struct buf *out, struct openai_answer *a, enum engine_finish finish);
void openai_write_usage(struct buf *out, const struct openai_answer *a);
void openai_write_done(struct buf *out);

void openai_write_whole(struct buf *out, struct openai_answer *a, const struct openai_piece *all,
                        enum engine_finish finish);
void openai_write_models(struct buf *out, struct str id, int64_t created, const struct engine *e);
void openai_write_model(struct json_writer *w, struct str id, int64_t created, const struct engine *e);

#endif

#include "inference/worker/sequence.h"

#include <stdlib.h>

#include "base/clock.h"

enum { TEXT_MAX = 1 << 20, LOGPROBS_MAX = 64 << 20 };

void engine_job_clear(struct engine_job *job)
{
    free(job->prompt);
    free((void *)job->sampling.bias);
    buf_clear(&job->stops);
    *job = (struct engine_job){0};
}

struct sequence *sequence_new(struct engine_job *job, uint64_t id)
{
    struct sequence *s = calloc(1, sizeof *s);
    struct str stops[STOPPER_MAX_STOPS];
    BUG_ON(!s);
    s->job = *job;
    *job = (struct engine_job){0};
    s->id = id;
    s->submitted_us = clock_mono_us();
    s->tokens = (struct token_list){s->job.prompt, s->job.prompt_n, s->job.prompt_n};
    s->job.prompt = NULL; /* now the list's */
    size_t at = 0;
    for (unsigned i = 0; i < s->job.stop_count; i++) {
        stops[i] = str_of(s->job.stops.p + at, s->job.stop_n[i]);
        at += s->job.stop_n[i];
    }
    stopper_init(&s->stopper, stops, s->job.stop_count);
    buf_init(&s->logprobs, LOGPROBS_MAX);
    return s;
}

void sequence_free(struct sequence *s)
{
    token_list_clear(&s->tokens);
    stopper_clear(&s->stopper);
    buf_clear(&s->logprobs);
    engine_job_clear(&s->job);
    free(s);
}

static void tell(struct sequence *s, const struct buf *text, enum engine_finish finish)
{
    if (text->n == 0 && finish == ENGINE_FINISH_NONE) {
        return;
    }
    struct engine_output out = {.job = s->id,
                                .text = buf_str(text),
                                .answer_tokens = sequence_answer_n(s),
                                .cached_tokens = s->cached,
                                .logprobs = (const void *)s->logprobs.p,
                                .logprob_n = (uint32_t)(s->logprobs.n / sizeof(struct token_logprob)),
                                .finish = finish};
    s->job.on_output(s->job.arg, &out);
    buf_truncate(&s->logprobs);
}

void sequence_end(struct sequence *s, enum engine_finish finish)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    if (finish == ENGINE_FINISH_STOP || finish == ENGINE_FINISH_LENGTH) {
        stopper_finish(&s->stopper, &text);
    }
    tell(s, &text, finish);
    buf_clear(&text);
}

enum engine_finish sequence_accept(struct sequence *s, const struct tokenizer *tokenizer, token_id id,
                                   bool whole)
{
    if (!s->job.ignore_end && tokenizer_ends(tokenizer, id)) {
        sequence_end(s, ENGINE_FINISH_STOP);
        return ENGINE_FINISH_STOP;
    }
    struct buf text;
    buf_init(&text, TEXT_MAX);
    token_list_add(&s->tokens, id);
    enum engine_finish finish = ENGINE_FINISH_NONE;
    if (stopper_push(&s->stopper, tokenizer_bytes(tokenizer, id), &text)) {
        finish = ENGINE_FINISH_STOP;
    } else if (whole || sequence_answer_n(s) >= s->job.max_tokens) {
        stopper_finish(&s->stopper, &text);
        finish = whole ? ENGINE_FINISH_STOP : ENGINE_FINISH_LENGTH;
    }
    tell(s, &text, finish);
    buf_clear(&text);
    return finish;
}

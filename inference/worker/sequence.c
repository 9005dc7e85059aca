#include "inference/worker/sequence.h"

#include <stdlib.h>

#include "base/clock.h"

enum {
    TEXT_MAX = 1 << 20,
    LOGPROBS_MAX = 64 << 20,
    UNTOLD_MAX = 4, /* tokens whose logprobs wait for text: an event must stay small */
};

void engine_job_clear(struct engine_job *job)
{
    free(job->prompt);
    free((void *)job->sampling.bias);
    buf_clear(&job->stops);
    *job = (struct engine_job){0};
}

struct sequence *sequence_new(struct engine_job *job, uint64_t id, const struct tokenizer *tokenizer)
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
    enum reasoning_state state = !s->job.thinks          ? REASONING_AFTER
                                 : s->job.opens_thinking ? REASONING_INSIDE
                                                         : REASONING_WAITS;
    reasoning_init(&s->reasoning, state, tokenizer_tag(tokenizer, "<think>"),
                   tokenizer_tag(tokenizer, "</think>"));
    buf_init(&s->logprobs, LOGPROBS_MAX);
    return s;
}

void sequence_free(struct sequence *s)
{
    token_list_clear(&s->tokens);
    stopper_clear(&s->stopper);
    reasoning_clear(&s->reasoning);
    buf_clear(&s->logprobs);
    engine_job_clear(&s->job);
    free(s);
}

/* What one token, or the end, gives to tell. */
struct news {
    struct buf text; /* as it comes from the stopper */
    struct buf thought;
    struct buf content;
};

static void news_init(struct news *n)
{
    buf_init(&n->text, TEXT_MAX);
    buf_init(&n->thought, TEXT_MAX);
    buf_init(&n->content, TEXT_MAX);
}

static void sort_news(struct sequence *s, struct news *n)
{
    reasoning_push(&s->reasoning, buf_str(&n->text), (struct reasoning_out){&n->thought, &n->content});
    buf_truncate(&n->text);
}

/* Tells what there is, and frees it. */
static void tell(struct sequence *s, struct news *n, enum engine_finish finish)
{
    struct reasoning_out out = {&n->thought, &n->content};
    sort_news(s, n);
    if (finish != ENGINE_FINISH_NONE) {
        reasoning_finish(&s->reasoning, out);
    }
    bool is_full = s->logprobs.n >= UNTOLD_MAX * sizeof(struct token_logprob);
    if (n->thought.n || n->content.n || is_full || finish != ENGINE_FINISH_NONE) {
        struct engine_output output = {.job = s->id,
                                       .text = buf_str(&n->content),
                                       .reasoning = buf_str(&n->thought),
                                       .answer_tokens = sequence_answer_n(s),
                                       .reasoning_tokens = s->reasoning.tokens,
                                       .cached_tokens = s->cached,
                                       .logprobs = (const void *)s->logprobs.p,
                                       .logprob_n = (uint32_t)(s->logprobs.n / sizeof(struct token_logprob)),
                                       .finish = finish};
        s->job.on_output(s->job.arg, &output);
        buf_truncate(&s->logprobs);
    }
    buf_clear(&n->text);
    buf_clear(&n->thought);
    buf_clear(&n->content);
}

void sequence_end(struct sequence *s, enum engine_finish finish)
{
    struct news news;
    news_init(&news);
    if (finish == ENGINE_FINISH_STOP || finish == ENGINE_FINISH_LENGTH) {
        stopper_finish(&s->stopper, &news.text);
    }
    tell(s, &news, finish);
}

/* True when the token completes a stop string. */
static bool take_token(struct sequence *s, const struct tokenizer *tokenizer, token_id id, struct news *n)
{
    if (reasoning_is_tag(&s->reasoning, id)) {
        stopper_finish(&s->stopper, &n->text); /* what is held back belongs before the tag */
        sort_news(s, n);
        reasoning_turn(&s->reasoning, (struct reasoning_out){&n->thought, &n->content});
        return false;
    }
    s->reasoning.tokens += s->reasoning.state == REASONING_INSIDE;
    return stopper_push(&s->stopper, tokenizer_bytes(tokenizer, id), &n->text);
}

static bool ends(const struct sequence *s, const struct tokenizer *tokenizer, token_id id)
{
    for (unsigned i = 0; i < s->job.stop_id_count; i++) {
        if (s->job.stop_ids[i] == id) {
            return true;
        }
    }
    return !s->job.ignore_end && tokenizer_ends(tokenizer, id);
}

enum engine_finish sequence_accept(struct sequence *s, const struct tokenizer *tokenizer, token_id id,
                                   bool whole)
{
    if (ends(s, tokenizer, id)) {
        sequence_end(s, ENGINE_FINISH_STOP);
        return ENGINE_FINISH_STOP;
    }
    struct news news;
    news_init(&news);
    token_list_add(&s->tokens, id);
    enum engine_finish finish = ENGINE_FINISH_NONE;
    if (take_token(s, tokenizer, id, &news)) {
        finish = ENGINE_FINISH_STOP;
    } else if (whole || sequence_answer_n(s) >= s->job.max_tokens) {
        stopper_finish(&s->stopper, &news.text);
        finish = whole ? ENGINE_FINISH_STOP : ENGINE_FINISH_LENGTH;
    }
    tell(s, &news, finish);
    return finish;
}

/* One request inside the engine: its tokens, how far they are computed, and what may be shown of them.
 *
 *     tokens:  [ prompt ............ | answer ..... ]
 *     computed (in the KV cache) ---------^           the rest is the next batch's work
 *
 * Thread rule: the engine's thread. */
#ifndef TIDE_WORKER_SEQUENCE_H
#define TIDE_WORKER_SEQUENCE_H

#include "inference/worker/engine.h"
#include "inference/worker/json_mask.h"
#include "inference/worker/reasoning.h"

struct sequence {
    struct sequence *next; /* waiting list */
    uint64_t turn;         /* its place in that list */
    struct engine_job job;
    uint64_t id;
    uint32_t slot;            /* while running */
    struct token_list tokens; /* prompt, then answer */
    uint32_t computed;        /* tokens in the KV cache */
    uint32_t batch_n;         /* tokens in the running batch */
    uint32_t cached;          /* prompt tokens that needed no computing when it started */
    struct stopper stopper;
    struct reasoning reasoning; /* always after it where the job does not think */
    struct json_answer json;    /* when the answer has to be JSON */
    struct buf logprobs;        /* struct token_logprob, those not told yet */
    uint64_t submitted_us;
    uint64_t started_us; /* first got a slot; 0: not yet */
    uint64_t last_us;    /* last token; 0: none yet */
};

/* Takes the job's contents. */
struct sequence *sequence_new(struct engine_job *job, uint64_t id, const struct tokenizer *tokenizer);
void sequence_free(struct sequence *s);

static inline uint32_t sequence_answer_n(const struct sequence *s)
{
    return (uint32_t)s->tokens.n - s->job.prompt_n;
}
static inline bool sequence_decodes(const struct sequence *s) /* one token is left to compute */
{
    return s->computed + 1 == s->tokens.n && s->computed >= s->job.prompt_n;
}

/* How many of the largest logits its next token and what is told of it need; 0: all. */
static inline uint32_t sequence_candidates(const struct sequence *s)
{
    uint32_t n = s->job.json ? 0 : sampler_candidates(&s->job.sampling);
    return n && s->job.logprobs && s->job.top_logprobs > n ? s->job.top_logprobs : n;
}

/* Its next token is the one with the largest logit, and nobody asks for more. */
static inline bool sequence_wants_best(const struct sequence *s)
{
    return sequence_candidates(s) == 1 && s->job.sampling.temperature <= 0 && !s->job.logprobs;
}

/* Takes a sampled token and tells the job; not NONE when the sequence ends with it. `whole`: nothing may follow. */
enum engine_finish sequence_accept(struct sequence *s, const struct tokenizer *tokenizer, token_id id,
                                   bool whole);
void sequence_end(struct sequence *s, enum engine_finish finish); /* the last output, without a token */

#endif

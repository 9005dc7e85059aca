/* The engine's thread: takes jobs, computes one batch after the other and hands out what was said.
 * Not the choice of what runs: scheduler.h.
 *
 *     engine_submit -> inbox -> scheduler -> backend -> sampler -> on_output
 *
 * Life: engine_new starts the thread, which loads the model and calls on_loaded once; then jobs are served
 * until engine_free, which ends what still runs as canceled and joins.
 * Ownership: engine_submit takes the job in every case. The engine calls job->on_output on its own thread;
 * the call with `done` is the last and comes exactly once for every job that was accepted.
 * A step: new jobs, cancels and deadlines, then one batch.
 * Limits: `slots` run, `queue` wait; more are refused with ERR_AGAIN. KV memory is fixed at start; when it is
 * full, prompts wait and the youngest answer is computed again later: nothing fails.
 * A device that fails ends the engine: what runs and waits ends as canceled, on_failed is called, no more is taken.
 * Thread rule: engine_submit and engine_cancel from any thread. */
#ifndef TIDE_WORKER_ENGINE_H
#define TIDE_WORKER_ENGINE_H

#include "inference/worker/chat_template.h"
#include "inference/worker/device.h"
#include "inference/worker/sampler.h"
#include "inference/worker/stopper.h"

struct engine;

enum engine_finish {
    ENGINE_FINISH_NONE = 0,     /* not done */
    ENGINE_FINISH_STOP = 1,     /* end token, stop token or stop string */
    ENGINE_FINISH_LENGTH = 2,   /* max_tokens */
    ENGINE_FINISH_CANCELED = 3, /* engine_cancel, or the engine ends */
    ENGINE_FINISH_FAILED = 4,   /* no token that it may choose */
    ENGINE_FINISH_LATE = 5,     /* its deadline passed */
};
const char *engine_finish_name(enum engine_finish f); /* "stop", "length", "abort", "error", "timeout" */

struct engine_output {
    uint64_t job;                         /* its id */
    struct str text;                      /* new text, maybe empty; borrowed until the return */
    struct str reasoning;                 /* new text between <think> and </think>, likewise */
    uint32_t answer_tokens;               /* so far, the end token not counted */
    uint32_t reasoning_tokens;            /* of these */
    uint32_t cached_tokens;               /* of the prompt, found in the KV cache */
    const struct token_logprob *logprobs; /* of the tokens since the last output, if asked for; borrowed */
    uint32_t logprob_n;
    enum engine_finish finish; /* not NONE on the last output */
};

struct engine_job {
    token_id *prompt; /* malloc'ed; owned by the job */
    uint32_t prompt_n;
    uint32_t max_tokens;  /* prompt_n + max_tokens must not pass the context */
    uint64_t tenant;      /* who shares prefixes and a place in the queue; 0: all who are not named */
    uint64_t payer;       /* who shares a place in the queue instead; 0: the tenant */
    uint64_t deadline_us; /* monotonic; 0: none */
    struct sampler_params sampling;     /* its bias is malloc'ed and owned by the job */
    bool logprobs;                      /* of each token of the answer */
    uint32_t top_logprobs;              /* and of the best ones at its place, up to SAMPLER_TOP_MAX */
    bool json;                          /* the answer is one JSON object */
    bool ignore_end;                    /* go on after an end token */
    bool thinks;                        /* reasoning between <think> and </think> is told apart */
    bool opens_thinking;                /* and comes first: the prompt ends with <think> */
    struct buf stops;                   /* bytes of all stop strings */
    uint32_t stop_n[STOPPER_MAX_STOPS]; /* length of each, in order */
    unsigned stop_count;
    token_id stop_ids[STOPPER_MAX_STOPS]; /* tokens that end the answer as the model's own end tokens do */
    unsigned stop_id_count;
    void (*on_output)(void *arg, const struct engine_output *out); /* on the engine's thread */
    void *arg;
};
void engine_job_clear(struct engine_job *job);

struct engine_conf {
    const char *model;
    uint32_t slots;
    uint32_t context;   /* 0: the model's, at most 4096 */
    uint32_t kv_tokens; /* of all sequences and kept prefixes; 0: slots * context */
    uint32_t threads;
    uint32_t step_tokens;
    uint32_t queue;
    const char *packed; /* a file that keeps packed weights (cpu/packed_file.h), borrowed; NULL: none */
    bool portable;
    bool no_amx;
    struct device_wish device;
    void (*on_loaded)(void *arg, int rc, const struct err *err); /* on the engine's thread, once */
    void (*on_told)(void *arg);   /* likewise, after the outputs of each step; NULL: nobody asks */
    void (*on_failed)(void *arg); /* likewise, after the last output; NULL: nobody asks */
    void *arg;
};

/* What a start asks of a model besides its tensors, for who only wants to know whether it would be served: its text, with
 * *chat NULL where it has no chat template; and the context, with 0 for what is left to the model. ERR_INVALID: why not. */
int engine_read_text(const struct model *m, struct tokenizer **tokenizer, const struct chat_template **chat,
                     struct err *err) TIDE_CHECK;
int engine_choose_context(const struct model *m, uint32_t context, uint32_t kv_tokens, uint32_t *out,
                          struct err *err) TIDE_CHECK;

int engine_new(const struct engine_conf *conf, struct engine **out, struct err *err) TIDE_CHECK;
void engine_free(struct engine *e);

/* *id is set before the first output. ERR_AGAIN: the queue is full, the job is freed, no output comes. */
int engine_submit(struct engine *e, struct engine_job *job, uint64_t *id) TIDE_CHECK;
void engine_cancel(struct engine *e, uint64_t job); /* an unknown or finished job: nothing happens */

struct engine_load {
    uint32_t running;
    uint32_t waiting;
    uint32_t slots;
    uint32_t kv_blocks_used; /* what is kept for later does not count */
    uint32_t kv_blocks;
};
struct engine_load engine_load(struct engine *e); /* any thread */

/* After on_loaded with rc 0; borrowed until engine_free. */
struct tokenizer *engine_tokenizer(struct engine *e);                /* encoding: one thread (the intake's) */
const struct chat_template *engine_template(const struct engine *e); /* NULL: not a chat model */
uint32_t engine_context(const struct engine *e);
const struct model *engine_model(const struct engine *e);

#endif

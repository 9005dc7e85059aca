/* Which sequences run, and what the next batch computes: continuous batching over paged keys and values.
 *
 *     waiting --admit--> running (a slot, blocks for its whole prompt) --> taken out by the engine
 *                <--preempt-- the youngest, when an answer needs a block and none is left
 *
 * Admission is first come first served among the requests of one tenant and by turns among tenants (start-time
 * fair queueing, Goyal et al. 1996, a request counting one). What a prompt has in common with an earlier
 * one of the same tenant is not computed again: kv_tables.h. A preempted sequence gives its blocks back, goes to
 * the head of the queue and is computed again later; its tokens, and so its answer, stay as they are.
 * A batch: one token of each decoding sequence, the rest of `step_tokens` for prompts, oldest first.
 * Ownership: sequences between scheduler_add and scheduler_take (or scheduler_free).
 * Errors: scheduler_new gives ERR_NOMEM.
 * Thread rule: the engine's thread. */
#ifndef TIDE_WORKER_SCHEDULER_H
#define TIDE_WORKER_SCHEDULER_H

#include "inference/worker/kv_tables.h"
#include "inference/worker/sequence.h"

struct scheduler;

struct scheduler_conf {
    struct kv_tables_conf kv; /* context: not more than all blocks hold */
    uint32_t step_tokens;     /* of a batch; at least kv.slots */
};

struct scheduler_load {
    uint32_t running;
    uint32_t waiting;
    struct kv_tables_load kv;
};

int scheduler_new(const struct scheduler_conf *conf, struct scheduler **out, struct err *err) TIDE_CHECK;
void scheduler_free(struct scheduler *sch); /* with all sequences left in it */

void scheduler_add(struct scheduler *sch, struct sequence *s); /* takes it */
/* Takes a sequence out, wherever it is: by id, one whose deadline has passed, or just the first. NULL: none. */
struct sequence *scheduler_take(struct scheduler *sch, uint64_t id);
struct sequence *scheduler_take_late(struct scheduler *sch, uint64_t now_us);
struct sequence *scheduler_take_first(struct scheduler *sch);

/* Admits what fits, then plans. Borrowed until the next call; n is 0 when nothing runs. */
struct batch scheduler_plan(struct scheduler *sch);
struct sequence *scheduler_sequence(const struct scheduler *sch, uint32_t sequence); /* of a batch token */
/* One more token of s is in the cache; to be called for each token of the batch, in order. */
void scheduler_computed(struct scheduler *sch, struct sequence *s);

struct scheduler_load scheduler_load(const struct scheduler *sch);

#endif

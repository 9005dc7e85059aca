#include "inference/worker/scheduler.h"

#include <stdlib.h>

#include "base/clock.h"
#include "inference/worker/worker_metrics.h"

enum { TURNS = 1024 }; /* tenants whose last turn is remembered; two that share a place take turns as one */

struct scheduler {
    struct scheduler_conf conf;
    struct kv_tables *kv;
    struct sequence *waiting; /* by turn, then by arrival; preempted ones first */
    uint32_t waiting_n;
    struct sequence **slots; /* running, by slot; NULL: free */
    uint32_t *order;         /* slots in use, oldest first */
    uint32_t running;
    struct batch_token *batch;
    uint64_t turn;         /* of the request admitted last */
    uint64_t turns[TURNS]; /* last turn given to a tenant's request */
};

int scheduler_new(const struct scheduler_conf *conf, struct scheduler **out, struct err *err)
{
    struct scheduler *sch = calloc(1, sizeof *sch);
    if (!sch) {
        return err_set(err, ERR_NOMEM, "engine: no memory");
    }
    BUG_ON((uint64_t)conf->kv.blocks * KV_BLOCK < conf->kv.context || conf->step_tokens < conf->kv.slots);
    sch->conf = *conf;
    sch->slots = calloc(conf->kv.slots, sizeof(struct sequence *));
    sch->order = calloc(conf->kv.slots, sizeof *sch->order);
    sch->batch = calloc(conf->step_tokens, sizeof *sch->batch);
    bool whole = sch->slots && sch->order && sch->batch;
    int rc = whole ? kv_tables_new(&conf->kv, &sch->kv, err)
                   : err_set(err, ERR_NOMEM, "engine: no memory for %u slots", conf->kv.slots);
    if (rc) {
        scheduler_free(sch);
        return rc;
    }
    *out = sch;
    return 0;
}

void scheduler_free(struct scheduler *sch)
{
    if (!sch) {
        return;
    }
    for (struct sequence *s; sch->kv && (s = scheduler_take_first(sch)) != NULL;) {
        sequence_free(s);
    }
    kv_tables_free(sch->kv);
    free(sch->slots);
    free(sch->order);
    free(sch->batch);
    free(sch);
}

struct sequence *scheduler_sequence(const struct scheduler *sch, uint32_t sequence)
{
    return sch->slots[sequence];
}

struct scheduler_load scheduler_load(const struct scheduler *sch)
{
    return (struct scheduler_load){
        .running = sch->running, .waiting = sch->waiting_n, .kv = kv_tables_load(sch->kv)};
}

/* --- the queue --------------------------------------------------------------------------------------- */

static void push_front(struct scheduler *sch, struct sequence *s)
{
    s->next = sch->waiting;
    sch->waiting = s;
    sch->waiting_n++;
}

static uint64_t *last_turn(struct scheduler *sch, const struct sequence *s)
{
    return &sch->turns[(s->job.payer ? s->job.payer : s->job.tenant) % TURNS];
}

void scheduler_add(struct scheduler *sch, struct sequence *s)
{
    uint64_t *last = last_turn(sch, s);
    struct sequence **at = &sch->waiting;
    s->turn = (*last > sch->turn ? *last : sch->turn) + 1;
    *last = s->turn;
    while (*at && (*at)->turn <= s->turn) {
        at = &(*at)->next;
    }
    s->next = *at;
    *at = s;
    sch->waiting_n++;
}

static struct sequence *unlink_waiting(struct scheduler *sch, struct sequence **at)
{
    struct sequence *s = *at;
    *at = s->next;
    s->next = NULL;
    sch->waiting_n--;
    return s;
}

/* One that never ran gives its turn back, when it was the last of its tenant's. */
static struct sequence *give_up(struct scheduler *sch, struct sequence **at)
{
    uint64_t *last = last_turn(sch, *at);
    if (!(*at)->started_us && *last == (*at)->turn) {
        (*last)--;
    }
    return unlink_waiting(sch, at);
}

/* --- running ones ------------------------------------------------------------------------------------ */

/* Frees the slot and the blocks of the at-th oldest. */
static struct sequence *stop_running(struct scheduler *sch, uint32_t at)
{
    struct sequence *s = sch->slots[sch->order[at]];
    kv_tables_end(sch->kv, s->slot);
    sch->slots[s->slot] = NULL;
    sch->running--;
    for (uint32_t i = at; i < sch->running; i++) {
        sch->order[i] = sch->order[i + 1];
    }
    return s;
}

static void preempt_youngest(struct scheduler *sch)
{
    struct sequence *s = stop_running(sch, sch->running - 1);
    s->computed = 0;
    s->batch_n = 0;
    push_front(sch, s);
    metric_add(&worker_preemptions, 1);
}

/* --- taken out --------------------------------------------------------------------------------------- */

struct sequence *scheduler_take(struct scheduler *sch, uint64_t id)
{
    for (uint32_t i = 0; i < sch->running; i++) {
        if (sch->slots[sch->order[i]]->id == id) {
            return stop_running(sch, i);
        }
    }
    for (struct sequence **at = &sch->waiting; *at; at = &(*at)->next) {
        if ((*at)->id == id) {
            return give_up(sch, at);
        }
    }
    return NULL;
}

static bool is_late(const struct sequence *s, uint64_t now_us)
{
    return s->job.deadline_us && s->job.deadline_us <= now_us;
}

struct sequence *scheduler_take_late(struct scheduler *sch, uint64_t now_us)
{
    for (uint32_t i = 0; i < sch->running; i++) {
        if (is_late(sch->slots[sch->order[i]], now_us)) {
            return stop_running(sch, i);
        }
    }
    for (struct sequence **at = &sch->waiting; *at; at = &(*at)->next) {
        if (is_late(*at, now_us)) {
            return give_up(sch, at);
        }
    }
    return NULL;
}

struct sequence *scheduler_take_first(struct scheduler *sch)
{
    if (sch->running > 0) {
        return stop_running(sch, 0);
    }
    return sch->waiting ? unlink_waiting(sch, &sch->waiting) : NULL;
}

/* --- admission --------------------------------------------------------------------------------------- */

static void count_admitted(struct sequence *s)
{
    if (s->started_us) {
        return; /* again, after a preemption */
    }
    s->started_us = clock_mono_us();
    s->cached = s->computed;
    metric_observe_us(&worker_queue_time, s->started_us - s->submitted_us);
    metric_add(&worker_prefix_queries, s->job.prompt_n);
    metric_add(&worker_prefix_hits, s->cached);
}

/* A prompt starts when all of it has room and every answer that runs can still take a block. */
static bool admit(struct scheduler *sch, uint32_t slot)
{
    struct sequence *s = sch->waiting;
    if (!kv_tables_begin(sch->kv, slot, s->job.tenant, s->tokens.p, (uint32_t)s->tokens.n, sch->running,
                         &s->computed)) {
        return false;
    }
    s->slot = slot;
    unlink_waiting(sch, &sch->waiting);
    sch->turn = s->turn > sch->turn ? s->turn : sch->turn;
    sch->slots[slot] = s;
    sch->order[sch->running++] = slot;
    count_admitted(s);
    return true;
}

static void admit_all(struct scheduler *sch)
{
    for (uint32_t slot = 0; slot < sch->conf.kv.slots && sch->waiting; slot++) {
        if (!sch->slots[slot] && !admit(sch, slot)) {
            return;
        }
    }
}

/* --- the batch --------------------------------------------------------------------------------------- */

static void add_tokens(struct scheduler *sch, struct batch *batch, struct sequence *s, uint32_t n)
{
    s->batch_n = n;
    kv_tables_step(sch->kv, s->slot, s->computed, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t position = s->computed + i;
        sch->batch[batch->n++] = (struct batch_token){.token = s->tokens.p[position],
                                                      .sequence = s->slot,
                                                      .position = position,
                                                      .wants_logits = position + 1 == s->tokens.n,
                                                      .best_only = sequence_wants_best(s),
                                                      .candidates = (uint8_t)sequence_candidates(s)};
    }
}

/* Room for the next token of s; the youngest give way. False: s itself was the youngest. */
static bool has_room(struct scheduler *sch, struct sequence *s)
{
    while (!kv_tables_extend(sch->kv, s->slot, s->computed)) {
        bool gives_way = sch->slots[sch->order[sch->running - 1]] == s;
        preempt_youngest(sch);
        if (gives_way) {
            return false;
        }
    }
    return true;
}

struct batch scheduler_plan(struct scheduler *sch)
{
    struct batch batch = {.tokens = sch->batch,
                          .tables = kv_tables_all(sch->kv),
                          .window_tables = kv_tables_window(sch->kv),
                          .table_width = kv_tables_width(sch->kv)};
    admit_all(sch);
    for (uint32_t i = 0; i < sch->running; i++) {
        struct sequence *s = sch->slots[sch->order[i]];
        s->batch_n = 0;
        if (sequence_decodes(s) && has_room(sch, s)) {
            add_tokens(sch, &batch, s, 1);
        }
    }
    for (uint32_t i = 0; i < sch->running; i++) {
        struct sequence *s = sch->slots[sch->order[i]];
        uint32_t left = (uint32_t)s->tokens.n - s->computed;
        uint32_t room = sch->conf.step_tokens - batch.n;
        if (s->batch_n == 0 && room > 0) {
            add_tokens(sch, &batch, s, left < room ? left : room);
        }
    }
    return batch;
}

void scheduler_computed(struct scheduler *sch, struct sequence *s)
{
    s->computed++;
    kv_tables_computed(sch->kv, s->slot, s->tokens.p, s->computed);
}

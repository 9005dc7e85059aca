/* Inside of the limiter: its two halves, and what its files do for one another. Only limiter*.c includes this.
 *
 *     limiter.c         life, keys, check, answers, verdict
 *     limiter_local.c   what is decided without Redis: deny cache, leases, newcomers, fallback
 *     limiter_after.c   settle, give back, forget
 *     limiter_beat.c    the process's heartbeat, renewal of what runs here
 *     limiter_command.c, limiter_reserve.c   the commands
 * Thread rule: struct limiter_shared any thread; struct limiter its loop. */
#ifndef TIDE_RATELIMIT_LIMITER_SHARED_H
#define TIDE_RATELIMIT_LIMITER_SHARED_H

#include "base/clock.h"
#include "ratelimit/concurrency.h"
#include "ratelimit/lease.h"
#include "ratelimit/limiter.h"
#include "ratelimit/newcomers.h"
#include "ratelimit/offenders.h"

struct limiter_shared {
    struct limiter_conf conf;
    struct local_table *fallback; /* GCRA states while Redis is away */
    struct local_table *denied;   /* keys that Redis denied a moment ago */
    struct lease_table *leases;
    struct newcomers *newcomers;
    struct offenders *offenders;
    atomic_uint gateways; /* as the last heartbeat said */
    atomic_uint loops;    /* limiters of this process */
    char instance[33];
};

struct limiter {
    struct loop *loop;
    struct limiter_shared *shared;
    struct redis *roles[LIMIT_ROLES];
    struct loop_timer beat_timer;
    struct redis_op beat;
    struct buf beat_command;       /* RESP; the same each time */
    unsigned beats_with_fewer;     /* answers in a row that counted fewer gateways than before */
    struct concurrency *running;   /* what runs on this loop */
    struct loop_timer renew_timer; /* of running, a part each time */
    unsigned renew_part;           /* the next one's index */
    char field[48];                /* ours in the hashes of what runs: instance and loop */
};

static inline int64_t limiter_now_us(void)
{
    return (int64_t)clock_mono_us();
}

static inline void limiter_count(const struct limit_key_state *k, enum limit_outcome outcome)
{
    metric_child_add(k->rule->outcomes[outcome], 1);
}

static inline bool limiter_key_is_denied(const struct limit_key_state *k)
{
    return k->retry_us != 0 && !k->rule->shadow;
}

/* Others would be let further, or pay less (struct limit_terms). */
static inline bool limiter_key_is_restricted(const struct limit_key_state *k)
{
    return k->rule->is_shared && k->inc_us > 0 &&
           (k->inc_us > k->cost_us || k->tau_us < k->rule->gcra.tau_us);
}

/* Under which the deny cache keeps that a key has only what is reserved left. */
static inline struct limit_key limiter_reserved_key(const struct limit_key_state *k)
{
    return (struct limit_key){.lo = ~k->key.lo, .hi = k->key.hi};
}

/* limiter_local.c */
/* What the terms make of the key of a rule that many share. At least one request goes where nothing is in use. */
void limiter_key_set_terms(struct limit_key_state *k, const struct limit_terms *t);
bool limiter_denied_cached(struct limit_check *c); /* true: keys' retry_us are filled */
void limiter_take_here(
    struct limit_check *c); /* charges what needs no Redis, and says what to ask Redis for */
void limiter_fall_back(struct limit_call *call); /* Redis is away */
void limiter_note_denial(struct limit_check *c, const struct limit_key_state *k);
/* limiter_after.c */
void limiter_key_give_back(struct limit_check *c, struct limit_key_state *k);
/* limiter_beat.c */
void limiter_beat_open(struct limiter *l, bool beats);
void limiter_beat_close(struct limiter *l);

#endif

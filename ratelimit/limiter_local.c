/* What is decided without asking Redis: the deny cache, leases, newcomers, and the fallback while it is away. */
#include "ratelimit/limiter_shared.h"

enum { CLOSED_RETRY_US = 2000000 }; /* what a client is told while a rule is closed: Redis is soon back */

void limiter_key_set_terms(struct limit_key_state *k, const struct limit_terms *t)
{
    int64_t tau_us = k->rule->gcra.tau_us;
    if (k->cost_us > tau_us) {
        return; /* never, on any terms */
    }
    if (t->only_asks) {
        k->tau_us = tau_us - k->cost_us;
        k->inc_us = 0;
        return;
    }
    int64_t taken_us = k->cost_us + k->cost_us * (int64_t)t->surcharge_percent / 100;
    int64_t open_us = tau_us - tau_us * (int64_t)t->reserved_percent / 100;
    k->inc_us = taken_us < tau_us ? taken_us : tau_us;
    k->tau_us = open_us > k->inc_us ? open_us : k->inc_us;
}

void limiter_note_denial(struct limit_check *c, const struct limit_key_state *k)
{
    offenders_add(c->limiter->shared->offenders, k->rule, k->key, &c->address, c->began_us);
}

bool limiter_denied_cached(struct limit_check *c)
{
    struct limiter_shared *s = c->limiter->shared;
    bool denied = false;
    if (!local_has_blocks(s->denied, c->began_us)) {
        return false;
    }
    for (unsigned i = 0; i < c->count; i++) {
        struct limit_key_state *k = &c->keys[i];
        if (k->rule->shadow || k->rule->unit != LIMIT_UNIT_REQUESTS) {
            continue; /* a smaller request might pass, or one that runs may end */
        }
        k->retry_us = local_blocked_us(s->denied, k->key, c->began_us);
        if (k->retry_us == 0 && limiter_key_is_restricted(k)) {
            k->retry_us = local_blocked_us(s->denied, limiter_reserved_key(k), c->began_us);
            k->is_reserved = k->retry_us > 0;
        }
        if (k->retry_us > 0) {
            limiter_count(k, k->is_reserved ? LIMIT_RESERVED : LIMIT_DENIED_CACHED);
            limiter_note_denial(c, k);
            denied = true;
        }
    }
    return denied;
}

/* --- leases and newcomers -------------------------------------------------------------------------- */

static bool pass_as_newcomer(struct limit_check *c, struct limit_key_state *k)
{
    struct limiter_shared *s = c->limiter->shared;
    unsigned held = 0;
    bool passes =
        newcomers_pass(s->newcomers, k->key, &k->rule->gcra, limiter_gateways(s), c->began_us, &held);
    if (passes) {
        k->charge = LIMIT_CHARGE_NEWCOMER;
        k->distance_us = (int64_t)held * k->rule->inc_us;
        limiter_count(k, LIMIT_NEWCOMER);
    } else if (held > 0) {
        k->held = (uint8_t)held;
        k->inc_us = gcra_inc_us(&k->rule->gcra, 1 + held);
    }
    return passes;
}

static void take_from_lease(struct limit_check *c, struct limit_key_state *k)
{
    struct limiter_shared *s = c->limiter->shared;
    struct lease_answer a = lease_take(s->leases, k->key, &k->rule->gcra, limiter_gateways(s), c->began_us);
    if (a.taken) {
        k->charge = LIMIT_CHARGE_LEASE;
        k->distance_us = a.distance_us;
        limiter_count(k, LIMIT_LEASED);
    } else {
        k->lease_want = a.want;
    }
}

void limiter_take_here(struct limit_check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct limit_key_state *k = &c->keys[i];
        bool passed = k->rule->newcomers && pass_as_newcomer(c, k);
        bool has_terms = k->rule->is_shared && k->inc_us != k->cost_us;
        if (!passed && k->rule->leases && k->held == 0 && !has_terms && !limiter_key_is_restricted(k)) {
            take_from_lease(c, k);
        }
    }
}

/* --- Redis away ------------------------------------------------------------------------------------ */

/* This loop's share of what may run at once, at least one. */
static int64_t run_here(struct limit_check *c, const struct limit_key_state *k)
{
    struct limiter_shared *s = c->limiter->shared;
    uint64_t shares = (uint64_t)limiter_gateways(s) * atomic_load_explicit(&s->loops, memory_order_relaxed);
    uint64_t share = k->rule->gcra.limit / (shares > 0 ? shares : 1);
    return concurrency_count(c->limiter->running, k->key) <= (share > 1 ? share : 1) ? 0 : CLOSED_RETRY_US;
}

static void key_fall_back(struct limit_check *c, struct limit_key_state *k)
{
    struct limiter_shared *s = c->limiter->shared;
    switch (k->rule->on_error) {
    case LIMIT_ON_ERROR_OPEN:
        break;
    case LIMIT_ON_ERROR_CLOSED:
        k->retry_us = CLOSED_RETRY_US;
        c->closed = c->closed || !k->rule->shadow;
        break;
    case LIMIT_ON_ERROR_LOCAL:
        if (k->rule->unit == LIMIT_UNIT_CONCURRENT) {
            k->retry_us = run_here(c, k);
            break;
        }
        k->retry_us =
            local_take(s->fallback, k->key, &k->rule->gcra, k->inc_us, limiter_gateways(s), limiter_now_us());
        k->charge = k->retry_us == 0 ? LIMIT_CHARGE_FALLBACK : LIMIT_CHARGE_NONE;
        break;
    }
    if (k->retry_us == 0) {
        limiter_count(k, LIMIT_FALLBACK_ALLOWED);
        return;
    }
    limiter_count(k, LIMIT_FALLBACK_DENIED);
    limiter_key_give_back(c, k);
    if (!k->rule->shadow) {
        limiter_note_denial(c, k);
    }
}

void limiter_fall_back(struct limit_call *call)
{
    call->check->fallback = true;
    for (unsigned i = 0; i < call->count; i++) {
        key_fall_back(call->check, &call->check->keys[call->keys[i]]);
    }
}

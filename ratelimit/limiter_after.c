/* What comes after a verdict: corrections of what was taken, and the end of a check. */
#include "ratelimit/limiter_command.h"
#include "ratelimit/limiter_key.h"
#include "ratelimit/limiter_reserve.h"
#include "ratelimit/limiter_shared.h"

/* Adds inc_us to what was taken under the key; negative gives back. Done at most once: a correction that is
 * lost leaves what was reserved, and that ends by itself. */
static void key_settle(struct limit_check *c, const struct limit_key_state *k, int64_t inc_us)
{
    const struct limiter *l = c->limiter;
    if (k->charge == LIMIT_CHARGE_FALLBACK) {
        local_settle(l->shared->fallback, k->key, &k->rule->gcra, inc_us, limiter_gateways(l->shared),
                     limiter_now_us());
        return;
    }
    struct redis *redis = l->roles[k->rule->role];
    if (k->charge == LIMIT_CHARGE_REDIS && redis && redis_is_ready(redis)) {
        limiter_command_settle(redis, k, inc_us);
    }
}

/* A place among what runs at once. sure: Redis counts it; otherwise it is told the whole truth. */
static void key_leave(struct limit_check *c, struct limit_key_state *k, bool sure)
{
    struct limiter *l = c->limiter;
    int64_t left = (int64_t)concurrency_drop(l->running, k->key);
    char text[LIMIT_KEY_TEXT];
    size_t n = limiter_key_text(k, text);
    limiter_send_running(l, k->rule->role, str_of(text, n), sure ? LIMIT_RUNNING_LESS : left);
    k->charge = LIMIT_CHARGE_NONE;
}

void limiter_key_give_back(struct limit_check *c, struct limit_key_state *k)
{
    struct limiter_shared *s = c->limiter->shared;
    switch (k->charge) {
    case LIMIT_CHARGE_NONE:
        break;
    case LIMIT_CHARGE_REDIS:
    case LIMIT_CHARGE_FALLBACK:
        key_settle(c, k, -k->inc_us);
        break;
    case LIMIT_CHARGE_LEASE:
        lease_return(s->leases, k->key, limiter_now_us());
        break;
    case LIMIT_CHARGE_NEWCOMER:
        newcomers_return(s->newcomers, k->key);
        break;
    case LIMIT_CHARGE_RUNNING:
        /* Redis noted it only when its script said yes to all. */
        if (k->noted) {
            key_leave(c, k, true);
        } else {
            concurrency_drop(c->limiter->running, k->key);
        }
        break;
    }
    k->charge = LIMIT_CHARGE_NONE;
    if (k->held > 0) {
        newcomers_put_back(s->newcomers, k->key, k->held);
        k->held = 0;
    }
}

void limiter_settle(struct limit_check *c, uint64_t used_tokens)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct limit_key_state *k = &c->keys[i];
        if (k->rule->unit == LIMIT_UNIT_TOKENS) {
            int64_t change = gcra_inc_us(&k->rule->gcra, used_tokens) - k->inc_us;
            if (change != 0) {
                key_settle(c, k, change);
            }
            k->charge = LIMIT_CHARGE_NONE; /* settled once */
        }
    }
}

void limiter_give_back(struct limit_check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        limiter_key_give_back(c, &c->keys[i]);
    }
}

void limiter_give_back_shared(struct limit_check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->keys[i].rule->is_shared) {
            limiter_key_give_back(c, &c->keys[i]);
        }
    }
}

void limiter_move(struct limit_check *c, struct limit_check *to, struct limit_key_state *keys)
{
    *to = *c;
    to->keys = keys; /* c's are on the arena of its request */
    to->calls = NULL;
    to->call_count = to->waiting = 0;
    for (unsigned i = 0; i < c->count; i++) {
        keys[i] = c->keys[i];
        bool stays = c->keys[i].charge == LIMIT_CHARGE_RUNNING;
        struct limit_key_state *given = stays ? &to->keys[i] : &c->keys[i];
        given->charge = LIMIT_CHARGE_NONE;
        given->held = 0;
    }
}

void limiter_forget(struct limit_check *c)
{
    bool pending = c->waiting > 0;
    for (unsigned i = 0; i < c->call_count; i++) {
        redis_cancel(&c->calls[i].op);
    }
    c->waiting = 0;
    for (unsigned i = 0; i < c->count; i++) {
        if (c->keys[i].charge == LIMIT_CHARGE_RUNNING) {
            key_leave(c, &c->keys[i], !pending && c->keys[i].noted);
        }
    }
}

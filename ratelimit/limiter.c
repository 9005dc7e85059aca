/* See limiter.h. In time order: keys, deny cache, scripts, answers or fallback, verdict; then what comes after. */
#include "ratelimit/limiter.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "ratelimit/limiter_command.h"
#include "ratelimit/limiter_key.h"
#include "ratelimit/limiter_shared.h"
#include "ratelimit/scripts.h"

struct limiter {
    struct loop *loop;
    struct limiter_shared *shared;
    struct redis *roles[LIMIT_ROLES];
    struct loop_timer beat_timer;
    struct redis_op beat;
};

const struct limiter_conf limiter_conf_default = {
    .local_entries = 262144,
    .deny_entries = 262144,
    .deny_max_ms = 1000,
    .heartbeat_ms = 3000,
};

enum { CLOSED_RETRY_US = 2000000 }; /* what a client is told while a rule is closed: Redis is soon back */
#define GATEWAYS_KEY "rl:gateways"

static int64_t now_us(void)
{
    return (int64_t)clock_mono_us();
}

/* --- process -------------------------------------------------------------------------------------- */

struct limiter_shared *limiter_shared_new(const struct limiter_conf *conf, const char *instance)
{
    struct limiter_shared *s = calloc(1, sizeof(*s));
    BUG_ON(!s);
    s->conf = *conf;
    s->fallback = local_table_new(conf->local_entries);
    s->denied = local_table_new(conf->deny_entries);
    atomic_init(&s->gateways, 1);
    snprintf(s->instance, sizeof(s->instance), "%s", instance);
    limit_scripts_init();
    return s;
}

void limiter_shared_free(struct limiter_shared *s)
{
    if (s) {
        local_table_free(s->fallback);
        local_table_free(s->denied);
        free(s);
    }
}

unsigned limiter_gateways(const struct limiter_shared *s)
{
    return atomic_load_explicit(&s->gateways, memory_order_relaxed);
}

struct redis_script *const *limiter_scripts(unsigned *count)
{
    static struct redis_script *const scripts[] = {&limit_script_take, &limit_script_settle,
                                                   &limit_script_beat};
    *count = sizeof(scripts) / sizeof(scripts[0]);
    return scripts;
}

/* --- heartbeat ------------------------------------------------------------------------------------ */

static void on_beat_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct limiter *l = arg;
    if (rc == 0 && reply->type == REDIS_TYPE_INTEGER && reply->integer >= 1) {
        unsigned n = reply->integer < 10000 ? (unsigned)reply->integer : 10000;
        atomic_store_explicit(&l->shared->gateways, n, memory_order_relaxed);
    }
}

static void on_beat_due(void *arg)
{
    struct limiter *l = arg;
    char life[16];
    snprintf(life, sizeof(life), "%u", l->shared->conf.heartbeat_ms * 3);
    struct str argv[] = {STR("EVAL"),       limit_script_beat.source,      STR("1"),
                         STR(GATEWAYS_KEY), str_from(l->shared->instance), str_from(life)};
    redis_cancel(&l->beat);
    int rc = l->roles[LIMIT_ROLE_LIMITS]
                 ? redis_command(l->roles[LIMIT_ROLE_LIMITS], &l->beat, 6, argv, on_beat_answer, l)
                 : ERR_UNAVAILABLE;
    /* Away: look again soon, so that the shares are right shortly after its return. */
    loop_timer_arm(&l->beat_timer, rc == 0 ? l->shared->conf.heartbeat_ms : 250);
}

struct limiter *limiter_new(struct loop *loop, struct limiter_shared *s,
                            struct redis *const roles[LIMIT_ROLES], bool beats)
{
    struct limiter *l = calloc(1, sizeof(*l));
    BUG_ON(!l);
    *l = (struct limiter){.loop = loop, .shared = s};
    for (int i = 0; i < LIMIT_ROLES; i++) {
        l->roles[i] = roles[i];
    }
    loop_timer_init(loop, &l->beat_timer, on_beat_due, l);
    if (beats) {
        loop_timer_arm(&l->beat_timer, 50); /* time to connect */
    }
    return l;
}

void limiter_free(struct limiter *l)
{
    if (l) {
        redis_cancel(&l->beat);
        loop_timer_disarm(&l->beat_timer);
        free(l);
    }
}

/* --- keys ----------------------------------------------------------------------------------------- */

static void check_init(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                       const struct limit_subject *subject)
{
    memset(c, 0, sizeof(*c));
    c->limiter = l;
    for (unsigned i = 0; i < set->count; i++) {
        const struct limit_rule *rule = set->rules[i];
        struct limit_key_state *k = &c->keys[c->count];
        if (rule->unit == LIMIT_UNIT_TOKENS && subject->tokens == 0) {
            continue;
        }
        if (!limiter_key_of(l->shared->conf.hash_key, rule, subject, &k->key)) {
            continue;
        }
        k->rule = rule;
        if (l->roles[rule->role] && redis_is_cluster(l->roles[rule->role])) {
            k->tag = limiter_key_tag(l->shared->conf.hash_key, rule, subject);
        }
        k->inc_us =
            rule->unit == LIMIT_UNIT_TOKENS ? gcra_inc_us(&rule->gcra, subject->tokens) : rule->inc_us;
        c->count++;
    }
}

/* --- verdict -------------------------------------------------------------------------------------- */

static void key_count(const struct limit_key_state *k, enum limit_outcome outcome)
{
    metric_child_add(k->rule->outcomes[outcome], 1);
}

/* The rule that the client waits for longest, or never. */
static void verdict_denied(struct limit_check *c)
{
    c->denied = true;
    c->binding = NULL;
    for (unsigned i = 0; i < c->count; i++) {
        const struct limit_key_state *k = &c->keys[i];
        if (k->retry_us == 0 || k->rule->shadow) {
            continue;
        }
        bool later = c->retry_us != GCRA_NEVER && (k->retry_us == GCRA_NEVER || k->retry_us > c->retry_us);
        if (!c->binding || later) {
            c->binding = k->rule;
            c->retry_us = k->retry_us;
            c->reset_us = k->retry_us > 0 ? k->retry_us + k->rule->gcra.tau_us : k->rule->gcra.tau_us;
        }
    }
    c->remaining = 0;
}

/* The rule with the smallest part of its burst left. */
static void verdict_allowed(struct limit_check *c)
{
    double least = 2;
    for (unsigned i = 0; i < c->count; i++) {
        const struct limit_key_state *k = &c->keys[i];
        const struct gcra *g = &k->rule->gcra;
        if (k->rule->shadow || !k->taken) {
            continue;
        }
        double part = (double)(g->tau_us - k->distance_us) / (double)g->tau_us;
        if (part < least) {
            least = part;
            c->binding = k->rule;
            c->remaining = gcra_remaining(g, k->distance_us);
            c->reset_us = k->distance_us;
        }
    }
}

static bool denied_cached(struct limit_check *c)
{
    struct limiter_shared *s = c->limiter->shared;
    int64_t now = now_us();
    bool denied = false;
    if (!local_has_blocks(s->denied, now)) {
        return false;
    }
    for (unsigned i = 0; i < c->count; i++) {
        struct limit_key_state *k = &c->keys[i];
        if (k->rule->shadow || k->rule->unit == LIMIT_UNIT_TOKENS) {
            continue; /* a smaller request might pass */
        }
        k->retry_us = local_blocked_us(s->denied, k->key, now);
        if (k->retry_us > 0) {
            key_count(k, LIMIT_DENIED_CACHED);
            denied = true;
        }
    }
    if (denied) {
        verdict_denied(c);
        c->cached = true;
    }
    return denied;
}

/* --- Redis away ----------------------------------------------------------------------------------- */

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
        k->retry_us =
            local_take(s->fallback, k->key, &k->rule->gcra, k->inc_us, limiter_gateways(s), now_us());
        k->taken_local = k->retry_us == 0;
        break;
    }
    key_count(k, k->retry_us == 0 ? LIMIT_FALLBACK_ALLOWED : LIMIT_FALLBACK_DENIED);
}

static void call_fall_back(struct limit_call *call)
{
    call->check->fallback = true;
    for (unsigned i = 0; i < call->count; i++) {
        key_fall_back(call->check, &call->check->keys[call->keys[i]]);
    }
}

/* --- answers -------------------------------------------------------------------------------------- */

static void key_answered(struct limit_check *c, struct limit_key_state *k, int64_t distance_us, bool allowed)
{
    struct limiter_shared *s = c->limiter->shared;
    k->distance_us = distance_us;
    k->retry_us = gcra_retry_us(&k->rule->gcra, distance_us, k->inc_us);
    k->taken = allowed && k->retry_us == 0;
    if (k->retry_us == 0) {
        key_count(k, LIMIT_ALLOWED);
        return;
    }
    key_count(k, k->rule->shadow ? LIMIT_SHADOW_DENIED : LIMIT_DENIED);
    if (!k->rule->shadow && k->retry_us > 0) {
        int64_t longest = s->conf.deny_max_ms * 1000ll;
        local_block(s->denied, k->key, k->retry_us, k->retry_us < longest ? k->retry_us : longest, now_us());
    }
}

/* false: not the answer of our script. */
static bool call_answered(struct limit_call *call, const struct redis_reply *reply)
{
    if (reply->type != REDIS_TYPE_ARRAY || reply->count != call->count + 1 ||
        reply->items->type != REDIS_TYPE_INTEGER) {
        return false;
    }
    bool allowed = reply->items->integer == 1;
    const struct redis_reply *item = reply->items->next;
    for (unsigned i = 0; i < call->count; i++, item = item->next) {
        key_answered(call->check, &call->check->keys[call->keys[i]], item->integer, allowed);
    }
    return true;
}

static void check_decide(struct limit_check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->keys[i].retry_us != 0 && !c->keys[i].rule->shadow) {
            verdict_denied(c);
            limiter_give_back(c); /* what another role, or the fallback, took */
            return;
        }
    }
    verdict_allowed(c);
}

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct limit_call *call = arg;
    struct limit_check *c = call->check;
    if (rc != 0 || !call_answered(call, reply)) {
        call_fall_back(call);
    }
    c->waiting--;
    if (c->waiting == 0) {
        check_decide(c);
        c->cb(c->arg, c);
    }
}

/* --- check ---------------------------------------------------------------------------------------- */

/* The call for the key: in a Cluster each tag has its own, and one role is another's when both are one server. */
static struct limit_call *call_for(struct limit_check *c, const struct limit_key_state *k)
{
    struct redis *redis = c->limiter->roles[k->rule->role];
    for (unsigned i = 0; i < c->call_count; i++) {
        struct limit_call *call = &c->calls[i];
        if (call->redis == redis && c->keys[call->keys[0]].tag == k->tag) {
            return call;
        }
    }
    struct limit_call *call = &c->calls[c->call_count++];
    *call = (struct limit_call){.check = c, .redis = redis};
    return call;
}

static void calls_fill(struct limit_check *c, struct arena *arena)
{
    c->calls = arena_alloc(arena, c->count * sizeof(*c->calls));
    for (unsigned i = 0; i < c->count; i++) {
        struct limit_call *call = call_for(c, &c->keys[i]);
        call->keys[call->count++] = (uint8_t)i;
    }
}

static void call_start(struct limit_call *call, struct arena *arena)
{
    struct limit_check *c = call->check;
    if (call->redis && redis_is_ready(call->redis)) {
        struct str command = limiter_command_take(call, arena);
        if (redis_send(call->redis, &call->op, command, &limit_script_take, on_answer, call) == 0) {
            c->waiting++;
            return;
        }
    }
    call_fall_back(call);
}

bool limiter_check(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                   const struct limit_subject *subject, struct arena *arena, limit_cb cb, void *arg)
{
    check_init(l, c, set, subject);
    c->cb = cb;
    c->arg = arg;
    if (c->count == 0 || denied_cached(c)) {
        return true;
    }
    calls_fill(c, arena);
    for (unsigned i = 0; i < c->call_count; i++) {
        call_start(&c->calls[i], arena);
    }
    if (c->waiting > 0) {
        return false;
    }
    check_decide(c);
    return true;
}

bool limiter_denied_locally(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                            const struct limit_subject *subject)
{
    if (!local_has_blocks(l->shared->denied, now_us())) {
        return false; /* the usual case, before a single key is hashed */
    }
    check_init(l, c, set, subject);
    return denied_cached(c);
}

void limiter_forget(struct limit_check *c)
{
    for (unsigned i = 0; i < c->call_count; i++) {
        redis_cancel(&c->calls[i].op);
    }
    c->waiting = 0;
}

/* --- afterwards ----------------------------------------------------------------------------------- */

/* Adds inc_us to what was taken under the key; negative gives back. Nobody waits for it. */
static void key_settle(struct limit_check *c, struct limit_key_state *k, int64_t inc_us)
{
    const struct limiter *l = c->limiter;
    const struct gcra *g = &k->rule->gcra;
    if (k->taken_local) {
        local_settle(l->shared->fallback, k->key, g, inc_us, limiter_gateways(l->shared), now_us());
    }
    struct redis *redis = l->roles[k->rule->role];
    if (k->taken && redis && redis_is_ready(redis)) {
        limiter_command_settle(redis, k, inc_us);
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
            k->taken = k->taken_local = false; /* settled once */
        }
    }
}

void limiter_give_back(struct limit_check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        key_settle(c, &c->keys[i], -c->keys[i].inc_us);
        c->keys[i].taken = c->keys[i].taken_local = false;
    }
}

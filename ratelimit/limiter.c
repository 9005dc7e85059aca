/* See limiter.h. In time order: keys, what needs no Redis, scripts, answers, verdict. */
#include "ratelimit/caps.h"
#include "ratelimit/limiter.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "ratelimit/limiter_command.h"
#include "ratelimit/limiter_key.h"
#include "ratelimit/limiter_reserve.h"
#include "ratelimit/limiter_shared.h"
#include "ratelimit/scripts.h"
#include "ratelimit/sms_ledger.h"
#include "ratelimit/suspicion_counts.h"

const struct limiter_conf limiter_conf_default = {
    .local_entries = 262144,
    .deny_entries = 262144,
    .deny_max_ms = 1000,
    .heartbeat_ms = 3000,
    .lease_entries = 65536,
    .newcomer_entries = 1048576,
};

enum { RUNNING_RETRY_US = 2000000 }; /* nobody knows when a running request ends */

static struct metric lease_units = METRIC_COUNTER(
    "tidegate_limits_lease_units_total", "Units taken from Redis in advance; used ones count as leased.");

/* --- process -------------------------------------------------------------------------------------- */

struct limiter_shared *limiter_shared_new(const struct limiter_conf *conf, const char *instance)
{
    struct limiter_shared *s = calloc(1, sizeof(*s));
    BUG_ON(!s);
    s->conf = *conf;
    s->fallback = local_table_new(conf->local_entries);
    s->denied = local_table_new(conf->deny_entries);
    s->leases = lease_table_new(conf->lease_entries);
    s->newcomers = newcomers_new(conf->newcomer_entries);
    s->offenders = offenders_new();
    atomic_init(&s->gateways, 1);
    snprintf(s->instance, sizeof(s->instance), "%s", instance);
    limit_scripts_init();
    sms_scripts_init();
    suspicion_scripts_init();
    return s;
}

void limiter_shared_free(struct limiter_shared *s)
{
    if (s) {
        local_table_free(s->fallback);
        local_table_free(s->denied);
        lease_table_free(s->leases);
        newcomers_free(s->newcomers);
        offenders_free(s->offenders);
        free(s);
    }
}

unsigned limiter_gateways(const struct limiter_shared *s)
{
    return atomic_load_explicit(&s->gateways, memory_order_relaxed);
}

struct redis_script *const *limiter_scripts(unsigned *count)
{
    static struct redis_script *const scripts[] = {
        &limit_script_take, &limit_script_reserve, &limit_script_settle,      &limit_script_beat,
        &limit_script_peek, &limit_script_hold,    &suspicion_script_network, &suspicion_script_count,
        &caps_script,       &sms_script_ask,       &sms_script_top,           &sms_script_unblock};
    *count = sizeof(scripts) / sizeof(scripts[0]);
    return scripts;
}

struct offenders *limiter_offenders(struct limiter_shared *s)
{
    return s->offenders;
}

/* --- loop ----------------------------------------------------------------------------------------- */

struct limiter *limiter_new(struct loop *loop, struct limiter_shared *s,
                            struct redis *const roles[LIMIT_ROLES], bool beats)
{
    struct limiter *l = calloc(1, sizeof(*l));
    BUG_ON(!l);
    *l = (struct limiter){.loop = loop, .shared = s, .running = concurrency_new()};
    for (int i = 0; i < LIMIT_ROLES; i++) {
        l->roles[i] = roles[i];
    }
    snprintf(l->field, sizeof(l->field), "%s/%u", s->instance, loop_index(loop));
    atomic_fetch_add_explicit(&s->loops, 1, memory_order_relaxed);
    limiter_beat_open(l, beats);
    return l;
}

void limiter_free(struct limiter *l)
{
    if (l) {
        limiter_beat_close(l);
        concurrency_free(l->running);
        atomic_fetch_sub_explicit(&l->shared->loops, 1, memory_order_relaxed);
        free(l);
    }
}

/* --- keys ---------------------------------------------------------------------------------------- */

static void check_init(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                       const struct limit_subject *subject, struct arena *arena)
{
    *c = (struct limit_check){.limiter = l, .address = subject->address, .began_us = limiter_now_us()};
    c->keys = arena_alloc(arena, set->count * sizeof(*c->keys));
    for (unsigned i = 0; i < set->count && c->count < LIMIT_AT_MAX; i++) {
        const struct limit_rule *rule = set->rules[i];
        struct limit_key_state *k = &c->keys[c->count];
        uint64_t units = rule->unit == LIMIT_UNIT_TOKENS  ? subject->tokens
                         : rule->unit == LIMIT_UNIT_MONEY ? subject->money
                                                          : 1;
        if (units == 0) {
            continue;
        }
        *k = (struct limit_key_state){.rule = rule};
        if (!limiter_key_of(l->shared->conf.hash_key, rule, subject, &k->key)) {
            continue;
        }
        if (l->roles[rule->role] && redis_is_cluster(l->roles[rule->role])) {
            k->tag = limiter_key_tag(l->shared->conf.hash_key, rule, subject);
        }
        k->cost_us = units == 1 ? rule->inc_us : gcra_inc_us(&rule->gcra, units);
        k->inc_us = k->cost_us;
        k->tau_us = rule->gcra.tau_us;
        if (rule->is_shared) {
            limiter_key_set_terms(k, &subject->terms);
        }
        c->count++;
    }
}

/* --- verdict -------------------------------------------------------------------------------------- */

/* The rule that the client waits for longest, or never; what is reserved keeps nobody waiting whom another rule refuses. */
static void verdict_denied(struct limit_check *c)
{
    c->denied = true;
    c->reserved = true;
    c->binding = NULL;
    for (unsigned i = 0; i < c->count; i++) {
        c->reserved = c->reserved && (c->keys[i].is_reserved || !limiter_key_is_denied(&c->keys[i]));
    }
    for (unsigned i = 0; i < c->count; i++) {
        const struct limit_key_state *k = &c->keys[i];
        if (!limiter_key_is_denied(k) || (k->is_reserved && !c->reserved)) {
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

/* What the key has left, as a part of all. */
static double key_left(const struct limit_key_state *k, uint64_t *remaining, int64_t *reset_us)
{
    const struct gcra *g = &k->rule->gcra;
    if (k->rule->unit == LIMIT_UNIT_CONCURRENT) {
        *remaining = g->limit - (uint64_t)k->distance_us;
        *reset_us = 0;
        return (double)*remaining / (double)g->limit;
    }
    *remaining = gcra_remaining(g, k->distance_us);
    *reset_us = k->distance_us;
    return (double)(g->tau_us - k->distance_us) / (double)g->tau_us;
}

/* The rule with the smallest part of its burst left. */
static void verdict_allowed(struct limit_check *c)
{
    double least = 2;
    for (unsigned i = 0; i < c->count; i++) {
        const struct limit_key_state *k = &c->keys[i];
        bool unknown = k->charge == LIMIT_CHARGE_NONE || k->charge == LIMIT_CHARGE_FALLBACK ||
                       (k->charge == LIMIT_CHARGE_RUNNING && !k->noted);
        if (k->rule->shadow || unknown) {
            continue;
        }
        uint64_t remaining = 0;
        int64_t reset_us = 0;
        double part = key_left(k, &remaining, &reset_us);
        if (part < least) {
            least = part;
            c->binding = k->rule;
            c->remaining = remaining;
            c->reset_us = reset_us;
        }
    }
}

/* --- answers -------------------------------------------------------------------------------------- */

static void key_denied(struct limit_check *c, struct limit_key_state *k)
{
    struct limiter_shared *s = c->limiter->shared;
    int64_t used_us = k->distance_us - k->inc_us;
    k->is_reserved = limiter_key_is_restricted(k) && used_us + k->cost_us <= k->rule->gcra.tau_us;
    if (limiter_key_is_restricted(k) && !k->is_reserved) {
        k->retry_us = used_us + k->cost_us - k->rule->gcra.tau_us; /* then there is room again, for some */
    }
    limiter_count(k, k->rule->shadow ? LIMIT_SHADOW_DENIED : k->is_reserved ? LIMIT_RESERVED : LIMIT_DENIED);
    if (k->rule->shadow) {
        return;
    }
    limiter_note_denial(c, k);
    if (k->retry_us > 0 && k->rule->unit == LIMIT_UNIT_REQUESTS) {
        int64_t longest = s->conf.deny_max_ms * 1000ll;
        local_block(s->denied, k->is_reserved ? limiter_reserved_key(k) : k->key, k->retry_us,
                    k->retry_us < longest ? k->retry_us : longest, limiter_now_us());
    }
}

/* granted: Redis debited the units asked for in advance as well. */
static void key_answered(struct limit_check *c, struct limit_key_state *k, int64_t distance_us, bool allowed,
                         bool granted)
{
    struct limiter_shared *s = c->limiter->shared;
    const struct gcra *g = &k->rule->gcra;
    if (k->rule->unit == LIMIT_UNIT_CONCURRENT) {
        k->distance_us = distance_us;
        k->retry_us = distance_us > (int64_t)g->limit ? RUNNING_RETRY_US : 0;
        k->noted = allowed && k->retry_us == 0;
    } else {
        k->distance_us = distance_us - (granted ? gcra_inc_us(g, k->lease_want) : 0);
        k->retry_us = k->inc_us > k->tau_us        ? GCRA_NEVER
                      : k->distance_us > k->tau_us ? k->distance_us - k->tau_us
                                                   : 0;
        k->charge = allowed && k->retry_us == 0 ? LIMIT_CHARGE_REDIS : LIMIT_CHARGE_NONE;
    }
    if (k->lease_want > 0) {
        bool debited = granted && allowed;
        lease_grant(s->leases, k->key, debited ? k->lease_want : 0, distance_us, c->began_us);
        metric_add(&lease_units, debited ? (int64_t)k->lease_want : 0);
    }
    if (k->rule->newcomers) {
        newcomers_known(s->newcomers, k->key, distance_us, limiter_now_us());
    }
    if (k->retry_us != 0) {
        key_denied(c, k);
    } else {
        limiter_count(k, LIMIT_ALLOWED);
    }
    if (!allowed || k->retry_us != 0) {
        limiter_key_give_back(c, k);
    }
}

/* false: not the answer of our script. */
static bool call_answered(struct limit_call *call, const struct redis_reply *reply)
{
    unsigned n = call->count;
    if (reply->type != REDIS_TYPE_ARRAY || reply->count != 1 + n + (call->reserves ? n : 0) ||
        reply->items->type != REDIS_TYPE_INTEGER) {
        return false;
    }
    bool allowed = reply->items->integer == 1;
    const struct redis_reply *distance = reply->items->next;
    const struct redis_reply *granted = distance;
    for (unsigned i = 0; i < n && call->reserves; i++) {
        granted = granted->next;
    }
    for (unsigned i = 0; i < n; i++, distance = distance->next, granted = granted->next) {
        key_answered(call->check, &call->check->keys[call->keys[i]], distance->integer, allowed,
                     call->reserves && granted->integer == 1);
    }
    return true;
}

static void check_decide(struct limit_check *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (limiter_key_is_denied(&c->keys[i])) {
            verdict_denied(c);
            limiter_give_back(c); /* what another role, a lease or the fallback took */
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
        limiter_fall_back(call);
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

/* Sorts the keys that Redis has to decide about into calls. */
static void calls_fill(struct limit_check *c, struct arena *arena)
{
    struct limiter *l = c->limiter;
    for (unsigned i = 0; i < c->count; i++) {
        struct limit_key_state *k = &c->keys[i];
        if (k->charge != LIMIT_CHARGE_NONE) {
            continue;
        }
        if (c->calls == NULL) {
            c->calls = arena_alloc(arena, c->count * sizeof(*c->calls));
        }
        struct limit_call *call = call_for(c, k);
        call->keys[call->count++] = (uint8_t)i;
        if (k->rule->unit == LIMIT_UNIT_CONCURRENT) {
            concurrency_add(l->running, k);
            k->charge = LIMIT_CHARGE_RUNNING;
        }
        call->reserves = call->reserves || k->charge == LIMIT_CHARGE_RUNNING || k->lease_want > 0;
    }
}

static void call_start(struct limit_call *call, struct arena *arena)
{
    struct limit_check *c = call->check;
    if (call->redis && redis_is_ready(call->redis)) {
        struct redis_script *script = call->reserves ? &limit_script_reserve : &limit_script_take;
        struct str command =
            call->reserves ? limiter_command_reserve(call, arena) : limiter_command_take(call, arena);
        if (redis_send(call->redis, &call->op, command, script, on_answer, call) == 0) {
            c->waiting++;
            return;
        }
    }
    limiter_fall_back(call);
}

bool limiter_check(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                   const struct limit_subject *subject, struct arena *arena, limit_cb cb, void *arg)
{
    check_init(l, c, set, subject, arena);
    c->cb = cb;
    c->arg = arg;
    if (limiter_denied_cached(c)) {
        verdict_denied(c);
        c->cached = true;
        return true;
    }
    limiter_take_here(c);
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
                            const struct limit_subject *subject, struct arena *arena)
{
    if (!local_has_blocks(l->shared->denied, (int64_t)loop_now_ms(l->loop) * 1000)) {
        return false; /* the usual case, before a single key is hashed */
    }
    check_init(l, c, set, subject, arena);
    if (!limiter_denied_cached(c)) {
        return false;
    }
    verdict_denied(c);
    c->cached = true;
    return true;
}

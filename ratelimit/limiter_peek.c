#include "ratelimit/limiter_peek.h"

#include <stdio.h>

#include "base/buf.h"
#include "ratelimit/limiter_key.h"
#include "ratelimit/limiter_shared.h"
#include "ratelimit/scripts.h"

enum { COMMAND_MAX = 1024 };

static void key_done(struct limit_peek *p)
{
    if (--p->waiting == 0) {
        p->cb(p->arg);
    }
}

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct limit_peek_key *k = arg;
    if (rc == 0 && reply->type == REDIS_TYPE_INTEGER) {
        k->is_known = true;
        k->used = reply->integer;
    }
    key_done(k->peek);
}

static void key_ask(struct limiter *l, struct limit_peek_key *k, struct arena *arena)
{
    struct redis *redis = l->roles[k->k.rule->role];
    char key[LIMIT_KEY_TEXT];
    char cap[24];
    struct buf b;
    bool running = k->k.rule->unit == LIMIT_UNIT_CONCURRENT;
    snprintf(cap, sizeof(cap), "%lld",
             running ? (long long)CONCURRENCY_LIFE_MS : (long long)k->k.rule->gcra.cap_us);
    struct str argv[] = {STR("EVALSHA"),
                         str_of(limit_script_peek.sha, 40),
                         STR("1"),
                         str_of(key, limiter_key_text(&k->k, key)),
                         running ? STR("running") : STR("used"),
                         str_from(cap)};
    buf_init(&b, COMMAND_MAX);
    redis_format(&b, 6, argv);
    struct str command = arena_dup(arena, buf_str(&b));
    buf_clear(&b);
    if (!redis || redis_send(redis, &k->op, command, &limit_script_peek, on_answer, k) != 0) {
        key_done(k->peek);
    }
}

void limiter_peek(struct limiter *l, struct limit_peek *p, const struct limit_rules *rules,
                  const struct limit_subject *subject, struct arena *arena, void (*cb)(void *arg), void *arg)
{
    *p = (struct limit_peek){.waiting = 1, .cb = cb, .arg = arg};
    int64_t now = limiter_now_us();
    for (unsigned i = 0; i < limit_rules_count(rules); i++) {
        const struct limit_rule *rule = limit_rules_get(rules, i);
        struct limit_peek_key *k = &p->keys[p->count];
        *k = (struct limit_peek_key){.peek = p, .k = {.rule = rule, .inc_us = rule->inc_us}};
        if (!limiter_key_of(l->shared->conf.hash_key, rule, subject, &k->k.key)) {
            continue;
        }
        if (l->roles[rule->role] && redis_is_cluster(l->roles[rule->role])) {
            k->k.tag = limiter_key_tag(l->shared->conf.hash_key, rule, subject);
        }
        k->refused_here_us = local_blocked_us(l->shared->denied, k->k.key, now);
        p->count++;
        p->waiting++;
    }
    for (unsigned i = 0; i < p->count; i++) {
        key_ask(l, &p->keys[i], arena);
    }
    key_done(p); /* the one that kept cb from coming while keys were asked */
}

uint64_t limit_peek_left(const struct limit_peek_key *k, const struct limit_terms *terms)
{
    struct limit_key_state one = {.rule = k->k.rule, .cost_us = k->k.rule->inc_us};
    struct gcra open = k->k.rule->gcra;
    limiter_key_set_terms(&one, terms);
    open.tau_us = one.tau_us;
    return gcra_remaining(&open, k->used) * 100 / (100 + terms->surcharge_percent);
}

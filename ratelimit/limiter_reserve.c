#include "ratelimit/limiter_reserve.h"

#include <stdio.h>

#include "base/buf.h"
#include "ratelimit/limiter_key.h"
#include "ratelimit/scripts.h"

enum { COMMAND_MAX = 16384, NUMBER_MAX = 24 };

static void put_text(struct buf *b, struct str text)
{
    buf_addf(b, "$%zu\r\n", text.n);
    buf_add_str(b, text);
    buf_add(b, "\r\n", 2);
}

static void put_number(struct buf *b, int64_t v)
{
    char digits[NUMBER_MAX];
    snprintf(digits, sizeof(digits), "%lld", (long long)v);
    put_text(b, str_from(digits));
}

static void put_key(struct buf *b, const struct limit_key_state *k)
{
    char text[LIMIT_KEY_TEXT];
    put_text(b, str_of(text, limiter_key_text(k, text)));
}

static void put_args(struct buf *b, const struct limit_key_state *k)
{
    const struct gcra *g = &k->rule->gcra;
    bool running = k->rule->unit == LIMIT_UNIT_CONCURRENT;
    put_number(b, running ? 1 : k->inc_us);
    put_number(b, running ? (int64_t)g->limit : k->tau_us);
    put_number(b, running ? 0 : g->cap_us);
    put_number(b, running ? CONCURRENCY_LIFE_MS : k->lease_want > 0 ? gcra_inc_us(g, k->lease_want) : 0);
}

struct str limiter_command_reserve(const struct limit_call *call, struct arena *arena)
{
    const struct limit_key_state *keys = call->check->keys;
    struct buf b;
    int64_t enforced = 0;
    buf_init(&b, COMMAND_MAX);
    for (unsigned i = 0; i < call->count; i++) {
        enforced += !keys[call->keys[i]].rule->shadow;
    }
    buf_addf(&b, "*%u\r\n", 5 + 5 * call->count);
    put_text(&b, STR("EVALSHA"));
    put_text(&b, str_of(limit_script_reserve.sha, 40));
    put_number(&b, (int64_t)call->count);
    for (unsigned i = 0; i < call->count; i++) {
        put_key(&b, &keys[call->keys[i]]);
    }
    put_number(&b, enforced);
    put_text(&b, str_from(call->check->limiter->field));
    for (unsigned i = 0; i < call->count; i++) {
        put_args(&b, &keys[call->keys[i]]);
    }
    BUG_ON(b.overflowed);
    struct str command = arena_dup(arena, buf_str(&b));
    buf_clear(&b);
    return command;
}

void limiter_send_running(struct limiter *l, enum limit_role role, struct str key, int64_t count)
{
    struct redis *redis = l->roles[role];
    char life[NUMBER_MAX];
    char number[NUMBER_MAX];
    if (!redis || !redis_is_ready(redis)) {
        return;
    }
    snprintf(life, sizeof(life), "%d", CONCURRENCY_LIFE_MS);
    snprintf(number, sizeof(number), "%lld", (long long)count);
    struct str argv[] = {key, str_from(l->field), str_from(life),
                         count == LIMIT_RUNNING_LESS ? STR("-") : str_from(number)};
    int rc = redis_post(redis, &limit_script_hold, 1, 4, argv);
    (void)rc; /* see the header */
}

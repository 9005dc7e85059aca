#include "ratelimit/pow_spent.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "ratelimit/local.h"

static struct metric alone = METRIC_COUNTER(
    "tidegate_challenge_spent_locally_total",
    "Solved challenges that only this gateway knows as used, because Redis (the ledger) did not answer.");

struct pow_spent {
    struct local_table *table;
};

struct pow_spent *pow_spent_new(uint32_t entries)
{
    struct pow_spent *s = malloc(sizeof *s);
    BUG_ON(!s);
    metric_register(&alone);
    s->table = local_table_new(entries);
    return s;
}

void pow_spent_free(struct pow_spent *s)
{
    if (s) {
        local_table_free(s->table);
        free(s);
    }
}

/* One unit a life: the second one does not fit. */
static bool take_here(struct pow_spent *s, const struct pow_solved *solved, uint64_t life_us)
{
    struct limit_key key;
    struct gcra once;
    _Static_assert(sizeof key == sizeof solved->id, "a nonce is a key");
    memcpy(&key, solved->id, sizeof key);
    BUG_ON(!gcra_init(&once, 1, life_us, 1, 0));
    return local_take(s->table, key, &once, gcra_inc_us(&once, 1), 1, (int64_t)clock_mono_us()) == 0;
}

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct pow_spend *spend = arg;
    spend->is_waiting = false;
    if (rc != 0) {
        metric_add(&alone, 1);
    }
    spend->done(spend->arg, rc != 0 || reply->type != REDIS_TYPE_NIL);
}

void pow_spend(struct pow_spent *s, struct redis *redis, struct pow_spend *spend,
               const struct pow_solved *solved, int64_t now_s, void (*done)(void *arg, bool is_good),
               void *arg)
{
    uint64_t life_ms = (uint64_t)(solved->expires_s > now_s ? solved->expires_s - now_s : 1) * 1000;
    char key[4 + 2 * POW_ID_BYTES + 1] = "pow:", life[24];
    *spend = (struct pow_spend){.done = done, .arg = arg};
    if (!take_here(s, solved, life_ms * 1000)) {
        done(arg, false);
        return;
    }
    str_hex_encode(solved->id, POW_ID_BYTES, key + 4);
    snprintf(life, sizeof life, "%llu", (unsigned long long)life_ms);
    const struct str argv[] = {STR("SET"), str_from(key), STR("1"), STR("NX"), STR("PX"), str_from(life)};
    spend->is_waiting = true;
    if (!redis || redis_command(redis, &spend->op, 6, argv, on_answer, spend) != 0) {
        on_answer(spend, ERR_UNAVAILABLE, NULL);
    }
}

void pow_spend_forget(struct pow_spend *spend)
{
    if (spend->is_waiting) {
        spend->is_waiting = false;
        redis_cancel(&spend->op);
    }
}

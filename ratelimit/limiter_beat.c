/* What a limiter says without being asked: that its process lives, and what runs on its loop. */
#include <stdio.h>

#include "ratelimit/limiter_reserve.h"
#include "ratelimit/limiter_shared.h"
#include "ratelimit/scripts.h"

#define GATEWAYS_KEY "rl:gateways"
enum {
    BEATS_A_LIFE = 3,
    CONNECT_MS = 50,
    AWAY_MS = 250,
    GATEWAYS_MAX = 10000,
    BEAT_COMMAND_MAX = 512,
    RENEW_PARTS = 30,
};

/* Fewer gateways than before are believed when heard BEATS_A_LIFE times in a row: after an outage of Redis the others
 * have yet to report, and each would take too large a share of its fallback. */
static void on_beat_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct limiter *l = arg;
    if (rc != 0 || reply->type != REDIS_TYPE_INTEGER || reply->integer < 1) {
        return;
    }
    unsigned n = reply->integer < GATEWAYS_MAX ? (unsigned)reply->integer : GATEWAYS_MAX;
    l->beats_with_fewer = n < limiter_gateways(l->shared) ? l->beats_with_fewer + 1 : 0;
    if (l->beats_with_fewer == 0 || l->beats_with_fewer >= BEATS_A_LIFE) {
        atomic_store_explicit(&l->shared->gateways, n, memory_order_relaxed);
    }
}

static void on_beat_due(void *arg)
{
    struct limiter *l = arg;
    struct redis *redis = l->roles[LIMIT_ROLE_LIMITS];
    redis_cancel(&l->beat);
    int rc =
        redis ? redis_send(redis, &l->beat, buf_str(&l->beat_command), &limit_script_beat, on_beat_answer, l)
              : ERR_UNAVAILABLE;
    /* Away: look again soon, so that the shares are right shortly after its return. */
    loop_timer_arm(&l->beat_timer, rc == 0 ? l->shared->conf.heartbeat_ms : AWAY_MS);
}

static void renew(void *arg, const struct concurrency_key *k)
{
    struct limiter *l = arg;
    limiter_send_running(l, k->role, str_of(k->text, k->text_n), (int64_t)k->count);
}

/* A part of what runs here at a time, so that many keys do not overflow the connection at once. */
static void on_renew_due(void *arg)
{
    struct limiter *l = arg;
    concurrency_each(l->running, l->renew_part, RENEW_PARTS, renew, l);
    l->renew_part = (l->renew_part + 1) % RENEW_PARTS;
    loop_timer_arm(&l->renew_timer, CONCURRENCY_RENEW_MS / RENEW_PARTS);
}

static void format_beat(struct limiter *l)
{
    char life[16];
    snprintf(life, sizeof(life), "%u", l->shared->conf.heartbeat_ms * BEATS_A_LIFE);
    struct str argv[] = {STR(GATEWAYS_KEY), str_from(l->shared->instance), str_from(life)};
    buf_init(&l->beat_command, BEAT_COMMAND_MAX);
    redis_format_script(&l->beat_command, &limit_script_beat, 1, 3, argv);
    BUG_ON(l->beat_command.overflowed);
}

void limiter_beat_open(struct limiter *l, bool beats)
{
    format_beat(l);
    loop_timer_init(l->loop, &l->beat_timer, on_beat_due, l);
    loop_timer_init(l->loop, &l->renew_timer, on_renew_due, l);
    loop_timer_arm(&l->renew_timer, CONCURRENCY_RENEW_MS / RENEW_PARTS);
    if (beats) {
        loop_timer_arm(&l->beat_timer, CONNECT_MS);
    }
}

void limiter_beat_close(struct limiter *l)
{
    redis_cancel(&l->beat);
    buf_clear(&l->beat_command);
    loop_timer_disarm(&l->beat_timer);
    loop_timer_disarm(&l->renew_timer);
}

/* Who the primary is, as Sentinels say.
 *
 *     ask one Sentinel -> same primary: ask again after POLL_MS
 *                      -> another primary: connect there, drop the old connection
 *                      -> no answer, does not know, speaks of an older choice: the next Sentinel
 *     primary lost     -> ask at once, then with growing pauses up to backoff_max_ms
 *
 * Nothing is connected to without a fresh answer, so that an old primary which comes back is not taken for one;
 * redis_conn.c checks ROLE besides. A Sentinel that has not yet heard of a fail-over names the old primary. Each
 * choice has a number that grows (config-epoch): another primary by an older one than the newest heard of is not
 * believed, unless all Sentinels agree; then they were set up anew. Sentinels' messages (+switch-master) are not
 * subscribed to: they can be missed, and a lost connection tells sooner. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/log.h"
#include "base/redis_conn.h"

enum { SENTINELS_MAX = 16, POLL_MS = 500, RETRY_FIRST_MS = 10 };

struct redis_sentinel {
    struct redis *redis;
    char targets[SENTINELS_MAX][REDIS_TARGET_MAX];
    unsigned count;
    unsigned turn;  /* which one is next, modulo count */
    unsigned asked; /* index of the one that conn is to */
    char master[128];
    struct redis_conn *conn;  /* to that one */
    struct redis_op epoch_op; /* the questions on their way: which choice, */
    struct redis_op op;       /* and who was chosen */
    int64_t told_epoch;       /* by the Sentinel that is asked; -1: it did not say */
    int64_t epoch;            /* of primary, the newest heard of */
    uint32_t behind;         /* a bit for each Sentinel that named another primary by an older choice since */
    struct loop_timer timer; /* the next question */
    uint32_t retry_ms;
    char primary[REDIS_TARGET_MAX]; /* as last heard; empty: never */
};

static void on_epoch(void *arg, int rc, const struct redis_reply *reply);
static void on_answer(void *arg, int rc, const struct redis_reply *reply);

/* The number first: should a fail-over end between the two, the new address is taken by the old number, which does no
 * harm. */
static void ask(struct redis_sentinel *s)
{
    struct str which[] = {STR("SENTINEL"), STR("master"), str_from(s->master)};
    struct str who[] = {STR("SENTINEL"), STR("get-master-addr-by-name"), str_from(s->master)};
    s->told_epoch = -1;
    s->epoch_op = (struct redis_op){.cb = on_epoch, .arg = s};
    s->op = (struct redis_op){.cb = on_answer, .arg = s};
    if (redis_conn_send_argv(s->conn, &s->epoch_op, 3, which) != 0) {
        s->epoch_op.conn = NULL;
    } else if (redis_conn_send_argv(s->conn, &s->op, 3, who) != 0) {
        s->op.conn = NULL;
    }
}

static void on_timer(void *arg)
{
    struct redis_sentinel *s = arg;
    if (redis_conn_is_ready(s->redis->primary)) {
        s->retry_ms = RETRY_FIRST_MS;
        loop_timer_arm(&s->timer, POLL_MS);
    } else {
        uint32_t most = s->redis->conf.backoff_max_ms;
        s->retry_ms = s->retry_ms * 2 < most ? s->retry_ms * 2 : most;
        loop_timer_arm(&s->timer, s->retry_ms / 2 + id_random_below(s->retry_ms / 2 + 1));
    }
    if (redis_conn_is_down(s->conn)) {
        s->asked = s->turn++ % s->count;
        redis_conn_connect(s->conn, s->targets[s->asked]);
    } else if (!s->epoch_op.conn && !s->op.conn) {
        ask(s);
    }
}

/* Redis says "host" and "port"; an IPv6 address needs brackets to become one text. */
static bool target_of(const struct redis_reply *reply, char out[REDIS_TARGET_MAX])
{
    if (reply->type != REDIS_TYPE_ARRAY || reply->count != 2 || reply->items->type != REDIS_TYPE_TEXT ||
        reply->items->next->type != REDIS_TYPE_TEXT) {
        return false;
    }
    struct str host = reply->items->text;
    struct str port = reply->items->next->text;
    bool v6 = memchr(host.p, ':', host.n) != NULL;
    int n = snprintf(out, REDIS_TARGET_MAX, v6 ? "[" STR_FMT "]:" STR_FMT : STR_FMT ":" STR_FMT,
                     STR_ARG(host), STR_ARG(port));
    return host.n > 0 && n < REDIS_TARGET_MAX;
}

/* Names and values in turn, all texts. */
static void on_epoch(void *arg, int rc, const struct redis_reply *reply)
{
    struct redis_sentinel *s = arg;
    const struct redis_reply *name = rc == 0 && reply->type == REDIS_TYPE_ARRAY ? reply->items : NULL;
    for (; name && name->next; name = name->next->next) {
        uint64_t epoch = 0;
        if (name->type == REDIS_TYPE_TEXT && str_is(name->text, "config-epoch") &&
            name->next->type == REDIS_TYPE_TEXT && str_u64(name->next->text, &epoch) && epoch <= INT64_MAX) {
            s->told_epoch = (int64_t)epoch;
        }
    }
}

/* Whether a primary other than ours is news; remembers who says so by an older choice. */
static bool is_newer(struct redis_sentinel *s)
{
    if (s->told_epoch < s->epoch) {
        s->behind |= 1u << s->asked;
        if (s->behind != (1u << s->count) - 1) {
            return false;
        }
        log_warn("redis role=%s epoch=%" PRId64 " was=%" PRId64 " why=\"all Sentinels say so\"",
                 s->redis->role, s->told_epoch, s->epoch);
    }
    return true;
}

static void follow(struct redis_sentinel *s, const char *target)
{
    struct redis *r = s->redis;
    log_info("redis role=%s primary=%s was=%s loop=%u", r->role, target, s->primary[0] ? s->primary : "none",
             loop_index(r->loop));
    metric_child_add(r->metrics.switches, s->primary[0] != 0);
    snprintf(s->primary, sizeof(s->primary), "%s", target);
    s->epoch = s->told_epoch;
    s->behind = 0;
    redis_conn_connect(r->primary, target);
}

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct redis_sentinel *s = arg;
    struct redis *r = s->redis;
    char target[REDIS_TARGET_MAX];
    if (rc == ERR_CLOSED || rc == ERR_CANCELED) {
        return; /* the timer takes the next one */
    }
    if (rc != 0 || s->told_epoch < 0 || !target_of(reply, target)) {
        redis_conn_drop(s->conn,
                        rc == 0 ? "the Sentinel does not know this master" : "the Sentinel does not answer");
        return;
    }
    if (strcmp(s->primary, target) != 0) {
        if (is_newer(s)) {
            follow(s, target);
        } else {
            redis_conn_drop(s->conn, "the Sentinel has not heard of the newest primary");
        }
        return;
    }
    if (s->told_epoch >= s->epoch) {
        s->epoch = s->told_epoch;
        s->behind = 0;
    }
    if (redis_conn_is_down(r->primary)) {
        redis_conn_connect(r->primary, target);
    }
}

void redis_sentinel_changed(struct redis_sentinel *s, struct redis_conn *c)
{
    if (c == s->conn ? redis_conn_is_ready(c) : !redis_conn_is_ready(c)) {
        loop_timer_arm(&s->timer, 0); /* a Sentinel to ask, or a primary to ask for */
    }
}

struct redis_sentinel *redis_sentinel_new(struct redis *r, const struct redis_conf *conf)
{
    struct redis_sentinel *s = calloc(1, sizeof(*s));
    BUG_ON(!s || conf->sentinels.n > SENTINELS_MAX);
    s->redis = r;
    s->count = conf->sentinels.n;
    for (unsigned i = 0; i < s->count; i++) {
        snprintf(s->targets[i], sizeof(s->targets[i]), "%s", conf->sentinels.items[i]);
    }
    snprintf(s->master, sizeof(s->master), "%s", conf->master);
    s->turn = id_random_below(s->count);
    s->retry_ms = RETRY_FIRST_MS;
    s->conn = redis_conn_new(r, REDIS_CONN_SENTINEL, NULL);
    loop_timer_init(r->loop, &s->timer, on_timer, s);
    loop_timer_arm(&s->timer, 0);
    return s;
}

void redis_sentinel_free(struct redis_sentinel *s)
{
    if (s) {
        loop_timer_disarm(&s->timer);
        redis_conn_free(s->conn);
        free(s);
    }
}

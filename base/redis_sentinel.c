/* Who the primary is, as Sentinels say.
 *
 *     ask one Sentinel -> same primary: ask again after POLL_MS
 *                      -> another primary: connect there, drop the old connection
 *                      -> no answer, does not know: the next Sentinel
 *     primary lost     -> ask at once, then with growing pauses up to backoff_max_ms
 *
 * Nothing is connected to without a fresh answer, so that an old primary which comes back is not taken for one;
 * redis_conn.c checks ROLE besides. Sentinels' messages (+switch-master) are not subscribed to: they can be missed,
 * and a lost connection tells sooner. */
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
    unsigned turn; /* index of the one that is asked */
    char master[128];
    struct redis_conn *conn; /* to that one */
    struct redis_op op;      /* the question on its way */
    struct loop_timer timer; /* the next question */
    uint32_t retry_ms;
    char primary[REDIS_TARGET_MAX]; /* as last heard; empty: never */
};

static void on_answer(void *arg, int rc, const struct redis_reply *reply);

static void ask(struct redis_sentinel *s)
{
    struct str argv[] = {STR("SENTINEL"), STR("get-master-addr-by-name"), str_from(s->master)};
    s->op = (struct redis_op){.cb = on_answer, .arg = s};
    int rc = redis_conn_send_argv(s->conn, &s->op, 3, argv);
    if (rc != 0) {
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
        redis_conn_connect(s->conn, s->targets[s->turn++ % s->count]);
    } else if (!s->op.conn) {
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

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct redis_sentinel *s = arg;
    struct redis *r = s->redis;
    char target[REDIS_TARGET_MAX];
    if (rc == ERR_CLOSED || rc == ERR_CANCELED) {
        return; /* the timer takes the next one */
    }
    if (rc != 0 || !target_of(reply, target)) {
        redis_conn_drop(s->conn,
                        rc == 0 ? "the Sentinel does not know this master" : "the Sentinel does not answer");
        return;
    }
    if (strcmp(s->primary, target) != 0) {
        log_info("redis role=%s primary=%s was=%s loop=%u", r->role, target,
                 s->primary[0] ? s->primary : "none", loop_index(r->loop));
        metric_child_add(r->metrics.switches, s->primary[0] != 0);
        snprintf(s->primary, sizeof(s->primary), "%s", target);
        redis_conn_connect(r->primary, target);
    } else if (redis_conn_is_down(r->primary)) {
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

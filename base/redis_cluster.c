/* A Redis Cluster: which node owns which slot, a connection a node, and where MOVED and ASK lead.
 *
 *     seeds -> CLUSTER SLOTS -> owner of each slot -> a connection to each owner
 *     MOVED, a node lost or a slot without owner -> the map again, from the next ready node: one question at a time,
 *     PAUSE_FIRST_MS apart, up to PAUSE_MAX_MS while it goes on
 *
 * A command waits for nothing: a slot whose owner is not connected is unavailable (its rules fall back) while the
 * others go on. MOVED corrects its slot at once and the command is sent to the new owner; ASK sends ASKING first;
 * TRYAGAIN (keys of a slot that is just being moved) is tried again after RETRY_MS. All that ends with the command's
 * time-out or REDIS_REPLAYS_MAX. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/redis_conn.h"
#include "base/redis_key.h"

enum {
    NODES_MAX = 128,
    SEEDS_MAX = 16,
    PAUSE_FIRST_MS = 100,
    PAUSE_MAX_MS = 1000,
    RETRY_MS = 3,
    NO_NODE = 255
};

struct node {
    struct redis_conn *conn; /* NULL: a free entry */
    bool is_owner;           /* of a slot, as the map says */
};

struct redis_cluster {
    struct redis *redis;
    char seeds[SEEDS_MAX][REDIS_TARGET_MAX];
    unsigned seed_count;
    unsigned seed_turn;
    struct node nodes[NODES_MAX];
    uint8_t owners[REDIS_SLOTS]; /* index of a node, or NO_NODE */
    bool has_map;                /* one was taken over, and it names an owner of every slot */
    unsigned turn;               /* node that was asked last */
    struct redis_op op;          /* CLUSTER SLOTS on its way */
    struct redis_conn *asked;    /* where it is on its way */
    struct loop_timer refresh;   /* armed: the map is wanted */
    uint64_t asked_ms;           /* when it was asked for last */
    uint32_t pause_ms;           /* least time to the next question */
    struct loop_task sweep;      /* closes connections to nodes that own nothing */
    struct redis_op *waiting;    /* TRYAGAIN: to be sent again */
    struct loop_timer retry;
};

/* --- nodes ---------------------------------------------------------------------------------------- */

static void want_map(struct redis_cluster *k)
{
    uint64_t now = clock_mono_ms();
    uint64_t next = k->asked_ms + k->pause_ms / 2 + id_random_below(k->pause_ms / 2 + 1);
    if (!k->refresh.armed && !k->redis->freeing) {
        loop_timer_arm(&k->refresh, next > now ? next - now : 0);
    }
}

/* Index of the node, which is connected to when it is new; NO_NODE when there are too many. */
static uint8_t node_find(struct redis_cluster *k, const char *target)
{
    unsigned unused = NO_NODE;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (!k->nodes[i].conn) {
            unused = unused == NO_NODE ? i : unused;
        } else if (strcmp(redis_conn_target(k->nodes[i].conn), target) == 0) {
            return (uint8_t)i;
        }
    }
    if (unused == NO_NODE) {
        log_warn("redis role=%s at=%s ignored: more than %d nodes", k->redis->role, target, NODES_MAX);
        return NO_NODE;
    }
    k->nodes[unused] = (struct node){.conn = redis_conn_new(k->redis, REDIS_CONN_SERVER, target)};
    return (uint8_t)unused;
}

/* Seeds, and nodes that own nothing any more, once no answer is awaited from them. */
static void on_sweep(void *arg)
{
    struct redis_cluster *k = arg;
    for (unsigned i = 0; k->has_map && i < NODES_MAX; i++) {
        struct node *n = &k->nodes[i];
        if (n->conn && !n->is_owner && redis_conn_is_idle(n->conn)) {
            struct redis_conn *conn = n->conn;
            n->conn = NULL;
            redis_conn_free(conn);
        }
    }
}

/* "host", port of an answer of `from` into one text. An empty host is the host that was asked. */
static bool node_target(const struct redis_conn *from, struct str host, struct str port,
                        char out[REDIS_TARGET_MAX])
{
    if (host.n == 0) {
        const char *own = redis_conn_target(from);
        const char *colon = strrchr(own, ':');
        host = str_of(own, colon ? (size_t)(colon - own) : 0);
    }
    bool bare_v6 = memchr(host.p, ':', host.n) && host.p[0] != '[';
    int n = snprintf(out, REDIS_TARGET_MAX, bare_v6 ? "[" STR_FMT "]:" STR_FMT : STR_FMT ":" STR_FMT,
                     STR_ARG(host), STR_ARG(port));
    return host.n > 0 && !str_is(host, "?") && n < REDIS_TARGET_MAX;
}

/* --- the map -------------------------------------------------------------------------------------- */

/* One item of CLUSTER SLOTS: [first, last, [host, port, ...] of the primary, replicas...]. */
static bool range_take(struct redis_cluster *k, const struct redis_conn *from,
                       const struct redis_reply *range, uint8_t owners[REDIS_SLOTS])
{
    if (range->type != REDIS_TYPE_ARRAY || range->count < 3) {
        return false;
    }
    const struct redis_reply *first = range->items;
    const struct redis_reply *last = first->next;
    const struct redis_reply *primary = last->next;
    if (first->type != REDIS_TYPE_INTEGER || last->type != REDIS_TYPE_INTEGER || first->integer < 0 ||
        first->integer > last->integer || last->integer >= REDIS_SLOTS || primary->type != REDIS_TYPE_ARRAY ||
        primary->count < 2 || primary->items->next->type != REDIS_TYPE_INTEGER) {
        return false;
    }
    char port[24];
    char target[REDIS_TARGET_MAX];
    snprintf(port, sizeof(port), "%lld", (long long)primary->items->next->integer);
    struct str host = primary->items->type == REDIS_TYPE_TEXT ? primary->items->text : STR("");
    if (!node_target(from, host, str_from(port), target)) {
        return true; /* the node does not know yet: these slots have no owner */
    }
    memset(owners + first->integer, node_find(k, target), (size_t)(last->integer - first->integer + 1));
    return true;
}

static bool map_take(struct redis_cluster *k, const struct redis_conn *from, const struct redis_reply *reply)
{
    uint8_t owners[REDIS_SLOTS];
    memset(owners, NO_NODE, sizeof(owners));
    if (reply->type != REDIS_TYPE_ARRAY || reply->count == 0) {
        return false;
    }
    for (const struct redis_reply *range = reply->items; range; range = range->next) {
        if (!range_take(k, from, range, owners)) {
            return false;
        }
    }
    memcpy(k->owners, owners, sizeof(owners));
    for (unsigned i = 0; i < NODES_MAX; i++) {
        k->nodes[i].is_owner = false;
    }
    k->has_map = true;
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++) {
        if (owners[slot] == NO_NODE) {
            k->has_map = false;
        } else {
            k->nodes[owners[slot]].is_owner = true;
        }
    }
    return true;
}

static void on_map(void *arg, int rc, const struct redis_reply *reply)
{
    struct redis_cluster *k = arg;
    if (rc == ERR_CANCELED) {
        return;
    }
    k->pause_ms = k->pause_ms * 2 < PAUSE_MAX_MS ? k->pause_ms * 2 : PAUSE_MAX_MS;
    if (rc != 0 || !map_take(k, k->asked, reply)) {
        want_map(k);
        return;
    }
    metric_child_add(k->redis->metrics.maps, 1);
    loop_at_turn_end(k->redis->loop, &k->sweep);
    redis_changed(k->redis, k->asked);
}

/* The next ready node. NULL: none. */
static struct redis_conn *next_to_ask(struct redis_cluster *k)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        k->turn = (k->turn + 1) % NODES_MAX;
        struct redis_conn *c = k->nodes[k->turn].conn;
        if (c && redis_conn_is_ready(c)) {
            return c;
        }
    }
    return NULL;
}

static void on_refresh(void *arg)
{
    struct redis_cluster *k = arg;
    if (k->op.conn) {
        return; /* asked already; its answer or its time-out goes on from there */
    }
    struct str argv[] = {STR("CLUSTER"), STR("SLOTS")};
    struct redis_conn *c = next_to_ask(k);
    k->asked_ms = clock_mono_ms();
    if (!c) { /* a seed; it is asked when it is ready */
        (void)node_find(k, k->seeds[k->seed_turn++ % k->seed_count]);
        want_map(k);
        return;
    }
    k->op = (struct redis_op){.cb = on_map, .arg = k};
    k->asked = c;
    if (redis_conn_send_argv(c, &k->op, 2, argv) != 0) {
        want_map(k);
    }
}

void redis_cluster_changed(struct redis_cluster *k, struct redis_conn *c)
{
    if (redis_cluster_is_whole(k)) {
        k->pause_ms = PAUSE_FIRST_MS;
    } else {
        want_map(k);
    }
}

bool redis_cluster_is_whole(const struct redis_cluster *k)
{
    bool whole = k->has_map;
    for (unsigned i = 0; whole && i < NODES_MAX; i++) {
        whole = !k->nodes[i].is_owner || redis_conn_is_ready(k->nodes[i].conn);
    }
    return whole;
}

bool redis_cluster_is_ready(const struct redis_cluster *k)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (k->nodes[i].is_owner && redis_conn_is_ready(k->nodes[i].conn)) {
            return true;
        }
    }
    return false;
}

/* --- commands ------------------------------------------------------------------------------------- */

struct redis_conn *redis_cluster_conn(struct redis_cluster *k, struct str resp)
{
    struct str key;
    if (!redis_key_of_command(resp, &key)) {
        return next_to_ask(k);
    }
    uint8_t node = k->owners[redis_key_slot(key)];
    return node == NO_NODE ? NULL : k->nodes[node].conn;
}

/* The command once more, to `to`. false: it is too late, it cannot be repeated, or nobody is there. */
static bool send_again(struct redis_cluster *k, struct redis_conn *to, struct redis_op *op, bool asking)
{
    uint64_t ends_us = op->began_us + k->redis->conf.timeout_ms * 1000ull;
    if (!op->script || op->replays == REDIS_REPLAYS_MAX || clock_mono_us() >= ends_us || !to ||
        !redis_conn_is_ready(to)) {
        return false;
    }
    struct str ask[] = {STR("ASKING")};
    if (asking && redis_conn_send_argv(to, NULL, 1, ask) != 0) {
        return false;
    }
    op->replays++;
    return redis_conn_send(to, op, op->command) == 0;
}

void redis_cluster_forget(struct redis_cluster *k, struct redis_op *op)
{
    struct redis_op **at = &k->waiting;
    while (*at != op) {
        at = &(*at)->next;
    }
    *at = op->next;
    op->waiting = NULL;
}

static void on_retry(void *arg)
{
    struct redis_cluster *k = arg;
    while (k->waiting) {
        struct redis_op *op = k->waiting;
        redis_cluster_forget(k, op);
        if (!send_again(k, redis_cluster_conn(k, op->command), op, false)) {
            metric_child_add(k->redis->metrics.results[REDIS_RESULT_REFUSED], 1);
            op->cb(op->arg, ERR_UNAVAILABLE, NULL);
        }
    }
}

static bool try_later(struct redis_cluster *k, struct redis_op *op)
{
    if (!op->script || op->replays == REDIS_REPLAYS_MAX) {
        return false;
    }
    op->conn = NULL;
    op->waiting = k;
    op->next = k->waiting;
    k->waiting = op;
    if (!k->retry.armed) {
        loop_timer_arm(&k->retry, RETRY_MS);
    }
    return true;
}

/* "MOVED 3999 10.0.0.7:6379" or "ASK ...": the node, connected to when it is new. */
static struct redis_conn *redirect_target(struct redis_cluster *k, const struct redis_conn *from,
                                          struct str error, uint64_t *slot, uint8_t *node)
{
    struct str word;
    struct str number;
    char target[REDIS_TARGET_MAX];
    const char *colon = memrchr(error.p, ':', error.n);
    if (!str_cut(&error, ' ', &word) || !str_cut(&error, ' ', &number) || !str_u64(number, slot) ||
        *slot >= REDIS_SLOTS || !colon || colon < error.p) {
        return NULL;
    }
    struct str host = str_of(error.p, (size_t)(colon - error.p));
    struct str port = str_skip(error, host.n + 1);
    *node = node_target(from, host, port, target) ? node_find(k, target) : NO_NODE;
    return *node == NO_NODE ? NULL : k->nodes[*node].conn;
}

bool redis_cluster_redirect(struct redis_cluster *k, struct redis_conn *from, struct redis_op *op,
                            struct str error)
{
    uint64_t slot = 0;
    uint8_t node = NO_NODE;
    bool moved = str_starts(error, STR("MOVED "));
    bool ask = str_starts(error, STR("ASK "));
    if (moved || ask || str_starts(error, STR("TRYAGAIN"))) {
        metric_child_add(k->redis->metrics.redirects, 1);
    }
    if (moved || ask) {
        struct redis_conn *to = redirect_target(k, from, error, &slot, &node);
        if (moved) {
            want_map(k);
            if (to) {
                k->owners[slot] = node;
                k->nodes[node].is_owner = true;
            }
        }
        return op && send_again(k, to, op, ask);
    }
    if (str_starts(error, STR("CLUSTERDOWN"))) {
        want_map(k);
    }
    return op && str_starts(error, STR("TRYAGAIN")) && try_later(k, op);
}

/* --- life ----------------------------------------------------------------------------------------- */

struct redis_cluster *redis_cluster_new(struct redis *r, const struct redis_conf *conf)
{
    struct redis_cluster *k = calloc(1, sizeof(*k));
    BUG_ON(!k || conf->cluster.n > SEEDS_MAX);
    k->redis = r;
    k->pause_ms = PAUSE_FIRST_MS;
    k->seed_count = conf->cluster.n;
    for (unsigned i = 0; i < k->seed_count; i++) {
        snprintf(k->seeds[i], sizeof(k->seeds[i]), "%s", conf->cluster.items[i]);
    }
    memset(k->owners, NO_NODE, sizeof(k->owners));
    k->sweep = (struct loop_task){.fn = on_sweep, .arg = k};
    loop_timer_init(r->loop, &k->refresh, on_refresh, k);
    loop_timer_init(r->loop, &k->retry, on_retry, k);
    loop_timer_arm(&k->refresh, 0);
    return k;
}

void redis_cluster_free(struct redis_cluster *k)
{
    if (!k) {
        return;
    }
    loop_timer_disarm(&k->refresh);
    loop_timer_disarm(&k->retry);
    loop_task_cancel(k->redis->loop, &k->sweep);
    while (k->waiting) {
        struct redis_op *op = k->waiting;
        redis_cluster_forget(k, op);
        op->cb(op->arg, ERR_CANCELED, NULL);
    }
    for (unsigned i = 0; i < NODES_MAX; i++) {
        redis_conn_free(k->nodes[i].conn);
    }
    free(k);
}

/* See redis_conn.h. In time order: connect and greet, send, flush, answers, time-outs, loss.
 *
 *     ring of slots:   head ........ expired ........ unsent ........ tail
 *                      late answers  | being waited   | in the output buffer, not yet written
 *                      still to come | for            |
 */
#include "base/redis_conn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/redis_breaker.h"
#include "base/redis_reply.h"
#include "base/redis_socket.h"
#include "base/resolver.h"

enum conn_state {
    CONN_DOWN = 0,       /* waiting for the next attempt */
    CONN_RESOLVING = 1,  /* the name servers are asked */
    CONN_CONNECTING = 2, /* TCP, then TLS, are under way */
    CONN_GREETING = 3,   /* AUTH and so on are under way */
    CONN_READY = 4,
};

enum slot_kind {
    SLOT_OP = 0,       /* a caller's command; op is NULL once it was canceled or timed out */
    SLOT_GREETING = 1, /* must succeed for READY */
    SLOT_ROLE = 2,     /* likewise, and must be "master" */
    SLOT_LOAD = 3,     /* SCRIPT LOAD after a NOSCRIPT */
    SLOT_PROBE = 4,    /* PING while the breaker is open */
};

struct slot {
    struct redis_op *op;
    uint64_t sent_us;
    enum slot_kind kind;
    unsigned script; /* index, of SLOT_LOAD */
};

enum { BACKOFF_FIRST_MS = 10, READ_BYTES = 16 * 1024 };

struct redis_conn {
    struct redis *redis;
    struct loop *loop;
    enum redis_conn_use use;
    char target[REDIS_TARGET_MAX]; /* empty: none yet */
    struct endpoint endpoint;      /* of a literal target */
    struct resolver *resolver;     /* of a name; else NULL */

    enum conn_state state;
    struct redis_socket socket;
    struct event read_event;
    struct event write_event;
    struct loop_task flush;  /* at the end of the turn */
    struct loop_timer timer; /* DOWN: next attempt; until READY: give up; READY: oldest slot */
    struct buf out;
    struct redis_reader *reader;
    uint32_t backoff_ms;
    unsigned greetings;              /* answers still wanted */
    bool told_down;                  /* the loss was logged */
    bool was_ready;                  /* as last told to redis_changed */
    bool loading[REDIS_SCRIPTS_MAX]; /* a SCRIPT LOAD is under way */

    struct slot *ring;
    uint64_t head, expired, unsent, tail;

    struct redis_breaker breaker;
    bool probing;
    struct loop_timer probe_timer;
    struct redis_node_metrics node; /* of the target */
};

static void conn_attempt(struct redis_conn *c);
static void conn_flush(void *arg);

static void conn_tell(struct redis_conn *c)
{
    bool ready = redis_conn_is_ready(c);
    if (ready != c->was_ready) {
        c->was_ready = ready;
        metric_child_add(c->node.ready, ready ? 1 : -1);
        if (!c->redis->freeing) {
            redis_changed(c->redis, c);
        }
    }
}

/* --- slots ---------------------------------------------------------------------------------------- */

static struct slot *slot_at(struct redis_conn *c, uint64_t position)
{
    return &c->ring[position & (c->redis->conf.max_pending - 1)];
}

/* Room for the command and its slot is checked here; nothing is half done on ERR_AGAIN. */
static int slot_push(struct redis_conn *c, enum slot_kind kind, struct redis_op *op, struct str resp)
{
    bool full = c->tail - c->head >= c->redis->conf.max_pending;
    if (full || resp.n > c->redis->conf.max_output_bytes - c->out.n) {
        return ERR_AGAIN;
    }
    buf_add_str(&c->out, resp);
    *slot_at(c, c->tail) = (struct slot){.op = op, .kind = kind};
    if (op) {
        op->conn = c;
        op->slot = c->tail;
    }
    c->tail++;
    loop_at_turn_end(c->loop, &c->flush);
    return 0;
}

static int slot_push_argv(struct redis_conn *c, enum slot_kind kind, struct redis_op *op, unsigned argc,
                          const struct str *argv)
{
    struct buf resp;
    buf_init(&resp, c->redis->conf.max_output_bytes);
    redis_format(&resp, argc, argv);
    int rc = resp.overflowed ? ERR_AGAIN : slot_push(c, kind, op, buf_str(&resp));
    buf_clear(&resp);
    return rc;
}

static int slot_push_load(struct redis_conn *c, enum slot_kind kind, unsigned script)
{
    struct str argv[] = {STR("SCRIPT"), STR("LOAD"), c->redis->scripts[script]->source};
    int rc = slot_push_argv(c, kind, NULL, 3, argv);
    if (rc == 0) {
        slot_at(c, c->tail - 1)->script = script;
    }
    return rc;
}

/* Ends an op: the last thing done with it. */
static void op_end(struct redis_op *op, int rc, const struct redis_reply *reply)
{
    op->conn = NULL;
    op->cb(op->arg, rc, reply);
}

/* --- breaker -------------------------------------------------------------------------------------- */

static void on_probe_due(void *arg)
{
    struct redis_conn *c = arg;
    if (c->breaker.open && c->state == CONN_READY) {
        struct str ping[] = {STR("PING")};
        if (!c->probing && slot_push_argv(c, SLOT_PROBE, NULL, 1, ping) == 0) {
            c->probing = true;
        }
        loop_timer_arm(&c->probe_timer, c->redis->conf.probe_ms);
    }
}

static void breaker_reset(struct redis_conn *c)
{
    c->breaker = (struct redis_breaker){.open = false};
    c->probing = false;
    loop_timer_disarm(&c->probe_timer);
}

static void breaker_record(struct redis_conn *c, bool failed)
{
    if (failed) {
        metric_child_add(c->node.failures, 1);
    }
    if (redis_breaker_record(&c->breaker, failed, c->redis->conf.breaker_failures)) {
        metric_child_add(c->redis->metrics.breaker_opened, 1);
        log_warn("redis role=%s at=%s breaker=open failures_in_row=%u", c->redis->role, c->target,
                 c->breaker.failures);
        loop_timer_arm(&c->probe_timer, c->redis->conf.probe_ms);
        conn_tell(c);
    }
}

/* --- connect and greet ---------------------------------------------------------------------------- */

static int greet(struct redis_conn *c, enum slot_kind kind, unsigned argc, const struct str *argv)
{
    c->greetings++;
    return slot_push_argv(c, kind, NULL, argc, argv);
}

static int greet_auth(struct redis_conn *c)
{
    const struct redis_login *login =
        c->use == REDIS_CONN_SENTINEL ? &c->redis->sentinel_login : &c->redis->login;
    struct str argv[] = {STR("AUTH"), str_from(login->user), buf_str(&login->password)};
    if (login->password.n == 0) {
        return 0;
    }
    if (login->user[0]) {
        return greet(c, SLOT_GREETING, 3, argv);
    }
    argv[1] = argv[2];
    return greet(c, SLOT_GREETING, 2, argv);
}

/* PING fails while the server loads its data; SELECT does not. */
static void conn_greet(struct redis_conn *c)
{
    c->state = CONN_GREETING;
    c->greetings = 0;
    int rc = greet_auth(c);
    struct str ping[] = {STR("PING")};
    rc |= greet(c, SLOT_GREETING, 1, ping);
    if (c->use != REDIS_CONN_SENTINEL) {
        char db[12];
        snprintf(db, sizeof(db), "%u", c->redis->conf.db);
        struct str select[] = {STR("SELECT"), str_from(db)};
        rc |= greet(c, SLOT_GREETING, 2, select);
        for (unsigned i = 0; i < c->redis->script_count; i++) {
            rc |= slot_push_load(c, SLOT_GREETING, i);
            c->greetings++;
        }
    }
    if (c->use == REDIS_CONN_PRIMARY) {
        struct str role[] = {STR("ROLE")};
        rc |= greet(c, SLOT_ROLE, 1, role);
    }
    BUG_ON(rc != 0); /* the limits' least values hold a greeting */
}

static void conn_is_up(struct redis_conn *c)
{
    c->state = CONN_READY;
    c->backoff_ms = BACKOFF_FIRST_MS;
    breaker_reset(c);
    loop_timer_disarm(&c->timer);
    if (c->use != REDIS_CONN_SENTINEL) {
        metric_child_add(c->redis->metrics.connects, 1);
        metric_child_add(c->redis->metrics.connections, 1);
    }
    if (c->told_down) {
        log_info("redis role=%s at=%s state=ready loop=%u", c->redis->role, c->target, loop_index(c->loop));
        c->told_down = false;
    }
    conn_tell(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg);

/* TCP and TLS, until both are through. */
static void conn_advance(struct redis_conn *c)
{
    const char *why = NULL;
    switch (redis_socket_advance(&c->socket, &why)) {
    case REDIS_SOCKET_OPEN:
        conn_greet(c);
        conn_flush(c);
        break;
    case REDIS_SOCKET_READ:
        break;
    case REDIS_SOCKET_WRITE:
        event_add(&c->write_event, NULL);
        break;
    case REDIS_SOCKET_FAILED:
        redis_conn_drop(c, why);
        break;
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_conn *c = arg;
    if (c->state == CONN_CONNECTING) {
        conn_advance(c);
    } else {
        conn_flush(c);
    }
}

/* The name that the server's certificate must be for: the configured one, or the target without its port. */
static void certificate_name(const struct redis_conn *c, char *out, size_t n)
{
    struct str host = str_from(c->target);
    if (c->redis->tls_name[0]) {
        host = str_from(c->redis->tls_name);
    } else {
        const char *colon = strrchr(c->target, ':');
        host.n = colon ? (size_t)(colon - c->target) : host.n;
        if (host.n > 2 && host.p[0] == '[') {
            host = str_of(host.p + 1, host.n - 2);
        }
    }
    snprintf(out, n, STR_FMT, STR_ARG(host));
}

static void conn_dial(struct redis_conn *c, const struct endpoint *to)
{
    const char *why = NULL;
    char name[REDIS_TARGET_MAX];
    certificate_name(c, name, sizeof(name));
    if (!redis_socket_dial(&c->socket, to, c->redis->tls, name, &why)) {
        redis_conn_drop(c, why);
        return;
    }
    struct event_base *base = loop_event_base(c->loop);
    event_assign(&c->read_event, base, c->socket.fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->write_event, base, c->socket.fd, EV_WRITE, on_writable, c);
    c->state = CONN_CONNECTING;
    event_add(&c->write_event, NULL);
    event_add(&c->read_event, NULL);
}

static void on_addresses(void *arg)
{
    struct redis_conn *c = arg;
    if (c->state != CONN_RESOLVING) {
        return;
    }
    const struct endpoint *to = resolver_next(c->resolver);
    if (to) {
        conn_dial(c, to);
    } else {
        redis_conn_drop(c, "the name has no address");
    }
}

static void conn_attempt(struct redis_conn *c)
{
    const struct endpoint *to = &c->endpoint;
    loop_timer_arm(&c->timer, c->redis->conf.connect_ms);
    if (c->resolver) {
        resolver_refresh(c->resolver);
        to = resolver_next(c->resolver);
    }
    if (to) {
        conn_dial(c, to);
    } else {
        c->state = CONN_RESOLVING;
    }
}

/* false: not "host:port" nor "unix:/path". */
static bool conn_aim(struct redis_conn *c, const char *target)
{
    resolver_free(c->resolver);
    c->resolver = NULL;
    snprintf(c->target, sizeof(c->target), "%s", target);
    redis_node_metrics_init(&c->node, c->redis->role, c->target);
    if (endpoint_parse(str_from(c->target), &c->endpoint, NULL) == 0) {
        return true;
    }
    c->resolver = resolver_new(c->loop, str_from(c->target), on_addresses, c, NULL);
    return c->resolver != NULL;
}

void redis_conn_connect(struct redis_conn *c, const char *target)
{
    if (c->state != CONN_DOWN) {
        redis_conn_drop(c, "another server is in its place");
    }
    if ((strcmp(c->target, target) == 0 && c->target[0]) || conn_aim(c, target)) {
        conn_attempt(c);
    }
}

/* --- send ----------------------------------------------------------------------------------------- */

int redis_conn_send(struct redis_conn *c, struct redis_op *op, struct str resp)
{
    return c->state == CONN_READY ? slot_push(c, SLOT_OP, op, resp) : ERR_UNAVAILABLE;
}

int redis_conn_send_argv(struct redis_conn *c, struct redis_op *op, unsigned argc, const struct str *argv)
{
    return c->state == CONN_READY ? slot_push_argv(c, SLOT_OP, op, argc, argv) : ERR_UNAVAILABLE;
}

void redis_conn_cancel(struct redis_op *op)
{
    slot_at(op->conn, op->slot)->op = NULL;
    op->conn = NULL;
}

/* --- flush ---------------------------------------------------------------------------------------- */

/* Time runs from here: a turn that took long is not Redis's fault. */
static void slots_mark_sent(struct redis_conn *c)
{
    uint64_t now_us = clock_mono_us();
    for (; c->unsent != c->tail; c->unsent++) {
        slot_at(c, c->unsent)->sent_us = now_us;
    }
    if (c->state == CONN_READY && !c->timer.armed) {
        loop_timer_arm(&c->timer, c->redis->conf.timeout_ms);
    }
}

static void conn_flush(void *arg)
{
    struct redis_conn *c = arg;
    if (c->state < CONN_GREETING) {
        return;
    }
    slots_mark_sent(c);
    const char *why = NULL;
    while (c->out.n > 0) {
        ssize_t n = redis_socket_send(&c->socket, c->out.p, c->out.n, &why);
        if (n == REDIS_SOCKET_ERROR) {
            redis_conn_drop(c, why);
            return;
        }
        if (n == REDIS_SOCKET_LATER) {
            event_add(&c->write_event, NULL);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
}

/* --- answers -------------------------------------------------------------------------------------- */

static bool starts_with_one_of(struct str s, const struct str *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_starts(s, words[i])) {
            return true;
        }
    }
    return false;
}

/* How Redis says that it cannot serve now, as opposed to: this command is wrong. */
static bool reply_is_refusal(struct str error)
{
    static const struct str words[] = {
        STR_INIT("LOADING"),     STR_INIT("BUSY"),       STR_INIT("OOM"),
        STR_INIT("READONLY"),    STR_INIT("MISCONF"),    STR_INIT("MASTERDOWN"),
        STR_INIT("CLUSTERDOWN"), STR_INIT("NOREPLICAS"), STR_INIT("NOAUTH")};
    return starts_with_one_of(error, words, sizeof(words) / sizeof(words[0]));
}

/* How a node of a Cluster says that it is another's to answer. */
static bool reply_is_redirect(struct str error)
{
    static const struct str words[] = {STR_INIT("MOVED "), STR_INIT("ASK "), STR_INIT("TRYAGAIN")};
    return starts_with_one_of(error, words, sizeof(words) / sizeof(words[0]));
}

static bool op_replay(struct redis_conn *c, struct redis_op *op)
{
    unsigned i = 0;
    while (i < c->redis->script_count && c->redis->scripts[i] != op->script) {
        i++;
    }
    if (i == c->redis->script_count || op->replays == REDIS_REPLAYS_MAX) {
        return false;
    }
    if (!c->loading[i]) {
        if (slot_push_load(c, SLOT_LOAD, i) != 0) {
            return false;
        }
        c->loading[i] = true;
        metric_child_add(c->redis->metrics.script_loads, 1);
    }
    op->replays++;
    return slot_push(c, SLOT_OP, op, op->command) == 0;
}

/* true: the op goes on elsewhere, or once more. */
static bool op_goes_on(struct redis_conn *c, const struct slot *s, struct str error)
{
    if (s->op && s->op->script && str_starts(error, STR("NOSCRIPT"))) {
        return op_replay(c, s->op);
    }
    if (!c->redis->cluster) {
        return false;
    }
    if (s->op && s->op->began_us == 0) {
        s->op->began_us = s->sent_us;
    }
    return redis_cluster_redirect(c->redis->cluster, c, s->op, error);
}

static void op_answered(struct redis_conn *c, const struct slot *s, int rc, const struct redis_reply *reply)
{
    if (s->op) { /* else canceled, timed out, or nobody asked for the answer */
        metric_child_add(c->redis->metrics.results[redis_result_of(rc)], 1);
        metric_child_observe_us(c->redis->metrics.duration, clock_mono_us() - s->sent_us);
        op_end(s->op, rc, reply);
    }
}

/* false: the connection was dropped. */
static bool on_op_reply(struct redis_conn *c, const struct slot *s, bool in_time,
                        const struct redis_reply *reply)
{
    if (reply->type != REDIS_TYPE_ERROR) {
        if (in_time) { /* a late one was counted when it timed out */
            breaker_record(c, false);
        }
        op_answered(c, s, 0, reply);
        return true;
    }
    bool demoted = c->use == REDIS_CONN_PRIMARY && str_starts(reply->text, STR("READONLY"));
    bool redirect = reply_is_redirect(reply->text);
    bool refusal = reply_is_refusal(reply->text);
    if (in_time) {
        breaker_record(c, refusal);
    }
    if (op_goes_on(c, s, reply->text)) {
        return true;
    }
    if (!redirect) {
        log_warn("redis role=%s at=%s error=\"" STR_FMT "\"", c->redis->role, c->target,
                 STR_ARG(reply->text));
    }
    op_answered(c, s, refusal || redirect ? ERR_UNAVAILABLE : ERR_INVALID, reply);
    if (demoted) {
        redis_conn_drop(c, "it is a primary no more");
    }
    return !demoted;
}

static void on_probe_reply(struct redis_conn *c, const struct slot *s, const struct redis_reply *reply)
{
    bool in_time = clock_mono_us() - s->sent_us <= c->redis->conf.timeout_ms * 1000ull;
    c->probing = false;
    if (c->breaker.open && in_time && reply->type != REDIS_TYPE_ERROR) {
        breaker_reset(c);
        log_info("redis role=%s at=%s breaker=closed", c->redis->role, c->target);
        conn_tell(c);
    }
}

/* false: the connection was dropped. */
static bool on_greeting_reply(struct redis_conn *c, const struct slot *s, const struct redis_reply *reply)
{
    char why[96];
    if (reply->type == REDIS_TYPE_ERROR) {
        snprintf(why, sizeof(why), STR_FMT, (int)(reply->text.n < 80 ? reply->text.n : 80), reply->text.p);
        redis_conn_drop(c, why);
        return false;
    }
    bool has_role = reply->type == REDIS_TYPE_ARRAY && reply->count > 0;
    if (s->kind == SLOT_ROLE && !(has_role && str_is(reply->items->text, "master"))) {
        redis_conn_drop(c, "it is no primary");
        return false;
    }
    if (--c->greetings == 0) {
        conn_is_up(c);
    }
    return true;
}

/* false: the connection was dropped. */
static bool on_reply(struct redis_conn *c, const struct redis_reply *reply)
{
    if (c->head == c->unsent) {
        redis_conn_drop(c, "an answer to no command");
        return false;
    }
    struct slot s = *slot_at(c, c->head);
    bool in_time = c->head >= c->expired;
    c->head++;
    c->expired = c->expired < c->head ? c->head : c->expired;
    switch (s.kind) {
    case SLOT_OP:
        return on_op_reply(c, &s, in_time, reply);
    case SLOT_LOAD:
        c->loading[s.script] = false;
        return true;
    case SLOT_PROBE:
        on_probe_reply(c, &s, reply);
        return true;
    case SLOT_GREETING:
    case SLOT_ROLE:
        return on_greeting_reply(c, &s, reply);
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_conn *c = arg;
    if (c->state == CONN_CONNECTING) {
        if (c->socket.connected) { /* else on_writable tells how the connect went */
            conn_advance(c);
        }
        return;
    }
    char bytes[READ_BYTES];
    const char *why = "closed by the server";
    ssize_t n = redis_socket_recv(&c->socket, bytes, sizeof(bytes), &why);
    if (n == REDIS_SOCKET_LATER) {
        return;
    }
    if (n <= 0) {
        redis_conn_drop(c, why);
        return;
    }
    int rc = redis_reader_feed(c->reader, bytes, (size_t)n);
    const struct redis_reply *reply = NULL;
    while (rc == 0 && (rc = redis_reader_next(c->reader, &reply)) == 1) {
        if (!on_reply(c, reply)) {
            return;
        }
        rc = 0;
    }
    if (rc < 0) {
        redis_conn_drop(c, redis_reader_trouble(c->reader));
    }
}

/* --- time-outs ------------------------------------------------------------------------------------ */

static void slots_expire(struct redis_conn *c, uint64_t now_us)
{
    uint64_t timeout_us = c->redis->conf.timeout_ms * 1000ull;
    while (c->expired != c->unsent && slot_at(c, c->expired)->sent_us + timeout_us <= now_us) {
        struct slot *s = slot_at(c, c->expired);
        struct redis_op *op = s->op;
        s->op = NULL;
        c->expired++;
        if (s->kind == SLOT_OP) {
            breaker_record(c, true); /* also for those whose client did not wait */
        }
        if (op) {
            metric_child_add(c->redis->metrics.results[REDIS_RESULT_TIMEOUT], 1);
            op_end(op, ERR_TIMEOUT, NULL);
        }
    }
}

static void arm_for_oldest(struct redis_conn *c, uint64_t now_us)
{
    if (c->head == c->unsent) {
        return; /* nothing awaited: the next flush arms it */
    }
    uint64_t at = slot_at(c, c->head)->sent_us + c->redis->conf.stall_ms * 1000ull;
    if (c->expired != c->unsent) {
        uint64_t due = slot_at(c, c->expired)->sent_us + c->redis->conf.timeout_ms * 1000ull;
        at = due < at ? due : at;
    }
    loop_timer_arm(&c->timer, at > now_us ? (at - now_us) / 1000 + 1 : 1);
}

static void on_timer(void *arg)
{
    struct redis_conn *c = arg;
    if (c->state == CONN_DOWN) {
        conn_attempt(c);
        return;
    }
    if (c->state != CONN_READY) {
        redis_conn_drop(c, "connect timed out");
        return;
    }
    uint64_t now_us = clock_mono_us();
    slots_expire(c, now_us);
    if (c->state != CONN_READY) {
        return; /* a callback ended it */
    }
    if (c->head != c->unsent && slot_at(c, c->head)->sent_us + c->redis->conf.stall_ms * 1000ull <= now_us) {
        redis_conn_drop(c, "no answer");
        return;
    }
    arm_for_oldest(c, now_us);
}

/* --- loss ----------------------------------------------------------------------------------------- */

static void slots_fail(struct redis_conn *c, int rc)
{
    uint64_t end = c->tail;
    while (c->head != end) {
        struct redis_op *op = slot_at(c, c->head)->op;
        c->head++;
        if (op) {
            metric_child_add(c->redis->metrics.results[REDIS_RESULT_CLOSED], 1);
            op_end(op, rc, NULL);
        }
    }
    c->expired = c->unsent = c->head;
}

static void conn_close(struct redis_conn *c)
{
    if (c->state == CONN_READY && c->use != REDIS_CONN_SENTINEL) {
        metric_child_add(c->redis->metrics.connections, -1);
    }
    if (c->socket.fd >= 0) {
        event_del(&c->read_event);
        event_del(&c->write_event);
        redis_socket_close(&c->socket);
    }
    c->state = CONN_DOWN;
    loop_timer_disarm(&c->timer);
    buf_truncate(&c->out);
    redis_reader_reset(c->reader);
    memset(c->loading, 0, sizeof(c->loading));
    breaker_reset(c);
}

/* From any state to DOWN. Callbacks run from here; what they send here is refused. */
void redis_conn_drop(struct redis_conn *c, const char *why)
{
    if (!c->told_down) {
        log_warn("redis role=%s state=down loop=%u at=%s why=\"%s\"", c->redis->role, loop_index(c->loop),
                 c->target, why);
        c->told_down = true;
    }
    conn_close(c);
    if (c->use == REDIS_CONN_SERVER) {
        uint32_t half = c->backoff_ms / 2;
        uint32_t most = c->redis->conf.backoff_max_ms;
        loop_timer_arm(&c->timer, half + id_random_below(half + 1));
        c->backoff_ms = c->backoff_ms * 2 < most ? c->backoff_ms * 2 : most;
    }
    conn_tell(c);
    slots_fail(c, ERR_CLOSED);
}

/* --- life ----------------------------------------------------------------------------------------- */

struct redis_conn *redis_conn_new(struct redis *r, enum redis_conn_use use, const char *target)
{
    struct redis_conn *c = calloc(1, sizeof(*c));
    BUG_ON(!c);
    *c = (struct redis_conn){.redis = r, .loop = r->loop, .use = use, .socket = {.fd = -1}};
    c->ring = calloc(r->conf.max_pending, sizeof(*c->ring));
    BUG_ON(!c->ring);
    c->reader = redis_reader_new();
    buf_init(&c->out, r->conf.max_output_bytes);
    c->flush = (struct loop_task){.fn = conn_flush, .arg = c};
    loop_timer_init(c->loop, &c->timer, on_timer, c);
    loop_timer_init(c->loop, &c->probe_timer, on_probe_due, c);
    c->backoff_ms = BACKOFF_FIRST_MS;
    if (target) {
        redis_conn_connect(c, target);
    }
    return c;
}

void redis_conn_free(struct redis_conn *c)
{
    if (!c) {
        return;
    }
    c->told_down = true;
    conn_close(c);
    conn_tell(c);
    slots_fail(c, ERR_CANCELED);
    loop_task_cancel(c->loop, &c->flush);
    loop_timer_disarm(&c->timer);
    loop_timer_disarm(&c->probe_timer);
    resolver_free(c->resolver);
    redis_reader_free(c->reader);
    buf_clear(&c->out);
    free(c->ring);
    free(c);
}

bool redis_conn_is_ready(const struct redis_conn *c)
{
    return c->state == CONN_READY && !c->breaker.open;
}

bool redis_conn_is_down(const struct redis_conn *c)
{
    return c->state == CONN_DOWN;
}

bool redis_conn_is_idle(const struct redis_conn *c)
{
    return c->head == c->tail;
}

const char *redis_conn_target(const struct redis_conn *c)
{
    return c->target;
}

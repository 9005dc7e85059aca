/* See redis_conn.h, redis_conn_inner.h. In time order: connect and greet, loss, life. */
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/log.h"
#include "base/redis_conn_inner.h"

enum { BACKOFF_FIRST_MS = 10 };

void redis_conn_tell(struct redis_conn *c)
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

/* --- connect and greet ---------------------------------------------------------------------------- */

static int greet(struct redis_conn *c, enum redis_slot_kind kind, unsigned argc, const struct str *argv)
{
    c->greetings++;
    return redis_pipeline_push_argv(c, kind, NULL, argc, argv);
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
        return greet(c, REDIS_SLOT_GREETING, 3, argv);
    }
    argv[1] = argv[2];
    return greet(c, REDIS_SLOT_GREETING, 2, argv);
}

/* PING fails while the server loads its data; SELECT does not. */
static void conn_greet(struct redis_conn *c)
{
    c->state = REDIS_CONN_GREETING;
    c->greetings = 0;
    int rc = greet_auth(c);
    struct str ping[] = {STR("PING")};
    rc |= greet(c, REDIS_SLOT_GREETING, 1, ping);
    if (c->use != REDIS_CONN_SENTINEL) {
        char db[12];
        snprintf(db, sizeof(db), "%u", c->redis->conf.db);
        struct str select[] = {STR("SELECT"), str_from(db)};
        rc |= greet(c, REDIS_SLOT_GREETING, 2, select);
        for (unsigned i = 0; i < c->redis->script_count; i++) {
            rc |= redis_pipeline_push_load(c, REDIS_SLOT_GREETING, i);
            c->greetings++;
        }
    }
    if (c->use == REDIS_CONN_PRIMARY) {
        struct str role[] = {STR("ROLE")};
        rc |= greet(c, REDIS_SLOT_ROLE, 1, role);
    }
    BUG_ON(rc != 0); /* the limits' least values hold a greeting */
}

static void conn_is_up(struct redis_conn *c)
{
    c->state = REDIS_CONN_READY;
    c->backoff_ms = BACKOFF_FIRST_MS;
    redis_pipeline_close_breaker(c);
    loop_timer_disarm(&c->timer);
    if (c->use != REDIS_CONN_SENTINEL) {
        metric_child_add(c->redis->metrics.connects, 1);
        metric_child_add(c->redis->metrics.connections, 1);
    }
    if (c->told_down) {
        log_info("redis role=%s at=%s state=ready loop=%u", c->redis->role, c->target, loop_index(c->loop));
        c->told_down = false;
    }
    redis_conn_tell(c);
}

/* false: the connection was dropped. */
bool redis_conn_greeted(struct redis_conn *c, const struct redis_slot *s, const struct redis_reply *reply)
{
    char why[96];
    if (reply->type == REDIS_TYPE_ERROR) {
        snprintf(why, sizeof(why), STR_FMT, (int)(reply->text.n < 80 ? reply->text.n : 80), reply->text.p);
        redis_conn_drop(c, why);
        return false;
    }
    bool has_role = reply->type == REDIS_TYPE_ARRAY && reply->count > 0;
    if (s->kind == REDIS_SLOT_ROLE && !(has_role && str_is(reply->items->text, "master"))) {
        redis_conn_drop(c, "it is no primary");
        return false;
    }
    if (--c->greetings == 0) {
        conn_is_up(c);
    }
    return true;
}

/* TCP and TLS, until both are through. */
static void conn_advance(struct redis_conn *c)
{
    const char *why = NULL;
    switch (redis_socket_advance(&c->socket, &why)) {
    case REDIS_SOCKET_OPEN:
        conn_greet(c);
        redis_pipeline_flush(c);
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

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_conn *c = arg;
    if (c->state != REDIS_CONN_CONNECTING) {
        redis_pipeline_read(c);
    } else if (c->socket.connected) { /* else on_writable tells how the connect went */
        conn_advance(c);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_conn *c = arg;
    if (c->state == REDIS_CONN_CONNECTING) {
        conn_advance(c);
    } else {
        redis_pipeline_flush(c);
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
    c->state = REDIS_CONN_CONNECTING;
    event_add(&c->write_event, NULL);
    event_add(&c->read_event, NULL);
}

static void on_addresses(void *arg)
{
    struct redis_conn *c = arg;
    if (c->state != REDIS_CONN_RESOLVING) {
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
        c->state = REDIS_CONN_RESOLVING;
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
    if (c->state != REDIS_CONN_DOWN) {
        redis_conn_drop(c, "another server is in its place");
    }
    if ((strcmp(c->target, target) == 0 && c->target[0]) || conn_aim(c, target)) {
        conn_attempt(c);
    }
}

/* --- loss ----------------------------------------------------------------------------------------- */

static void conn_close(struct redis_conn *c)
{
    if (c->state == REDIS_CONN_READY && c->use != REDIS_CONN_SENTINEL) {
        metric_child_add(c->redis->metrics.connections, -1);
    }
    if (c->socket.fd >= 0) {
        event_del(&c->read_event);
        event_del(&c->write_event);
        redis_socket_close(&c->socket);
    }
    c->state = REDIS_CONN_DOWN;
    loop_timer_disarm(&c->timer);
    buf_truncate(&c->out);
    redis_reader_reset(c->reader);
    memset(c->loading, 0, sizeof(c->loading));
    redis_pipeline_close_breaker(c);
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
    redis_conn_tell(c);
    redis_pipeline_fail(c, ERR_CLOSED);
}

/* --- life ----------------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
    struct redis_conn *c = arg;
    if (c->state == REDIS_CONN_DOWN) {
        conn_attempt(c);
    } else if (c->state == REDIS_CONN_READY) {
        redis_pipeline_expire(c);
    } else {
        redis_conn_drop(c, "connect timed out");
    }
}

struct redis_conn *redis_conn_new(struct redis *r, enum redis_conn_use use, const char *target)
{
    struct redis_conn *c = calloc(1, sizeof(*c));
    BUG_ON(!c);
    *c = (struct redis_conn){.redis = r, .loop = r->loop, .use = use, .socket = {.fd = -1}};
    c->ring = calloc(r->conf.max_pending, sizeof(*c->ring));
    BUG_ON(!c->ring);
    c->reader = redis_reader_new();
    buf_init(&c->out, r->conf.max_output_bytes);
    c->flush = (struct loop_task){.fn = redis_pipeline_flush, .arg = c};
    loop_timer_init(c->loop, &c->timer, on_timer, c);
    loop_timer_init(c->loop, &c->probe_timer, redis_pipeline_on_probe_due, c);
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
    redis_conn_tell(c);
    redis_pipeline_fail(c, ERR_CANCELED);
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
    return c->state == REDIS_CONN_READY && !c->breaker.open;
}

bool redis_conn_is_down(const struct redis_conn *c)
{
    return c->state == REDIS_CONN_DOWN;
}

bool redis_conn_is_idle(const struct redis_conn *c)
{
    return c->head == c->tail;
}

const char *redis_conn_target(const struct redis_conn *c)
{
    return c->target;
}

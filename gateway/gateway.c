/* Up and down in the order of gateway.h. Down: threads end, then connections (which cancels what requests wait
 * for), then the database threads (whose last answers are still delivered), then the parts, then the loops. */
#include "gateway/gateway.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/id.h"
#include "base/log.h"
#include "gateway/access_log.h"
#include "gateway/accounts.h"
#include "gateway/challenge.h"
#include "gateway/attack.h"
#include "gateway/bans.h"
#include "gateway/chat.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/geography.h"
#include "gateway/identify.h"
#include "gateway/limits.h"
#include "gateway/policy_due.h"
#include "gateway/proxy.h"
#include "gateway/request.h"
#include "gateway/routes.h"
#include "gateway/suspicion.h"
#include "gateway/trace.h"
#include "base/http/handover.h"
#include "base/sd_notify.h"

/* --- opening ------------------------------------------------------------------------------------- */

static unsigned thread_count(const struct gateway_config *conf)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = conf->set->process.threads;
    return wanted != 0 ? wanted : cores > 0 ? (unsigned)cores : 1;
}

static int open_listeners(struct gateway *g, struct err *err)
{
    const struct http_listener_conf *rows = g->conf->set->listeners.items;
    unsigned n = g->conf->set->listeners.n;
    g->listeners = calloc(n, sizeof *g->listeners);
    BUG_ON(g->listeners == NULL);
    for (unsigned i = 0; i < n; i++) {
        struct http_listener_conf conf = rows[i];
        conf.handover = g->start.handover;
        conf.waits = conf.handover != NULL;
        struct http_listener *l = http_listener_open(&conf, g->loop_count, err);
        if (l == NULL) {
            return err->code;
        }
        g->listeners[g->listener_count++] = l;
    }
    return 0;
}

static int open_access_log(struct gateway *g, struct err *err)
{
    const char *path = g->conf->set->process.access_log_file;
    if (path == NULL) {
        return 0;
    }
    g->access_log = access_log_open(path, err);
    return g->access_log != NULL ? 0 : (int)err->code;
}

static int run_check_schema(struct pg *pg, void *unused)
{
    return pg_schema_check(pg);
}

/* A database that cannot be reached now is no reason to stay down: the poll of versions looks again. */
static int check_schema(const struct pg_conf *conf, struct err *err)
{
    struct err why;
    struct pg *pg = pg_open(conf->uri, conf->connect_ms, &why);
    int rc = pg != NULL ? pg_transaction(pg, run_check_schema, NULL, conf->job_ms, err) : 0;
    if (pg != NULL) {
        pg_close(pg);
    }
    return rc == ERR_CONFLICT ? rc : 0;
}

static int open_database(struct gateway *g, struct err *err)
{
    const struct pg_conf *conf = g->conf->set->database;
    if (conf == NULL) {
        return 0;
    }
    int rc = check_schema(conf, err);
    if (rc != 0) {
        return rc;
    }
    g->pg = pg_pool_new(conf, err);
    return g->pg != NULL ? 0 : (int)err->code;
}

/* The certificates for listener i of a configuration's; NULL for a plain one. */
static struct tls_set *tls_of(const struct gateway_config *conf, unsigned i)
{
    const struct http_listener_conf *rows = conf->set->listeners.items;
    return rows[i].tls ? conf->tls : NULL;
}

static int attach(struct gateway_loop *gl, unsigned listener, struct err *err)
{
    struct gateway *g = gl->gateway;
    struct http_listener *l = g->listeners[listener];
    int rc = 0;
    for (unsigned s = loop_index(gl->loop); s < http_listener_shards(l) && rc == 0; s += g->loop_count) {
        rc = http_server_attach(gl->server, l, s, tls_of(gl->conf, listener), NULL, err);
    }
    return rc;
}

static void set_http(struct gateway_loop *gl)
{
    const struct conf_prefixes *trusted = &gl->conf->set->trusted_proxies;
    http_server_set_limits(gl->server, &gl->conf->set->http);
    http_server_set_exempt(gl->server, trusted->items, trusted->n);
}

static int open_loop(struct gateway_loop *gl, struct err *err)
{
    struct http_handler handler = request_http_handler;
    handler.arg = gl;
    geography_loop_open(gl);
    int rc = identify_loop_open(gl, err);
    if (rc == 0) {
        rc = limits_loop_open(gl, err);
    }
    if (rc == 0) {
        rc = accounts_loop_open(gl, err);
    }
    if (rc == 0) {
        rc = chat_loop_open(gl, err);
    }
    if (rc == 0) {
        rc = proxy_loop_open(gl, err);
    }
    if (rc != 0) {
        return rc;
    }
    gl->server = http_server_new(gl->loop, &gl->conf->set->http, &handler);
    set_http(gl);
    bans_loop_open(gl);
    if (gl->gateway->start.handover != NULL) {
        http_server_wait(gl->server);
    }
    for (unsigned i = 0; i < gl->gateway->listener_count && rc == 0; i++) {
        rc = attach(gl, i, err);
    }
    return rc;
}

static void new_loops(struct gateway *g)
{
    g->loops = aligned_alloc(GATEWAY_LINE, g->loop_count * sizeof *g->loops);
    BUG_ON(g->loops == NULL);
    memset(g->loops, 0, g->loop_count * sizeof *g->loops);
    for (unsigned i = 0; i < g->loop_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "loop-%u", i);
        g->loops[i].gateway = g;
        g->loops[i].loop = loop_new(name, i);
        g->loops[i].hold = config_hold_new(config_ref(g->conf));
        g->loops[i].conf = g->conf;
        g->loops[i].routes = g->conf->routes;
        g->loops[i].trace = trace_ring_new(g->conf->set->process.trace_requests);
    }
}

static int open_parts(struct gateway *g, struct err *err)
{
    geography_open(g);
    int rc = limits_open(g, err);
    bans_open(g);
    if (rc == 0) {
        challenge_open(g);
        suspicion_open(g);
        rc = accounts_open(g, err);
    }
    if (rc == 0) {
        policy_due_open(g);
        attack_open(g);
    }
    if (rc == 0) {
        rc = chat_open(g, err);
    }
    for (unsigned i = 0; i < g->loop_count && rc == 0; i++) {
        rc = open_loop(&g->loops[i], err);
    }
    return rc;
}

static int open_all(struct gateway *g, struct err *err)
{
    int rc = open_listeners(g, err);
    if (rc == 0) {
        rc = open_access_log(g, err);
    }
    if (rc == 0) {
        rc = open_database(g, err);
    }
    if (rc == 0) {
        rc = open_parts(g, err);
    }
    return rc == 0 ? control_listen(g->control, err) : rc;
}

struct gateway *gateway_open(const struct gateway_config *conf, const struct gateway_start *start,
                             struct err *err)
{
    struct gateway *g = calloc(1, sizeof *g);
    BUG_ON(g == NULL);
    g->conf = conf;
    g->start = *start;
    g->loop_count = thread_count(conf);
    g->started_ms = clock_mono_ms();
    g->has_accounts = conf->set->auth != NULL;
    g->has_workers = conf->set->chat.workers.n > 0;
    id_request(g->instance);
    g->control = control_new(g);
    pressure_open(g);
    new_loops(g);
    if (open_all(g, err) != 0) {
        gateway_free(g);
        return NULL;
    }
    return g;
}

/* --- running ------------------------------------------------------------------------------------- */

static void *loop_thread(void *arg)
{
    struct gateway_loop *gl = arg;
    crash_thread_begin();
    crash_note(request_crash_note, gl);
    loop_run(gl->loop);
    crash_note(NULL, NULL);
    crash_thread_end();
    return NULL;
}

int gateway_run(struct gateway *g)
{
    pthread_t *threads = calloc(g->loop_count, sizeof *threads);
    BUG_ON(threads == NULL);
    for (unsigned i = 0; i < g->loop_count; i++) {
        BUG_ON(pthread_create(&threads[i], NULL, loop_thread, &g->loops[i]) != 0);
    }
    control_begin(g->control);
    log_info("running loops=%u version=%s", g->loop_count, TIDE_VERSION);
    loop_run(control_loop(g->control));
    for (unsigned i = 0; i < g->loop_count; i++) {
        loop_stop(g->loops[i].loop);
    }
    for (unsigned i = 0; i < g->loop_count; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
    log_info("stopped");
    return 0;
}

struct each_loop_msg {
    struct loop_msg msg;
    struct gateway_loop *gl;
    void (*fn)(struct gateway_loop *gl, void *arg);
    void *arg;
};

static void on_each_loop(struct loop_msg *m, bool canceled)
{
    struct each_loop_msg *each = (struct each_loop_msg *)(void *)m;
    if (!canceled) {
        each->fn(each->gl, each->arg);
    }
    free(each);
}

void gateway_each_loop(struct gateway *g, void (*fn)(struct gateway_loop *gl, void *arg), void *arg)
{
    for (unsigned i = 0; i < g->loop_count; i++) {
        struct each_loop_msg *each = malloc(sizeof *each);
        BUG_ON(each == NULL);
        *each = (struct each_loop_msg){.msg = {.fn = on_each_loop}, .gl = &g->loops[i], .fn = fn, .arg = arg};
        loop_post(g->loops[i].loop, &each->msg);
    }
}

/* --- changing the configuration ------------------------------------------------------------------ */

struct config_msg {
    struct loop_msg msg;
    struct gateway_loop *gl;
    const struct gateway_config *conf;
};

static void use_config(struct gateway_loop *gl, const struct gateway_config *conf)
{
    struct config_hold *old = gl->hold;
    gl->hold = config_hold_new(conf);
    gl->conf = conf;
    gl->routes = conf->routes;
    set_http(gl);
    for (unsigned i = 0; i < gl->gateway->listener_count; i++) {
        http_server_set_tls(gl->server, gl->gateway->listeners[i], tls_of(conf, i));
    }
    identify_loop_reload(gl);
    accounts_loop_reload(gl);
    proxy_loop_reload(gl);
    config_hold_drop(old);
}

static void on_config(struct loop_msg *m, bool canceled)
{
    struct config_msg *msg = (struct config_msg *)(void *)m;
    if (canceled || msg->gl->server == NULL) {
        config_unref(msg->conf);
    } else {
        use_config(msg->gl, msg->conf);
    }
    free(msg);
}

void gateway_set_config(struct gateway *g, const struct gateway_config *conf)
{
    const struct gateway_config *old = g->conf;
    g->conf = conf;
    log_set_level((enum log_level)conf->set->process.log.level);
    chat_reload(g, &conf->set->chat);
    geography_reload(g);
    limits_count_rules(conf);
    for (unsigned i = 0; i < g->loop_count; i++) {
        struct config_msg *msg = malloc(sizeof *msg);
        BUG_ON(msg == NULL);
        *msg = (struct config_msg){.msg = {.fn = on_config}, .gl = &g->loops[i], .conf = config_ref(conf)};
        loop_post(g->loops[i].loop, &msg->msg);
    }
    config_unref(old);
}

/* --- ending -------------------------------------------------------------------------------------- */

static void on_loop_empty(void *arg)
{
    struct gateway_loop *gl = arg;
    struct gateway *g = gl->gateway;
    if (!gl->is_empty && atomic_fetch_sub(&g->loops_left, 1) == 1) {
        loop_stop(control_loop(g->control));
    }
    gl->is_empty = true; /* asked to retire and then to drain, it may say so twice */
}

/* A message that comes after close_servers finds no server: there is nothing left to drain. */
static void drain_loop(struct gateway_loop *gl, void *arg)
{
    if (gl->server != NULL) {
        http_server_drain(gl->server, gl->conf->set->process.drain_ms, on_loop_empty, gl);
    }
}

static void retire_loop(struct gateway_loop *gl, void *arg)
{
    if (gl->server != NULL) {
        http_server_retire(gl->server, gl->conf->set->process.retire_ms, on_loop_empty, gl);
    }
}

void gateway_drain(struct gateway *g)
{
    if (atomic_exchange(&g->draining, true)) {
        log_warn("stopping at once, asked twice");
        loop_stop(control_loop(g->control));
        return;
    }
    log_info("draining deadline_ms=%llu", (unsigned long long)g->conf->set->process.drain_ms);
    if (!atomic_load(&g->retired)) {
        sd_notify_state("STOPPING=1\nSTATUS=draining");
        atomic_store(&g->loops_left, g->loop_count);
    }
    gateway_each_loop(g, drain_loop, NULL);
}

void gateway_retire(struct gateway *g)
{
    log_info("retired deadline_ms=%llu", (unsigned long long)g->conf->set->process.retire_ms);
    atomic_store(&g->retired, true);
    atomic_store(&g->loops_left, g->loop_count);
    for (unsigned i = 0; i < g->listener_count; i++) {
        http_listener_leave(g->listeners[i]);
    }
    control_retire(g->control);
    gateway_each_loop(g, retire_loop, NULL);
}

static void begin_loop(struct gateway_loop *gl, void *arg)
{
    if (gl->server != NULL) {
        http_server_begin(gl->server);
    }
}

int gateway_begin(struct gateway *g, struct err *err)
{
    for (unsigned i = 0; i < g->listener_count; i++) {
        if (http_listener_begin(g->listeners[i], err) != 0) {
            return err->code;
        }
    }
    gateway_each_loop(g, begin_loop, NULL);
    return 0;
}

static void stop_again(void *arg)
{
    loop_stop(arg);
}

/* Delivers what other threads have posted, so that nobody is left waiting for it. */
static void run_what_is_posted(struct loop *l)
{
    loop_call(l, stop_again, l);
    loop_run(l);
}

static void close_loop_parts(struct gateway_loop *gl)
{
    proxy_loop_close(gl);
    chat_loop_close(gl);
    accounts_loop_close(gl);
    bans_loop_close(gl);
    limits_loop_close(gl);
    identify_loop_close(gl);
    geography_loop_close(gl);
}

static void close_servers(struct gateway *g)
{
    for (unsigned i = 0; i < g->loop_count; i++) {
        if (g->loops[i].server != NULL) {
            http_server_free(g->loops[i].server);
            g->loops[i].server = NULL;
        }
    }
    control_end(g->control);
    for (unsigned i = 0; i < g->listener_count; i++) {
        http_listener_close(g->listeners[i]);
    }
    free(g->listeners);
}

void gateway_free(struct gateway *g)
{
    close_servers(g);
    geography_stop(g);
    pg_pool_free(g->pg);
    g->pg = NULL; /* what still ends finds no database */
    run_what_is_posted(
        control_loop(g->control)); /* jobs that have ended: what they fetched goes to the loops */
    for (unsigned i = 0; i < g->loop_count; i++) {
        run_what_is_posted(g->loops[i].loop);
    }
    run_what_is_posted(control_loop(g->control));
    for (unsigned i = 0; i < g->loop_count; i++) {
        close_loop_parts(&g->loops[i]);
    }
    chat_close(g);
    policy_due_close(g);
    accounts_close(g);
    challenge_close(g);
    attack_close(g);
    bans_close(g);
    suspicion_close(g);
    limits_close(g);
    geography_close(g);
    for (unsigned i = 0; i < g->loop_count; i++) {
        trace_ring_free(g->loops[i].trace);
        loop_free(g->loops[i].loop);
        config_hold_drop(g->loops[i].hold);
    }
    free(g->loops);
    control_free(g->control);
    pressure_close(g);
    access_log_close(g->access_log);
    http_handover_free(g->start.handover);
    config_unref(g->conf);
    free(g);
}

/* See accounts.h. Three parts, in this order: the ports that auth/ calls, the routes, and what the control thread
 * learns from the database and hands to the loops. */
#include "gateway/accounts.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "auth/sync.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/hooks.h"
#include "gateway/identify.h"
#include "gateway/limits.h"
#include "gateway/routes.h"

enum { RETRY_MS = 400, PURGE_MS = 60000, JOB_MS = 5000 };

static struct metric policy_version_now =
    METRIC_GAUGE("tidegate_policy_version", "Version of the sign-up policy in force here.");

/* One thing to fetch: runs one job at a time, again when it moved meanwhile or failed. Control thread. */
struct fetch {
    struct pg_job job;
    struct accounts *accounts;
    bool is_running;
    bool is_due;
};

struct accounts {
    struct gateway *gateway;
    struct auth_ports ports;
    struct hooks *hooks;
    atomic_bool has_policy;
    char policy_path[512];
    /* the control thread's */
    struct policy *policy; /* a reference */
    struct fetch policy_fetch, ended_fetch, purge;
    struct auth_sync policy_sync, ended_sync;
    int64_t ended_until_ms;
};

struct accounts_loop {
    struct auth_loop auth;
};

/* --- ports: what auth/ asks for ---------------------------------------------------------------------- */

struct limit_wait {
    struct auth_call *call;
    void (*done)(struct auth_call *call, bool is_admitted);
};

static void on_limit(struct request *r, void *arg, enum limits_verdict v)
{
    struct limit_wait *w = arg;
    if (v != LIMITS_PASS) {
        limits_refuse(r);
    }
    w->done(w->call, v == LIMITS_PASS);
}

static void port_check_limit(struct auth_call *call, const char *event, struct str phone, struct str prefix,
                             void (*done)(struct auth_call *, bool))
{
    struct request *r = call->request;
    struct limit_wait *w = ARENA_NEW(&r->ex->arena, struct limit_wait);
    *w = (struct limit_wait){call, done};
    struct limits_keys keys = {.phone = phone, .phone_prefix = prefix, .account = STR("")};
    limits_more(r, event, &keys, on_limit, w);
}

static void port_give_back(struct auth_call *call)
{
    limits_give_back(call->request);
}

static void port_send_message(void *arg, const struct auth_message *m, void (*done)(void *, int),
                              void *done_arg)
{
    struct accounts *a = arg;
    hooks_send_code(a->hooks, m, done, done_arg);
}

static void port_poll_soon(void *arg)
{
    struct accounts *a = arg;
    control_poll_soon(a->gateway->control);
}

static void port_session_ended(void *loop_arg, const struct uuid *session)
{
    identify_forget_session(loop_arg, session);
    request_cut_session(loop_arg, session);
}

/* --- routes ------------------------------------------------------------------------------------------ */

static void on_cancel(struct request *r)
{
    auth_call_cancel(r->handler);
}

static void start(struct request *r, void (*handle)(struct auth_call *))
{
    struct auth_call *call = ARENA_NEW(&r->ex->arena, struct auth_call);
    *call = (struct auth_call){.ex = r->ex,
                               .al = &r->gl->accounts->auth,
                               .conf = r->conf->set->auth,
                               .request = r,
                               .client = r->client,
                               .device = r->device,
                               .body = r->body,
                               .who = r->who};
    r->handler = call;
    r->cancel = on_cancel;
    handle(call);
}

static void on_otp(struct request *r)
{
    start(r, auth_http_otp);
}

static void on_verify(struct request *r)
{
    start(r, auth_http_verify);
}

static void on_token(struct request *r)
{
    start(r, auth_http_token);
}

static void on_user(struct request *r)
{
    start(r, auth_http_user);
}

static void on_logout(struct request *r)
{
    start(r, auth_http_logout);
}

static void on_settings(struct request *r)
{
    start(r, auth_http_settings);
}

static void on_health(struct request *r)
{
    start(r, auth_http_health);
}

static void on_jwks(struct request *r)
{
    start(r, auth_http_jwks);
}

static void on_refused(struct request *r)
{
    start(r, auth_http_refuse);
}

/* Jobs and hooks have deadlines of their own, so the rows do not wait for process.handle. */
#define POST_ROW(name_, path_, handle_)                                                                      \
    {                                                                                                        \
        .name = (name_), .methods = ROUTE_POST, .path = STR_INIT(path_), .auth = ROUTE_AUTH_APIKEY,          \
        .body = ROUTE_BODY_BUFFER, .max_body_bytes = AUTH_BODY_MAX, .dialect = HTTP_DIALECT_GOTRUE,          \
        .own_deadlines = true, .handle = (handle_)                                                           \
    }
#define GET_ROW(name_, path_, auth_, handle_)                                                                \
    {                                                                                                        \
        .name = (name_), .methods = ROUTE_GET, .path = STR_INIT(path_), .auth = (auth_),                     \
        .dialect = HTTP_DIALECT_GOTRUE, .own_deadlines = true, .handle = (handle_)                           \
    }

const struct route accounts_routes[] = {
    POST_ROW("auth_otp", "/auth/v1/otp", on_otp),
    POST_ROW("auth_verify", "/auth/v1/verify", on_verify),
    POST_ROW("auth_token", "/auth/v1/token", on_token),
    GET_ROW("auth_user", "/auth/v1/user", ROUTE_AUTH_APIKEY_USER, on_user),
    {.name = "auth_logout",
     .methods = ROUTE_POST,
     .path = STR_INIT("/auth/v1/logout"),
     .auth = ROUTE_AUTH_APIKEY_USER,
     .dialect = HTTP_DIALECT_GOTRUE,
     .own_deadlines = true,
     .handle = on_logout},
    GET_ROW("auth_settings", "/auth/v1/settings", ROUTE_AUTH_APIKEY, on_settings),
    GET_ROW("auth_health", "/auth/v1/health", ROUTE_AUTH_APIKEY, on_health),
    GET_ROW("auth_jwks", "/auth/v1/.well-known/jwks.json", ROUTE_AUTH_APIKEY, on_jwks),
    GET_ROW("jwks", "/.well-known/jwks.json", ROUTE_AUTH_NONE, on_jwks),
    POST_ROW("auth_signup", "/auth/v1/signup", on_refused),
    POST_ROW("auth_recover", "/auth/v1/recover", on_refused),
    POST_ROW("auth_magiclink", "/auth/v1/magiclink", on_refused),
    POST_ROW("auth_resend", "/auth/v1/resend", on_refused),
    POST_ROW("auth_sso", "/auth/v1/sso", on_refused),
    GET_ROW("auth_authorize", "/auth/v1/authorize", ROUTE_AUTH_APIKEY, on_refused),
};
const unsigned accounts_route_count = sizeof accounts_routes / sizeof accounts_routes[0];

bool accounts_is_revoked(const struct gateway_loop *gl, const struct jws_claims *who)
{
    return gl->accounts && auth_is_revoked(&gl->accounts->auth, who);
}

/* --- learning from the database (control thread) ----------------------------------------------------- */

static void give_policy(struct gateway_loop *gl, void *arg)
{
    auth_loop_set_policy(&gl->accounts->auth, arg);
    policy_unref(arg);
}

static void use_policy(struct accounts *a, struct policy *p)
{
    struct err err;
    policy_unref(a->policy);
    a->policy = policy_ref(p);
    metric_set(&policy_version_now, (double)policy_version(p));
    log_info("policy in force name=%s version=%lld", policy_name(p), (long long)policy_version(p));
    for (unsigned i = 0; i < a->gateway->loop_count; i++) {
        policy_ref(p); /* one a loop: give_policy drops it */
    }
    gateway_each_loop(a->gateway, give_policy, p);
    atomic_store(&a->has_policy, true);
    if (policy_save(p, a->policy_path, &err) < 0) {
        log_warn("policy not kept on disk error=\"%s\"", err.msg);
    }
}

struct ended_list {
    atomic_uint refs;
    unsigned n;
    struct auth_ended items[];
};

static void give_ended(struct gateway_loop *gl, void *arg)
{
    struct ended_list *list = arg;
    for (unsigned i = 0; i < list->n; i++) {
        auth_loop_end_session(&gl->accounts->auth, &list->items[i].session, list->items[i].ended_s);
    }
    if (atomic_fetch_sub(&list->refs, 1) == 1) {
        free(list);
    }
}

static void use_ended(struct accounts *a, const struct auth_sync *s)
{
    if (s->ended_count == 0) {
        return;
    }
    struct ended_list *list = malloc(sizeof *list + s->ended_count * sizeof list->items[0]);
    BUG_ON(!list);
    atomic_init(&list->refs, a->gateway->loop_count);
    list->n = s->ended_count;
    memcpy(list->items, s->ended, s->ended_count * sizeof list->items[0]);
    gateway_each_loop(a->gateway, give_ended, list);
}

static void fetch_start(struct fetch *f);

static void fetch_end(struct fetch *f, int rc)
{
    f->is_running = false;
    if (rc == ERR_CANCELED) {
        f->is_due = false;
    } else if (rc < 0) {
        f->is_due = true; /* the tick tries again */
    } else if (f->is_due) {
        fetch_start(f);
    }
}

static void on_policy_fetched(void *arg, int rc, const struct err *err)
{
    struct accounts *a = ((struct fetch *)arg)->accounts;
    struct policy *p = rc == 0 ? a->policy_sync.policy : NULL;
    if (rc == ERR_INVALID) {
        log_error("the policy in the database cannot be read, the last known one stands error=\"%s\"",
                  err->msg);
    }
    if (p && p != a->policy) {
        use_policy(a, p);
    }
    auth_sync_clear(&a->policy_sync);
    fetch_end(arg, rc);
}

static void on_ended_fetched(void *arg, int rc, const struct err *err)
{
    struct accounts *a = ((struct fetch *)arg)->accounts;
    if (rc == 0) {
        use_ended(a, &a->ended_sync);
        a->ended_until_ms = a->ended_sync.until_ms;
    }
    auth_sync_clear(&a->ended_sync);
    fetch_end(arg, rc);
}

static void on_purged(void *arg, int rc, const struct err *err)
{
    ((struct fetch *)arg)->is_running = false;
}

/* Both halves of a job get the fetch; what the database thread fills is the sync beside it. */
static int run_policy(struct pg *pg, void *fetch)
{
    return auth_sync_policy(pg, &((struct fetch *)fetch)->accounts->policy_sync);
}

static int run_revocations(struct pg *pg, void *fetch)
{
    return auth_sync_revocations(pg, &((struct fetch *)fetch)->accounts->ended_sync);
}

static void fetch_start(struct fetch *f)
{
    struct accounts *a = f->accounts;
    if (f->is_running || !a->gateway->pg) {
        f->is_due = f->is_running;
        return;
    }
    f->is_due = false;
    if (f == &a->policy_fetch) {
        a->policy_sync.known = a->policy ? policy_ref(a->policy) : NULL;
        f->job = (struct pg_job){.run = run_policy, .done = on_policy_fetched};
    } else if (f == &a->ended_fetch) {
        a->ended_sync.since_ms = a->ended_until_ms;
        f->job = (struct pg_job){.run = run_revocations, .done = on_ended_fetched};
    } else {
        f->job = (struct pg_job){.run = auth_sync_purge, .done = on_purged};
    }
    f->job.arg = f;
    f->job.timeout_ms = JOB_MS;
    f->is_running = true;
    int rc = pg_submit(a->gateway->pg, &f->job);
    if (rc < 0) {
        f->job.done(f, rc, &(struct err){.code = (enum err_code)rc});
    }
}

static void on_moved(void *fetch, int64_t version)
{
    fetch_start(fetch);
}

static void on_retry(void *arg)
{
    struct accounts *a = arg;
    if (a->policy_fetch.is_due && !a->policy_fetch.is_running) {
        fetch_start(&a->policy_fetch);
    }
    if (a->ended_fetch.is_due && !a->ended_fetch.is_running) {
        fetch_start(&a->ended_fetch);
    }
}

static void on_purge(void *arg)
{
    struct accounts *a = arg;
    if (!a->purge.is_running && atomic_load(&a->gateway->pg_is_up)) {
        fetch_start(&a->purge);
    }
}

/* --- life -------------------------------------------------------------------------------------------- */

bool accounts_has_policy(const struct gateway *g)
{
    return g->accounts && atomic_load(&g->accounts->has_policy);
}

static void load_last_policy(struct accounts *a)
{
    struct err err;
    int rc = policy_load(a->policy_path, &a->policy, &err);
    if (rc == 0) {
        atomic_store(&a->has_policy, true);
        log_info("policy from disk name=%s version=%lld", policy_name(a->policy),
                 (long long)policy_version(a->policy));
    } else if (rc != ERR_NOT_FOUND) {
        log_warn("no policy from disk error=\"%s\"", err.msg);
    }
}

int accounts_open(struct gateway *g, struct err *err)
{
    if (!g->conf->set->auth) {
        return 0;
    }
    struct accounts *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    g->accounts = a;
    a->gateway = g;
    a->ports = (struct auth_ports){.check_limit = port_check_limit,
                                   .give_back = port_give_back,
                                   .send_message = port_send_message,
                                   .poll_soon = port_poll_soon,
                                   .session_ended = port_session_ended,
                                   .arg = a};
    a->policy_fetch.accounts = a->ended_fetch.accounts = a->purge.accounts = a;
    snprintf(a->policy_path, sizeof a->policy_path, "%s/policy", g->conf->set->process.state_dir);
    a->hooks = hooks_open(control_loop(g->control), &g->conf->set->hooks, err);
    if (!a->hooks) {
        return err->code;
    }
    phone_start();
    load_last_policy(a);
    control_watch(g->control, CONTROL_POLICY, on_moved, &a->policy_fetch);
    control_watch(g->control, CONTROL_REVOCATIONS, on_moved, &a->ended_fetch);
    control_tick(g->control, RETRY_MS, on_retry, a);
    control_tick(g->control, PURGE_MS, on_purge, a);
    return 0;
}

int accounts_loop_open(struct gateway_loop *gl, struct err *err)
{
    struct accounts *a = gl->gateway->accounts;
    if (!a) {
        return 0;
    }
    gl->accounts = calloc(1, sizeof *gl->accounts);
    BUG_ON(!gl->accounts);
    auth_loop_init(&gl->accounts->auth, gl->loop, &a->ports, &gl->gateway->pg);
    gl->accounts->auth.arg = gl;
    if (a->policy) {
        auth_loop_set_policy(&gl->accounts->auth, a->policy);
    }
    accounts_loop_reload(gl);
    return 0;
}

void accounts_loop_reload(struct gateway_loop *gl)
{
    if (gl->accounts) {
        auth_loop_set_keys(&gl->accounts->auth, gl->conf->secrets, &gl->conf->issuers[0].keys);
    }
}

void accounts_loop_close(struct gateway_loop *gl)
{
    if (gl->accounts) {
        hooks_forget_loop(gl->gateway->accounts->hooks, gl->loop);
        auth_loop_clear(&gl->accounts->auth);
        free(gl->accounts);
        gl->accounts = NULL;
    }
}

void accounts_close(struct gateway *g)
{
    struct accounts *a = g->accounts;
    if (a) {
        hooks_close(a->hooks);
        policy_unref(a->policy);
        free(a);
        g->accounts = NULL;
    }
}

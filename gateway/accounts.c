/* See accounts.h. The ports that auth/ calls, the routes, and the life of the part. What the control thread learns
 * from the database is in accounts_sync.c. */
#include "gateway/accounts.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/accounts_inner.h"
#include "gateway/attempt.h"
#include "gateway/bans.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/emergency.h"
#include "gateway/hooks.h"
#include "gateway/limits.h"
#include "gateway/logins.h"
#include "gateway/routes.h"
#include "gateway/sms.h"
#include "gateway/sms_budget.h"
#include "gateway/suspicion.h"
#include "gateway/waitlist.h"
#include "ratelimit/caps.h"
#include "ratelimit/sms_ledger.h"

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

static void port_check_limit(struct auth_call *call, const char *event, const struct auth_number *number,
                             void (*done)(struct auth_call *, bool))
{
    struct request *r = call->request;
    struct limit_wait *w = ARENA_NEW(&r->ex->arena, struct limit_wait);
    struct limits_keys keys = {
        .phone = STR(""), .phone_prefix = STR(""), .phone_country = STR(""), .account = STR("")};
    *w = (struct limit_wait){call, done};
    if (number) {
        keys.phone = number->key;
        keys.phone_prefix = number->prefix;
        keys.phone_country = number->country;
    }
    limits_more(r, event, &keys, on_limit, w);
}

static bool port_refuse_phone(struct auth_call *call, struct str e164)
{
    return bans_refuse_phone(call->request, e164);
}

static void port_give_back(struct auth_call *call)
{
    limits_give_back(call->request);
}

/* A code on its way: what it is accounted under when a provider takes it. */
struct sending {
    struct gateway_loop *gl;
    char prefix[PHONE_E164_MAX + 1];
    char country[3];
    void (*done)(void *arg, int rc);
    void *arg;
};

static void on_sent(void *arg, const struct hook_end *end)
{
    struct sending *s = arg;
    if (end->rc == 0) {
        struct str prefix = str_from(s->prefix);
        sms_account(s->gl, &(struct sms_sent){.country = str_from(s->country),
                                              .prefix = prefix,
                                              .provider = str_from(end->provider),
                                              .price = sms_price(&s->gl->conf->set->sms, prefix)});
    }
    s->done(s->arg, end->rc);
    free(s);
}

static struct gateway_loop *loop_of(struct gateway *g)
{
    unsigned i = 0;
    while (g->loops[i].loop != loop_current()) {
        BUG_ON(++i == g->loop_count);
    }
    return &g->loops[i];
}

static void port_ask_known(void *loop_arg, const struct subject *s, auth_known_cb done, void *arg)
{
    known_loop_ask(&((struct gateway_loop *)loop_arg)->accounts->known, s, done, arg);
}

/* --- caps: the ledger, by ratelimit/caps ------------------------------------------------------------- */

struct caps_wait {
    auth_caps_cb done;
    void *arg;
};

static void on_caps(void *arg, int rc, int64_t wait_s, const struct caps_place *place)
{
    struct caps_wait w = *(struct caps_wait *)arg;
    struct auth_place out = {.is_taken = place != NULL};
    free(arg);
    if (place) {
        memcpy(out.rule, place->name, sizeof out.rule);
        memcpy(out.periods, place->periods, sizeof out.periods);
    }
    w.done(w.arg, rc, wait_s, place ? &out : NULL);
}
_Static_assert((int)CAPS_PERIODS == (int)POLICY_CAPS && CAPS_NONE == POLICY_CAP_NONE, "one meaning of caps");
_Static_assert(sizeof((struct auth_place){0}.rule) == sizeof((struct caps_place){0}.name),
               "one room for ids");

static void port_ask_caps(void *loop_arg, const struct policy_decision *d, bool takes, auth_caps_cb done,
                          void *arg)
{
    struct caps_wait *w = calloc(1, sizeof *w);
    BUG_ON(!w);
    *w = (struct caps_wait){done, arg};
    caps_ask(limits_ledger(loop_arg), str_from(d->rule), d->caps, takes, on_caps, w);
}

static void port_give_back_place(void *loop_arg, const struct auth_place *place)
{
    struct caps_place p;
    memcpy(p.name, place->rule, sizeof p.name);
    memcpy(p.periods, place->periods, sizeof p.periods);
    caps_give_back(limits_ledger(loop_arg), &p);
}

static void port_send_message(void *arg, const struct auth_message *m, void (*done)(void *, int),
                              void *done_arg)
{
    struct accounts *a = arg;
    struct sending *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    s->gl = loop_of(a->gateway);
    s->done = done;
    s->arg = done_arg;
    memcpy(s->prefix, m->prefix, sizeof s->prefix);
    memcpy(s->country, m->country, sizeof s->country);
    hooks_send_code(a->hooks, m, on_sent, s);
}

static void port_code_used(void *loop_arg, const struct addr *client, struct str prefix)
{
    sms_used(loop_arg, prefix);
    suspicion_verified(loop_arg, client);
}

static void port_poll_soon(void *arg)
{
    struct accounts *a = arg;
    control_poll_soon(a->gateway->control);
}

static void port_sessions_ended(void *loop_arg)
{
    request_cut_ended(loop_arg);
}

/* --- routes ------------------------------------------------------------------------------------------ */

static void on_cancel(struct request *r)
{
    auth_call_cancel(r->handler);
}

/* The app's word, else that of Supabase's client: "supabase-flutter/2.10.3; platform=ios; ...", "supabase-js-web/2.91.0";
 * the latter is a page, though it names the system below the browser in x-supabase-client-platform. */
static enum policy_platform platform_of(const struct http_exchange *ex)
{
    struct str app = http_field_get(ex, "x-app-platform");
    struct str info = http_field_get(ex, "x-client-info");
    struct str part;
    if (app.n > 0) {
        return policy_platform_read(app);
    }
    if (str_starts(info, STR("supabase-js-web/"))) {
        return POLICY_PLATFORM_WEB;
    }
    while (str_cut(&info, ';', &part)) {
        part = str_trim(part);
        if (str_starts(part, STR("platform="))) {
            return policy_platform_read(str_skip(part, STR("platform=").n));
        }
    }
    return policy_platform_read(http_field_get(ex, "x-supabase-client-platform"));
}

/* What an app says of itself is a claim: it may narrow what the policy allows, and proves nothing. */
static void tell_caller(const struct request *r, struct policy_caller *out)
{
    memcpy(out->ip_country, r->place.country, sizeof out->ip_country);
    out->asn = r->place.asn;
    out->platform = platform_of(r->ex);
    (void)policy_app_version_read(http_field_get(r->ex, "x-app-version"), &out->app_version);
}

static void start(struct request *r, void (*handle)(struct auth_call *))
{
    if (r->who && r->who->issuer != 0) { /* the first is this gateway: another vouches for nobody's account */
        http_reply_error(r->ex, "bad_jwt", "this token is another issuer's");
        return;
    }
    struct auth_call *call = ARENA_NEW(&r->ex->arena, struct auth_call);
    *call = (struct auth_call){.ex = r->ex,
                               .al = &r->gl->accounts->auth,
                               .conf = r->conf->set->auth,
                               .request = r,
                               .client = r->client,
                               .device = r->device,
                               .body = r->body,
                               .who = r->who};
    tell_caller(r, &call->caller);
    r->handler = call;
    r->account_call = call;
    r->cancel = on_cancel;
    handle(call);
}

static void on_otp(struct request *r)
{
    start(r, auth_http_otp);
}

static void on_waitlist_join(struct request *r)
{
    start(r, auth_http_waitlist_join);
}

static void on_waitlist_place(struct request *r)
{
    start(r, auth_http_waitlist_place);
}

static void on_waitlist_leave(struct request *r)
{
    start(r, auth_http_waitlist_leave);
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
        .plain_body = true, .own_deadlines = true, .handle = (handle_)                                       \
    }
#define GET_ROW(name_, path_, auth_, handle_)                                                                \
    {                                                                                                        \
        .name = (name_), .methods = ROUTE_GET, .path = STR_INIT(path_), .auth = (auth_),                     \
        .dialect = HTTP_DIALECT_GOTRUE, .own_deadlines = true, .handle = (handle_)                           \
    }

const struct route accounts_routes[] = {
    POST_ROW("auth_otp", "/auth/v1/otp", on_otp),
    POST_ROW("auth_waitlist", "/auth/v1/waitlist", on_waitlist_join),
    GET_ROW("auth_waitlist_place", "/auth/v1/waitlist", ROUTE_AUTH_APIKEY, on_waitlist_place),
    {.name = "auth_waitlist_leave",
     .methods = ROUTE_DELETE,
     .path = STR_INIT("/auth/v1/waitlist"),
     .auth = ROUTE_AUTH_APIKEY,
     .dialect = HTTP_DIALECT_GOTRUE,
     .own_deadlines = true,
     .handle = on_waitlist_leave},
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
    GET_ROW("auth_jwks", "/auth/v1/.well-known/jwks.json", ROUTE_AUTH_NONE, on_jwks),
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

/* --- life -------------------------------------------------------------------------------------------- */

struct hooks *accounts_hooks(const struct gateway *g)
{
    return g->accounts ? g->accounts->hooks : NULL;
}

bool accounts_has_policy(const struct gateway *g)
{
    return g->accounts && atomic_load(&g->accounts->has_policy);
}

const struct policy *accounts_policy(const struct gateway *g)
{
    const struct policy *closed = g->accounts ? emergency_policy(g->accounts) : NULL;
    return closed ? closed : g->accounts ? g->accounts->policy : NULL;
}

int accounts_open(struct gateway *g, struct err *err)
{
    if (!g->conf->set->auth) {
        return 0;
    }
    struct accounts *a = calloc(1, sizeof *a);
    logins_open();
    BUG_ON(!a);
    g->accounts = a;
    a->gateway = g;
    a->ports = (struct auth_ports){.check_limit = port_check_limit,
                                   .check_code = sms_budget_check,
                                   .keep_taken = sms_budget_keep,
                                   .check_attempt = attempt_check,
                                   .refuse_phone = port_refuse_phone,
                                   .give_back = port_give_back,
                                   .ask_known = port_ask_known,
                                   .ask_caps = port_ask_caps,
                                   .give_back_place = port_give_back_place,
                                   .send_message = port_send_message,
                                   .code_used = port_code_used,
                                   .poll_soon = port_poll_soon,
                                   .sessions_ended = port_sessions_ended,
                                   .arg = a};
    a->hooks = hooks_open(control_loop(g->control), &g->conf->set->hooks, err);
    if (!a->hooks) {
        return err->code;
    }
    phone_start();
    a->waitlist = waitlist_open(g, a->hooks);
    a->known = known_accounts_open(g);
    accounts_sync_open(a);
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
    known_loop_init(&gl->accounts->known, a->known);
    accounts_sync_loop_open(a, gl);
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
        known_loop_close(&gl->accounts->known);
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
        waitlist_close(a->waitlist);
        known_accounts_close(a->known);
        accounts_sync_close(a);
        free(a);
        g->accounts = NULL;
    }
}

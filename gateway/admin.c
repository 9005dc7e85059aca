/* Dispatch, body, actor and jobs of the admin API; the verbs are in admin_accounts.c and admin_state.c. */
#include "gateway/admin.h"

#include <stdlib.h>

#include "auth/policy.h"
#include "base/log.h"
#include "gateway/admin_inner.h"
#include "gateway/inspect.h"
#include "gateway/limits_explain.h"
#include "gateway/sms.h"
#include "gateway/suspicion_explain.h"
#include "gateway/upgrade.h"

struct admin_route {
    enum http_method method;
    struct str path;   /* with '*' for one NAME */
    uint32_t body_max; /* bytes; 0: none */
    void (*handle)(struct admin_call *c);
    enum admin_level level;
    bool
        has_trial; /* handle looks at call->dry_run (see admin_submit); a change without it refuses ?dry_run=1 */
};

static const struct admin_route routes[] = {
    {HTTP_GET, STR_INIT("/admin/v1/workers"), 0, admin_workers, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/workers/*/drain"), ADMIN_BODY_MAX, admin_worker_drain, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/limits"), 0, admin_limits, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/limits/top"), 0, admin_limits_top, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/limits/explain"), 0, admin_limits_explain, ADMIN_LEVEL_READ, false},
    {HTTP_PUT, STR_INIT("/admin/v1/limits/*"), ADMIN_BODY_MAX, admin_limits_set, ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/limits/*/reset"), ADMIN_BODY_MAX, admin_limits_reset, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/sms"), 0, admin_sms, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/sms/unblock"), ADMIN_BODY_MAX, admin_sms_unblock, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/attack"), 0, admin_attack, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/attack/history"), 0, admin_attack_history, ADMIN_LEVEL_READ, false},
    {HTTP_PUT, STR_INIT("/admin/v1/attack"), ADMIN_BODY_MAX, admin_attack_set, ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/attack/auto"), ADMIN_BODY_MAX, admin_attack_auto, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/bans"), 0, admin_bans, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/bans/test"), 0, admin_bans_test, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/bans"), ADMIN_BANS_BODY_MAX, admin_bans_add, ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/bans/remove"), ADMIN_BANS_BODY_MAX, admin_bans_remove, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/explain"), 0, admin_explain, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/users"), 0, admin_users, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/users/*/revoke"), ADMIN_BODY_MAX, admin_sessions_revoke,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/users/*/ban"), ADMIN_BODY_MAX, admin_user_ban, ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/users/*/unban"), ADMIN_BODY_MAX, admin_user_unban, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_POST, STR_INIT("/admin/v1/sessions/revoke"), ADMIN_BODY_MAX, admin_everybody_out, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_POST, STR_INIT("/admin/v1/numbers/unlock"), ADMIN_BODY_MAX, admin_number_unlock, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/invites"), 0, admin_invites, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/invites"), ADMIN_BODY_MAX, admin_invites_create, ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/invites/revoke"), ADMIN_BODY_MAX, admin_invites_revoke, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/waitlist"), 0, admin_waitlist, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/waitlist/status"), 0, admin_waitlist_status, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/waitlist/release"), ADMIN_BODY_MAX, admin_waitlist_release,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_GET, STR_INIT("/admin/v1/policy"), 0, admin_policy_get, ADMIN_LEVEL_READ, false},
    {HTTP_PUT, STR_INIT("/admin/v1/policy"), ADMIN_POLICY_BODY_MAX, admin_policy_set, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/policy/history"), 0, admin_policy_history, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/policy/rollback"), ADMIN_BODY_MAX, admin_policy_rollback,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/diff"), ADMIN_DIFF_BODY_MAX, admin_policy_diff, ADMIN_LEVEL_READ,
     false},
    {HTTP_GET, STR_INIT("/admin/v1/policy/schedule"), 0, admin_policy_scheduled, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/policy/schedule"), ADMIN_POLICY_BODY_MAX, admin_policy_schedule,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/schedule/*/cancel"), ADMIN_BODY_MAX, admin_policy_unschedule,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_GET, STR_INIT("/admin/v1/policy/ramp"), 0, admin_ramp, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/policy/ramp"), ADMIN_POLICY_BODY_MAX, admin_ramp_start, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/ramp/pause"), ADMIN_BODY_MAX, admin_ramp_pause, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/ramp/resume"), ADMIN_BODY_MAX, admin_ramp_resume,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/ramp/abort"), ADMIN_BODY_MAX, admin_ramp_abort, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/emergency"), ADMIN_BODY_MAX, admin_policy_emergency,
     ADMIN_LEVEL_WRITE, true},
    {HTTP_POST, STR_INIT("/admin/v1/policy/replay"), ADMIN_POLICY_BODY_MAX, admin_policy_replay,
     ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/policy/simulate"), ADMIN_POLICY_BODY_MAX, admin_policy_simulate,
     ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/policy/lint"), ADMIN_POLICY_BODY_MAX, admin_policy_lint, ADMIN_LEVEL_READ,
     false},
    {HTTP_GET, STR_INIT("/admin/v1/policy/schema"), 0, admin_policy_schema, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/incidents"), 0, admin_incidents, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/audit"), 0, admin_audit, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/requests"), 0, admin_requests, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/requests/ended"), 0, admin_requests_ended, ADMIN_LEVEL_READ, false},
    {HTTP_GET, STR_INIT("/admin/v1/requests/*"), 0, admin_request_trace, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/requests/*/kill"), ADMIN_BODY_MAX, admin_request_kill, ADMIN_LEVEL_WRITE,
     true},
    {HTTP_GET, STR_INIT("/admin/v1/check"), 0, admin_check, ADMIN_LEVEL_READ, false},
    {HTTP_POST, STR_INIT("/admin/v1/reload"), ADMIN_BODY_MAX, admin_reload, ADMIN_LEVEL_ADMIN, true},
    {HTTP_POST, STR_INIT("/admin/v1/upgrade"), ADMIN_BODY_MAX, admin_upgrade, ADMIN_LEVEL_ADMIN, true},
};

/* --- answers ------------------------------------------------------------------------------------- */

void admin_reply(struct admin_call *c, const struct buf *text)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT("application/json")},
                                               {STR_INIT("cache-control"), STR_INIT("no-store")}};
    if (text->overflowed) {
        http_reply_error(c->ex, "internal_error", "the answer is longer than %d bytes", ADMIN_ANSWER_MAX);
        return;
    }
    http_reply(c->ex, 200, fields, 2, buf_str(text));
}

void admin_refuse(struct admin_call *c, int rc, const struct err *err)
{
    const char *code = rc == ERR_INVALID     ? "validation_failed"
                       : rc == ERR_CONFLICT  ? "conflict"
                       : rc == ERR_NOT_FOUND ? "not_found"
                       : rc == ERR_LIMIT     ? "payload_too_large"
                       : rc == ERR_INTERNAL  ? "internal_error"
                                             : "database_unavailable";
    http_reply_error(c->ex, code, "%s", err->msg);
}

/* --- jobs ---------------------------------------------------------------------------------------- */

struct admin_job {
    struct pg_job job;
    struct admin_work work;
    struct admin_call *call; /* NULL: the client has gone */
    bool is_trial;           /* what it did is taken back */
};

static void job_free(struct admin_job *j)
{
    j->work.drop(j->work.arg);
    free(j);
}

static int run_job(struct pg *pg, void *arg)
{
    struct admin_job *j = arg;
    int rc = j->is_trial ? pg_exec(pg, "SAVEPOINT trial") : 0;
    rc = rc < 0 ? rc : j->work.run(pg, j->work.arg);
    return rc >= 0 && j->is_trial ? pg_exec(pg, "ROLLBACK TO SAVEPOINT trial") : rc;
}

static void on_job_done(void *arg, int rc, const struct err *err)
{
    struct admin_job *j = arg;
    if (rc != 0 && j->work.failed != NULL) {
        j->work.failed(j->work.arg, err);
    }
    if (j->call != NULL) {
        j->call->job = NULL;
        j->work.done(j->call, j->work.arg, rc, err);
    }
    job_free(j);
}

void admin_submit(struct admin_call *c, const struct admin_work *work)
{
    struct pg_pool *pool = c->control->gateway->pg;
    struct admin_job *j = calloc(1, sizeof *j);
    BUG_ON(j == NULL);
    *j = (struct admin_job){.job = {.run = run_job, .done = on_job_done, .arg = j, .lane = PG_LANE_URGENT},
                            .work = *work,
                            .call = c};
    j->job.timeout_ms = work->timeout_ms;
    j->is_trial = c->dry_run;
    c->job = j;
    if (pool == NULL || pg_submit(pool, &j->job) != 0) {
        c->job = NULL;
        if (work->not_submitted != NULL) {
            work->not_submitted(c, work->arg);
        } else {
            http_reply_error(c->ex, "database_unavailable",
                             pool == NULL ? "this gateway has no database"
                                          : "the database is away or too busy");
        }
        job_free(j);
    }
}

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct admin_call *c = ex->user;
    if (c->job != NULL) {
        c->job->call = NULL;
    }
    if (c->explain != NULL) {
        limits_explain_forget(c->explain);
    }
    if (c->replay != NULL) {
        admin_replay_forget(c->replay);
    }
    if (c->report != NULL) {
        sms_report_forget(c->report);
    }
    if (c->unblock != NULL) {
        sms_unblock_forget(c->unblock);
    }
    if (c->weighing != NULL) {
        suspicion_explain_forget(c->weighing);
    }
    if (c->inspection != NULL) {
        inspect_forget(c->inspection);
    }
    upgrade_forget(c->control->upgrade, c);
}

/* --- the body ------------------------------------------------------------------------------------ */

static void refuse_member(struct admin_call *c, const char *key, const char *wanted)
{
    http_reply_problem(c->ex,
                       &(struct problem){.code = "validation_failed",
                                         .param = str_from(key),
                                         .detail = arena_printf(&c->ex->arena, "%s: wants %s", key, wanted)});
}

bool admin_get_text(struct admin_call *c, const char *key, struct str *out)
{
    const struct json_slice *v = json_member(&c->body, key);
    if (v != NULL && !json_get_str(&c->ex->arena, v, out)) {
        refuse_member(c, key, "a string");
        return false;
    }
    return true;
}

bool admin_get_number(struct admin_call *c, const char *key, int64_t *out)
{
    const struct json_slice *v = json_member(&c->body, key);
    if (v != NULL && !json_get_i64(v, out)) {
        refuse_member(c, key, "a whole number");
        return false;
    }
    return true;
}

bool admin_get_bool(struct admin_call *c, const char *key, bool *out)
{
    const struct json_slice *v = json_member(&c->body, key);
    if (v != NULL && !json_get_bool(v, out)) {
        refuse_member(c, key, "true or false");
        return false;
    }
    return true;
}

bool admin_knows_members(struct admin_call *c, const char *const *names, unsigned n)
{
    for (uint32_t m = 0; m < c->body.member_count; m++) {
        struct str key = c->body.members[m].key;
        bool known = false;
        for (unsigned i = 0; i < n; i++) {
            known = known || str_is(key, names[i]);
        }
        if (!known) {
            http_reply_problem(
                c->ex, &(struct problem){
                           .code = "unknown_field",
                           .param = key,
                           .detail = arena_printf(&c->ex->arena, "unknown member " STR_FMT, STR_ARG(key))});
            return false;
        }
    }
    return true;
}

/* --- dispatch ------------------------------------------------------------------------------------ */

/* A pattern has one star at most; name becomes what stands there. */
static bool matches(struct str pattern, struct str path, struct str *name)
{
    const char *star = memchr(pattern.p, '*', pattern.n);
    if (star == NULL) {
        return str_eq(pattern, path);
    }
    struct str before = str_of(pattern.p, (size_t)(star - pattern.p));
    struct str after = str_skip(pattern, before.n + 1);
    if (path.n <= before.n + after.n || !str_starts(path, before) || !str_ends(path, after)) {
        return false;
    }
    *name = str_of(path.p + before.n, path.n - before.n - after.n);
    return memchr(name->p, '/', name->n) == NULL;
}

static const struct admin_route *find(struct http_exchange *ex, struct str *name, bool *path_known)
{
    for (unsigned i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (matches(routes[i].path, ex->path, name)) {
            *path_known = true;
            if (routes[i].method == ex->method) {
                return &routes[i];
            }
        }
    }
    return NULL;
}

struct pending {
    struct admin_call call;
    const struct admin_route *route;
};

/* False: it has answered. */
static bool may_go_on(struct pending *p)
{
    struct http_exchange *ex = p->call.ex;
    enum admin_level level = admin_identify(&p->call);
    if (level >= p->route->level) {
        return true;
    }
    log_warn("admin actor=%s state=refused level=%s method=" STR_FMT " path=" STR_FMT, p->call.actor,
             admin_level_name(level), STR_ARG(ex->method_text), STR_ARG(ex->path));
    http_reply_error(ex, "forbidden", "this wants level %s; %s has %s", admin_level_name(p->route->level),
                     p->call.actor, admin_level_name(level));
    return false;
}

static void on_body(struct http_exchange *ex, int rc, struct str body)
{
    struct pending *p = ex->user; /* call is its first member */
    struct err err = {0};
    if (rc != 0) {
        http_reply_error(ex, "payload_too_large", "the body may have %u bytes", p->route->body_max);
        return;
    }
    const struct json_limits *limits =
        p->route->body_max > ADMIN_BODY_MAX ? &policy_json_limits : &json_limits_default;
    if (json_scan(&ex->arena, body, limits, &p->call.body, &err) != 0) {
        http_reply_error(ex, "bad_json", "%s", err.msg);
        return;
    }
    if (p->call.body.type != JSON_OBJECT) {
        http_reply_error(ex, "bad_json", "the body is not an object");
        return;
    }
    if (may_go_on(p)) { /* a body may take long: who may send it may have changed */
        p->route->handle(&p->call);
    }
}

/* A change that is only tried must not happen: false when it has answered. */
static bool take_dry_run(struct admin_call *c, const struct admin_route *route)
{
    struct str value;
    if (!http_query_get(c->ex, "dry_run", &value)) {
        return true;
    }
    if (!str_is(value, "1") || !route->has_trial) {
        http_reply_error(c->ex, "validation_failed",
                         route->has_trial ? "dry_run: 1, or left out" : "dry_run: this cannot be tried");
        return false;
    }
    c->dry_run = true;
    return true;
}

/* A page of somebody else's must not ask by the browser of an operator. tidectl and curl send neither field. */
static bool is_from_a_page(const struct http_exchange *ex)
{
    struct str site = http_field_get(ex, "sec-fetch-site");
    return http_field_get(ex, "origin").n > 0 || (site.n > 0 && !str_is(site, "none"));
}

void admin_on_request(struct http_exchange *ex, void *control)
{
    if (is_from_a_page(ex)) {
        http_reply_error(ex, "forbidden", "the admin API is not for pages in a browser");
        return;
    }
    struct pending *p = ARENA_NEW(&ex->arena, struct pending);
    bool path_known = false;
    p->call = (struct admin_call){.ex = ex, .control = control, .name = STR("")};
    p->route = find(ex, &p->call.name, &path_known);
    if (p->route == NULL) {
        http_reply_error(ex, path_known ? "method_not_allowed" : "not_found",
                         "the admin API has no such verb");
        return;
    }
    if (!take_dry_run(&p->call, p->route) || !may_go_on(p)) {
        return;
    }
    ex->user = p;
    ex->on_finish = on_finish;
    log_info("admin actor=%s method=" STR_FMT " path=" STR_FMT, p->call.actor, STR_ARG(ex->method_text),
             STR_ARG(ex->path));
    if (p->route->body_max > 0) {
        http_read_body(ex, p->route->body_max, on_body);
    } else {
        p->route->handle(&p->call);
    }
}

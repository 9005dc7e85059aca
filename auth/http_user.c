/* GET /auth/v1/user and POST /auth/v1/logout: what a signed-in person does with their session. */
#include "auth/account.h"
#include "auth/call.h"
#include "auth/reply.h"
#include "auth/session.h"
#include "base/clock.h"
#include "base/http/problem.h"
#include "base/jws.h"

#include <stdio.h>

/* --- GET user ---------------------------------------------------------------------------------------- */

struct user_flow {
    struct auth_job job; /* first */
    struct jws_claims who;
    bool is_alive;
    struct account account;
};

static int run_user(struct pg *pg, void *arg)
{
    struct user_flow *f = arg;
    int rc = session_confirm(pg, &f->who.session, f->who.iat, &f->is_alive);
    return rc < 0 ? rc : account_load(pg, f->job.secrets, &f->who.user, &f->account);
}

static void on_user(struct auth_job *job, int rc)
{
    struct user_flow *f = (struct user_flow *)job;
    struct auth_call *call = job->call;
    if (call && (rc == ERR_NOT_FOUND || (rc == 0 && !f->is_alive))) {
        http_reply_error(call->ex, rc ? "user_not_found" : "session_not_found",
                         "%s from the token does not exist", rc ? "User" : "Session");
    } else if (call && rc < 0) {
        auth_reply_failed(call, rc);
    } else if (call) {
        struct buf body;
        buf_init(&body, 8192);
        struct json_writer w = {.out = &body};
        reply_write_user(&w, &f->account);
        auth_reply_json(call, 200, &body);
        buf_clear(&body);
    }
    auth_job_free(job);
}

void auth_http_user(struct auth_call *call)
{
    struct user_flow *f = auth_job_new(sizeof *f, call);
    f->who = *call->who;
    f->job.pg.lane = PG_LANE_SESSION;
    auth_job_submit(&f->job, run_user, on_user);
}

/* --- POST logout ------------------------------------------------------------------------------------- */

struct logout_flow {
    struct auth_job job; /* first */
    struct uuid user, session;
    char scope[8];
    struct auth_ended ended[SESSION_ENDED_MAX];
    unsigned ended_count;
};

static int run_logout(struct pg *pg, void *arg)
{
    struct logout_flow *f = arg;
    f->ended_count = 0;
    return session_end(pg, &f->user, &f->session, f->scope, "logout", f->ended, &f->ended_count);
}

static void on_logged_out(struct auth_job *job, int rc)
{
    struct logout_flow *f = (struct logout_flow *)job;
    struct auth_call *call = job->call;
    if (rc == 0 && f->ended_count > 0) {
        auth_loop_end_sessions(job->al, f->ended, f->ended_count);
        job->al->ports->poll_soon(job->al->ports->arg);
    }
    if (call && rc < 0) {
        auth_reply_failed(call, rc);
    } else if (call) {
        http_reply(call->ex, 204, NULL, 0, (struct str){"", 0});
    }
    auth_job_free(job);
}

void auth_http_logout(struct auth_call *call)
{
    static const char *const scopes[] = {"global", "local", "others"};
    struct str scope = STR("global");
    const char *known = NULL;
    http_query_get(call->ex, "scope", &scope);
    for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++) {
        known = str_is(scope, scopes[i]) ? scopes[i] : known;
    }
    if (!known) {
        http_reply_error(call->ex, "validation_failed", "scope: must be global, local or others");
        return;
    }
    struct logout_flow *f = auth_job_new(sizeof *f, call);
    f->user = call->who->user;
    f->session = call->who->session;
    snprintf(f->scope, sizeof f->scope, "%s", known);
    f->job.pg.lane = PG_LANE_SESSION;
    auth_job_submit(&f->job, run_logout, on_logged_out);
}

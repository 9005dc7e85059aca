/* POST /auth/v1/token?grant_type=refresh_token: the next pair of tokens. Other grants are not offered. */
#include "auth/account.h"
#include "auth/call.h"
#include "auth/refresh_token.h"
#include "auth/reply.h"
#include "auth/session.h"
#include "base/clock.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "base/metrics.h"

static struct metric refreshes = METRIC_COUNTER_L(
    "tidegate_auth_refreshes_total", "Refresh tokens presented, by what came of them.", "result");

struct token_body {
    struct str refresh_token;
};

struct token_flow {
    struct auth_job job; /* first */
    struct auth_config conf;
    struct refresh_token token;
    struct session_refreshed refreshed;
    struct account account;
};

struct refusal {
    const char *code;
    const char *detail;
    const char *metric;
};

/* By enum session_outcome. */
static const struct refusal refusals[] = {
    {NULL, NULL, "ok"},
    {"refresh_token_already_used", "Invalid Refresh Token: Already Used", "reused"},
    {"session_not_found", "Session from session_id claim in JWT does not exist", "ended"},
    {"session_expired", "Invalid Refresh Token: Session Expired", "expired"},
    {"user_banned", "User is banned", "banned"},
    {"refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found", "unknown"},
};

static void count(const char *result)
{
    metric_child_add(metric_child(&refreshes, result), 1);
}

static int run_refresh(struct pg *pg, void *arg)
{
    struct token_flow *f = arg;
    int rc = session_refresh(pg, &f->conf, &f->token.session, f->token.counter, &f->refreshed);
    if (rc == 0 && f->refreshed.outcome == SESSION_OK) {
        rc = account_load(pg, f->job.secrets, &f->refreshed.user, &f->account);
    }
    return rc;
}

static void on_refreshed(struct auth_job *job, int rc)
{
    struct token_flow *f = (struct token_flow *)job;
    const struct session_refreshed *done = &f->refreshed;
    count(rc < 0 ? "failed" : refusals[done->outcome].metric);
    if (rc == 0 && done->outcome == SESSION_REUSED) {
        log_warn("refresh token reused, session ended event=token_reuse");
        auth_loop_end_sessions(job->al, &(struct auth_ended){f->token.session, clock_wall_s()}, 1);
        job->al->ports->poll_soon(job->al->ports->arg);
    }
    if (job->call && rc < 0) {
        auth_reply_failed(job->call, rc);
    } else if (job->call && done->outcome != SESSION_OK) {
        http_reply_error(job->call->ex, refusals[done->outcome].code, "%s", refusals[done->outcome].detail);
    } else if (job->call) {
        struct access_grant grant = {done->user, f->token.session, done->method, done->began_s, done->era};
        reply_session(job->call, &f->account, &grant, done->counter, false);
    }
    auth_job_free(job);
}

void auth_http_token(struct auth_call *call)
{
    static const struct body_member members[] = {
        {"refresh_token", BODY_STRING, offsetof(struct token_body, refresh_token), 0},
        {"gotrue_meta_security", BODY_IGNORED, 0, 0},
    };
    struct token_body body = {STR("")};
    struct str grant_type;
    struct refresh_token token;
    if (!http_query_get(call->ex, "grant_type", &grant_type) || !str_is(grant_type, "refresh_token")) {
        http_reply_error(call->ex, "validation_failed", "grant_type: must be refresh_token");
        return;
    }
    if (!auth_body_read(call, members, sizeof members / sizeof *members, &body)) {
        return;
    }
    if (body.refresh_token.n == 0) {
        http_reply_error(call->ex, "validation_failed", "refresh_token: is missing");
        return;
    }
    if (!refresh_token_read(call->al->secrets, body.refresh_token, &token)) {
        count("garbage");
        http_reply_error(call->ex, "refresh_token_not_found", "%s", refusals[SESSION_UNKNOWN].detail);
        return;
    }
    struct token_flow *f = auth_job_new(sizeof *f, call);
    f->conf = *call->conf;
    f->token = token;
    f->job.pg.lane = PG_LANE_SESSION;
    auth_job_submit(&f->job, run_refresh, on_refreshed);
}

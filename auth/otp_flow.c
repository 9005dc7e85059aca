#include "auth/otp_flow.h"

#include <stdio.h>

#include "base/http/problem.h"
#include "base/json.h"
#include "base/metrics.h"

static struct metric otp_requests = METRIC_COUNTER_L(
    "tidegate_auth_code_requests_total", "Requests for one-time codes, by what came of them.", "result");

struct otp_flow {
    struct auth_job job;     /* first */
    struct auth_config conf; /* for jobs: only its numbers are read */
    struct phone phone;
    struct subject subject;
    struct otp_new code;
    struct auth_message message;
    enum otp_answer answer;
    struct auth_taken *taken; /* of limits and budgets: given back when no message goes; NULL: settled */
    struct otp_intent intent; /* may_create: an account may be made */
    enum auth_taken_end end;  /* no message went: what becomes of what was taken */
    bool is_known;            /* the number has an account */
    int64_t wait_s;
};

/* --- counting ---------------------------------------------------------------------------------------- */

void otp_count(const char *result)
{
    metric_child_add(metric_child(&otp_requests, result), 1);
}

void otp_attempts_read(struct auth_attempts *out)
{
    static const char *const refusals[] = {"denied",   "waitlisted", "limited",
                                           "too_soon", "challenged", "held"};
    static const char *const others[] = {"sent", "decoy", "failed", "send_failed"};
    out->attempts = out->refused = 0;
    out->limited = metric_child_value(metric_child(&otp_requests, "limited"));
    out->served = metric_child_value(metric_child(&otp_requests, "sent")) +
                  metric_child_value(metric_child(&otp_requests, "decoy"));
    out->failed = metric_child_value(metric_child(&otp_requests, "failed")) +
                  metric_child_value(metric_child(&otp_requests, "send_failed"));
    for (unsigned i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        out->refused += metric_child_value(metric_child(&otp_requests, refusals[i]));
    }
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        out->attempts += metric_child_value(metric_child(&otp_requests, others[i]));
    }
    out->attempts += out->refused;
}

static void otp_settle(struct otp_flow *f, enum auth_taken_end how)
{
    if (f->taken) {
        f->taken->end(f->taken, how);
        f->taken = NULL;
    }
}

static void otp_clear(struct auth_job *job)
{
    otp_settle((struct otp_flow *)job, AUTH_TAKEN_STAYS);
}

/* --- the answer -------------------------------------------------------------------------------------- */

static void otp_reply_sent(struct otp_flow *f)
{
    struct buf body;
    char id[ID_UUID_TEXT + 1];
    buf_init(&body, 512);
    uuid_format(&f->code.id, id);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "message_id", str_from(id));
    json_i64_at(&w, "expires_in", (int64_t)(f->conf.otp_ttl_ms / 1000));
    json_i64_at(&w, "retry_after", (int64_t)(f->conf.otp_resend_ms / 1000));
    if (f->answer == OTP_ANSWER_ACCOUNTS_ONLY) {
        json_str_at(&w, "notice", STR("accounts_only"));
    }
    json_close(&w, '}');
    auth_reply_json(f->job.call, 200, &body);
    buf_clear(&body);
}

/* --- the end: settle, answer ------------------------------------------------------------------------- */

static int run_activate(struct pg *pg, void *arg)
{
    struct otp_flow *f = arg;
    return otp_activate(pg, &f->conf, &f->subject, &f->code.id);
}

static int run_drop(struct pg *pg, void *arg)
{
    struct otp_flow *f = arg;
    return otp_drop(pg, &f->subject, &f->code.id, f->end == AUTH_TAKEN_ALL_BACK);
}

static void on_activated(struct auth_job *job, int rc)
{
    struct otp_flow *f = (struct otp_flow *)job;
    otp_count(rc == 0 ? "sent" : "failed");
    if (job->call && rc == 0) {
        otp_reply_sent(f);
    } else if (job->call) {
        auth_reply_failed(job->call, rc);
    }
    auth_job_free(job);
}

static void on_dropped(struct auth_job *job, int rc)
{
    otp_count("send_failed");
    if (job->call) {
        http_reply_error(job->call->ex, "sms_send_failed", "the message could not be handed to its provider");
    }
    auth_job_free(job);
}

/* No code went to a number with an account. One that nobody knows keeps its limits and waits for its next code, and
 * whoever has been answered must not tell the two apart. */
static enum auth_taken_end end_unsent(const struct otp_flow *f, int rc)
{
    if (rc == ERR_TIMEOUT) {
        return AUTH_TAKEN_STAYS; /* it may have gone */
    }
    return f->answer == OTP_ANSWER_SENT ? AUTH_TAKEN_ALL_BACK : AUTH_TAKEN_BUDGETS_BACK;
}

/* The answer came first: the code is live and ages like a decoy, also when it reached nobody. */
static void end_answered(struct otp_flow *f, int rc)
{
    otp_count(rc == 0 ? "sent" : "send_failed");
    auth_job_free(&f->job);
}

static void on_message_sent(void *arg, int rc)
{
    struct otp_flow *f = arg;
    secret_cleanse(&f->message, sizeof f->message);
    if (rc == ERR_CANCELED) {
        auth_job_free(&f->job); /* the process ends */
        return;
    }
    if (rc != 0) {
        f->end = end_unsent(f, rc);
        otp_settle(f, f->end);
    }
    if (f->answer != OTP_ANSWER_SENT) {
        end_answered(f, rc);
    } else if (rc == 0) {
        auth_job_submit(&f->job, run_activate, on_activated);
    } else {
        auth_job_submit(&f->job, run_drop, on_dropped);
    }
}

static void otp_send(struct otp_flow *f)
{
    snprintf(f->message.to, sizeof f->message.to, "%s", f->phone.e164);
    snprintf(f->message.code, sizeof f->message.code, "%s", f->code.code);
    snprintf(f->message.channel, sizeof f->message.channel, "sms");
    phone_prefix(&f->phone, f->message.prefix);
    memcpy(f->message.country, f->phone.country, sizeof f->message.country);
    uuid_format(&f->code.id, f->message.id);
    f->job.al->ports->send_message(f->job.al->ports->arg, &f->message, on_message_sent, f);
}

/* --- the middle: a row, pending or live -------------------------------------------------------------- */

static bool is_decoy(const struct otp_flow *f)
{
    return !f->is_known && !f->intent.may_create;
}

/* A decoy has nothing to wait for; it may be one that was no decoy when its number was looked up. */
static bool answers_at_once(const struct otp_flow *f)
{
    return f->answer != OTP_ANSWER_SENT || is_decoy(f);
}

static int run_begin(struct pg *pg, void *arg)
{
    struct otp_flow *f = arg;
    struct uuid identity, user;
    int found = subject_find(pg, &f->subject, &identity, &user);
    if (found < 0) {
        return found;
    }
    f->is_known = found > 0;
    otp_draw(f->job.secrets, f->phone.e164, is_decoy(f), &f->code);
    int rc = otp_begin(pg, &f->conf, &f->subject, &f->code, &f->intent, &f->wait_s);
    if (rc == 0 && answers_at_once(f)) {
        rc = otp_activate(pg, &f->conf, &f->subject,
                          &f->code.id); /* guesses count from here, at a decoy too */
    }
    return rc == ERR_LIMIT ? err_set(pg_err(pg), ERR_LIMIT, "too soon") : rc;
}

static void otp_refuse_too_soon(struct otp_flow *f)
{
    struct problem p = {.code = "over_sms_send_rate_limit", .retry_after_s = (uint32_t)f->wait_s};
    http_reply_problem(f->job.call->ex, &p);
}

static void on_begun(struct auth_job *job, int rc)
{
    struct otp_flow *f = (struct otp_flow *)job;
    if (rc < 0) {
        otp_settle(f, rc == ERR_CANCELED ? AUTH_TAKEN_STAYS : AUTH_TAKEN_ALL_BACK);
        otp_count(rc == ERR_LIMIT ? "too_soon" : "failed");
        if (job->call && rc == ERR_LIMIT) {
            otp_refuse_too_soon(f);
        } else if (job->call) {
            auth_reply_failed(job->call, rc);
        }
        auth_job_free(job);
        return;
    }
    if (job->call && answers_at_once(f)) {
        otp_reply_sent(f);
        auth_job_release(job);
    }
    if (is_decoy(f)) {
        otp_settle(f, AUTH_TAKEN_BUDGETS_BACK); /* as for a number of nobody past the budgets' open part */
        otp_count(f->answer == OTP_ANSWER_ACCOUNTS_ONLY ? "held" : "decoy");
        auth_job_free(job);
    } else {
        otp_send(f);
    }
}

void otp_flow_start(struct auth_call *call, const struct phone *phone, enum otp_answer answer,
                    const struct otp_intent *intent)
{
    struct otp_flow *f = auth_job_new(sizeof *f, call);
    f->conf = *call->conf;
    f->phone = *phone;
    f->answer = answer;
    f->job.clear = otp_clear;
    f->taken = call->al->ports->keep_taken(call);
    f->intent = *intent;
    snprintf(f->message.lang, sizeof f->message.lang, "%s", problem_lang_tag(auth_lang(call)));
    subject_of_phone(f->job.secrets, &f->phone, &f->subject);
    auth_job_submit(&f->job, run_begin, on_begun);
}

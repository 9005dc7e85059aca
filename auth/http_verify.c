/* POST /auth/v1/verify: a code becomes a session. One transaction does all of it: counts the attempt, consumes the
 * code, makes the account when there is none (the policy decides again, as it stands then), opens the session.
 * A process that dies in the middle has changed nothing. When the rule that allows has caps, the transaction is given up
 * at that point, a place is taken in the ledger, and it is done again with the place; so the guess is counted once. */
#include "auth/account.h"
#include "auth/call.h"
#include "auth/invite.h"
#include "auth/otp.h"
#include "auth/refusal.h"
#include "auth/reply.h"
#include "auth/session.h"
#include "auth/waitlist.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdio.h>

enum { VERIFY_ROUNDS = 3 };

static struct metric verifications =
    METRIC_COUNTER_L("tidegate_auth_verifications_total", "Codes presented, by what came of them.", "result");

struct verify_body {
    struct str type, phone, email, token, token_hash;
};

enum verify_outcome {
    VERIFY_SIGNED_IN = 0,
    VERIFY_WRONG = 1,
    VERIFY_TOO_MANY = 2,
    VERIFY_DENIED = 3, /* right code, but the policy lets this number make no account */
    VERIFY_BANNED = 4,
    VERIFY_WANTS_PLACE = 5, /* right code, but the rule has caps: nothing is written until there is a place */
};

struct verify_flow {
    struct auth_job job; /* first */
    struct auth_config conf;
    struct phone phone;
    struct subject subject;
    char code[OTP_DIGITS + 1];
    struct session_origin origin;
    struct addr client;
    struct policy_caller caller;
    struct policy *known; /* a reference: as this loop knows it */
    bool is_emergency;    /* and as it stands, whatever the database has */
    unsigned rounds;
    struct auth_place place; /* taken: under the caps of rule place_rule of version place_version */
    int64_t place_version;   /* or, when not taken: the rules before full_rules are full in that version */
    unsigned place_rule, full_rules;
    int64_t full_wait_s;
    bool is_closed; /* nobody can say whether there is a place */
    /* results */
    enum verify_outcome outcome;
    struct policy *policy;           /* a reference: the one that decided, when an account was to be made */
    struct policy_decision decision; /* of that one; its texts are borrowed from it */
    struct waitlist_entry listed;    /* of the number on the waiting list */
    struct invite invite;            /* that came with the request for the code, as it stands now */
    int64_t wait_s;
    bool is_new_user;
    struct account account;
    struct access_grant grant;
};

static void verify_clear(struct auth_job *job)
{
    struct verify_flow *f = (struct verify_flow *)job;
    policy_unref(f->known);
    policy_unref(f->policy);
}

/* --- inside the transaction -------------------------------------------------------------------------- */

static bool verify_has_place(const struct verify_flow *f)
{
    return f->place.is_taken && f->place_version == f->decision.version && f->place_rule == f->decision.index;
}

/* What was found out about caps counts for the version that it was found under. */
static void verify_decide(struct verify_flow *f, const struct policy_facts *facts)
{
    bool is_same = f->place_version == policy_version(f->policy);
    policy_decide_from(f->policy, facts, is_same ? f->full_rules : 0, &f->decision);
    f->decision.wait_s = is_same ? f->full_wait_s : 0;
    if (f->decision.has_caps && f->is_closed) {
        policy_decision_close(&f->decision);
    }
}

/* The policy in force: the database's, but for an emergency of this gateway. */
static int verify_policy(struct pg *pg, struct verify_flow *f)
{
    if (f->is_emergency) {
        f->policy = policy_ref(f->known);
        return 0;
    }
    return account_policy(pg, f->known, &f->policy);
}

static struct attempt_of verify_attempt(const struct verify_flow *f)
{
    return (struct attempt_of){"verify", &f->phone, &f->caller, &f->subject, &f->decision, f->job.secrets};
}

/* What let this account be made, for a replay against another policy. */
static int verify_keep(struct pg *pg, const struct verify_flow *f)
{
    const struct attempt_of of = verify_attempt(f);
    struct attempt a;
    attempt_init(&a, &of, 1);
    int rc = attempt_store(pg, &a);
    attempt_clear(&a);
    return rc;
}

/* Decides by the policy in force and makes the account; f->outcome VERIFY_DENIED when it may not be. */
static int verify_sign_up(struct pg *pg, struct verify_flow *f, const struct otp_intent *intent,
                          struct uuid *user)
{
    policy_unref(f->policy);
    f->policy = NULL;
    f->invite = (struct invite){.state = INVITE_NONE};
    int rc = intent->has_invite ? invite_load(pg, &intent->invite, &f->invite) : 0;
    rc = rc < 0 ? rc : verify_policy(pg, f);
    rc = rc < 0 ? rc : waitlist_find(pg, &f->subject, &f->listed);
    if (rc < 0) {
        return rc;
    }
    struct policy_facts facts;
    invite_tell(&f->invite, &f->caller);
    policy_facts_of_phone(f->policy, f->job.secrets, &f->phone, &f->caller, &facts);
    verify_decide(f, &facts);
    if (f->decision.has_caps && !verify_has_place(f)) {
        f->outcome = VERIFY_WANTS_PLACE;
        return err_set(pg_err(pg), ERR_LIMIT, "wants a place under the caps of its rule");
    }
    struct account_pass pass = {.invite = f->invite.state == INVITE_GOOD ? &f->invite.id : NULL,
                                .waitlist = f->listed.status != WAITLIST_NONE ? &f->listed.id : NULL,
                                .is_released = f->decision.effect == POLICY_EFFECT_WAITLIST};
    bool may_come =
        pass.is_released ? f->listed.status == WAITLIST_RELEASED : f->decision.effect == POLICY_EFFECT_ALLOW;
    if (!may_come) {
        bool is_for_now = f->is_closed || f->decision.wait_s > 0; /* the code is good for another try */
        f->outcome = VERIFY_DENIED;
        return is_for_now ? err_set(pg_err(pg), ERR_LIMIT, "no place under the caps of its rule") : 0;
    }
    f->is_new_user = true;
    rc = account_create(pg, f->job.secrets, &f->decision, &pass, &f->phone, &f->subject, user);
    return rc < 0 ? rc : verify_keep(pg, f);
}

static int verify_open_session(struct pg *pg, struct verify_flow *f, const struct uuid *user)
{
    int rc = account_touch(pg, user);
    if (rc == 0) {
        rc = account_load(pg, f->job.secrets, user, &f->account);
    }
    if (rc == 0 && f->account.is_banned) {
        f->outcome = VERIFY_BANNED;
        return 0;
    }
    struct session_begun begun = {.id = {{0}}};
    rc = rc < 0 ? rc : session_create(pg, &f->conf, user, &f->origin, &begun);
    f->grant = (struct access_grant){
        .user = *user, .session = begun.id, .method = "otp", .began_s = begun.began_s, .era = begun.era};
    return rc;
}

static int run_verify(struct pg *pg, void *arg)
{
    struct verify_flow *f = arg;
    struct otp_checked checked;
    struct uuid identity, user;
    f->outcome = VERIFY_SIGNED_IN;
    f->is_new_user = false;
    int rc = otp_check(pg, &f->conf, f->job.secrets, &f->subject, f->phone.e164, str_from(f->code), &checked);
    if (rc < 0) {
        return rc;
    }
    if (checked.verdict != OTP_RIGHT) {
        f->outcome = checked.verdict == OTP_TOO_MANY ? VERIFY_TOO_MANY : VERIFY_WRONG;
        f->wait_s = checked.wait_s;
        return 0;
    }
    rc = otp_use(pg, &f->subject, &checked.id);
    int found = rc < 0 ? rc : subject_find(pg, &f->subject, &identity, &user);
    if (found < 0) {
        return found;
    }
    if (found == 0 && !checked.intent.may_create) {
        f->outcome = VERIFY_WRONG;
        return 0;
    }
    rc = found ? 0 : verify_sign_up(pg, f, &checked.intent, &user);
    return rc < 0 || f->outcome != VERIFY_SIGNED_IN ? rc : verify_open_session(pg, f, &user);
}

/* --- on the loop ------------------------------------------------------------------------------------- */

static void verify_reply(struct auth_call *call, struct verify_flow *f)
{
    struct problem too_many = {.code = "over_request_rate_limit",
                               .retry_after_s = (uint32_t)f->wait_s,
                               .detail = STR("too many wrong codes for this number")};
    switch (f->outcome) {
    case VERIFY_SIGNED_IN:
        reply_session(call, &f->account, &f->grant, 1, f->is_new_user);
        break;
    case VERIFY_WRONG:
        http_reply_error(call->ex, "otp_expired", "Token has expired or is invalid");
        break;
    case VERIFY_TOO_MANY:
        http_reply_problem(call->ex, &too_many);
        break;
    case VERIFY_DENIED:
        invite_explain(&f->decision, f->invite.state);
        reply_denied(call, f->policy, &f->decision);
        break;
    case VERIFY_BANNED:
        http_reply_error(call->ex, "user_banned", "User is banned");
        break;
    case VERIFY_WANTS_PLACE: /* on_verified goes on with it */
        break;
    }
}

static void verify_count(const struct verify_flow *f, int rc)
{
    static const char *const names[] = {"signed_in", "wrong", "too_many", "denied", "banned", "failed"};
    const char *result = rc < 0                                             ? "failed"
                         : f->is_new_user && f->outcome == VERIFY_SIGNED_IN ? "signed_up"
                                                                            : names[f->outcome];
    metric_child_add(metric_child(&verifications, result), 1);
}

void auth_attempts_read(struct auth_attempts *out)
{
    static const char *const right[] = {"signed_in", "signed_up"};
    static const char *const wrong[] = {"wrong", "too_many"};
    otp_attempts_read(out);
    out->tried = out->verified = 0;
    for (unsigned i = 0; i < 2; i++) {
        out->verified += metric_child_value(metric_child(&verifications, right[i]));
        out->tried += metric_child_value(metric_child(&verifications, wrong[i]));
    }
    out->tried += out->verified;
}

/* An account that is made now, or is not, was no log-in. */
static enum auth_login verify_login(const struct verify_flow *f, int rc)
{
    if (rc != 0) {
        return AUTH_LOGIN_TRIED;
    }
    bool is_wrong = f->outcome == VERIFY_WRONG || f->outcome == VERIFY_TOO_MANY;
    return is_wrong                                        ? AUTH_LOGIN_WRONG
           : f->is_new_user || f->outcome == VERIFY_DENIED ? AUTH_LOGIN_NONE
                                                           : AUTH_LOGIN_TRIED;
}

static void on_verified(struct auth_job *job, int rc);

static void on_place(void *arg, int rc, int64_t wait_s, const struct auth_place *place)
{
    struct verify_flow *f = arg;
    if (rc == ERR_CANCELED) {
        auth_job_free(&f->job);
        return;
    }
    f->place_version = f->decision.version;
    f->place_rule = f->decision.index;
    if (rc == 0) {
        f->place = *place;
    } else if (rc == ERR_LIMIT) {
        f->full_rules = f->decision.index + 1;
        f->full_wait_s = wait_s;
    } else {
        f->is_closed = true;
    }
    auth_job_submit(&f->job, run_verify, on_verified);
}

/* The account may have been made when the outcome is unknown: then its place stays taken. Not when the job never began or
 * was rolled back: else a database that fails would use the caps up. */
static void verify_settle_place(struct verify_flow *f, int rc)
{
    bool is_made = rc == 0 && f->is_new_user && f->outcome == VERIFY_SIGNED_IN && verify_has_place(f);
    if (f->place.is_taken && !is_made && !f->job.pg.is_unknown) {
        f->job.al->ports->give_back_place(f->job.al->arg, &f->place);
    }
    f->place.is_taken = false;
}

static void on_verified(struct auth_job *job, int rc)
{
    struct verify_flow *f = (struct verify_flow *)job;
    if (rc == ERR_LIMIT && f->outcome == VERIFY_WANTS_PLACE) { /* all was rolled back, the guess too */
        verify_settle_place(f, rc);                            /* one of an older version */
        f->full_rules = f->place_version == f->decision.version ? f->full_rules : 0;
        job->al->ports->ask_caps(job->al->arg, &f->decision, true, on_place, f);
        return;
    }
    bool is_kept = rc == 0; /* a refusal for now rolls all back: the code may be presented again */
    rc = rc == ERR_LIMIT && f->outcome == VERIFY_DENIED ? 0 : rc;
    /* policy_stale, an invite or a release that ran out, or the number got its account on another gateway: all was rolled back, so begin again */
    if (rc == ERR_CONFLICT && ++f->rounds < VERIFY_ROUNDS) {
        auth_job_submit(job, run_verify, on_verified);
        return;
    }
    verify_settle_place(f, rc);
    verify_count(f, rc);
    if (is_kept && f->outcome != VERIFY_WRONG && f->outcome != VERIFY_TOO_MANY) { /* a code was used */
        char prefix[PHONE_E164_MAX + 1];
        phone_prefix(&f->phone, prefix);
        job->al->ports->code_used(job->al->arg, &f->client, str_from(prefix));
    }
    if (rc == 0 && f->is_new_user && f->outcome == VERIFY_SIGNED_IN && f->listed.status != WAITLIST_NONE) {
        waitlist_count("signed_up", 1);
    }
    if (rc == 0 && f->outcome == VERIFY_DENIED) {
        const struct attempt_of of = verify_attempt(f);
        refusal_sample(job->al, &f->conf, &of);
    }
    struct policy *known = job->al->policy;
    if (rc == 0 && f->policy && (!known || policy_version(known) < policy_version(f->policy))) {
        auth_loop_set_policy(job->al, f->policy); /* learned before the poll told */
    }
    if (job->call) {
        job->call->login = verify_login(f, rc);
    }
    if (job->call && rc == 0) {
        verify_reply(job->call, f);
    } else if (job->call && rc == ERR_CONFLICT) {
        http_reply_error(job->call->ex, "policy_stale", "the sign-up policy changed meanwhile");
    } else if (job->call) {
        auth_reply_failed(job->call, rc);
    }
    auth_job_free(job);
}

static bool verify_read(struct auth_call *call, struct verify_body *body, struct phone *phone)
{
    static const struct body_member members[] = {
        {"type", BODY_STRING, offsetof(struct verify_body, type), 0},
        {"phone", BODY_STRING, offsetof(struct verify_body, phone), 0},
        {"email", BODY_STRING, offsetof(struct verify_body, email), 0},
        {"token", BODY_STRING, offsetof(struct verify_body, token), 0},
        {"token_hash", BODY_STRING, offsetof(struct verify_body, token_hash), 0},
        {"options", BODY_IGNORED, 0, 0},
        {"redirect_to", BODY_IGNORED, 0, 0},
        {"gotrue_meta_security", BODY_IGNORED, 0, 0},
    };
    *body = (struct verify_body){STR(""), STR(""), STR(""), STR(""), STR("")};
    if (!auth_body_read(call, members, sizeof members / sizeof *members, body)) {
        return false;
    }
    if (body->email.n > 0 || body->token_hash.n > 0) {
        http_reply_error(call->ex, "email_provider_disabled", "codes come by phone");
        return false;
    }
    if (!str_is(body->type, "sms")) {
        http_reply_error(call->ex, "validation_failed", "type: must be sms");
        return false;
    }
    if (!auth_phone_read(call, body->phone, phone)) {
        return false;
    }
    if (!otp_is_code(body->token)) {
        http_reply_error(call->ex, "otp_expired", "Token has expired or is invalid");
        return false;
    }
    return true;
}

void auth_http_verify(struct auth_call *call)
{
    struct verify_body body;
    struct phone phone;
    if (!verify_read(call, &body, &phone)) {
        return;
    }
    struct verify_flow *f = auth_job_new(sizeof *f, call);
    call->login = AUTH_LOGIN_TRIED;
    f->job.clear = verify_clear;
    f->conf = *call->conf;
    f->phone = phone;
    f->client = call->client;
    f->caller = call->caller;
    f->known = call->al->policy ? policy_ref(call->al->policy) : NULL;
    f->is_emergency = call->al->is_emergency;
    snprintf(f->code, sizeof f->code, STR_FMT, STR_ARG(body.token));
    session_origin_of(call, &f->origin);
    subject_of_phone(f->job.secrets, &phone, &f->subject);
    auth_job_submit(&f->job, run_verify, on_verified);
}

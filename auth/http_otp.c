/* POST /auth/v1/otp: a code to a phone number.
 *
 *     body -> number -> an invite shown: limit invite -> what is it worth? good: the limit is given back
 *          -> policy -> proof of work, when this attempt has to show some
 *       not allowed and create_user: limit signup_denied -> is the number known, or released from the waiting
 *                                      list? no: 403 | yes: as below
 *       otherwise:              limit sms -> begin (pending row) -> send -> activate -> 200
 *                                                    \- too soon: 429   \- failed: drop, 503
 *
 * A rule with caps decides only while there is a place under them: the ledger is asked first, and when there is none the
 * rules behind it are. With create_user false the answer is always 200 and comes before the message is sent: known and unknown take
 * the same steps (an unknown number gets a decoy row and no message).
 * The flow outlives its client: what was begun is settled. */
#include "auth/account.h"
#include "auth/call.h"
#include "auth/invite.h"
#include "auth/otp.h"
#include "auth/refusal.h"
#include "auth/reply.h"
#include "auth/waitlist.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdio.h>
#include <stdlib.h>

static struct metric otp_requests = METRIC_COUNTER_L(
    "tidegate_auth_code_requests_total", "Requests for one-time codes, by what came of them.", "result");

enum { PAYLOAD_MAX = 8192, INVITE_TEXT_MAX = 256 };

static struct metric shadows = METRIC_COUNTER_L(
    "tidegate_policy_shadow_matches_total",
    "Code requests that a shadow rule of the policy matched, by what it would have decided and what "
    "was decided.",
    "would,did");

struct otp_body {
    struct str phone, email, channel, security, data;
    struct str payload; /* of security */
    struct str invite;  /* of data */
    bool create_user;
};

/* What is asked, on the exchange's arena: nothing to free while a limit is being checked. */
struct otp_ask {
    struct phone phone;
    bool create_user;
    struct str payload;              /* of proof of work */
    struct str data;                 /* the member, as written */
    struct str invite_text;          /* data.invite; empty: none */
    struct invite invite;            /* what it is worth */
    bool is_denied;                  /* the policy lets this number make no account */
    struct policy_decision decision; /* why; its texts are on the arena */
    int64_t wait_s;                  /* a rule's caps are full: until there may be a place */
};

/* Looks what an invite is worth. */
struct otp_invite {
    struct auth_job job; /* first */
    struct invite_code code;
    struct invite invite;
};

/* Looks whether a denied number has an account. */
struct otp_look_up {
    struct auth_job job; /* first */
    struct subject subject;
    bool is_waitlist; /* the policy says so: look there too */
    bool is_known;
    struct waitlist_entry place;
    int64_t waiting; /* how many do */
};

struct otp_flow {
    struct auth_job job;     /* first */
    struct auth_config conf; /* for jobs: only its numbers are read */
    struct phone phone;
    struct subject subject;
    struct otp_new code;
    struct auth_message message;
    bool create_user;         /* the request allows a new account */
    struct otp_intent intent; /* may_create: and so does the policy */
    bool is_known;            /* the number has an account */
    int64_t wait_s;
};

static void otp_count(const char *result)
{
    metric_child_add(metric_child(&otp_requests, result), 1);
}

void otp_attempts_read(struct auth_attempts *out)
{
    static const char *const refusals[] = {"denied", "limited", "too_soon", "challenged"};
    static const char *const others[] = {"sent", "decoy", "failed", "send_failed"};
    out->attempts = out->refused = 0;
    for (unsigned i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        out->refused += metric_child_value(metric_child(&otp_requests, refusals[i]));
        out->attempts += metric_child_value(metric_child(&otp_requests, others[i]));
    }
    out->attempts += out->refused;
    out->served = metric_child_value(metric_child(&otp_requests, "sent")) +
                  metric_child_value(metric_child(&otp_requests, "decoy"));
    out->failed = metric_child_value(metric_child(&otp_requests, "limited")) +
                  metric_child_value(metric_child(&otp_requests, "failed")) +
                  metric_child_value(metric_child(&otp_requests, "send_failed"));
}

/* Rules that are tried out: what they would have done, beside what was done. */
static void shadow_count(const struct policy_decision *d)
{
    if (d->shadow) {
        char labels[32];
        snprintf(labels, sizeof labels, "%s,%s", policy_effect_name(d->shadow_effect),
                 policy_effect_name(d->effect));
        metric_child_add(metric_child(&shadows, labels), 1);
    }
}

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

static void on_decoy(struct auth_job *job, int rc)
{
    otp_count(rc == 0 ? "decoy" : "failed");
    auth_job_free(job);
}

static int run_drop(struct pg *pg, void *arg)
{
    struct otp_flow *f = arg;
    return otp_drop(pg, &f->subject, &f->code.id);
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
        job->al->ports->give_back(job->call);
        http_reply_error(job->call->ex, "sms_send_failed", "the message could not be handed to its provider");
    }
    auth_job_free(job);
}

static void on_message_sent(void *arg, int rc)
{
    struct otp_flow *f = arg;
    secret_cleanse(&f->message, sizeof f->message);
    if (rc == 0) {
        auth_job_submit(&f->job, run_activate, on_activated);
    } else if (rc == ERR_CANCELED) {
        auth_job_free(&f->job); /* the process ends */
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

/* --- the middle: a pending row ----------------------------------------------------------------------- */

static int run_begin(struct pg *pg, void *arg)
{
    struct otp_flow *f = arg;
    struct uuid identity, user;
    int found = subject_find(pg, &f->subject, &identity, &user);
    if (found < 0) {
        return found;
    }
    f->is_known = found > 0;
    otp_draw(f->job.secrets, f->phone.e164, !f->is_known && !f->intent.may_create, &f->code);
    int rc = otp_begin(pg, &f->conf, &f->subject, &f->code, &f->intent, &f->wait_s);
    return rc == ERR_LIMIT ? err_set(pg_err(pg), ERR_LIMIT, "too soon") : rc;
}

static void otp_refuse_too_soon(struct otp_flow *f)
{
    struct auth_call *call = f->job.call;
    call->al->ports->give_back(call);
    struct problem p = {.code = "over_sms_send_rate_limit", .retry_after_s = (uint32_t)f->wait_s};
    http_reply_problem(call->ex, &p);
}

static void on_begun(struct auth_job *job, int rc)
{
    struct otp_flow *f = (struct otp_flow *)job;
    if (rc < 0) {
        otp_count(rc == ERR_LIMIT ? "too_soon" : "failed");
        if (job->call && rc == ERR_LIMIT) {
            otp_refuse_too_soon(f);
        } else if (job->call) {
            auth_reply_failed(job->call, rc);
        }
        auth_job_free(job);
        return;
    }
    bool is_decoy = !f->is_known && !f->intent.may_create;
    if (job->call && !f->create_user) {
        otp_reply_sent(f);
        auth_job_release(job);
    }
    if (is_decoy) {
        auth_job_submit(job, run_activate, on_decoy); /* guesses at it count like any others */
    } else {
        otp_send(f);
    }
}

static void on_sms_admitted(struct auth_call *call, bool is_admitted)
{
    const struct otp_ask *ask = call->state;
    if (!is_admitted) {
        otp_count("limited");
        return;
    }
    struct otp_flow *f = auth_job_new(sizeof *f, call);
    f->conf = *call->conf;
    f->phone = ask->phone;
    f->create_user = ask->create_user;
    f->intent = (struct otp_intent){.may_create = ask->create_user && !ask->is_denied,
                                    .has_invite = ask->invite.state == INVITE_GOOD,
                                    .invite = ask->invite.id};
    snprintf(f->message.lang, sizeof f->message.lang, "%s", problem_lang_tag(auth_lang(call)));
    subject_of_phone(f->job.secrets, &f->phone, &f->subject);
    auth_job_submit(&f->job, run_begin, on_begun);
}

static void otp_check_sms_limit(struct auth_call *call)
{
    const struct otp_ask *ask = call->state;
    char key[33], prefix[PHONE_E164_MAX + 1];
    subject_limit_key(call->al->secrets, &ask->phone, key);
    phone_prefix(&ask->phone, prefix);
    struct auth_number number = {str_from(key), str_from(prefix), str_from(ask->phone.country)};
    call->al->ports->check_limit(call, "sms", &number, on_sms_admitted);
}

/* --- the denied: is there an account already? -------------------------------------------------------- */

static int run_look_up(struct pg *pg, void *arg)
{
    struct otp_look_up *l = arg;
    struct uuid identity, user;
    int found = subject_find(pg, &l->subject, &identity, &user);
    l->is_known = found > 0;
    if (found != 0 || !l->is_waitlist) {
        return found < 0 ? found : 0;
    }
    int rc = waitlist_find(pg, &l->subject, &l->place);
    return rc < 0 ? rc : waitlist_length(pg, &l->waiting);
}

static void on_looked_up(struct auth_job *job, int rc)
{
    struct auth_call *call = job->call;
    struct otp_look_up look = *(struct otp_look_up *)job;
    auth_job_free(job);
    if (!call) {
        return;
    }
    struct otp_ask *ask = call->state;
    if (rc < 0) {
        auth_reply_failed(call, rc);
    } else if (look.is_known) {
        otp_check_sms_limit(call);
    } else if (look.is_waitlist && look.place.status == WAITLIST_RELEASED) {
        ask->is_denied = false; /* their turn has come; decided again when the account is made */
        otp_check_sms_limit(call);
    } else {
        otp_count(look.is_waitlist ? "waitlisted" : "denied");
        refusal_sample(call->al, call->conf,
                       &(struct attempt_of){"otp", &ask->phone, &call->caller, &look.subject, &ask->decision,
                                            call->al->secrets});
        invite_explain(&ask->decision, ask->invite.state);
        reply_refused(call, call->al->policy, &ask->decision, look.is_waitlist ? look.waiting + 1 : 0);
    }
}

static void on_denied_admitted(struct auth_call *call, bool is_admitted)
{
    const struct otp_ask *ask = call->state;
    if (!is_admitted) {
        otp_count("limited");
        return;
    }
    struct otp_look_up *l = auth_job_new(sizeof *l, call);
    subject_of_phone(l->job.secrets, &ask->phone, &l->subject);
    l->is_waitlist = ask->decision.effect == POLICY_EFFECT_WAITLIST;
    auth_job_submit(&l->job, run_look_up, on_looked_up);
}

/* --- the beginning ----------------------------------------------------------------------------------- */

static bool otp_read(struct auth_call *call, struct otp_body *body, struct phone *phone)
{
    static const struct body_member members[] = {
        {"phone", BODY_STRING, offsetof(struct otp_body, phone), 0},
        {"email", BODY_STRING, offsetof(struct otp_body, email), 0},
        {"channel", BODY_STRING, offsetof(struct otp_body, channel), 0},
        {"create_user", BODY_BOOL, offsetof(struct otp_body, create_user), 0},
        {"data", BODY_OBJECT, offsetof(struct otp_body, data), 0},
        {"code_challenge", BODY_IGNORED, 0, 0},
        {"code_challenge_method", BODY_IGNORED, 0, 0},
        {"gotrue_meta_security", BODY_OBJECT, offsetof(struct otp_body, security), 0},
    };
    *body = (struct otp_body){.phone = STR(""),
                              .email = STR(""),
                              .channel = STR("sms"),
                              .security = STR(""),
                              .data = STR(""),
                              .create_user = true};
    if (!auth_body_read(call, members, sizeof members / sizeof *members, body) ||
        !auth_object_str(call, "gotrue_meta_security", body->security, "captcha_token", PAYLOAD_MAX,
                         &body->payload) ||
        !auth_object_str(call, "data", body->data, "invite", INVITE_TEXT_MAX, &body->invite)) {
        return false;
    }
    if (body->email.n > 0) {
        http_reply_error(call->ex, "email_provider_disabled", "codes go to phone numbers");
        return false;
    }
    if (body->channel.n > 0 && !str_is(body->channel, "sms")) {
        http_reply_error(call->ex, "validation_failed", "channel: must be sms");
        return false;
    }
    return auth_phone_read(call, body->phone, phone);
}

static void on_attempt_checked(struct auth_call *call, bool is_admitted)
{
    const struct otp_ask *ask = call->state;
    if (!is_admitted) {
        otp_count("challenged");
    } else if (ask->is_denied && ask->create_user) {
        call->al->ports->check_limit(call, "signup_denied", NULL, on_denied_admitted);
    } else {
        otp_check_sms_limit(call);
    }
}

/* --- the decision ------------------------------------------------------------------------------------ */

static void otp_check_attempt(struct auth_call *call)
{
    struct otp_ask *ask = call->state;
    ask->is_denied = ask->decision.effect != POLICY_EFFECT_ALLOW;
    struct auth_attempt *a = auth_attempt_new(call, &ask->phone, &ask->decision);
    a->may_create = ask->create_user;
    a->payload = ask->payload;
    a->data = ask->data;
    call->al->ports->check_attempt(call, a, on_attempt_checked);
}

static void otp_decide(struct auth_call *call, unsigned first);

/* Only a look: the place is taken when the account is made. So nobody gets a message for nothing. */
static void on_caps_peeked(void *arg, int rc, int64_t wait_s, const struct auth_place *none)
{
    struct auth_caps_wait *w = arg;
    struct auth_call *call = w->call;
    free(w);
    if (!call || rc == ERR_CANCELED) {
        return;
    }
    struct otp_ask *ask = call->state;
    call->waits = NULL;
    if (rc == ERR_LIMIT) {
        ask->wait_s = wait_s;
        bool is_same = policy_version(call->al->policy) == ask->decision.version;
        otp_decide(call, is_same ? ask->decision.index + 1 : 0);
        return;
    }
    if (rc < 0) {
        policy_decision_close(&ask->decision);
    }
    otp_check_attempt(call);
}

/* Asks the rules from `first` on, and goes on. */
static void otp_decide(struct auth_call *call, unsigned first)
{
    struct otp_ask *ask = call->state;
    struct policy_decision *d = &ask->decision;
    struct policy_facts facts;
    invite_tell(&ask->invite, &call->caller);
    policy_facts_of_phone(call->al->policy, call->al->secrets, &ask->phone, &call->caller, &facts);
    policy_decide_from(call->al->policy, &facts, first, d);
    d->wait_s = ask->wait_s;
    if (first == 0) {
        shadow_count(d);
    }
    if (d->has_caps || d->reason) { /* the loop's policy may be another one when an answer comes */
        d->rule = arena_cstr(&call->ex->arena, str_from(d->rule));
        d->reason = d->reason ? arena_cstr(&call->ex->arena, str_from(d->reason)) : NULL;
    }
    if (d->has_caps && ask->create_user) {
        struct auth_caps_wait *w = calloc(1, sizeof *w);
        BUG_ON(!w);
        w->call = call;
        call->waits = w;
        call->al->ports->ask_caps(call->al->arg, d, false, on_caps_peeked, w);
    } else {
        otp_check_attempt(call);
    }
}

/* --- the invite -------------------------------------------------------------------------------------- */

static int run_invite(struct pg *pg, void *arg)
{
    struct otp_invite *i = arg;
    return invite_find(pg, i->job.secrets, &i->code, &i->invite);
}

static void on_invite_found(struct auth_job *job, int rc)
{
    struct auth_call *call = job->call;
    struct invite invite = ((struct otp_invite *)job)->invite;
    auth_job_free(job);
    if (!call) {
        return;
    }
    if (rc < 0) {
        auth_reply_failed(call, rc);
        return;
    }
    struct otp_ask *ask = call->state;
    ask->invite = invite;
    if (invite.state == INVITE_GOOD) {
        call->al->ports->give_back(call);
    }
    otp_decide(call, 0);
}

static void on_invite_admitted(struct auth_call *call, bool is_admitted)
{
    struct otp_ask *ask = call->state;
    struct invite_code code;
    if (!is_admitted) {
        otp_count("limited");
        return;
    }
    if (!invite_code_read(ask->invite_text, &code)) {
        ask->invite = (struct invite){.state = INVITE_UNKNOWN};
        otp_decide(call, 0);
        return;
    }
    struct otp_invite *i = auth_job_new(sizeof *i, call);
    i->code = code;
    auth_job_submit(&i->job, run_invite, on_invite_found);
}

void auth_http_otp(struct auth_call *call)
{
    struct otp_body body;
    struct otp_ask *ask = ARENA_NEW(&call->ex->arena, struct otp_ask);
    if (!otp_read(call, &body, &ask->phone)) {
        return;
    }
    if (!call->al->policy) {
        auth_reply_failed(call, ERR_UNAVAILABLE);
        return;
    }
    ask->create_user = body.create_user;
    ask->payload = body.payload.n > 0 ? body.payload : http_field_get(call->ex, "x-altcha");
    ask->data = body.data;
    ask->invite_text = body.invite;
    call->state = ask;
    if (ask->create_user && ask->invite_text.n > 0) {
        call->al->ports->check_limit(call, "invite", NULL, on_invite_admitted);
    } else {
        otp_decide(call, 0);
    }
}

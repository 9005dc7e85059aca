/* POST /auth/v1/otp: a code to a phone number.
 *
 *     body -> number -> an invite shown: limit invite -> what is it worth? good: the limit is given back
 *          -> policy -> proof of work, when this attempt has to show some
 *       not allowed and create_user: limit signup_denied -> is the number known, or released from the waiting
 *                                      list? no: 403 | yes: as below. Where the policy denies, a filter of known
 *                                      numbers (port ask_known) spares most the look-up
 *       otherwise:              limit sms -> otp_flow.h: a code on its way
 *                               what is left of the budgets is for accounts? is the number known? yes: limit sms, a code
 *                               on its way | no: limit sms that costs the budgets nothing, a decoy. Both get the same
 *                               answer: such a request makes no account, as with create_user false
 *
 * A rule with caps decides only while there is a place under them: the ledger is asked first, and when there is none the
 * rules behind it are. */
#include "auth/account.h"
#include "auth/call.h"
#include "auth/invite.h"
#include "auth/otp_flow.h"
#include "auth/refusal.h"
#include "auth/reply.h"
#include "auth/waitlist.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdio.h>

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
    struct subject subject;          /* of the number */
    bool is_held;                    /* only what budgets keep for accounts is left: it makes no account */
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

/* --- may a code go out? ------------------------------------------------------------------------------ */

static void otp_ask_who(struct auth_call *call);

static void on_code_checked(struct auth_call *call, enum auth_code_verdict v)
{
    struct otp_ask *ask = call->state;
    if (v == AUTH_CODE_REFUSED) {
        otp_count("limited");
        return;
    }
    if (v == AUTH_CODE_RESERVED) {
        ask->is_held = true;
        otp_ask_who(call);
        return;
    }
    struct otp_intent intent = {.may_create = ask->create_user && !ask->is_denied && !ask->is_held,
                                .has_invite = ask->invite.state == INVITE_GOOD,
                                .invite = ask->invite.id};
    enum otp_answer answer = !ask->create_user ? OTP_ANSWER_AT_ONCE
                             : ask->is_held    ? OTP_ANSWER_ACCOUNTS_ONLY
                                               : OTP_ANSWER_SENT;
    otp_flow_start(call, &ask->phone, answer, &intent);
}

static void otp_check_code(struct auth_call *call, enum auth_code_for whom)
{
    const struct otp_ask *ask = call->state;
    char key[AUTH_LIMIT_KEY], prefix[PHONE_E164_MAX + 1];
    auth_limit_key(call->al->secrets, &ask->phone, key);
    phone_prefix(&ask->phone, prefix);
    struct auth_number number = {str_from(key), str_from(prefix), str_from(ask->phone.country)};
    struct auth_code_ask code = {&number, whom, .may_create = ask->create_user && !ask->is_denied,
                                 .is_second = ask->is_held};
    call->al->ports->check_code(call, &code, on_code_checked);
}

/* A look-up that failed: counted also when its client has gone. */
static void otp_fail(struct auth_call *call, int rc)
{
    otp_count("failed");
    if (call) {
        auth_reply_failed(call, rc);
    }
}

static void on_who_known(struct auth_job *job, int rc)
{
    struct auth_call *call = job->call;
    bool is_known = ((struct otp_look_up *)job)->is_known;
    auth_job_free(job);
    if (rc < 0) {
        otp_fail(call, rc);
    } else if (call) {
        otp_check_code(call, is_known ? AUTH_CODE_FOR_ACCOUNT : AUTH_CODE_FOR_NOBODY);
    }
}

static void otp_ask_who(struct auth_call *call)
{
    const struct otp_ask *ask = call->state;
    struct otp_look_up *l = auth_job_new(sizeof *l, call);
    l->subject = ask->subject;
    auth_job_submit(&l->job, run_look_up, on_who_known);
}

/* --- the denied: is there an account already? -------------------------------------------------------- */

static void otp_refuse(struct auth_call *call, int64_t place)
{
    struct otp_ask *ask = call->state;
    otp_count(place > 0 ? "waitlisted" : "denied");
    refusal_sample(call->al, call->conf,
                   &(struct attempt_of){"otp", &ask->phone, &call->caller, &ask->subject, &ask->decision,
                                        call->al->secrets});
    invite_explain(&ask->decision, ask->invite.state);
    reply_refused(call, call->al->policy, &ask->decision, place);
}

static void on_looked_up(struct auth_job *job, int rc)
{
    struct auth_call *call = job->call;
    struct otp_look_up look = *(struct otp_look_up *)job;
    auth_job_free(job);
    if (rc < 0) {
        otp_fail(call, rc);
        return;
    }
    if (!call) {
        return;
    }
    struct otp_ask *ask = call->state;
    if (look.is_known) {
        otp_check_code(call, AUTH_CODE_FOR_ACCOUNT);
    } else if (look.is_waitlist && look.place.status == WAITLIST_RELEASED) {
        ask->is_denied = false; /* their turn has come; decided again when the account is made */
        otp_check_code(call, AUTH_CODE_FOR_ANYONE);
    } else {
        otp_refuse(call, look.is_waitlist ? look.waiting + 1 : 0);
    }
}

static void otp_look_up(struct auth_call *call)
{
    const struct otp_ask *ask = call->state;
    struct otp_look_up *l = auth_job_new(sizeof *l, call);
    l->subject = ask->subject;
    l->is_waitlist = ask->decision.effect == POLICY_EFFECT_WAITLIST;
    auth_job_submit(&l->job, run_look_up, on_looked_up);
}

static void on_known_asked(void *arg, enum auth_known known)
{
    struct auth_call *call = auth_wait_end(arg);
    if (!call || known == AUTH_KNOWN_CANCELED) {
        return;
    }
    if (known == AUTH_KNOWN_SURELY_NOT) {
        otp_refuse(call, 0);
    } else {
        otp_look_up(call);
    }
}

static void on_denied_admitted(struct auth_call *call, bool is_admitted)
{
    struct otp_ask *ask = call->state;
    if (!is_admitted) {
        otp_count("limited");
        return;
    }
    if (ask->decision.effect == POLICY_EFFECT_DENY) {
        call->al->ports->ask_known(call->al->arg, &ask->subject, on_known_asked, auth_wait_new(call));
    } else {
        otp_look_up(call);
    }
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
        otp_check_code(call, AUTH_CODE_FOR_ANYONE);
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
    ask->subject = a->subject;
    call->al->ports->check_attempt(call, a, on_attempt_checked);
}

static void otp_decide(struct auth_call *call, unsigned first);

/* Only a look: the place is taken when the account is made. So nobody gets a message for nothing. */
static void on_caps_peeked(void *arg, int rc, int64_t wait_s, const struct auth_place *none)
{
    struct auth_call *call = auth_wait_end(arg);
    if (!call || rc == ERR_CANCELED) {
        return;
    }
    struct otp_ask *ask = call->state;
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
        call->al->ports->ask_caps(call->al->arg, d, false, on_caps_peeked, auth_wait_new(call));
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
    if (rc < 0) {
        otp_fail(call, rc);
        return;
    }
    if (!call) {
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
    call->login = body.create_user ? AUTH_LOGIN_NONE : AUTH_LOGIN_CODE;
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

/* POST /auth/v1/waitlist: a place on the waiting list. GET /auth/v1/waitlist?ticket=: where it stands. DELETE: given up.
 *
 *     body -> number -> policy: allowed? 409 waitlist_not_needed | denied? its reason
 *          -> proof of work -> limit waitlist -> join -> 202 with a ticket
 *
 * No answer tells about the number: see waitlist.h. */
#include "auth/call.h"
#include "auth/invite.h"
#include "auth/reply.h"
#include "auth/waitlist.h"
#include "base/clock.h"
#include "base/http/problem.h"

#include <stdio.h>

enum { PAYLOAD_MAX = 8192, REPLY_MAX = 1024, LOOK_AGAIN_S = 15 };

struct join_body {
    struct str phone, security;
    struct str payload; /* of security: proof of work */
};

struct join_flow {
    struct auth_job job; /* first */
    struct phone phone;
    struct subject subject;
    const char *lang;
    uint64_t ttl_ms;
    struct waitlist_ticket ticket;
    bool is_new;
    int64_t ahead;
};

struct leave_flow {
    struct auth_job job; /* first */
    struct waitlist_ticket ticket;
    bool has_left;
};

struct place_flow {
    struct auth_job job; /* first */
    struct waitlist_ticket ticket;
    struct waitlist_entry entry;
    int64_t ahead;
};

static void reply_place(struct auth_call *call, unsigned status, enum waitlist_status s, int64_t ahead,
                        int64_t expires_s, const char *ticket)
{
    struct buf body;
    buf_init(&body, REPLY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "status", str_from(waitlist_status_name(s)));
    if (s == WAITLIST_WAITING) {
        json_i64_at(&w, "position", ahead + 1);
        json_i64_at(&w, "retry_after", LOOK_AGAIN_S);
    }
    if (s == WAITLIST_WAITING || s == WAITLIST_RELEASED) {
        json_i64_at(&w, "expires_at", expires_s);
    }
    if (ticket) {
        json_str_at(&w, "ticket", str_from(ticket));
    }
    json_close(&w, '}');
    auth_reply_json(call, status, &body);
    buf_clear(&body);
}

/* --- joining ----------------------------------------------------------------------------------------- */

static int run_join(struct pg *pg, void *arg)
{
    struct join_flow *f = arg;
    struct waitlist_join j = {
        .phone = &f->phone, .subject = &f->subject, .lang = f->lang, .ttl_ms = f->ttl_ms};
    int rc = waitlist_join(pg, f->job.secrets, &j);
    f->ticket = j.ticket;
    f->is_new = j.is_new;
    return rc < 0 ? rc : waitlist_ahead(pg, j.ticket.seq, &f->ahead);
}

static void on_joined(struct auth_job *job, int rc)
{
    struct join_flow *f = (struct join_flow *)job;
    if (rc == 0 && f->is_new) {
        waitlist_count("joined", 1);
    }
    if (job->call && rc < 0) {
        auth_reply_failed(job->call, rc);
    } else if (job->call) {
        char ticket[WAITLIST_TICKET_TEXT];
        waitlist_ticket_write(job->secrets, &f->ticket, ticket);
        reply_place(job->call, 202, WAITLIST_WAITING, f->ahead, f->ticket.expires_s, ticket);
    }
    auth_job_free(job);
}

static void on_limit_passed(struct auth_call *call, bool is_admitted)
{
    if (!is_admitted) {
        return;
    }
    struct join_flow *f = auth_job_new(sizeof *f, call);
    f->phone = *(const struct phone *)call->state;
    f->lang = problem_lang_tag((enum problem_lang)auth_lang(call));
    f->ttl_ms = call->conf->waitlist_ttl_ms;
    subject_of_phone(f->job.secrets, &f->phone, &f->subject);
    auth_job_submit(&f->job, run_join, on_joined);
}

static void on_attempt_checked(struct auth_call *call, bool is_admitted)
{
    const struct phone *phone = call->state;
    char key[AUTH_LIMIT_KEY], prefix[PHONE_E164_MAX + 1];
    if (is_admitted) {
        auth_limit_key(call->al->secrets, phone, key);
        phone_prefix(phone, prefix);
        struct auth_number number = {str_from(key), str_from(prefix), str_from(phone->country)};
        call->al->ports->check_limit(call, "waitlist", &number, on_limit_passed);
    }
}

static bool join_read(struct auth_call *call, struct join_body *body, struct phone *phone)
{
    static const struct body_member members[] = {
        {"phone", BODY_STRING, offsetof(struct join_body, phone), 0},
        {"gotrue_meta_security", BODY_OBJECT, offsetof(struct join_body, security), 0},
    };
    *body = (struct join_body){STR(""), STR(""), STR("")};
    return auth_body_read(call, members, sizeof members / sizeof *members, body) &&
           auth_object_str(call, "gotrue_meta_security", body->security, "captcha_token", PAYLOAD_MAX,
                           &body->payload) &&
           auth_phone_read(call, body->phone, phone);
}

/* A rule whose caps are full is passed over, and the list may be what stands behind it: then it may be joined at any time. */
static void join_decide(struct auth_call *call, const struct phone *phone, struct policy_decision *out)
{
    struct policy_facts facts;
    struct policy_decision behind;
    invite_tell(&(struct invite){.state = INVITE_NONE}, &call->caller);
    policy_facts_of_phone(call->al->policy, call->al->secrets, phone, &call->caller, &facts);
    policy_decide(call->al->policy, &facts, out);
    behind = *out;
    while (behind.effect == POLICY_EFFECT_ALLOW && behind.has_caps) {
        policy_decide_from(call->al->policy, &facts, behind.index + 1, &behind);
    }
    *out = behind.effect == POLICY_EFFECT_WAITLIST ? behind : *out;
}

void auth_http_waitlist_join(struct auth_call *call)
{
    struct join_body body;
    struct phone *phone = ARENA_NEW(&call->ex->arena, struct phone);
    struct policy_decision decision;
    if (!join_read(call, &body, phone)) {
        return;
    }
    struct policy *policy = call->al->policy;
    if (!policy) {
        auth_reply_failed(call, ERR_UNAVAILABLE);
        return;
    }
    join_decide(call, phone, &decision);
    if (decision.effect == POLICY_EFFECT_ALLOW) {
        http_reply_error(call->ex, "waitlist_not_needed", "ask for a code");
        return;
    }
    if (decision.effect == POLICY_EFFECT_DENY) {
        reply_denied(call, policy, &decision);
        return;
    }
    call->state = phone;
    struct auth_attempt *a = auth_attempt_new(call, phone, &decision);
    a->may_create = true;
    a->payload = body.payload.n > 0 ? body.payload : http_field_get(call->ex, "x-altcha");
    call->al->ports->check_attempt(call, a, on_attempt_checked);
}

/* --- looking ----------------------------------------------------------------------------------------- */

static int run_place(struct pg *pg, void *arg)
{
    struct place_flow *f = arg;
    int rc = waitlist_load(pg, &f->ticket.entry, &f->entry);
    int64_t seq = f->entry.seq > f->ticket.seq ? f->entry.seq : f->ticket.seq;
    return rc < 0 ? rc : waitlist_ahead(pg, seq, &f->ahead);
}

/* What waits or waited in vain, and what has no row (its number had an account or a place, or the row has been forgotten),
 * is shown by the ticket alone: it ages the same. */
static void place_by_ticket(struct place_flow *f)
{
    f->entry.status = f->ticket.expires_s > clock_wall_s() ? WAITLIST_WAITING : WAITLIST_EXPIRED;
    f->entry.expires_s = f->ticket.expires_s;
}

static void on_place(struct auth_job *job, int rc)
{
    struct place_flow *f = (struct place_flow *)job;
    bool is_over = f->entry.status == WAITLIST_EXPIRED && !f->entry.was_released;
    if (rc == 0 && (f->entry.status == WAITLIST_NONE || f->entry.status == WAITLIST_WAITING || is_over)) {
        place_by_ticket(f);
    }
    if (job->call && rc < 0) {
        auth_reply_failed(job->call, rc);
    } else if (job->call) {
        reply_place(job->call, 200, f->entry.status, f->ahead, f->entry.expires_s, NULL);
    }
    auth_job_free(job);
}

/* False: it has answered. */
static bool read_ticket(struct auth_call *call, struct waitlist_ticket *out)
{
    struct str text = STR("");
    if (http_query_get(call->ex, "ticket", &text) &&
        waitlist_ticket_read(call->al->secrets, text, call->conf->waitlist_ttl_ms, out)) {
        return true;
    }
    http_reply_problem(call->ex,
                       &(struct problem){.code = "waitlist_ticket_invalid", .param = STR("ticket")});
    return false;
}

void auth_http_waitlist_place(struct auth_call *call)
{
    struct waitlist_ticket ticket;
    if (!read_ticket(call, &ticket)) {
        return;
    }
    struct place_flow *f = auth_job_new(sizeof *f, call);
    f->ticket = ticket;
    auth_job_submit(&f->job, run_place, on_place);
}

/* --- leaving ----------------------------------------------------------------------------------------- */

static int run_leave(struct pg *pg, void *arg)
{
    struct leave_flow *f = arg;
    return waitlist_leave(pg, &f->ticket, &f->has_left);
}

/* The same answer whether there was a place, one of somebody else, or none. */
static void on_left(struct auth_job *job, int rc)
{
    struct leave_flow *f = (struct leave_flow *)job;
    if (rc == 0 && f->has_left) {
        waitlist_count("left", 1);
    }
    if (job->call && rc < 0) {
        auth_reply_failed(job->call, rc);
    } else if (job->call) {
        http_reply(job->call->ex, 204, NULL, 0, STR(""));
    }
    auth_job_free(job);
}

void auth_http_waitlist_leave(struct auth_call *call)
{
    struct waitlist_ticket ticket;
    if (!read_ticket(call, &ticket)) {
        return;
    }
    struct leave_flow *f = auth_job_new(sizeof *f, call);
    f->ticket = ticket;
    auth_job_submit(&f->job, run_leave, on_left);
}

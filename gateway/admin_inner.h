/* Inside of the admin API: shared by admin*.c only.
 *
 * An admin_call lives on the exchange's arena. A job that still runs when the client has gone ends by itself; its
 * answer is dropped.
 * Thread rule: the control thread. */
#ifndef TIDE_GATEWAY_ADMIN_INNER_H
#define TIDE_GATEWAY_ADMIN_INNER_H

#include "auth/admin.h"
#include "base/http/problem.h"
#include "base/json.h"
#include "gateway/admin_conf.h"
#include "gateway/control_inner.h"

struct admin_job;
struct inspection;
struct limits_explain;
struct replay;
struct sms_report;
struct sms_unblock;
struct suspicion_explain;

enum {
    ADMIN_BODY_MAX = 128 << 10,
    ADMIN_POLICY_BODY_MAX = 12 << 20, /* a document, and attempts beside it */
    ADMIN_DIFF_BODY_MAX = 17 << 20,   /* two documents */
    ADMIN_BANS_BODY_MAX = 1 << 20,    /* a part of an imported list */
    ADMIN_ANSWER_MAX = 12 << 20,
    ADMIN_ACTOR_MAX = 96,
};

struct admin_call {
    struct http_exchange *ex;
    struct control *control;
    struct str name;                    /* the NAME in the path, or empty */
    struct json_doc body;               /* of a request with a body: an object */
    bool dry_run;                       /* say what would happen, and change nothing */
    char actor[ADMIN_ACTOR_MAX];        /* "unix:0(root)", "cert:ops.example.com" */
    struct admin_job *job;              /* running, or NULL */
    struct inspection *inspection;      /* likewise */
    struct limits_explain *explain;     /* likewise */
    struct suspicion_explain *weighing; /* likewise */
    struct replay *replay;              /* likewise */
    struct sms_report *report;          /* likewise */
    struct sms_unblock *unblock;        /* likewise */
};

/* Answers 200 with what is in text (JSON). */
void admin_reply(struct admin_call *c, const struct buf *text);
/* Reads a member of the body; false when it has answered (wrong type). Absent leaves *out alone. */
bool admin_get_text(struct admin_call *c, const char *key, struct str *out) TIDE_CHECK;
bool admin_get_number(struct admin_call *c, const char *key, int64_t *out) TIDE_CHECK;
bool admin_get_bool(struct admin_call *c, const char *key, bool *out) TIDE_CHECK;
/* False when it has answered: a member that is none of the n names. */
bool admin_knows_members(struct admin_call *c, const char *const *names, unsigned n) TIDE_CHECK;

/* Runs run(pg, arg) on a database thread, then done(call, arg, rc, err) unless the client has gone, then drop(arg). What
 * a call that is a dry run did to the database is taken back before its transaction ends; done must do nothing else then. */
struct admin_work {
    int (*run)(struct pg *pg, void *arg);
    void (*done)(struct admin_call *c, void *arg, int rc, const struct err *err);
    void (*drop)(void *arg);
    void *arg;
    void (*failed)(void *arg, const struct err *err);       /* before done, gone or not; NULL: nothing */
    void (*not_submitted)(struct admin_call *c, void *arg); /* no database: answers; NULL: 503 */
    uint64_t timeout_ms;                                    /* 0: as the configuration says */
};
void admin_submit(struct admin_call *c, const struct admin_work *work);
void admin_refuse(struct admin_call *c, int rc, const struct err *err); /* a job's error as a problem */

/* admin_access.c: fills c->actor. */
enum admin_level admin_identify(struct admin_call *c);

/* admin_accounts.c: verbs of auth/admin.h. A new one with actor and request id (NULL: it has answered), its inputs of a
 * query, and its end: the answer, after a change (one with a reason) a poll too. */
struct auth_admin *admin_auth_verb(struct admin_call *c, enum auth_admin_verb verb);
void admin_auth_list(struct admin_call *c, enum auth_admin_verb verb);
void admin_auth_submit(struct admin_call *c, struct auth_admin *a);
/* Every change says why. False: it has answered. */
bool admin_get_reason(struct admin_call *c, struct str *reason) TIDE_CHECK;
void admin_users(struct admin_call *c);
void admin_sessions_revoke(struct admin_call *c);
void admin_user_ban(struct admin_call *c);
void admin_user_unban(struct admin_call *c);
void admin_everybody_out(struct admin_call *c);
void admin_number_unlock(struct admin_call *c);
void admin_audit(struct admin_call *c);
/* admin_policy_change.c */
void admin_policy_get(struct admin_call *c);
void admin_policy_set(struct admin_call *c);
bool admin_policy_known(
    struct admin_call *c); /* answers with the policy of this gateway; false: there is none */
void admin_policy_history(struct admin_call *c);
void admin_policy_rollback(struct admin_call *c);
void admin_policy_diff(struct admin_call *c);
void admin_policy_scheduled(struct admin_call *c);
void admin_policy_schedule(struct admin_call *c);
void admin_policy_unschedule(struct admin_call *c);
/* What changes have in common, and the same with a document or a preset; NULL: it has answered. */
struct auth_admin *admin_policy_change_new(struct admin_call *c, enum auth_admin_verb verb);
struct auth_admin *admin_policy_document_new(struct admin_call *c, enum auth_admin_verb verb);
/* admin_ramp.c */
void admin_ramp(struct admin_call *c);
void admin_ramp_start(struct admin_call *c);
void admin_ramp_pause(struct admin_call *c);
void admin_ramp_resume(struct admin_call *c);
void admin_ramp_abort(struct admin_call *c);
/* admin_invites.c */
void admin_invites(struct admin_call *c);
void admin_invites_create(struct admin_call *c);
void admin_invites_revoke(struct admin_call *c);
/* admin_waitlist.c */
void admin_waitlist(struct admin_call *c);
void admin_waitlist_status(struct admin_call *c);
void admin_waitlist_release(struct admin_call *c);
/* admin_policy.c */
void admin_policy_simulate(struct admin_call *c);
void admin_policy_lint(struct admin_call *c);
void admin_policy_schema(struct admin_call *c);
/* admin_emergency.c */
void admin_policy_emergency(struct admin_call *c);
/* admin_replay.c */
void admin_policy_replay(struct admin_call *c);
void admin_replay_forget(struct replay *r); /* nobody waits for its answer */
/* admin_incidents.c */
void admin_incidents(struct admin_call *c);
/* admin_requests.c */
void admin_requests(struct admin_call *c);
void admin_requests_ended(struct admin_call *c);
void admin_request_trace(struct admin_call *c);
void admin_request_kill(struct admin_call *c);
/* admin_limits.c */
void admin_limits(struct admin_call *c);
void admin_limits_top(struct admin_call *c);
void admin_limits_explain(struct admin_call *c);
void admin_limits_set(struct admin_call *c);
void admin_limits_reset(struct admin_call *c);
/* admin_sms.c */
void admin_sms(struct admin_call *c);
void admin_sms_unblock(struct admin_call *c);
/* admin_attack.c */
void admin_attack(struct admin_call *c);
void admin_attack_set(struct admin_call *c);
void admin_attack_auto(struct admin_call *c);
void admin_attack_history(struct admin_call *c);
/* admin_bans.c */
void admin_bans(struct admin_call *c);
void admin_bans_test(struct admin_call *c);
void admin_bans_add(struct admin_call *c);
void admin_bans_remove(struct admin_call *c);
/* admin_suspicion.c */
void admin_explain(struct admin_call *c);
/* admin_state.c */
void admin_workers(struct admin_call *c);
void admin_worker_drain(struct admin_call *c);
void admin_check(struct admin_call *c);
void admin_reload(struct admin_call *c);
void admin_upgrade(struct admin_call *c);

#endif

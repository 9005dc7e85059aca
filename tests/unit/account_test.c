/* Codes, accounts, sessions and policy against a real database: tests/with-postgres build/dev/tests/account_test.
 * Without TIDE_TEST_PG all of it is skipped, visibly. */
#include "tests/unit/pg_database.h"
#include "tests/unit/temp.h"

#include <pthread.h>
#include <stdatomic.h>

#include "auth/account.h"
#include "auth/admin.h"
#include "auth/invite.h"
#include "auth/invite_admin.h"
#include "auth/otp.h"
#include "auth/session.h"
#include "auth/sync.h"
#include "base/conf.h"

static struct secret_ring *ring;
static struct conf *conf_file;
static struct auth_config conf;

static int as_app(int (*run)(struct pg *, void *), void *arg)
{
    return pg_run_as(app_uri, run, arg);
}

struct person {
    struct phone phone;
    struct subject subject;
    struct otp_new code;
    int64_t wait_s;
    struct otp_checked checked;
    char guess[OTP_DIGITS + 1];
    struct policy_decision decision;
    const struct uuid *invite;
    struct uuid user, session;
    struct session_begun begun;
    struct account account;
};

static void person_init(struct person *p, const char *number)
{
    *p = (struct person){0};
    assert_int_equal(phone_read(str_from(number), PHONE_MODE_STRICT, &p->phone, NULL), 0);
    subject_of_phone(ring, &p->phone, &p->subject);
    p->decision = (struct policy_decision){.version = 1, .rule = "default"};
}

static int run_begin(struct pg *pg, void *arg)
{
    struct person *p = arg;
    otp_draw(ring, p->phone.e164, false, &p->code);
    return otp_begin(pg, &conf, &p->subject, &p->code, &(struct otp_intent){.may_create = true}, &p->wait_s);
}

static int run_activate(struct pg *pg, void *arg)
{
    struct person *p = arg;
    return otp_activate(pg, &conf, &p->subject, &p->code.id);
}

static int run_drop(struct pg *pg, void *arg)
{
    struct person *p = arg;
    return otp_drop(pg, &p->subject, &p->code.id, true);
}

static int run_check(struct pg *pg, void *arg)
{
    struct person *p = arg;
    return otp_check(pg, &conf, ring, &p->subject, p->phone.e164, str_from(p->guess), &p->checked);
}

static int run_sign_up(struct pg *pg, void *arg)
{
    struct person *p = arg;
    struct session_origin origin = {.device = "d", .user_agent = "u", .address = "192.0.2.1"};
    int rc = account_create(pg, ring, &p->decision, &(struct account_pass){.invite = p->invite}, &p->phone,
                            &p->subject, &p->user);
    rc = rc < 0 ? rc : session_create(pg, &conf, &p->user, &origin, &p->begun);
    p->session = p->begun.id;
    return rc < 0 ? rc : account_load(pg, ring, &p->user, &p->account);
}

static void person_get_code(struct person *p)
{
    assert_int_equal(as_app(run_begin, p), 0);
    assert_int_equal(as_app(run_activate, p), 0);
}

static enum otp_verdict person_guess(struct person *p, const char *guess)
{
    snprintf(p->guess, sizeof p->guess, "%s", guess);
    assert_int_equal(as_app(run_check, p), 0);
    return p->checked.verdict;
}

static void person_guess_wrong(struct person *p, char out[OTP_DIGITS + 1])
{
    snprintf(out, OTP_DIGITS + 1, "%s", p->code.code);
    out[0] = out[0] == '9' ? '0' : (char)(out[0] + 1);
}

/* --- many at once ------------------------------------------------------------------------------------ */

struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned left;
};
struct crowd_job {
    struct pg_job job;
    struct crowd *crowd;
    int (*run)(struct pg *, void *);
    void *arg;
    int rc;
};

static int crowd_run(struct pg *pg, void *arg)
{
    struct crowd_job *j = arg;
    return j->run(pg, j->arg);
}

static void crowd_done(void *arg, int rc, const struct err *err)
{
    struct crowd_job *j = arg;
    j->rc = rc;
    pthread_mutex_lock(&j->crowd->lock);
    j->crowd->left--;
    pthread_cond_signal(&j->crowd->ended);
    pthread_mutex_unlock(&j->crowd->lock);
}

static void crowd_go(struct crowd_job *jobs, unsigned n)
{
    struct crowd crowd = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, n};
    struct pg_conf pool_conf = {.uri = app_uri,
                                .connections = 8,
                                .queue = 1024,
                                .urgent_queue = 64,
                                .connect_ms = 2000,
                                .job_ms = 20000};
    struct pg_pool *pool = pg_pool_new(&pool_conf, NULL);
    for (unsigned i = 0; i < n; i++) {
        jobs[i].crowd = &crowd;
        jobs[i].job = (struct pg_job){.run = crowd_run, .done = crowd_done, .arg = &jobs[i]};
        assert_int_equal(pg_submit(pool, &jobs[i].job), 0);
    }
    pthread_mutex_lock(&crowd.lock);
    while (crowd.left > 0) {
        pthread_cond_wait(&crowd.ended, &crowd.lock);
    }
    pthread_mutex_unlock(&crowd.lock);
    pg_pool_free(pool);
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void only_the_function_makes_users(void **state)
{
    need_server();
    struct person p;
    person_init(&p, "+8613800000001");
    assert_true(sql_as(app_uri, "INSERT INTO users (id, policy_version, policy_rule, signup_method)"
                                " VALUES (gen_random_uuid(), 1, 'x', 'phone')") < 0);
    assert_true(sql_as(app_uri,
                       "INSERT INTO identities (id, user_id, provider, subject_hash, subject_key,"
                       " subject_enc) SELECT gen_random_uuid(), id, 'phone', '', '', '' FROM users") < 0);
    assert_true(sql_as(app_uri, "UPDATE policy_current SET version = 1") < 0);
    assert_true(sql_as(app_uri, "DELETE FROM audit") < 0);
    p.decision.version = 99;
    assert_int_equal(as_app(run_sign_up, &p), ERR_CONFLICT); /* policy_stale */
    assert_int_equal(number_of("SELECT count(*) FROM users"), 0);
    p.decision.version = 1;
    assert_int_equal(as_app(run_sign_up, &p), 0);
    assert_string_equal(p.account.phone, "+8613800000001");
    assert_false(p.account.is_banned);
    assert_int_equal(as_app(run_sign_up, &p), ERR_CONFLICT); /* the number has its account */
    assert_int_equal(number_of("SELECT count(*) FROM users"), 1);
    assert_int_equal(
        number_of("SELECT count(*) FROM identities WHERE position('13800000001' in subject_enc::text) > 0"
                  " OR position('13800000001' in encode(subject_enc, 'escape')) > 0"),
        0);
}

static void a_code_is_pending_then_live_then_gone(void **state)
{
    need_server();
    struct person p;
    person_init(&p, "+8613800000002");
    assert_int_equal(as_app(run_begin, &p), 0);
    assert_int_equal(person_guess(&p, p.code.code), OTP_WRONG); /* not live yet */
    assert_int_equal(as_app(run_begin, &p), ERR_LIMIT);         /* 60 s between codes */
    assert_in_range(p.wait_s, 55, 60);
    assert_int_equal(as_app(run_drop, &p), 0); /* the provider did not take it */
    person_get_code(&p);
    assert_int_equal(person_guess(&p, p.code.code), OTP_RIGHT);
    assert_true(p.checked.intent.may_create && !p.checked.intent.has_invite);
}

static void five_guesses_a_code_whatever_comes_at_once(void **state)
{
    need_server();
    enum { GUESSES = 200 };
    struct person p, *all = calloc(GUESSES, sizeof *all);
    struct crowd_job *jobs = calloc(GUESSES, sizeof *jobs);
    char wrong[OTP_DIGITS + 1];
    person_init(&p, "+8613800000003");
    person_get_code(&p);
    person_guess_wrong(&p, wrong);
    for (unsigned i = 0; i < GUESSES; i++) {
        all[i] = p;
        snprintf(all[i].guess, sizeof all[i].guess, "%s", wrong);
        jobs[i] = (struct crowd_job){.run = run_check, .arg = &all[i]};
    }
    crowd_go(jobs, GUESSES);
    for (unsigned i = 0; i < GUESSES; i++) {
        assert_int_equal(jobs[i].rc, 0);
        assert_int_equal(all[i].checked.verdict, OTP_WRONG);
    }
    assert_int_equal(number_of("SELECT max(attempts) FROM otp_codes"), 5);
    assert_int_equal(number_of("SELECT max(failures) FROM otp_numbers"), 5);
    assert_int_equal(person_guess(&p, p.code.code), OTP_WRONG); /* the right one comes too late */
    free(all);
    free(jobs);
}

static void twenty_failures_a_number_whatever_codes_come(void **state)
{
    need_server();
    struct person p;
    char wrong[OTP_DIGITS + 1];
    person_init(&p, "+8613800000004");
    for (int round = 0; round < 5; round++) {
        assert_int_equal(sql_as(owner_uri, "UPDATE otp_numbers SET last_sent_at = now() - interval '61 s'"),
                         0);
        person_get_code(&p);
        person_guess_wrong(&p, wrong);
        for (int guess = 0; guess < 4; guess++) {
            assert_int_equal(person_guess(&p, wrong), OTP_WRONG);
        }
        if (round == 4) {
            break;
        }
    }
    /* 20 failures: neither the right code nor a new one helps until the window has passed */
    assert_int_equal(person_guess(&p, p.code.code), OTP_TOO_MANY);
    assert_in_range(p.checked.wait_s, 86000, 86400);
    assert_int_equal(sql_as(owner_uri, "UPDATE otp_numbers SET last_sent_at = now() - interval '61 s'"), 0);
    assert_int_equal(as_app(run_begin, &p), ERR_LIMIT);
    assert_int_equal(sql_as(owner_uri, "UPDATE otp_numbers SET window_began = now() - interval '25 h'"), 0);
    person_get_code(&p);
    assert_int_equal(person_guess(&p, p.code.code), OTP_RIGHT);
}

static void the_database_alone_does_not_tell_a_code(void **state)
{
    need_server();
    struct person p, q;
    person_init(&p, "+8613800000005");
    person_init(&q, "+8613800000006");
    person_get_code(&p);
    person_get_code(&q);
    snprintf(q.guess, sizeof q.guess, "%s", p.code.code);
    if (strcmp(p.code.code, q.code.code) != 0) {
        assert_int_equal(person_guess(&q, p.code.code), OTP_WRONG); /* codes belong to their number */
    }
    /* a code carried over to another number's row opens nothing there */
    assert_int_equal(sql_as(owner_uri, "UPDATE otp_codes a SET code_mac = b.code_mac FROM otp_codes b"
                                       " WHERE a.created_at = (SELECT max(created_at) FROM otp_codes)"
                                       " AND b.created_at < a.created_at AND b.is_live"),
                     0);
    assert_int_equal(person_guess(&q, p.code.code), OTP_WRONG);
}

struct refresh {
    struct uuid session;
    int64_t counter;
    struct session_refreshed out;
};

static int run_refresh(struct pg *pg, void *arg)
{
    struct refresh *r = arg;
    return session_refresh(pg, &conf, &r->session, r->counter, &r->out);
}

static struct session_refreshed refresh(const struct uuid *session, int64_t counter)
{
    struct refresh r = {.session = *session, .counter = counter};
    assert_int_equal(as_app(run_refresh, &r), 0);
    return r.out;
}

static void parallel_refreshes_have_one_successor(void **state)
{
    need_server();
    enum { MANY = 50 };
    struct person p;
    struct refresh all[MANY];
    struct crowd_job jobs[MANY] = {0};
    person_init(&p, "+8613800000007");
    assert_int_equal(as_app(run_sign_up, &p), 0);
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = (struct refresh){.session = p.session, .counter = 1};
        jobs[i] = (struct crowd_job){.run = run_refresh, .arg = &all[i]};
    }
    crowd_go(jobs, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(jobs[i].rc, 0);
        assert_int_equal(all[i].out.outcome, SESSION_OK);
        assert_true(all[i].out.counter == 2);
    }
    assert_int_equal(refresh(&p.session, 2).counter, 3);
    assert_int_equal(refresh(&p.session, 1).outcome, SESSION_REUSED); /* the grandparent */
    assert_int_equal(refresh(&p.session, 3).outcome, SESSION_ENDED);
    assert_int_equal(number_of("SELECT count(*) FROM revocations r JOIN sessions s ON s.id = r.session_id"
                               " WHERE s.end_reason = 'token_reuse'"),
                     1);
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE action = 'auth.token_reuse'"), 1);
}

struct confirm {
    struct uuid session;
    int64_t iat_s;
    bool is_alive;
};

static int run_confirm(struct pg *pg, void *arg)
{
    struct confirm *c = arg;
    return session_confirm(pg, &c->session, c->iat_s, &c->is_alive);
}

static void grace_of_the_parent(void **state)
{
    need_server();
    struct person p;
    person_init(&p, "+8613800000008");
    assert_int_equal(as_app(run_sign_up, &p), 0);
    assert_int_equal(refresh(&p.session, 1).counter, 2);
    /* the answer was lost; a minute later the parent still gets its successor */
    assert_int_equal(sql_as(owner_uri, "UPDATE refresh_families SET rotated_at = now() - interval '60 s'"),
                     0);
    assert_int_equal(refresh(&p.session, 1).outcome, SESSION_OK);
    assert_int_equal(refresh(&p.session, 1).counter, 2);
    /* an access token of before the rotation proves nothing */
    struct confirm c = {.session = p.session, .iat_s = p.begun.began_s - 3600};
    assert_int_equal(as_app(run_confirm, &c), 0);
    assert_true(c.is_alive);
    assert_int_equal(refresh(&p.session, 1).outcome, SESSION_OK);
    /* one that came with the successor does: now the parent is a replay */
    c.iat_s = p.begun.began_s + 3600;
    assert_int_equal(as_app(run_confirm, &c), 0);
    assert_int_equal(refresh(&p.session, 1).outcome, SESSION_REUSED);
    assert_int_equal(as_app(run_confirm, &c), 0);
    assert_false(c.is_alive);
    assert_int_equal(refresh(&p.session, 900).outcome, SESSION_ENDED);
}

static void sessions_grow_old(void **state)
{
    need_server();
    struct person p;
    struct uuid nobody = uuid_v7();
    person_init(&p, "+8613800000009");
    assert_int_equal(as_app(run_sign_up, &p), 0);
    assert_int_equal(refresh(&nobody, 1).outcome, SESSION_UNKNOWN);
    assert_int_equal(refresh(&p.session, 7).outcome, SESSION_UNKNOWN);
    assert_int_equal(sql_as(owner_uri, "UPDATE sessions SET refreshed_at = now() - interval '31 d'"), 0);
    assert_int_equal(refresh(&p.session, 1).outcome, SESSION_EXPIRED);
    assert_int_equal(sql_as(owner_uri, "UPDATE sessions SET refreshed_at = now(), expires_at = now()"), 0);
    assert_int_equal(refresh(&p.session, 1).outcome, SESSION_EXPIRED);
}

struct end {
    struct uuid user, session;
    const char *scope;
    struct auth_ended ended[SESSION_ENDED_MAX];
    unsigned count;
};

static int run_end(struct pg *pg, void *arg)
{
    struct end *e = arg;
    return session_end(pg, &e->user, &e->session, e->scope, "logout", e->ended, &e->count);
}

static void logout_scopes_and_what_gateways_learn(void **state)
{
    need_server();
    struct person p;
    struct end *e = calloc(1, sizeof *e);
    struct auth_sync sync = {0};
    person_init(&p, "+8613800000010");
    assert_int_equal(as_app(run_sign_up, &p), 0);
    assert_int_equal(
        sql_as(owner_uri,
               "INSERT INTO sessions (id, user_id, expires_at, method) SELECT gen_random_uuid(), id,"
               " now() + interval '1 d', 'otp' FROM (SELECT id FROM users ORDER BY created_at DESC"
               " LIMIT 1) u, generate_series(1, 3)"),
        0);
    int64_t before = number_of("SELECT revocations FROM versions");
    int64_t known = number_of("SELECT count(*) FROM revocations");
    *e = (struct end){.user = p.user, .session = p.session, .scope = "others"};
    assert_int_equal(as_app(run_end, e), 0);
    assert_int_equal(e->count, 3);
    e->scope = "local";
    assert_int_equal(as_app(run_end, e), 0);
    assert_int_equal(e->count, 1);
    assert_true(uuid_eq(&e->ended[0].session, &p.session));
    e->scope = "global";
    assert_int_equal(as_app(run_end, e), 0);
    assert_int_equal(e->count, 0); /* nothing is left, nothing is told */
    assert_int_equal(number_of("SELECT revocations FROM versions"), before + 2);
    assert_int_equal(as_app(auth_sync_revocations, &sync), 0);
    assert_int_equal(sync.ended_count, known + 4);
    assert_true(uuid_eq(&sync.ended[sync.ended_count - 1].session, &p.session));
    /* a first read takes what a token may be alive for under any configuration, however much is kept */
    assert_int_equal(sql_as(owner_uri, "UPDATE revocations SET created_at = created_at - interval '47 h'"
                                       " WHERE id = (SELECT max(id) FROM revocations);"
                                       " UPDATE revocations SET created_at = created_at - interval '50 h'"
                                       " WHERE id <> (SELECT max(id) FROM revocations);"
                                       " SELECT auth_purge(1000)"),
                     0);
    assert_int_equal(as_app(auth_sync_revocations, &sync), 0);
    assert_int_equal(sync.ended_count, 1);
    assert_true(uuid_eq(&sync.ended[0].session, &p.session));
    auth_sync_clear(&sync);
    free(e);
}

/* How many revocations a gateway reads that has read until *mark; which it moves. */
static unsigned revocations_since(struct auth_sync_mark *mark)
{
    struct auth_sync sync = {.since = *mark};
    assert_int_equal(as_app(auth_sync_revocations, &sync), 0);
    unsigned n = sync.ended_count;
    *mark = sync.until;
    auth_sync_clear(&sync);
    return n;
}

static void sign_up_and(const char *phone, const char *sql)
{
    struct person p;
    person_init(&p, phone);
    assert_int_equal(as_app(run_sign_up, &p), 0);
    assert_int_equal(sql_as(owner_uri, sql), 0);
}

static void no_revocation_is_missed(void **state)
{
    need_server();
    static const char newest[] = "(SELECT id FROM users ORDER BY created_at DESC LIMIT 1)";
    char sql[256];
    assert_int_equal(sql_as(owner_uri, "DELETE FROM revocations"), 0);
    struct auth_sync_mark mark = {0};
    assert_int_equal(revocations_since(&mark), 0);
    /* as of a transaction of five minutes that has just committed: everybody is signed out, say */
    snprintf(sql, sizeof sql, "SELECT auth_end_sessions(%s, NULL, 'global', 'test')", newest);
    sign_up_and("+8613800000080", sql);
    assert_int_equal(sql_as(owner_uri, "UPDATE revocations SET created_at = now() - interval '5 min'"), 0);
    assert_int_equal(revocations_since(&mark), 1);
    assert_int_equal(revocations_since(&mark), 0);
    /* who is deleted is signed out */
    int64_t version = number_of("SELECT revocations FROM versions");
    snprintf(sql, sizeof sql, "DELETE FROM users WHERE id = %s", newest);
    sign_up_and("+8613800000081", sql);
    assert_int_equal(number_of("SELECT revocations FROM versions"), version + 1);
    assert_int_equal(revocations_since(&mark), 1);
    /* a session of long ago is not told of, nor one that had ended */
    assert_int_equal(sql_as(owner_uri, "UPDATE sessions SET expires_at = now() - interval '4 d'"
                                       " WHERE ended_at IS NULL; DELETE FROM sessions"),
                     0);
    assert_int_equal(number_of("SELECT revocations FROM versions"), version + 1);
    /* a failover: the database has lost versions, and uses them again */
    assert_int_equal(sql_as(owner_uri, "UPDATE versions SET revocations = revocations - 1"), 0);
    snprintf(sql, sizeof sql, "SELECT auth_end_sessions(%s, NULL, 'global', 'test')", newest);
    sign_up_and("+8613800000082", sql);
    assert_int_equal(number_of("SELECT revocations FROM versions"), version + 1);
    assert_int_equal(revocations_since(&mark), 2); /* that one, and the one of less than 30 s ago */
    assert_int_equal(sql_as(owner_uri, "UPDATE versions SET revocations = 1"),
                     0); /* an old copy: all is read */
    assert_int_equal(revocations_since(&mark), 3);
}

/* Users are deleted in one transaction; meanwhile one of them signs out, and nobody waits. */
static void deleting_users_holds_nobody_up(void **state)
{
    need_server();
    static const char users[] = "(SELECT id FROM users ORDER BY created_at DESC LIMIT 2)";
    struct person p;
    struct err err = {0};
    char sql[256];
    for (unsigned i = 0; i < 2; i++) {
        person_init(&p, i ? "+8613800000084" : "+8613800000083");
        assert_int_equal(as_app(run_sign_up, &p), 0);
    }
    int64_t version = number_of("SELECT revocations FROM versions");
    struct pg *deleting = pg_open(owner_uri, PATIENCE_MS, &err);
    assert_non_null(deleting);
    assert_int_equal(pg_exec(deleting, "BEGIN"), 0);
    snprintf(sql, sizeof sql, "DELETE FROM users WHERE id = (SELECT min(id::text)::uuid FROM %s u)", users);
    assert_int_equal(pg_exec(deleting, sql), 0);
    assert_int_equal(sql_as(owner_uri,
                            "SET lock_timeout = '3s';"
                            "SELECT auth_end_sessions((SELECT max(id::text)::uuid FROM (SELECT id FROM users"
                            " ORDER BY created_at DESC LIMIT 2) u), NULL, 'global', 'test')"),
                     0);
    snprintf(sql, sizeof sql, "DELETE FROM users WHERE id IN %s", users);
    assert_int_equal(pg_exec(deleting, sql), 0);
    assert_int_equal(pg_exec(deleting, "COMMIT"), 0);
    pg_close(deleting);
    assert_int_equal(number_of("SELECT revocations FROM versions"),
                     version + 2); /* one number a transaction */
}

static int admin(enum auth_admin_verb verb, const char *preset, const char *document, int64_t version,
                 int64_t if_version, struct auth_admin **out)
{
    struct auth_admin *a = auth_admin_new(verb, ring);
    a->actor = strdup("test");
    a->reason = strdup("because");
    a->preset = preset ? strdup(preset) : NULL;
    a->document = document ? strdup(document) : NULL;
    a->version = version;
    a->if_version = if_version;
    int rc = as_app(auth_admin_job, a);
    if (out) {
        *out = a;
    } else {
        auth_admin_free(a);
    }
    return rc;
}

static void policy_versions(void **state)
{
    need_server();
    struct auth_admin *a;
    struct auth_sync sync = {0};
    int64_t first = number_of("SELECT version FROM policy_current");
    int64_t polled = number_of("SELECT policy FROM versions");
    assert_int_equal(admin(AUTH_ADMIN_POLICY_SET, "mainland-phone-only", NULL, 0, 0, NULL), 0);
    assert_int_equal(number_of("SELECT version FROM policy_current"), first + 1);
    assert_int_equal(number_of("SELECT policy FROM versions"), polled + 1);
    assert_int_equal(number_of("SELECT count(*) FROM status_notices WHERE kind = 'signup_policy' AND"
                               " body->>'state' = 'restricted' AND body->'messages' ? 'zh-Hans'"),
                     1);
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE action = 'policy.set' AND actor = 'test'"
                               " AND reason = 'because'"),
                     1);
    assert_int_equal(admin(AUTH_ADMIN_POLICY_SET, "closed", NULL, 0, first, NULL), ERR_CONFLICT);
    assert_int_equal(admin(AUTH_ADMIN_POLICY_SET, "half", NULL, 0, 0, NULL), ERR_INVALID);
    assert_int_equal(admin(AUTH_ADMIN_POLICY_SET, NULL, "{\"name\":\"x\",\"odd\":1}", 0, 0, &a), ERR_INVALID);
    assert_non_null(strstr(a->err.msg, "$.odd"));
    auth_admin_free(a);
    assert_int_equal(number_of("SELECT count(*) FROM status_notices"), 1); /* refused ones left nothing */
    assert_int_equal(admin(AUTH_ADMIN_POLICY_ROLLBACK, NULL, NULL, first, 0, NULL), 0);
    assert_int_equal(admin(AUTH_ADMIN_POLICY_ROLLBACK, NULL, NULL, 999, 0, NULL), ERR_NOT_FOUND);
    assert_int_equal(admin(AUTH_ADMIN_POLICY_GET, NULL, NULL, 0, 0, &a), 0);
    assert_non_null(strstr(a->out.p, "\"in_force\":true,\"name\":\"open\",\"state\":\"open\""));
    auth_admin_free(a);
    assert_int_equal(as_app(auth_sync_policy, &sync), 0);
    assert_int_equal(policy_version(sync.policy), first + 2);
    assert_int_equal(policy_state(sync.policy), POLICY_STATE_OPEN);
    auth_sync_clear(&sync);
    assert_int_equal(admin(AUTH_ADMIN_POLICY_HISTORY, NULL, NULL, 0, 0, &a), 0);
    assert_non_null(strstr(a->out.p, "mainland-phone-only"));
    auth_admin_free(a);
}

/* The text of the member `code` of the first invite made. */
static void invite_make(int64_t uses, const char *inviter, char code[INVITE_CODE_TEXT])
{
    struct invite_admin *a = invite_admin_new(INVITE_CREATE, ring);
    a->actor = strdup("test");
    a->reason = strdup("because");
    a->inviter = inviter ? strdup(inviter) : NULL;
    a->uses = uses;
    a->default_quota = 3;
    assert_int_equal(as_app(invite_admin_job, a), 0);
    const char *found = strstr(a->out.p, "\"code\":\"");
    assert_non_null(found);
    snprintf(code, INVITE_CODE_TEXT, "%s", found + 8);
    invite_admin_free(a);
}

struct invite_look {
    struct invite_code code;
    struct invite invite;
};

static int run_invite_find(struct pg *pg, void *arg)
{
    struct invite_look *l = arg;
    return invite_find(pg, ring, &l->code, &l->invite);
}

static enum invite_state invite_worth(const char *text, struct invite *out)
{
    struct invite_look l = {0};
    assert_true(invite_code_read(str_from(text), &l.code));
    assert_int_equal(as_app(run_invite_find, &l), 0);
    *out = l.invite;
    return l.invite.state;
}

static void ten_uses_are_ten_accounts_whoever_comes_at_once(void **state)
{
    need_server();
    enum { MANY = 1000, USES = 10 };
    struct person *all = calloc(MANY, sizeof *all);
    struct crowd_job *jobs = calloc(MANY, sizeof *jobs);
    char code[INVITE_CODE_TEXT], number[PHONE_E164_MAX + 1];
    struct invite invite;
    unsigned in = 0;
    int64_t users = number_of("SELECT count(*) FROM users");
    int64_t current = number_of("SELECT version FROM policy_current");
    invite_make(USES, NULL, code);
    assert_int_equal(invite_worth(code, &invite), INVITE_GOOD);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(number, sizeof number, "+861390000%04u", i);
        person_init(&all[i], number);
        all[i].decision.version = current;
        all[i].invite = &invite.id;
        jobs[i] = (struct crowd_job){.run = run_sign_up, .arg = &all[i]};
    }
    crowd_go(jobs, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(jobs[i].rc == 0 || jobs[i].rc == ERR_CONFLICT);
        in += jobs[i].rc == 0;
    }
    assert_int_equal(in, USES);
    assert_int_equal(number_of("SELECT count(*) FROM users") - users, USES);
    assert_int_equal(number_of("SELECT count(*) FROM users WHERE invite_id IS NOT NULL"), USES);
    assert_int_equal(number_of("SELECT uses FROM invites"), USES);
    assert_int_equal(invite_worth(code, &invite), INVITE_USED_UP);
    assert_true(sql_as(app_uri, "UPDATE invites SET uses = 0") < 0); /* only the functions count */
    free(all);
    free(jobs);
}

static void inviters_have_a_quota_even_at_once(void **state)
{
    need_server();
    enum { MANY = 20, QUOTA = 3 };
    struct invite_admin *all[MANY];
    struct crowd_job jobs[MANY] = {0};
    unsigned made = 0;
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = invite_admin_new(INVITE_CREATE, ring);
        all[i]->actor = strdup("test");
        all[i]->reason = strdup("because");
        all[i]->inviter = strdup("li");
        all[i]->default_quota = QUOTA;
        jobs[i] = (struct crowd_job){.run = invite_admin_job, .arg = all[i]};
    }
    crowd_go(jobs, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(jobs[i].rc == 0 || jobs[i].rc == ERR_CONFLICT);
        assert_true(jobs[i].rc == 0 || strstr(all[i]->err.msg, "invite_quota: li has 3 of 3"));
        made += jobs[i].rc == 0;
        invite_admin_free(all[i]);
    }
    assert_int_equal(made, QUOTA);
    assert_int_equal(number_of("SELECT sum(max_uses) FROM invites WHERE inviter = 'li'"), QUOTA);
}

static void people_for_operators(void **state)
{
    need_server();
    struct auth_admin *a = auth_admin_new(AUTH_ADMIN_USERS_LIST, ring);
    a->phone = strdup("0086 138-0000-0001");
    assert_int_equal(as_app(auth_admin_job, a), 0);
    assert_non_null(strstr(a->out.p, "\"phone\":\"+86138****0001\""));
    assert_null(strstr(a->out.p, "13800000001"));
    auth_admin_free(a);
    a = auth_admin_new(AUTH_ADMIN_USERS_LIST, ring);
    a->limit = 3;
    assert_int_equal(as_app(auth_admin_job, a), 0);
    auth_admin_free(a);
    assert_int_equal(as_app(auth_sync_purge, NULL), 0);
}

static int read_conf(struct err *err)
{
    char text[300];
    snprintf(text, sizeof text, "issuer: http://test\nsigning_keys: /none\nkey_ring_file: %s\n",
             temp_path("ring"));
    int rc = conf_parse(str_from(text), "test", &auth_conf_section, &conf_file, err);
    if (rc == 0) {
        conf = *(const struct auth_config *)conf_root(conf_file);
    }
    return rc;
}

static int set_up(void **state)
{
    struct err err = {0};
    temp_make(state);
    if (secret_ring_generate(temp_path("ring"), &err) < 0 ||
        secret_ring_load(temp_path("ring"), &ring, &err) < 0 || read_conf(&err) < 0) {
        print_message("%s\n", err.msg);
        return -1;
    }
    return pg_database_make("tide_account_test");
}

static int tear_down(void **state)
{
    secret_ring_unref(ring);
    conf_unref(conf_file);
    return temp_remove(state);
}

int main(void)
{
    phone_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_function_makes_users),
        cmocka_unit_test(a_code_is_pending_then_live_then_gone),
        cmocka_unit_test(five_guesses_a_code_whatever_comes_at_once),
        cmocka_unit_test(twenty_failures_a_number_whatever_codes_come),
        cmocka_unit_test(the_database_alone_does_not_tell_a_code),
        cmocka_unit_test(parallel_refreshes_have_one_successor),
        cmocka_unit_test(grace_of_the_parent),
        cmocka_unit_test(sessions_grow_old),
        cmocka_unit_test(logout_scopes_and_what_gateways_learn),
        cmocka_unit_test(no_revocation_is_missed),
        cmocka_unit_test(deleting_users_holds_nobody_up),
        cmocka_unit_test(policy_versions),
        cmocka_unit_test(ten_uses_are_ten_accounts_whoever_comes_at_once),
        cmocka_unit_test(inviters_have_a_quota_even_at_once),
        cmocka_unit_test(people_for_operators),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* How sessions end that nobody signs out of: bans, by operators and by plain SQL, and a new era for everybody. Against a real
 * database: tests/with-postgres build/dev/tests/session_end_test; without TIDE_TEST_PG all of it is skipped, visibly. */
#include "tests/unit/pg_database.h"
#include "tests/unit/temp.h"

#include <pthread.h>

#include "auth/account.h"
#include "auth/admin.h"
#include "auth/session.h"
#include "base/conf.h"

static struct secret_ring *ring;
static struct conf *conf_file;
static struct auth_config conf;
static unsigned people;

static int as_app(int (*run)(struct pg *, void *), void *arg)
{
    return pg_run_as(app_uri, run, arg);
}

struct person {
    struct uuid user;
    struct session_begun begun;
    struct account account;
    bool is_alive;
};

static int run_sign_in(struct pg *pg, void *arg)
{
    struct person *p = arg;
    struct session_origin origin = {.device = "d"};
    int rc = account_touch(pg, &p->user);
    rc = rc < 0 ? rc : account_load(pg, ring, &p->user, &p->account);
    return rc < 0 || p->account.is_banned ? rc : session_create(pg, &conf, &p->user, &origin, &p->begun);
}

static int run_sign_up(struct pg *pg, void *arg)
{
    struct person *p = arg;
    struct phone phone;
    struct subject subject;
    char number[32];
    struct policy_decision decision = {.version = 1, .rule = "default"};
    snprintf(number, sizeof number, "+86138000001%02u", people);
    assert_int_equal(phone_read(str_from(number), PHONE_MODE_STRICT, &phone, NULL), 0);
    subject_of_phone(ring, &phone, &subject);
    int rc = account_create(pg, ring, &decision, &(struct account_pass){0}, &phone, &subject, &p->user);
    return rc < 0 ? rc : run_sign_in(pg, p);
}

static void sign_up(struct person *p)
{
    people++;
    *p = (struct person){0};
    assert_int_equal(as_app(run_sign_up, p), 0);
}

struct refresh {
    struct uuid session;
    struct session_refreshed out;
};

static int run_refresh(struct pg *pg, void *arg)
{
    struct refresh *r = arg;
    return session_refresh(pg, &conf, &r->session, 1, &r->out);
}

static enum session_outcome refresh(const struct person *p)
{
    struct refresh r = {.session = p->begun.id};
    assert_int_equal(as_app(run_refresh, &r), 0);
    return r.out.outcome;
}

static int run_alive(struct pg *pg, void *arg)
{
    struct person *p = arg;
    return session_confirm(pg, &p->begun.id, p->begun.began_s, &p->is_alive);
}

static bool is_alive(struct person *p)
{
    assert_int_equal(as_app(run_alive, p), 0);
    return p->is_alive;
}

static int64_t number_about(const char *sql, const struct uuid *id)
{
    char text[ID_UUID_TEXT + 1], whole[256];
    uuid_format(id, text);
    snprintf(whole, sizeof whole, "%s '%s'", sql, text);
    return number_of(whole);
}

static void about(char *out, size_t room, const char *sql, const struct person *p)
{
    char text[ID_UUID_TEXT + 1];
    uuid_format(&p->user, text);
    snprintf(out, room, "%s WHERE id = '%s'", sql, text);
}

static int sql_about(const char *sql, const struct person *p)
{
    char whole[256];
    about(whole, sizeof whole, sql, p);
    return sql_as(owner_uri, whole);
}

static bool is_told(const struct person *p)
{
    return number_about("SELECT count(*) FROM revocations WHERE session_id =", &p->begun.id) == 1;
}

#define BAN "UPDATE users SET banned_until = now() + interval '1 h'"

static void a_ban_by_plain_sql_ends_sessions(void **state)
{
    need_server();
    struct person p, other;
    sign_up(&p);
    sign_up(&other);
    int64_t version = number_of("SELECT revocations FROM versions");
    assert_int_equal(sql_about("UPDATE users SET banned_until = now() - interval '1 h'", &p),
                     0); /* is over */
    assert_true(is_alive(&p));
    assert_int_equal(sql_about(BAN, &p), 0);
    assert_false(is_alive(&p));
    assert_true(is_told(&p));
    assert_int_equal(number_of("SELECT revocations FROM versions"), version + 1);
    assert_int_equal(refresh(&p), SESSION_BANNED);
    assert_int_equal(as_app(run_sign_in, &p), 0);
    assert_true(p.account.is_banned);
    assert_int_equal(sql_about("UPDATE users SET banned_until = 'infinity'", &p), 0);
    assert_int_equal(refresh(&p), SESSION_BANNED);
    assert_true(is_alive(&other));
    assert_int_equal(refresh(&other), SESSION_OK);
    /* lifted: nothing comes back, but signing in is free */
    assert_int_equal(sql_about("UPDATE users SET banned_until = NULL", &p), 0);
    assert_int_equal(refresh(&p), SESSION_ENDED);
    assert_int_equal(as_app(run_sign_in, &p), 0);
    assert_int_equal(refresh(&p), SESSION_OK);
    /* whatever ends a session is told */
    assert_int_equal(sql_as(owner_uri, "UPDATE sessions SET ended_at = now() WHERE ended_at IS NULL"), 0);
    assert_true(is_told(&p) && is_told(&other));
}

static void *ban_in_a_thread(void *arg)
{
    return sql_about(BAN, arg) == 0 ? arg : NULL;
}

static void who_signs_in_beside_the_ban_is_out(void **state)
{
    need_server();
    struct person p;
    pthread_t thread;
    void *done;
    sign_up(&p);
    struct pg *signing_in = pg_open(app_uri, PATIENCE_MS, NULL);
    assert_non_null(signing_in);
    assert_int_equal(pg_exec(signing_in, "BEGIN"), 0);
    assert_int_equal(run_sign_in(signing_in, &p), 0); /* saw no ban */
    assert_int_equal(pthread_create(&thread, NULL, ban_in_a_thread, &p), 0);
    while (number_of("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                     " AND datname = current_database()") == 0) {
    }
    assert_int_equal(pg_exec(signing_in, "COMMIT"), 0);
    pg_close(signing_in);
    pthread_join(thread, &done);
    assert_ptr_equal(done, &p);
    assert_false(is_alive(&p));
    assert_true(is_told(&p));
}

/* Users are banned in one transaction, one after another; meanwhile one of them signs out, and nobody waits. */
static void banning_many_holds_nobody_up(void **state)
{
    need_server();
    struct person first, second;
    char sql[256], id[ID_UUID_TEXT + 1];
    sign_up(&first);
    sign_up(&second);
    int64_t version = number_of("SELECT revocations FROM versions");
    struct pg *banning = pg_open(owner_uri, PATIENCE_MS, NULL);
    assert_non_null(banning);
    assert_int_equal(pg_exec(banning, "BEGIN"), 0);
    about(sql, sizeof sql, BAN, &first);
    assert_int_equal(pg_exec(banning, sql), 0);
    uuid_format(&second.user, id);
    snprintf(sql, sizeof sql,
             "SET lock_timeout = '3s'; SELECT auth_end_sessions('%s', NULL, 'global', 'test')", id);
    assert_int_equal(sql_as(owner_uri, sql), 0);
    about(sql, sizeof sql, BAN, &second);
    assert_int_equal(pg_exec(banning, sql), 0);
    assert_int_equal(pg_exec(banning, "COMMIT"), 0);
    pg_close(banning);
    assert_true(is_told(&first) && is_told(&second));
    assert_int_equal(number_of("SELECT revocations FROM versions"), version + 2); /* one a transaction */
}

static void a_new_era_ends_every_session_of_before(void **state)
{
    need_server();
    struct person before, beside, after;
    struct session_origin origin = {.device = "d"};
    sign_up(&before);
    sign_up(&beside);
    int64_t told = number_of("SELECT count(*) FROM revocations");
    struct pg *signing_in = pg_open(app_uri, PATIENCE_MS, NULL);
    assert_non_null(signing_in);
    assert_int_equal(pg_exec(signing_in, "BEGIN"), 0);
    assert_int_equal(session_create(signing_in, &conf, &beside.user, &origin, &beside.begun), 0);
    int64_t era = number_of("SELECT auth_end_everybody()");
    assert_int_equal(pg_exec(signing_in, "COMMIT"), 0); /* it did not see the new era */
    pg_close(signing_in);
    assert_true(before.begun.era < era && beside.begun.era < era);
    assert_int_equal(refresh(&before), SESSION_ENDED);
    assert_int_equal(refresh(&beside), SESSION_ENDED);
    assert_false(is_alive(&before));
    assert_int_equal(number_of("SELECT count(*) FROM revocations"), told); /* no row a session */
    sign_up(&after);
    struct refresh r = {.session = after.begun.id};
    assert_int_equal(as_app(run_refresh, &r), 0);
    assert_int_equal(r.out.outcome, SESSION_OK);
    assert_true(after.begun.era == era && r.out.era == era);
    assert_true(is_alive(&after));
    assert_true(number_of("SELECT auth_end_everybody()") > era);
    assert_int_equal(refresh(&after), SESSION_ENDED);
    assert_true(sql_as(app_uri, "UPDATE versions SET everybody = 0") < 0); /* nothing but the function */
}

/* --- operators --------------------------------------------------------------------------------------- */

static int admin(enum auth_admin_verb verb, const struct person *p, int64_t at_ms, int64_t for_ms,
                 char out[512])
{
    struct auth_admin *a = auth_admin_new(verb, ring);
    char id[ID_UUID_TEXT + 1];
    a->actor = strdup("test");
    a->reason = strdup("because");
    if (p) {
        uuid_format(&p->user, id);
        a->user = strdup(id);
    }
    a->at_ms = at_ms;
    a->for_ms = for_ms;
    a->is_banned = verb == AUTH_ADMIN_USERS_LIST;
    int rc = as_app(auth_admin_job, a);
    snprintf(out, 512, "%s", rc == 0 ? a->out.p : a->err.msg);
    auth_admin_free(a);
    return rc;
}

static void operators_ban_and_lift(void **state)
{
    need_server();
    struct person p, nobody = {.user = uuid_v7()};
    char out[512];
    sign_up(&p);
    assert_int_equal(admin(AUTH_ADMIN_USER_BAN, &nobody, 0, 0, out), ERR_NOT_FOUND);
    assert_int_equal(admin(AUTH_ADMIN_USER_UNBAN, &nobody, 0, 0, out), ERR_NOT_FOUND);
    assert_int_equal(admin(AUTH_ADMIN_USER_BAN, NULL, 0, 0, out), ERR_INVALID);
    assert_int_equal(admin(AUTH_ADMIN_USER_BAN, &p, 1000, 0, out), ERR_INVALID);
    assert_non_null(strstr(out, "over"));
    assert_true(is_alive(&p)); /* refused: nothing was changed */
    assert_int_equal(admin(AUTH_ADMIN_USER_BAN, &p, INT64_C(4102444800000), 0, out), 0);
    assert_non_null(strstr(out, "\"banned_until\":\"2100-01-01T00:00:00.000Z\",\"revoked\":1"));
    assert_int_equal(refresh(&p), SESSION_BANNED);
    assert_int_equal(admin(AUTH_ADMIN_USER_BAN, &p, 0, 0, out), 0); /* for good */
    assert_non_null(strstr(out, "\"banned_until\":\"infinity\",\"revoked\":0"));
    assert_int_equal(admin(AUTH_ADMIN_USERS_LIST, &p, 0, 0, out), 0);
    assert_non_null(strstr(out, "\"banned_until\":\"infinity\""));
    assert_int_equal(admin(AUTH_ADMIN_USER_UNBAN, &p, 0, 0, out), 0);
    assert_int_equal(admin(AUTH_ADMIN_USERS_LIST, &p, 0, 0, out), 0);
    assert_string_equal(out, "{\"items\":[]}");
    assert_int_equal(admin(AUTH_ADMIN_USER_BAN, &p, 0, 3600000, out), 0);
    assert_int_equal(
        number_about("SELECT count(*) FROM users WHERE banned_until BETWEEN now() + interval '50 min'"
                     " AND now() + interval '1 h' AND id =",
                     &p.user),
        1);
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE action = 'user.ban' AND reason = 'because'"
                               " AND actor = 'test' AND (detail->>'until')::timestamptz > now()"),
                     3);
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE action = 'user.unban'"), 1);
}

static void operators_sign_everybody_out(void **state)
{
    need_server();
    struct person p;
    char out[512];
    sign_up(&p);
    assert_int_equal(admin(AUTH_ADMIN_EVERYBODY_OUT, NULL, 0, 0, out), 0);
    assert_non_null(strstr(out, "{\"era\":"));
    assert_int_equal(refresh(&p), SESSION_ENDED);
    assert_int_equal(admin(AUTH_ADMIN_SESSIONS_REVOKE, &p, 0, 0, out), 0);
    assert_string_equal(out, "{\"revoked\":0}"); /* had ended */
    assert_int_equal(
        number_of("SELECT count(*) FROM audit WHERE action = 'sessions.revoke' AND target = 'everybody'"
                  " AND (detail->>'era')::bigint = (SELECT everybody FROM versions)"),
        1);
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
    return pg_database_make("tide_session_end_test");
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
        cmocka_unit_test(a_ban_by_plain_sql_ends_sessions),
        cmocka_unit_test(who_signs_in_beside_the_ban_is_out),
        cmocka_unit_test(banning_many_holds_nobody_up),
        cmocka_unit_test(a_new_era_ends_every_session_of_before),
        cmocka_unit_test(operators_ban_and_lift),
        cmocka_unit_test(operators_sign_everybody_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

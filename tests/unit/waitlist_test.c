/* Places on the waiting list against a real database: tests/with-postgres build/dev/tests/waitlist_test.
 * Without TIDE_TEST_PG all of it is skipped, visibly. */
#include "tests/unit/pg_database.h"
#include "tests/unit/temp.h"

#include "auth/account.h"
#include "auth/waitlist.h"

static struct secret_ring *ring;

struct person {
    struct phone phone;
    struct subject subject;
    struct uuid user;
};

static void person_init(struct person *p, const char *number)
{
    assert_int_equal(phone_read(str_from(number), PHONE_MODE_STRICT, &p->phone, NULL), 0);
    subject_of_phone(ring, &p->phone, &p->subject);
}

static int as_app(int (*run)(struct pg *, void *), void *arg)
{
    return pg_run_as(app_uri, run, arg);
}

static int run_sign_up(struct pg *pg, void *arg)
{
    struct person *p = arg;
    return account_create(pg, ring, &(struct policy_decision){.version = 1, .rule = "default"},
                          &(struct account_pass){0}, &p->phone, &p->subject, &p->user);
}

struct joining {
    struct waitlist_join join;
    bool is_giving_up, has_left;
    bool writes; /* the transaction: it commits as late as others that write */
};

static int run_joining(struct pg *pg, void *arg)
{
    struct joining *j = arg;
    int rc = j->is_giving_up ? waitlist_leave(pg, &j->join.ticket, &j->has_left)
                             : waitlist_join(pg, ring, &j->join);
    int rows = rc < 0 ? rc : pg_query(pg, "SELECT pg_current_xact_id_if_assigned() IS NOT NULL");
    j->writes = rows > 0 && pg_bool(pg, 0, 0);
    return rows < 0 ? rows : 0;
}

/* A number with an account, a new one, and the same again: to join and to leave take as long. */
static void the_waiting_list_takes_as_long_for_any_number(void **state)
{
    need_server();
    static const char *const numbers[] = {"+8613800000001", "+8613800000090", "+8613800000090"};
    struct person user;
    person_init(&user, numbers[0]);
    assert_int_equal(as_app(run_sign_up, &user), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct person p;
        person_init(&p, numbers[i]);
        struct joining j = {
            .join = {.phone = &p.phone, .subject = &p.subject, .lang = "en", .ttl_ms = 60000}};
        assert_int_equal(as_app(run_joining, &j), 0);
        assert_true(j.writes);
        assert_int_equal(j.join.is_new, i == 1);
        j.is_giving_up = true;
        j.writes = false;
        j.join.ticket.seq += i == 1; /* keeps the place: this ticket is another's */
        assert_int_equal(as_app(run_joining, &j), 0);
        assert_true(j.writes && !j.has_left);
    }
}

/* Whatever the time zone of the sessions, and whether it has summer time in between. */
static void a_place_ends_when_its_ticket_says(void **state)
{
    need_server();
    static const char *const numbers[] = {"+8613800000091", "+8613800000092"};
    assert_int_equal(
        sql_as(owner_uri, "DO $$ BEGIN EXECUTE format('ALTER ROLE tidegate_app IN DATABASE %I SET timezone ="
                          " ''Europe/Berlin''', current_database()); END $$"),
        0);
    for (unsigned i = 0; i < 2; i++) {
        struct person p;
        char sql[160];
        person_init(&p, numbers[i]);
        struct joining j = {.join = {.phone = &p.phone,
                                     .subject = &p.subject,
                                     .lang = "en",
                                     .ttl_ms = (i + 1) * 120 * (uint64_t)86400000}};
        assert_int_equal(as_app(run_joining, &j), 0);
        assert_true(j.join.is_new);
        snprintf(sql, sizeof sql,
                 "SELECT extract(epoch FROM expires_at)::bigint FROM waitlist WHERE seq = %lld",
                 (long long)j.join.ticket.seq);
        assert_int_equal(number_of(sql), j.join.ticket.expires_s);
    }
    assert_int_equal(
        sql_as(owner_uri,
               "DO $$ BEGIN EXECUTE format('ALTER ROLE tidegate_app IN DATABASE %I RESET timezone',"
               " current_database()); END $$"),
        0);
}

/* A line of some blocks with holes in it; people join, come in by an invite, leave, are released (by country too) and
 * expire in any order, and it is counted now and then. No position that was told ever rises. */
static const char a_random_day[] =
    "DO $$ DECLARE place record; act float8; ahead bigint; n bigint := 0; BEGIN"
    " PERFORM setseed(%s);"
    " CREATE TEMP TABLE told (id uuid, seq bigint, ahead bigint) ON COMMIT DROP;"
    " FOR i IN 1 .. 250 LOOP"
    "   act := random();"
    "   SELECT w.id, w.seq INTO place FROM waitlist w WHERE w.state = 'waiting' ORDER BY random() LIMIT 1;"
    "   IF act < 0.5 OR place IS NULL THEN"
    "     PERFORM setval('waitlist_seq', nextval('waitlist_seq') + (random() ^ 4 * 3000)::bigint);"
    "     INSERT INTO told SELECT gen_random_uuid(), q.last_value, waitlist_ahead(q.last_value) FROM "
    "waitlist_seq q;"
    "     PERFORM waitlist_join(t.id, sha256(t.id::text::bytea), 'k', '', CASE WHEN random() < 0.5 THEN 'CN' "
    "ELSE 'HK' END,"
    "       'en', interval '1 d', t.seq) FROM told t ORDER BY t.seq DESC LIMIT 1;"
    "   ELSIF act < 0.65 THEN"
    "     UPDATE waitlist SET state = 'joined' WHERE id = place.id;" /* as auth_create_user does */
    "   ELSIF act < 0.75 THEN"
    "     PERFORM waitlist_leave(place.id, place.seq);"
    "   ELSIF act < 0.8 THEN"
    "     UPDATE waitlist SET expires_at = now() WHERE id = place.id;"
    "   ELSIF act < 0.85 THEN"
    "     PERFORM waitlist_release(1 + (random() * 4)::bigint, CASE WHEN random() < 0.5 THEN 'HK' END, NULL,"
    "       interval '1 h', 'test', 'because', '');"
    "   ELSE"
    "     PERFORM waitlist_tend('0 s', 5000);"
    "   END IF;"
    "   SELECT count(*) INTO ahead FROM told t WHERE waitlist_ahead(t.seq) > t.ahead;"
    "   IF ahead > 0 THEN RAISE EXCEPTION 'a position rose after step % (%)', i, act; END IF;"
    "   UPDATE told SET ahead = waitlist_ahead(seq);"
    "   n := n + (SELECT count(*) FROM waitlist_blocks);"
    " END LOOP;"
    " IF n < 250 THEN RAISE EXCEPTION 'hardly any blocks were counted'; END IF;"
    "END $$";

static void no_position_ever_rises(void **state)
{
    need_server();
    static const char *const seeds[] = {"0.1", "0.2", "0.3"};
    char sql[sizeof a_random_day + 8];
    for (unsigned i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        const char *at = strchr(a_random_day, '%');
        snprintf(sql, sizeof sql, "%.*s%s%s", (int)(at - a_random_day), a_random_day, seeds[i], at + 2);
        assert_int_equal(sql_as(owner_uri, sql), 0);
    }
}

static int set_up(void **state)
{
    struct err err = {0};
    temp_make(state);
    if (secret_ring_generate(temp_path("ring"), &err) < 0 ||
        secret_ring_load(temp_path("ring"), &ring, &err) < 0) {
        print_message("%s\n", err.msg);
        return -1;
    }
    return pg_database_make("tide_waitlist_test");
}

static int tear_down(void **state)
{
    secret_ring_unref(ring);
    return temp_remove(state);
}

int main(void)
{
    phone_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_waiting_list_takes_as_long_for_any_number),
        cmocka_unit_test(a_place_ends_when_its_ticket_says),
        cmocka_unit_test(no_position_ever_rises),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

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
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

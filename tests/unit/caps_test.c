/* Places under caps, against a real Redis. Counts are put into periods that are far in the future where a test must not
 * meet the end of a minute: the script never goes back from a period that it has seen. */
#include "tests/unit/unit.h"

#include "ratelimit/caps.h"
#include "tests/unit/ledger_rig.h"

enum { FAR = 99999999 }; /* a minute, hour and day number beyond all clocks */

static struct ledger_rig rig;

struct answer {
    unsigned count;
    int rc;
    int64_t wait_s;
    bool has_place;
    struct caps_place place;
};

static int set_up(void **state)
{
    static struct redis_script *scripts[] = {&caps_script};
    redis_script_init(&caps_script);
    rig_open(&rig, scripts, 1);
    return 0;
}

static int tear_down(void **state)
{
    rig_close(&rig);
    return 0;
}

static void on_answer(void *arg, int rc, int64_t wait_s, const struct caps_place *place)
{
    struct answer *a = arg;
    *a = (struct answer){.count = a->count + 1, .rc = rc, .wait_s = wait_s, .has_place = place != NULL};
    if (place) {
        a->place = *place;
    }
}

static struct answer ask(const char *name, uint32_t minute, uint32_t hour, uint32_t day, bool takes)
{
    struct answer a = {0};
    const uint32_t most[CAPS_PERIODS] = {minute, hour, day};
    caps_ask(rig.redis, str_from(name), most, takes, on_answer, &a);
    for (int i = 0; i < 30000 && a.count == 0; i++) {
        rig_turn(&rig);
    }
    assert_int_equal(a.count, 1);
    assert_int_equal(a.has_place, a.rc == 0 && takes);
    return a;
}

static void put(const char *name, const char *field, int64_t period, unsigned count)
{
    char key[80], value[48];
    snprintf(key, sizeof key, "cap:{%s}", name);
    snprintf(value, sizeof value, "%lld %u", (long long)period, count);
    RIG_COMMAND(&rig, "HSET", key, field, value);
}

/* What is counted for a field: of its period. */
static unsigned counted(const char *name, const char *field)
{
    char key[80];
    long long period = 0;
    unsigned count = 0;
    snprintf(key, sizeof key, "cap:{%s}", name);
    RIG_COMMAND(&rig, "HGET", key, field);
    return sscanf(rig.text, "%lld %u", &period, &count) == 2 ? count : 0;
}

static void as_many_as_the_cap_says(void **state)
{
    put("two", "d", FAR, 0);
    assert_int_equal(ask("two", CAPS_NONE, CAPS_NONE, 2, true).rc, 0);
    assert_int_equal(ask("two", CAPS_NONE, CAPS_NONE, 2, false).rc, 0); /* a look takes nothing */
    assert_int_equal(ask("two", CAPS_NONE, CAPS_NONE, 2, false).rc, 0);
    struct answer last = ask("two", CAPS_NONE, CAPS_NONE, 2, true);
    assert_int_equal(last.rc, 0);
    assert_int_equal(last.place.periods[2], FAR);
    assert_int_equal(last.place.periods[0], -1);
    struct answer refused = ask("two", CAPS_NONE, CAPS_NONE, 2, true);
    assert_int_equal(refused.rc, ERR_LIMIT);
    assert_true(refused.wait_s > 86400);
    assert_int_equal(ask("two", CAPS_NONE, CAPS_NONE, 2, false).rc, ERR_LIMIT);
    assert_int_equal(counted("two", "d"), 2);
    assert_int_equal(ask("two", CAPS_NONE, CAPS_NONE, 3, true).rc, 0); /* a cap that was raised */
    assert_int_equal(ask("none", CAPS_NONE, CAPS_NONE, 0, true).rc, ERR_LIMIT);
}

static void all_periods_or_none(void **state)
{
    put("mixed", "m", FAR, 0);
    put("mixed", "h", FAR, 1);
    put("mixed", "d", FAR, 0);
    struct answer refused = ask("mixed", 5, 1, 100, true);
    assert_int_equal(refused.rc, ERR_LIMIT);
    assert_true(refused.wait_s >
                (int64_t)FAR * 3599 - 2000000000); /* of the hour that is full, not of the others */
    assert_int_equal(counted("mixed", "m") + counted("mixed", "d"), 0);
    assert_int_equal(ask("mixed", 5, 2, 100, true).rc, 0);
    assert_int_equal(counted("mixed", "m"), 1);
    assert_int_equal(counted("mixed", "h"), 2);
    assert_int_equal(counted("mixed", "d"), 1);
}

static void give_back(const struct caps_place *place, const char *name, const char *field, unsigned wanted)
{
    caps_give_back(rig.redis, place);
    for (int i = 0; i < 30000 && counted(name, field) != wanted;
         i++) { /* commands keep their order: the first look tells */
        rig_turn(&rig);
    }
    assert_int_equal(counted(name, field), wanted);
}

static void a_failed_sign_up_gives_its_place_back(void **state)
{
    put("back", "d", FAR, 0);
    struct answer first = ask("back", CAPS_NONE, CAPS_NONE, 2, true);
    struct answer second = ask("back", CAPS_NONE, CAPS_NONE, 2, true);
    assert_int_equal(second.rc, 0);
    give_back(&second.place, "back", "d", 1);
    assert_int_equal(ask("back", CAPS_NONE, CAPS_NONE, 2, true).rc, 0);
    assert_int_equal(ask("back", CAPS_NONE, CAPS_NONE, 2, true).rc, ERR_LIMIT);
    give_back(&first.place, "back", "d", 1);
    give_back(&first.place, "back", "d", 0);
    give_back(&first.place, "back", "d", 0); /* never below nothing */
    put("back", "d", FAR + 1, 2);            /* another day: its places are others' */
    give_back(&first.place, "back", "d", 2);
}

static void a_place_ends_with_its_period(void **state)
{
    put("old", "m", 1, 9); /* the first minute, hour and day of 1970, all full */
    put("old", "h", 1, 9);
    put("old", "d", 1, 9);
    struct answer a = ask("old", 9, 9, 9, true);
    assert_int_equal(a.rc, 0);
    assert_true(a.place.periods[0] > 1 && a.place.periods[1] > 1 && a.place.periods[2] > 1);
    assert_int_equal(counted("old", "d"), 1);
    RIG_COMMAND(&rig, "TTL", "cap:{old}");
    assert_true(rig.integer > 86400 && rig.integer <= 172800);
}

static void nobody_can_say_without_the_ledger(void **state)
{
    struct answer a = {0};
    const uint32_t most[CAPS_PERIODS] = {CAPS_NONE, CAPS_NONE, 9};
    caps_ask(NULL, STR("x"), most, true, on_answer, &a);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.rc, ERR_UNAVAILABLE);
    assert_false(a.has_place);
    caps_give_back(NULL, &(struct caps_place){.name = "x"});
    redis_server_signal(&rig.server, SIGKILL);
    for (int i = 0; i < 30000 && redis_is_ready(rig.redis); i++) {
        rig_turn(&rig);
    }
    assert_int_equal(ask("x", CAPS_NONE, CAPS_NONE, 9, true).rc, ERR_UNAVAILABLE);
    redis_server_start(&rig.server);
    rig_wait_ready(&rig);
    assert_int_equal(ask("x", CAPS_NONE, CAPS_NONE, 9, true).rc, 0);
}

/* The server stops in the middle of a question, and then the loop ends. */
static void who_waits_is_told_that_the_loop_ends(void **state)
{
    struct answer a = {0};
    const uint32_t most[CAPS_PERIODS] = {CAPS_NONE, CAPS_NONE, 9};
    redis_server_signal(&rig.server, SIGSTOP);
    caps_ask(rig.redis, STR("x"), most, true, on_answer, &a);
    assert_int_equal(a.count, 0);
    redis_free(rig.redis);
    rig.redis = NULL;
    redis_server_signal(&rig.server, SIGCONT);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.rc, ERR_CANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_many_as_the_cap_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_periods_or_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_sign_up_gives_its_place_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_place_ends_with_its_period, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_can_say_without_the_ledger, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waits_is_told_that_the_loop_ends, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/unit.h"

#include "ratelimit/attack_ladder.h"

static const struct ladder_conf conf = {.floor_per_min = 100,
                                        .factors = {5, 20, 50},
                                        .hold_ms = 60000,
                                        .worse_ms = 120000,
                                        .halve_ms = 300000,
                                        .calm_ms = 600000,
                                        .moves_per_h = 4,
                                        .refused_percent = 50,
                                        .failed_percent = 20,
                                        .verified_percent = 30};
static const struct ladder_signals quiet = {
    .attempts = 20, .refused = 1, .tried = 10, .verified = 9, .baseline = 20};
static const struct ladder_signals flood = {
    .attempts = 300, .refused = 200, .tried = 10, .verified = 9, .baseline = 20};
static const struct ladder_signals crowd = {
    .attempts = 300, .refused = 9, .tried = 250, .verified = 240, .baseline = 20};

/* Seconds until the level changes, at most `most_s`; the state has moved then. */
static int seconds_to_move(struct ladder_state *st, const struct ladder_signals *s, int most_s)
{
    for (int i = 1; i <= most_s; i++) {
        int level = ladder_decide(st, s, &conf, 1);
        if (level != st->level) {
            ladder_moved(st, level, s->attempts, true);
            return i;
        }
    }
    return 0;
}

static void a_flood_climbs_step_by_step(void **state)
{
    struct ladder_state st = {0};
    assert_int_equal(seconds_to_move(&st, &quiet, 7200), 0);
    assert_int_equal(seconds_to_move(&st, &flood, 7200), 60);
    assert_int_equal(st.level, 1);
    assert_int_equal(seconds_to_move(&st, &flood, 7200), 120);
    assert_int_equal(st.level, 2);
    assert_int_equal(seconds_to_move(&st, &flood, 7200), 300); /* A2 did not halve it */
    assert_int_equal(st.level, 3);
    assert_int_equal(seconds_to_move(&st, &flood, 7200), 0); /* A4 is for people */
}

static void a_crowd_of_real_people_is_no_attack(void **state)
{
    struct ladder_state st = {0};
    assert_int_equal(seconds_to_move(&st, &crowd, 7200), 0);
    struct ladder_signals pumped = crowd;
    pumped.verified = 20; /* codes nobody types */
    assert_int_equal(seconds_to_move(&st, &pumped, 7200), 60);
    struct ladder_state other = {0};
    struct ladder_signals overrun = crowd;
    overrun.failed = 59; /* the provider, or the database, does not keep up with it */
    assert_int_equal(seconds_to_move(&other, &overrun, 7200), 0);
    overrun.failed = 61;
    assert_int_equal(seconds_to_move(&other, &overrun, 7200), 60);
}

static void a_huge_flood_is_answered_sooner(void **state)
{
    struct ladder_state st = {0};
    struct ladder_signals huge = flood;
    huge.attempts = 2000;
    huge.refused = 1900;
    assert_int_equal(seconds_to_move(&st, &huge, 7200), 60);
    assert_int_equal(seconds_to_move(&st, &huge, 7200), 60);
    assert_int_equal(seconds_to_move(&st, &huge, 7200), 60);
    assert_int_equal(st.level, 3);
}

static void it_comes_down_when_it_was_calm_for_long(void **state)
{
    struct ladder_state st = {.level = 2};
    struct ladder_signals less = flood;
    less.attempts = 90; /* below the threshold, not below 70 % of it */
    assert_int_equal(seconds_to_move(&st, &less, 7200), 0);
    assert_int_equal(seconds_to_move(&st, &quiet, 599), 0);
    assert_int_equal(seconds_to_move(&st, &flood, 2), 0); /* begins anew */
    assert_int_equal(seconds_to_move(&st, &quiet, 7200), 600);
    assert_int_equal(st.level, 1);
    assert_int_equal(seconds_to_move(&st, &quiet, 7200), 600);
    assert_int_equal(st.level, 0);
}

/* Up and down for hours: it stays up once the budget is used. */
static void moves_have_a_budget(void **state)
{
    struct ladder_state st = {0};
    int moves = 0;
    for (int s = 0; s < 3600; s++) {
        const struct ladder_signals *now = s / 700 % 2 == 0 ? &flood : &quiet;
        int level = ladder_decide(&st, now, &conf, 1);
        if (level < st.level) {
            assert_true(st.moves + 1 <= conf.moves_per_h);
        }
        if (level != st.level) {
            ladder_moved(&st, level, now->attempts, true);
            moves++;
        }
    }
    assert_true(moves >= 3 && moves <= 8);
    st = (struct ladder_state){.level = 1, .moves = 4};
    assert_int_equal(seconds_to_move(&st, &quiet, 899), 0);
    assert_int_equal(seconds_to_move(&st, &quiet, 10), 1); /* a quarter of an hour drains one */
}

static void clocks_that_jump_move_nothing(void **state)
{
    struct ladder_state st = {0};
    for (int i = 0; i < 11; i++) {
        assert_int_equal(ladder_decide(&st, &flood, &conf, 86400), 0);
        assert_int_equal(ladder_decide(&st, &flood, &conf, -86400), 0);
    }
    assert_int_equal(ladder_decide(&st, &flood, &conf, 5), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_climbs_step_by_step),
        cmocka_unit_test(a_crowd_of_real_people_is_no_attack),
        cmocka_unit_test(a_huge_flood_is_answered_sooner),
        cmocka_unit_test(it_comes_down_when_it_was_calm_for_long),
        cmocka_unit_test(moves_have_a_budget),
        cmocka_unit_test(clocks_that_jump_move_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

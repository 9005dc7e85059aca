#include "tests/unit/unit.h"

#include <pthread.h>

#include "inference/router/breaker.h"

static void fail_n(struct breaker *b, uint64_t now_ms, unsigned n)
{
    while (n-- > 0) {
        breaker_note(b, now_ms, BREAKER_FAIL, false);
    }
}

static void half_of_five_opens_it(void **state)
{
    struct breaker b;
    breaker_init(&b);
    fail_n(&b, 1000, 2);
    breaker_note(&b, 2000, BREAKER_OK, false);
    breaker_note(&b, 2000, BREAKER_OK, false);
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
    fail_n(&b, 3000, 1);
    assert_int_equal(breaker_state(&b), BREAKER_OPEN);
    assert_int_equal(breaker_admit(&b, 3000), BREAKER_REFUSE);
    assert_false(breaker_would_admit(&b, 7999));
    assert_true(breaker_would_admit(&b, 8000));
}

static void four_failures_are_too_few_and_old_ones_do_not_count(void **state)
{
    struct breaker b;
    breaker_init(&b);
    fail_n(&b, 1000, 4);
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
    fail_n(&b, 12000, 4); /* the first four have left the ring */
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
    fail_n(&b, 12500, 1);
    assert_int_equal(breaker_state(&b), BREAKER_OPEN);
}

static void mostly_good_results_keep_it_closed(void **state)
{
    struct breaker b;
    breaker_init(&b);
    for (unsigned i = 0; i < 100; i++) {
        breaker_note(&b, 1000 + i * 100, i % 3 == 2 ? BREAKER_FAIL : BREAKER_OK, false);
    }
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
}

static void three_connect_errors_in_a_row_open_it(void **state)
{
    struct breaker b;
    breaker_init(&b);
    for (unsigned i = 0; i < 20; i++) {
        breaker_note(&b, 1000, BREAKER_OK, false);
    }
    breaker_note(&b, 1000, BREAKER_CONNECT_FAIL, false);
    breaker_note(&b, 1000, BREAKER_CONNECT_FAIL, false);
    breaker_note(&b, 1000, BREAKER_OK, false);
    breaker_note(&b, 1000, BREAKER_CONNECT_FAIL, false);
    breaker_note(&b, 1000, BREAKER_CONNECT_FAIL, false);
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
    breaker_note(&b, 1000, BREAKER_CONNECT_FAIL, false);
    assert_int_equal(breaker_state(&b), BREAKER_OPEN);
}

static void half_open_admits_exactly_one_probe(void **state)
{
    struct breaker b;
    breaker_init(&b);
    fail_n(&b, 0, 5);
    assert_int_equal(breaker_admit(&b, 4999), BREAKER_REFUSE);
    assert_int_equal(breaker_admit(&b, 5000), BREAKER_ADMIT_PROBE);
    for (uint64_t t = 5000; t < 35000; t += 1000) {
        assert_int_equal(breaker_admit(&b, t), BREAKER_REFUSE);
    }
    fail_n(&b, 6000, 3); /* late news of requests from before say nothing now */
    assert_int_equal(breaker_state(&b), BREAKER_HALF_OPEN);
    breaker_note(&b, 34999, BREAKER_OK, true);
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
    assert_int_equal(breaker_admit(&b, 34999), BREAKER_ADMIT);
}

/* A breaker of which two probes are out at 35,000. */
static void let_two_probe(struct breaker *b)
{
    breaker_init(b);
    fail_n(b, 0, 5);
    assert_int_equal(breaker_admit(b, 5000), BREAKER_ADMIT_PROBE);
    assert_false(breaker_would_admit(b, 34999));
    assert_int_equal(breaker_admit(b, 34999), BREAKER_REFUSE);
    assert_true(breaker_would_admit(b, 35000));
    assert_int_equal(breaker_admit(b, 35000), BREAKER_ADMIT_PROBE);
    assert_int_equal(breaker_admit(b, 35000), BREAKER_REFUSE);
}

static void a_long_probe_keeps_others_out_for_half_a_minute(void **state)
{
    static const enum breaker_result others[] = {BREAKER_OK, BREAKER_FAIL, BREAKER_NO_VERDICT};
    struct breaker b;
    for (unsigned i = 0; i < 3; i++) { /* its success closes it, whatever the other said before */
        let_two_probe(&b);
        breaker_note(&b, 36000, others[i], true);
        assert_int_equal(breaker_state(&b), others[i] == BREAKER_OK ? BREAKER_CLOSED : BREAKER_OPEN);
        breaker_note(&b, 37000, BREAKER_OK, true);
        assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
        assert_int_equal(breaker_admit(&b, 37000), BREAKER_ADMIT);
    }
    let_two_probe(&b);
    breaker_note(&b, 36000, BREAKER_OK, true);
    breaker_note(&b, 37000, BREAKER_FAIL, true); /* one failure against one success */
    assert_int_equal(breaker_state(&b), BREAKER_CLOSED);
    fail_n(&b, 37000, 4);
    assert_int_equal(breaker_state(&b), BREAKER_OPEN);
    let_two_probe(&b);
    breaker_note(&b, 36000, BREAKER_FAIL, true);
    breaker_note(&b, 36000, BREAKER_FAIL, true); /* opens it once, not twice */
    assert_int_equal(atomic_load(&b.opened), 2);
    assert_true(breaker_would_admit(&b, 46000));
    breaker_note(&b, 36000, BREAKER_NO_VERDICT, true);
    assert_false(breaker_would_admit(&b, 45999)); /* which takes back no opening */
}

static void each_failed_probe_doubles_the_time_up_to_a_minute(void **state)
{
    struct breaker b;
    uint64_t now = 0;
    breaker_init(&b);
    fail_n(&b, now, 5);
    static const uint64_t waits[] = {5000, 10000, 20000, 40000, 60000, 60000, 60000};
    for (unsigned i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_int_equal(breaker_admit(&b, now + waits[i] - 1), BREAKER_REFUSE);
        now += waits[i];
        assert_int_equal(breaker_admit(&b, now), BREAKER_ADMIT_PROBE);
        breaker_note(&b, now, i % 2 ? BREAKER_FAIL : BREAKER_CONNECT_FAIL, true);
        assert_int_equal(breaker_state(&b), BREAKER_OPEN);
    }
    breaker_admit(&b, now + 60000);
    breaker_note(&b, now, BREAKER_OK, true);
    fail_n(&b, now, 5);
    assert_true(breaker_would_admit(&b, now + 5000)); /* forgiven: short again */
}

static void a_probe_without_verdict_lets_the_next_request_probe(void **state)
{
    struct breaker b;
    breaker_init(&b);
    fail_n(&b, 0, 5);
    assert_int_equal(breaker_admit(&b, 5000), BREAKER_ADMIT_PROBE);
    breaker_note(&b, 5500, BREAKER_NO_VERDICT, true);
    assert_int_equal(breaker_state(&b), BREAKER_OPEN);
    assert_int_equal(breaker_admit(&b, 5500), BREAKER_ADMIT_PROBE);
    assert_int_equal(breaker_admit(&b, 5500), BREAKER_REFUSE);
}

static struct breaker shared;
static atomic_uint admitted;

static void *ask_often(void *arg)
{
    for (unsigned i = 0; i < 20000; i++) {
        if (breaker_admit(&shared, 5000) != BREAKER_REFUSE) {
            atomic_fetch_add(&admitted, 1);
        }
    }
    return NULL;
}

static void threads_that_ask_at_once_get_one_probe(void **state)
{
    pthread_t t[4];
    breaker_init(&shared);
    fail_n(&shared, 0, 5);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, ask_often, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    assert_int_equal(admitted, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_of_five_opens_it),
        cmocka_unit_test(four_failures_are_too_few_and_old_ones_do_not_count),
        cmocka_unit_test(mostly_good_results_keep_it_closed),
        cmocka_unit_test(three_connect_errors_in_a_row_open_it),
        cmocka_unit_test(half_open_admits_exactly_one_probe),
        cmocka_unit_test(a_long_probe_keeps_others_out_for_half_a_minute),
        cmocka_unit_test(each_failed_probe_doubles_the_time_up_to_a_minute),
        cmocka_unit_test(a_probe_without_verdict_lets_the_next_request_probe),
        cmocka_unit_test(threads_that_ask_at_once_get_one_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

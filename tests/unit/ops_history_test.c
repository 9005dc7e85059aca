#include "tests/unit/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "status/ops/ops_history.h"

static struct ops_history *h;

static int setup(void **state)
{
    h = malloc(sizeof *h);
    ops_history_init(h);
    return 0;
}

static int teardown(void **state)
{
    free(h);
    return 0;
}

static void read_at(uint64_t now_ms, const char *text)
{
    assert_true(ops_history_read(h, str_from(text), now_ms));
}

static void requests_at(uint64_t now_ms, int good, int bad)
{
    char text[256];
    snprintf(text, sizeof text,
             "tidegate_requests_total{route=\"chat\",code=\"2xx\"} %d\n"
             "tidegate_requests_total{route=\"chat\",code=\"5xx\"} %d\n",
             good, bad);
    read_at(now_ms, text);
}

static double rate(enum ops_count c)
{
    return ops_history_rate(h, c, OPS_NOW);
}

/* --- counters ---------------------------------------------------------------------------------- */

static void two_readings_make_a_rate(void **state)
{
    requests_at(1000, 100, 10);
    assert_true(isnan(rate(OPS_REQUESTS))); /* nothing to compare with */
    requests_at(3000, 140, 20);
    assert_true(rate(OPS_REQUESTS) == 25);
    assert_true(rate(OPS_ERRORS) == 5);
    assert_true(ops_history_sum(h, OPS_REQUESTS, OPS_POINTS) == 50);
}

/* A wrong code, a policy of an old version: the database did its work. */
static void a_refusal_is_no_failure_of_the_database(void **state)
{
    read_at(1000, "tidegate_pg_jobs_total{result=\"ok\"} 0\n"
                  "tidegate_pg_jobs_total{result=\"denied\"} 0\n");
    read_at(2000, "tidegate_pg_jobs_total{result=\"ok\"} 10\n"
                  "tidegate_pg_jobs_total{result=\"invalid\"} 1\n"
                  "tidegate_pg_jobs_total{result=\"limit\"} 1\n"
                  "tidegate_pg_jobs_total{result=\"not_found\"} 1\n"
                  "tidegate_pg_jobs_total{result=\"denied\"} 1\n"
                  "tidegate_pg_jobs_total{result=\"conflict\"} 1\n"
                  "tidegate_pg_jobs_total{result=\"timeout\"} 2\n"
                  "tidegate_pg_jobs_total{result=\"unavailable\"} 1\n");
    assert_true(ops_history_sum(h, OPS_PG_JOBS, OPS_POINTS) == 18);
    assert_true(ops_history_sum(h, OPS_PG_OK, OPS_POINTS) == 15);
}

static void a_counter_that_fell_began_anew(void **state)
{
    requests_at(1000, 1000, 0);
    requests_at(2000, 4, 0);
    assert_true(ops_history_sum(h, OPS_REQUESTS, OPS_POINTS) == 4);
}

static void what_was_not_watched_is_not_known(void **state)
{
    requests_at(1000, 0, 0);
    requests_at(2000, 10, 0);
    requests_at(2000 + OPS_GAP_MS + 1, 5000, 0); /* too long ago to say when */
    assert_true(isnan(rate(OPS_REQUESTS)));
    assert_true(ops_history_sum(h, OPS_REQUESTS, OPS_POINTS) == 10);
    requests_at(2000 + OPS_GAP_MS + 1001, 5007, 0);
    assert_true(rate(OPS_REQUESTS) == 7);
}

static void old_points_leave(void **state)
{
    requests_at(1000, 0, 0);
    requests_at(2000, 10, 0);
    ops_history_advance(h, 1000 + OPS_POINT_MS * (OPS_POINTS - 1));
    assert_true(ops_history_sum(h, OPS_REQUESTS, OPS_POINTS) == 10);
    assert_true(ops_history_point(h, 0)->of[OPS_REQUESTS] == 10); /* the oldest */
    ops_history_advance(h, 1000 + OPS_POINT_MS * OPS_POINTS);
    assert_true(ops_history_sum(h, OPS_REQUESTS, OPS_POINTS) == 0);
    ops_history_advance(h, 1000 + 86400000ull * 365); /* asleep for a year: over at once */
    requests_at(2000 + 86400000ull * 365, 1, 0);
    requests_at(3000 + 86400000ull * 365, 3, 0);
    assert_true(rate(OPS_REQUESTS) == 2);
}

static void other_programs_are_refused(void **state)
{
    requests_at(1000, 7, 0);
    assert_false(ops_history_read(h, STR("process_cpu_seconds_total 3\n"), 2000));
    assert_false(ops_history_read(h, STR("<html>tidegate_requests_total 5</html>"), 2000));
    assert_false(ops_history_read(h, STR(""), 2000));
    assert_true(h->last.of[OPS_REQUESTS] == 7);
}

static void gauges_are_known_or_not(void **state)
{
    read_at(1000, "tidegate_attack_level 2\ntidegate_redis_connections{role=\"limits\"} 0\n");
    assert_true(h->last.is_known[OPS_ATTACK_LEVEL] && h->last.of[OPS_ATTACK_LEVEL] == 2);
    assert_true(h->last.is_known[OPS_REDIS_LIMITS] && h->last.of[OPS_REDIS_LIMITS] == 0);
    assert_false(h->last.is_known[OPS_REDIS_LEDGER]);
}

/* --- times ------------------------------------------------------------------------------------- */

static void times_at(uint64_t now_ms, int fast, int slow, int endless)
{
    char text[1024];
    snprintf(text, sizeof text,
             "tidegate_request_phase_seconds_bucket{phase=\"first_byte\",le=\"0.1\"} %d\n"
             "tidegate_request_phase_seconds_bucket{phase=\"first_byte\",le=\"1\"} %d\n"
             "tidegate_request_phase_seconds_bucket{phase=\"first_byte\",le=\"+Inf\"} %d\n"
             "tidegate_request_phase_seconds_bucket{phase=\"queue\",le=\"0.1\"} 900\n",
             fast, fast + slow, fast + slow + endless);
    read_at(now_ms, text);
}

static void quantiles_lie_in_their_bucket(void **state)
{
    times_at(1000, 1000, 0, 0);
    assert_true(isnan(ops_history_quantile(h, OPS_FIRST_BYTE, 0.5, OPS_MINUTE)));
    times_at(2000, 1050, 50, 0);
    assert_true(fabs(ops_history_quantile(h, OPS_FIRST_BYTE, 0.25, OPS_MINUTE) - 0.05) < 1e-9);
    assert_true(fabs(ops_history_quantile(h, OPS_FIRST_BYTE, 0.99, OPS_MINUTE) - 0.982) < 1e-9);
    times_at(3000, 1050, 50, 400); /* past the last bound there is no number but that */
    assert_true(ops_history_quantile(h, OPS_FIRST_BYTE, 0.99, OPS_MINUTE) == 1);
    assert_true(isnan(ops_history_quantile(h, OPS_TOKEN, 0.5, OPS_MINUTE)));
}

static void times_begin_anew_together(void **state)
{
    times_at(1000, 500, 100, 0);
    times_at(2000, 10, 0, 0); /* another process */
    assert_true(ops_history_point(h, OPS_POINTS - 1)->times[OPS_FIRST_BYTE][2] == 10);
    assert_true(ops_history_quantile(h, OPS_FIRST_BYTE, 0.99, OPS_MINUTE) < 0.1);
}

/* --- tallies ----------------------------------------------------------------------------------- */

static double tally(const char *name, enum ops_family family)
{
    for (unsigned k = 0; k < h->last.tally_count; k++) {
        if (h->last.tallies[k].family == family && strcmp(h->last.tallies[k].name, name) == 0) {
            return ops_history_tally(h, k, OPS_POINTS);
        }
    }
    return -1;
}

static void names_keep_their_places(void **state)
{
    read_at(1000, "tidegate_limits_decisions_total{rule=\"b\",decision=\"denied\"} 5\n");
    read_at(2000, "tidegate_limits_decisions_total{rule=\"a\",decision=\"denied\"} 2\n"
                  "tidegate_limits_decisions_total{rule=\"a\",decision=\"shadow_denied\"} 50\n"
                  "tidegate_limits_decisions_total{rule=\"b\",decision=\"denied\"} 6\n"
                  "tidegate_limits_decisions_total{rule=\"b\",decision=\"denied_cached\"} 3\n"
                  "tidegate_suspicion_signals_total{signal=\"a\"} 9\n");
    assert_true(tally("a", OPS_BY_RULE) == 2);
    assert_true(tally("b", OPS_BY_RULE) == 4);
    assert_true(tally("a", OPS_BY_SIGNAL) == 9);
    read_at(3000, "tidegate_suspicion_signals_total{signal=\"a\"} 10\n");
    assert_true(tally("a", OPS_BY_SIGNAL) == 10);
    assert_true(tally("b", OPS_BY_RULE) == 4); /* a rule that is gone adds nothing */
}

static void signals_at(uint64_t now_ms, int digits)
{
    struct buf text;
    buf_init(&text, 64 << 10);
    for (int i = 0; i < OPS_TALLIES + 20; i++) {
        buf_addf(&text, "tidegate_suspicion_signals_total{signal=\"%0*d\"} 1\n", digits, i);
    }
    read_at(now_ms, text.p);
    buf_clear(&text);
}

static void more_names_than_places(void **state)
{
    signals_at(1000, OPS_TALLY_NAME + 9);
    assert_int_equal(h->last.tally_count, 1); /* they are alike where they are cut */
    assert_true(h->last.tallies[0].total == OPS_TALLIES + 20);
    signals_at(2000, 4);
    assert_int_equal(h->last.tally_count, OPS_TALLIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_readings_make_a_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_is_no_failure_of_the_database, setup, teardown),
        cmocka_unit_test_setup_teardown(a_counter_that_fell_began_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_watched_is_not_known, setup, teardown),
        cmocka_unit_test_setup_teardown(old_points_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(other_programs_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(gauges_are_known_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(quantiles_lie_in_their_bucket, setup, teardown),
        cmocka_unit_test_setup_teardown(times_begin_anew_together, setup, teardown),
        cmocka_unit_test_setup_teardown(names_keep_their_places, setup, teardown),
        cmocka_unit_test_setup_teardown(more_names_than_places, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

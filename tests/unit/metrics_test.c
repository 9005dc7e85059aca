#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/metrics.h"

static struct metric requests = METRIC_COUNTER("t_requests_total", "Requests \\ answered.");
static struct metric by_route = METRIC_COUNTER_L("t_by_route_total", "By route.", "route,code");
static struct metric depth = METRIC_GAUGE("t_depth", "Depth.");
static struct metric latency = METRIC_HISTOGRAM_L("t_latency_seconds", "Latency.", "route");
static struct metric idle = METRIC_GAUGE("t_idle", "Registered, never used.");
static struct metric load = METRIC_GAUGE_L("t_load", "Load.", "worker");

static const char *scrape(void)
{
    static char text[65536];
    struct buf b;
    buf_init(&b, sizeof(text) - 1);
    metrics_write(&b);
    memcpy(text, b.p, b.n + 1);
    buf_clear(&b);
    return text;
}

static void counters(void **state)
{
    assert_null(strstr(scrape(), "t_requests_total"));
    metric_add(&requests, 2);
    metric_add(&requests, 3);
    struct metric_child *c = metric_child(&by_route, "chat,2xx");
    assert_ptr_equal(c, metric_child(&by_route, "chat,2xx"));
    metric_child_add(c, 7);
    metric_child(&by_route, "a\"b,");
    assert_int_equal(metric_child_value(c), 7);
    const char *text = scrape();
    assert_non_null(strstr(text, "# HELP t_requests_total Requests \\\\ answered.\n"
                                 "# TYPE t_requests_total counter\nt_requests_total 5\n"));
    assert_non_null(strstr(text, "t_by_route_total{route=\"chat\",code=\"2xx\"} 7\n"));
    assert_non_null(strstr(text, "t_by_route_total{route=\"a\\\"b\",code=\"\"} 0\n"));
}

static void gauges(void **state)
{
    metric_add(&depth, 5);
    metric_add(&depth, -2);
    assert_non_null(strstr(scrape(), "\nt_depth 3\n"));
    metric_set(&depth, 10.5);
    metric_add(&depth, 1);
    assert_non_null(strstr(scrape(), "\nt_depth 11.5\n"));
    metric_register(&idle);
    metric_register(&idle);
    assert_non_null(strstr(scrape(), "\nt_idle 0\n"));
}

static void histograms(void **state)
{
    struct metric_child *c = metric_child(&latency, "chat");
    metric_child_observe_us(c, 500);
    metric_child_observe_us(c, 501);
    metric_child_observe_us(c, 700000000);
    const char *text = scrape();
    assert_non_null(strstr(text, "t_latency_seconds_bucket{route=\"chat\",le=\"0.0005\"} 1\n"));
    assert_non_null(strstr(text, "t_latency_seconds_bucket{route=\"chat\",le=\"120\"} 2\n"));
    assert_non_null(strstr(text, "t_latency_seconds_bucket{route=\"chat\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "t_latency_seconds_sum{route=\"chat\"} 700.001001\n"));
    assert_non_null(strstr(text, "t_latency_seconds_count{route=\"chat\"} 3\n"));
    assert_int_equal(metric_child_value(c), 3);
}

static void released_children_leave_clean_slots(void **state)
{
    for (int i = 0; i < 20000; i++) { /* more than 16384 would be refused if slots were not reused */
        struct metric_child *c = metric_child(&load, "w1");
        assert_int_equal(metric_child_value(c), 0);
        metric_child_add(c, 9);
        metric_child_release(c);
    }
    assert_null(strstr(scrape(), "w1"));
    metric_child_release(NULL);
}

static void a_child_stays_as_long_as_one_holds_it(void **state)
{
    struct metric_child *old = metric_child(&load, "w1");
    metric_child_add(old, 9);
    struct metric_child *new = metric_child(&load, "w1"); /* a reload that keeps the name */
    assert_ptr_equal(old, new);
    metric_child_release(old);
    assert_int_equal(metric_child_value(new), 9);
    metric_child_release(new);
    assert_null(strstr(scrape(), "w1"));
}

static void children_are_shown_as_they_came_whoever_goes(void **state)
{
    static const char *const names[] = {"first", "second", "third", "fourth", "last"};
    struct metric_child *held[5];
    for (int i = 0; i < 5; i++) {
        held[i] = metric_child(&load, names[i]);
    }
    metric_child_release(held[4]);
    metric_child_release(held[0]);
    metric_child_release(held[2]);
    struct metric_child *again = metric_child(&load, "first");
    const char *const left[] = {"{worker=\"second\"}", "{worker=\"fourth\"}", "{worker=\"first\"}"};
    const char *at = scrape();
    for (int i = 0; i < 3; i++) {
        at = strstr(at, left[i]);
        assert_non_null(at);
    }
    assert_null(strstr(scrape(), "third"));
    assert_null(strstr(scrape(), "last"));
    metric_child_release(held[3]);
    metric_child_release(held[1]);
    metric_child_release(again);
    assert_null(strstr(scrape(), "{worker=\"second\"}"));
}

static void more_children_than_there_is_room_for_share_one(void **state)
{
    enum { ROOM = 16384, MANY = ROOM + 100, METRICS = 16 };
    static struct metric metrics[METRICS];
    static struct metric_child *held[MANY];
    for (int i = 0; i < METRICS; i++) {
        metrics[i] = (struct metric)METRIC_COUNTER_L("t_many_total", "Many.", "route,code");
    }
    for (int i = 0; i < MANY; i++) {
        char labels[32];
        snprintf(labels, sizeof(labels), "r%d,2xx", i);
        held[i] = metric_child(&metrics[i % METRICS], labels);
        metric_child_add(held[i], 1);
    }
    assert_ptr_equal(held[MANY - 1], held[MANY - 1 - METRICS]);
    assert_in_range((int64_t)metric_child_value(held[MANY - 1]), 100 / METRICS, 100);
    for (int i = 0; i < MANY; i++) {
        metric_child_release(held[i]);
    }
    assert_null(strstr(scrape(), "route=\"r"));
    assert_non_null(strstr(scrape(), "t_many_total{route=\"other\",code=\"other\"} "));
    assert_non_null(strstr(scrape(), "\ntidegate_metrics_unnamed_total 1"));
    assert_int_equal(metric_child_value(metric_child(&load, "w9")), 0); /* there is room again */
    assert_non_null(strstr(scrape(), "w9"));
}

enum { THREADS = 80, ADDS = 1000 };
static struct metric hits = METRIC_COUNTER("t_hits_total", "Hits.");
static pthread_barrier_t barrier;

static void *hit(void *arg)
{
    pthread_barrier_wait(&barrier); /* all alive at once: some share a table */
    for (int i = 0; i < ADDS; i++) {
        metric_add(&hits, 1);
    }
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void no_add_is_lost(void **state)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int round = 0; round < 3; round++) { /* tables pass from thread to thread */
        for (int i = 0; i < THREADS; i++) {
            pthread_create(&threads[i], NULL, hit, NULL);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
    }
    pthread_barrier_destroy(&barrier);
    assert_non_null(strstr(scrape(), "\nt_hits_total 240000\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters),
        cmocka_unit_test(gauges),
        cmocka_unit_test(histograms),
        cmocka_unit_test(released_children_leave_clean_slots),
        cmocka_unit_test(a_child_stays_as_long_as_one_holds_it),
        cmocka_unit_test(children_are_shown_as_they_came_whoever_goes),
        cmocka_unit_test(more_children_than_there_is_room_for_share_one),
        cmocka_unit_test(no_add_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

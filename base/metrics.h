/* Metrics: counters, gauges and histograms, kept per thread and summed when scraped.
 *
 * A metric is a static struct with its HELP text; labels are a fixed list of values given at definition or
 * registered when configured (workers, rules, routes): never anything a client chooses.
 *
 *     static struct metric requests = METRIC_COUNTER("tidegate_http_requests_total", "Requests answered.");
 *     static struct metric by_route = METRIC_COUNTER_L("...", "...", "route,code");
 *     metric_add(&requests, 1);
 *     struct metric_child *c = metric_child(&by_route, "chat,2xx");   // once, kept by the caller
 *     metric_child_add(c, 1);
 *     metric_child_release(c);                                        // when a reload gives the name up
 *
 * Each metric_child is a hold on the child. The last release removes it with its number; who never releases, as all
 * with fixed names, keeps it for good. A configuration is built before the old one goes, so a name that both have
 * counts on.
 *
 * Output: Prometheus text format 0.0.4; names pass `promtool check metrics`.
 * Cost: one relaxed add on a cache line of this thread. At most 16384 children with labels at a time; past them a new
 * one is counted under the label values "other", and tidegate_metrics_unnamed_total counts it.
 * Thread rule: any thread; metric_child takes a lock, call it at start or on rare paths. */
#ifndef TIDE_BASE_METRICS_H
#define TIDE_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric_type {
    METRIC_TYPE_COUNTER = 0,
    METRIC_TYPE_GAUGE = 1,     /* sum of all threads' adds; metric_set replaces it (one writer) */
    METRIC_TYPE_HISTOGRAM = 2, /* seconds, in METRIC_BUCKETS fixed buckets: 0.1 ms to 120 s, +Inf */
};
enum { METRIC_BUCKETS = 20 };

struct metric_child;
struct metric {
    const char *name;
    const char *help;
    const char *labels; /* "route,code" or NULL */
    enum metric_type type;
    struct metric_child *single;                /* the child of a metric without labels, made on first use */
    struct metric *next;                        /* registry */
    struct metric_child *children, *last_child; /* in the order in which they came */
};

#define METRIC_COUNTER(n, h)                                                                                 \
    {                                                                                                        \
        .name = (n), .help = (h), .type = METRIC_TYPE_COUNTER                                                \
    }
#define METRIC_COUNTER_L(n, h, l)                                                                            \
    {                                                                                                        \
        .name = (n), .help = (h), .labels = (l), .type = METRIC_TYPE_COUNTER                                 \
    }
#define METRIC_GAUGE(n, h)                                                                                   \
    {                                                                                                        \
        .name = (n), .help = (h), .type = METRIC_TYPE_GAUGE                                                  \
    }
#define METRIC_GAUGE_L(n, h, l)                                                                              \
    {                                                                                                        \
        .name = (n), .help = (h), .labels = (l), .type = METRIC_TYPE_GAUGE                                   \
    }
#define METRIC_HISTOGRAM(n, h)                                                                               \
    {                                                                                                        \
        .name = (n), .help = (h), .type = METRIC_TYPE_HISTOGRAM                                              \
    }
#define METRIC_HISTOGRAM_L(n, h, l)                                                                          \
    {                                                                                                        \
        .name = (n), .help = (h), .labels = (l), .type = METRIC_TYPE_HISTOGRAM                               \
    }

void metric_register(struct metric *m); /* idempotent; unregistered metrics do not appear while unused */
struct metric_child *metric_child(struct metric *m,
                                  const char *label_values); /* comma-separated, found or made */
void metric_child_release(struct metric_child *c);           /* NULL: nothing; the pointer is invalid after */

void metric_add(struct metric *m, int64_t n);
void metric_set(struct metric *m, double v);
void metric_observe_us(struct metric *m, uint64_t us); /* histogram */
void metric_child_add(struct metric_child *c, int64_t n);
void metric_child_set(struct metric_child *c, double v);
void metric_child_observe_us(struct metric_child *c, uint64_t us);
double metric_child_value(const struct metric_child *c); /* the sum (for a histogram: its count) */

void metrics_write(struct buf *out);
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#endif

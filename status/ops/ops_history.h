/* The last fifteen minutes of a gateway's counters, in points of ten seconds.
 *
 *     reading, reading, ... -> differences -> the newest point          point 0 the oldest, OPS_POINTS - 1 the newest
 *
 * A counter that fell has begun anew with the gateway: its value is the difference then. Nothing is made up: a time
 * without readings has points of 0 seconds, and rates over such a time alone are NAN.
 * Ownership: embedded in its owner; no heap memory.
 * Units: *_ms monotonic milliseconds; rates a second.
 * Thread rule: used by one thread at a time. */
#ifndef TIDE_STATUS_OPS_HISTORY_H
#define TIDE_STATUS_OPS_HISTORY_H

#include "status/ops/ops_counts.h"

enum {
    OPS_POINTS = 90,
    OPS_POINT_MS = 10000,
    OPS_NOW = 2,        /* points that "now" means: ten to twenty seconds */
    OPS_MINUTE = 6,     /* points */
    OPS_GAP_MS = 30000, /* readings further apart are not compared */
};

struct ops_point {
    double seconds; /* that were watched */
    double of[OPS_COUNTERS];
    double tallies[OPS_TALLIES];
    double times[OPS_HISTOGRAMS][OPS_BUCKETS]; /* cumulative */
};

struct ops_history {
    struct ops_point points[OPS_POINTS]; /* a ring */
    unsigned newest;
    uint64_t began_ms; /* of the newest point; 0: nothing yet */
    struct ops_counts last;
    uint64_t last_ms; /* of the last reading; 0: none to compare with */
};

void ops_history_init(struct ops_history *h);
void ops_history_advance(struct ops_history *h, uint64_t now_ms); /* time passes, also without readings */
/* Reads /metrics; false, and nothing changes, when that is no gateway's. */
bool ops_history_read(struct ops_history *h, struct str metrics, uint64_t now_ms);

const struct ops_point *ops_history_point(const struct ops_history *h, unsigned i);
/* Over the newest n points. */
double ops_history_seconds(const struct ops_history *h, unsigned n);
double ops_history_sum(const struct ops_history *h, enum ops_count c, unsigned n);
double ops_history_rate(const struct ops_history *h, enum ops_count c, unsigned n); /* NAN: not watched */
double ops_history_tally(const struct ops_history *h, unsigned tally, unsigned n);
/* Seconds below which the share q of the newest n points' times lie; NAN when there were none. The upper bound of its bucket
 * when that is the last one. */
double ops_history_quantile(const struct ops_history *h, enum ops_histogram t, double q, unsigned n);
double ops_point_quantile(const struct ops_history *h, const struct ops_point *p, enum ops_histogram t,
                          double q);

#endif

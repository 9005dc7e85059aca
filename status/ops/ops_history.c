#include "status/ops/ops_history.h"

#include <math.h>

void ops_history_init(struct ops_history *h)
{
    memset(h, 0, sizeof *h);
}

void ops_history_advance(struct ops_history *h, uint64_t now_ms)
{
    if (h->began_ms == 0) {
        h->began_ms = now_ms;
    }
    for (unsigned k = 0; k < OPS_POINTS && now_ms - h->began_ms >= OPS_POINT_MS; k++) {
        h->newest = (h->newest + 1) % OPS_POINTS;
        memset(&h->points[h->newest], 0, sizeof h->points[0]);
        h->began_ms += OPS_POINT_MS;
    }
    if (now_ms - h->began_ms >= OPS_POINT_MS) { /* away for longer than all points */
        h->began_ms = now_ms;
    }
}

static double difference(double now, double before)
{
    return now >= before ? now - before : now;
}

static void add(struct ops_history *h, const struct ops_counts *now, uint64_t elapsed_ms)
{
    struct ops_point *p = &h->points[h->newest];
    p->seconds += (double)elapsed_ms / 1000;
    for (unsigned k = 0; k < OPS_COUNTERS; k++) {
        p->of[k] += difference(now->of[k], h->last.of[k]);
    }
    for (unsigned k = 0; k < now->tally_count; k++) {
        p->tallies[k] += difference(now->tallies[k].total, h->last.tallies[k].total);
    }
    for (unsigned t = 0; t < OPS_HISTOGRAMS; t++) {
        /* all buckets of a histogram begin anew together: the last one tells */
        bool is_anew = now->buckets == 0 || h->last.buckets != now->buckets ||
                       now->times[t][now->buckets - 1] < h->last.times[t][now->buckets - 1];
        for (unsigned k = 0; k < now->buckets; k++) {
            p->times[t][k] += now->times[t][k] - (is_anew ? 0 : h->last.times[t][k]);
        }
    }
}

bool ops_history_read(struct ops_history *h, struct str metrics, uint64_t now_ms)
{
    struct ops_counts now;
    if (!ops_counts_read(metrics, &h->last, &now)) {
        return false;
    }
    ops_history_advance(h, now_ms);
    if (h->last_ms > 0 && now_ms > h->last_ms && now_ms - h->last_ms <= OPS_GAP_MS) {
        add(h, &now, now_ms - h->last_ms);
    }
    h->last = now;
    h->last_ms = now_ms;
    return true;
}

/* --- asking ------------------------------------------------------------------------------------ */

const struct ops_point *ops_history_point(const struct ops_history *h, unsigned i)
{
    return &h->points[(h->newest + 1 + i) % OPS_POINTS];
}

static const struct ops_point *back(const struct ops_history *h, unsigned k)
{
    return &h->points[(h->newest + OPS_POINTS - k) % OPS_POINTS];
}

double ops_history_seconds(const struct ops_history *h, unsigned n)
{
    double sum = 0;
    for (unsigned k = 0; k < n; k++) {
        sum += back(h, k)->seconds;
    }
    return sum;
}

double ops_history_sum(const struct ops_history *h, enum ops_count c, unsigned n)
{
    double sum = 0;
    for (unsigned k = 0; k < n; k++) {
        sum += back(h, k)->of[c];
    }
    return sum;
}

double ops_history_rate(const struct ops_history *h, enum ops_count c, unsigned n)
{
    double seconds = ops_history_seconds(h, n);
    return seconds > 0 ? ops_history_sum(h, c, n) / seconds : NAN;
}

double ops_history_tally(const struct ops_history *h, unsigned tally, unsigned n)
{
    double sum = 0;
    for (unsigned k = 0; k < n; k++) {
        sum += back(h, k)->tallies[tally];
    }
    return sum;
}

/* Even inside a bucket, as Prometheus' histogram_quantile has it. */
static double quantile(const struct ops_counts *c, const double *cumulative, double q)
{
    double all = c->buckets ? cumulative[c->buckets - 1] : 0;
    if (!(all > 0)) {
        return NAN;
    }
    double want = q * all, below = 0, from = 0;
    for (unsigned k = 0; k < c->buckets; k++) {
        if (cumulative[k] >= want) {
            if (isinf(c->le[k])) {
                return from;
            }
            double in = cumulative[k] - below;
            return in > 0 ? from + (c->le[k] - from) * (want - below) / in : c->le[k];
        }
        below = cumulative[k];
        from = c->le[k];
    }
    return from;
}

double ops_point_quantile(const struct ops_history *h, const struct ops_point *p, enum ops_histogram t,
                          double q)
{
    return quantile(&h->last, p->times[t], q);
}

double ops_history_quantile(const struct ops_history *h, enum ops_histogram t, double q, unsigned n)
{
    double sum[OPS_BUCKETS] = {0};
    for (unsigned k = 0; k < n; k++) {
        for (unsigned b = 0; b < OPS_BUCKETS; b++) {
            sum[b] += back(h, k)->times[t][b];
        }
    }
    return quantile(&h->last, sum, q);
}

/* Reads what the dashboard shows: the gateway's /metrics, and JSON of its read socket. Keeps the newest good answers and
 * the history of the counters; a silent gateway leaves them as they were.
 *
 *     ops_feed_new -> ops_feed_start -> each interval: requests by the prober -> on_change after each /metrics, or its failure,
 *     or while its answer is late
 *
 * Ownership: borrows loop, prober, board, configuration; the prober has to end before the feed.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_OPS_FEED_H
#define TIDE_STATUS_OPS_FEED_H

#include "status/ops/ops_conf.h"
#include "status/ops/ops_view.h"
#include "status/prober.h"

struct ops_feed;

struct ops_feed_conf {
    struct loop *loop;
    struct prober *prober;
    const struct board *board;
    const struct ops_conf *conf;
    const char *metrics_url;
    void (*on_change)(void *arg);
    void *arg;
};

struct ops_feed *ops_feed_new(const struct ops_feed_conf *conf);
void ops_feed_free(struct ops_feed *f); /* NULL allowed */
void ops_feed_start(struct ops_feed *f);
void ops_feed_set_conf(struct ops_feed *f, const struct ops_conf *conf, const char *metrics_url);
/* Borrowed until the loop goes on. */
void ops_feed_view(struct ops_feed *f, struct ops_view *out);

#endif

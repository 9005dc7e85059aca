/* The dashboard for operators: a feed that reads the gateway, and a desk that shows it. One a process, or none.
 *
 *     ops_new -> ops_start -> ... -> ops_stop -> ops_free, after the prober
 *
 * Reading order: ops_view.h, ops_counts.h, ops_history.h, ops_feed.h, ops_verdict.h, ops_panels.h, ops_page.h, ops_desk.h.
 * Ownership: borrows everything in struct ops_parts until ops_free, or the next ops_set_conf.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_OPS_H
#define TIDE_STATUS_OPS_H

#include "status/ops/ops_desk.h"

struct ops;

struct ops_parts {
    struct loop *loop;
    struct prober *prober;
    const struct board *board;
    const struct ops_conf *conf;
    const char *metrics_url;
    const struct http_limits *limits;
    struct tls_set *tls; /* NULL: none */
};

struct ops *ops_new(const struct ops_parts *parts, struct err *err);
void ops_start(struct ops *o);
void ops_stop(struct ops *o); /* once: the streams end, the page is still there */
void ops_free(struct ops *o); /* NULL allowed */
/* Of a reload: loop, prober and board are those of before. On failure (the password file) nothing changes. */
int ops_set_conf(struct ops *o, const struct ops_parts *parts, struct err *err) TIDE_CHECK;

#endif

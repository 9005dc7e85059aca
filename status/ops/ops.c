#include "status/ops/ops.h"

#include <stdlib.h>

struct ops {
    struct ops_feed *feed;
    struct ops_desk *desk;
};

static void on_change(void *arg)
{
    struct ops *o = arg;
    ops_desk_broadcast(o->desk);
}

struct ops *ops_new(const struct ops_parts *parts, struct err *err)
{
    struct ops *o = calloc(1, sizeof *o);
    BUG_ON(!o);
    o->feed = ops_feed_new(&(struct ops_feed_conf){.loop = parts->loop,
                                                   .prober = parts->prober,
                                                   .board = parts->board,
                                                   .conf = parts->conf,
                                                   .metrics_url = parts->metrics_url,
                                                   .on_change = on_change,
                                                   .arg = o});
    o->desk = ops_desk_new(parts->loop, o->feed, parts->conf, parts->limits, parts->tls, err);
    if (!o->desk) {
        ops_free(o);
        return NULL;
    }
    return o;
}

void ops_start(struct ops *o)
{
    ops_feed_start(o->feed);
}

void ops_stop(struct ops *o)
{
    ops_desk_stop(o->desk);
}

int ops_set_conf(struct ops *o, const struct ops_parts *parts, struct err *err)
{
    int rc = ops_desk_set_conf(o->desk, parts->conf, parts->limits, parts->tls, err);
    if (rc == 0) {
        ops_feed_set_conf(o->feed, parts->conf, parts->metrics_url);
    }
    return rc;
}

void ops_free(struct ops *o)
{
    if (!o) {
        return;
    }
    ops_desk_free(o->desk);
    ops_feed_free(o->feed);
    free(o);
}

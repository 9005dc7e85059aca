/* A loop's connections to the workers: one origin a worker, made when first used. And the loop's reference to the
 * current worker table.
 * Ownership: of the loop's chat half; calls hold their origin, so that a worker taken out of the table keeps its
 * connections until its last request has ended.
 * Thread rule: its loop. */
#ifndef TIDE_ROUTER_ORIGINS_H
#define TIDE_ROUTER_ORIGINS_H

#include "base/http/client.h"
#include "inference/router/table.h"

struct worker_origin {
    struct http_origin *http;
    struct worker *worker;      /* a reference */
    unsigned calls;             /* running */
    bool retired;               /* not in the table any more: goes with its last call */
    struct worker_origin *next; /* of its bucket */
};

enum { ORIGIN_BUCKETS = 1024 };

struct worker_origins {
    struct loop *loop;
    struct worker_table *table;                    /* a reference */
    struct worker_origin *buckets[ORIGIN_BUCKETS]; /* by worker->id */
};

void worker_origins_init(struct worker_origins *o, struct loop *loop, struct worker_table *table);
void worker_origins_clear(struct worker_origins *o);                                 /* no call may be left */
void worker_origins_set_table(struct worker_origins *o, struct worker_table *table); /* takes the reference */
/* NULL: the target is malformed (configuration checks names only when they are used). */
struct worker_origin *worker_origin_take(struct worker_origins *o, struct worker *w, struct err *err);
void worker_origin_give_back_and_maybe_free(struct worker_origins *o, struct worker_origin *at);

#endif

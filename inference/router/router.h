/* The workers of a process: made from the configuration, probed on the control loop, published to the other loops as
 * immutable tables.
 *
 *     router_new -> router_configure (again at each reload) -> on_table for every change -> router_free
 *
 * Probes: GET /health every probe_ms (four times as often while a worker is not READY), then GET /v1/models where the
 * configuration names no models. Any answer below 500 is life; a worker whose answers still flow is busy, not dead. One that
 * refused a client's request is asked for a token, each 5 s at most, to see whether it takes our key.
 * Ownership: the router owns workers and queues; on_table is given a reference.
 * Errors: router_configure leaves everything as it was.
 * Thread rule: the control loop's thread (or before it runs), but for router_table. */
#ifndef TIDE_ROUTER_ROUTER_H
#define TIDE_ROUTER_ROUTER_H

#include <pthread.h>

#include "base/buf.h"
#include "base/http/client.h"
#include "inference/router/queue.h"
#include "inference/router/table.h"

struct router;

struct router_conf {
    const struct worker_conf *workers;
    unsigned worker_count;
    uint64_t probe_ms;
};

struct router *router_new(struct loop *control, void (*on_table)(void *arg, struct worker_table *t),
                          void *arg);
void router_free(struct router *r); /* the control loop and all loops have ended */
int router_configure(struct router *r, const struct router_conf *conf, struct err *err) TIDE_CHECK;

struct worker_table *router_table(struct router *r); /* a reference to the current one; any thread */
bool router_drain(struct router *r, struct str name, bool drain); /* false: no such worker */
bool router_has(const struct router *r, struct str name);
void router_write_drained(const struct router *r, struct buf *out); /* their names, a line each */
void router_write_json(const struct router *r, struct buf *out);    /* an array of workers */

#endif

/* One connection to one Redis server: greeting, pipeline, time-outs, breaker. Part of base/redis. Not the choice of
 * the server.
 *
 *     DOWN --backoff--> RESOLVING --> CONNECTING (TCP, TLS) --> GREETING --> READY --lost--> DOWN
 *     breaker: CLOSED <-> OPEN
 *
 * The greeting is AUTH, then what the use demands: SELECT and the scripts, and for a primary ROLE, which must
 * say "master". redis_changed is called when it becomes ready, and when it is ready no more.
 * A connection to a Sentinel, or to a primary that Sentinels name, does not connect again by itself: who steers it
 * calls redis_conn_connect.
 * Thread rule: the loop's thread. */
#ifndef TIDE_BASE_REDIS_CONN_H
#define TIDE_BASE_REDIS_CONN_H

#include "base/redis_inner.h"

enum redis_conn_use {
    REDIS_CONN_SERVER = 0,   /* for commands; connects by itself */
    REDIS_CONN_PRIMARY = 1,  /* for commands; must be a primary; READONLY ends it */
    REDIS_CONN_SENTINEL = 2, /* a Sentinel */
};

/* target: "host:port" or "unix:/path", copied; NULL: DOWN until redis_conn_connect. */
struct redis_conn *redis_conn_new(struct redis *r, enum redis_conn_use use, const char *target);
void redis_conn_free(struct redis_conn *c);                        /* pending ops: ERR_CANCELED */
void redis_conn_connect(struct redis_conn *c, const char *target); /* now, to there; drops what was */
void redis_conn_drop(struct redis_conn *c, const char *why);       /* pending ops: ERR_CLOSED */
int redis_conn_send(struct redis_conn *c, struct redis_op *op, struct str resp) TIDE_CHECK;
int redis_conn_send_argv(struct redis_conn *c, struct redis_op *op, unsigned argc,
                         const struct str *argv) TIDE_CHECK;

void redis_conn_cancel(struct redis_op *op); /* one that is pending on a connection */

bool redis_conn_is_ready(const struct redis_conn *c); /* greeted, breaker closed */
bool redis_conn_is_down(const struct redis_conn *c);  /* not even under way */
bool redis_conn_is_idle(const struct redis_conn *c);  /* no answer is awaited */
const char *redis_conn_target(const struct redis_conn *c);

#endif

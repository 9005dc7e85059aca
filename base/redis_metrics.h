/* What base/redis counts, by role and by node. Part of it; nothing else includes this. */
#ifndef TIDE_BASE_REDIS_METRICS_H
#define TIDE_BASE_REDIS_METRICS_H

#include "base/metrics.h"

enum redis_result {
    REDIS_RESULT_OK = 0,
    REDIS_RESULT_TIMEOUT = 1,
    REDIS_RESULT_CLOSED = 2,   /* connection lost before the answer */
    REDIS_RESULT_REFUSED = 3,  /* loading, read-only, out of memory... */
    REDIS_RESULT_ERROR = 4,    /* any other error reply */
    REDIS_RESULT_REJECTED = 5, /* not sent: down, breaker open, or full */
    REDIS_RESULTS = 6,
};

struct redis_metrics {
    struct metric_child *results[REDIS_RESULTS];
    struct metric_child *duration;
    struct metric_child *connections; /* READY now */
    struct metric_child *connects;
    struct metric_child *breaker_opened;
    struct metric_child *script_loads; /* after a NOSCRIPT */
    struct metric_child *redirects;    /* MOVED, ASK, TRYAGAIN */
    struct metric_child *maps;         /* maps of a Cluster taken over */
    struct metric_child *switches;     /* another primary than before */
};

/* Nodes have the names that Redis or the configuration gives them. Past REDIS_NODES_NAMED of them in the life of the
 * process a new one is counted as "other". */
enum { REDIS_NODES_NAMED = 256 };
struct redis_node_metrics {
    struct metric_child *ready;    /* connections ready for commands */
    struct metric_child *failures; /* commands refused or not answered in time */
};
void redis_node_metrics_init(struct redis_node_metrics *m, const char *role, const char *node);
void redis_metrics_init(struct redis_metrics *m, const char *role);
enum redis_result redis_result_of(int rc); /* of an answer */

#endif

/* The inside of the router, shared by router.c and probe.c. Not for others. */
#ifndef TIDE_ROUTER_ROUTER_IMPL_H
#define TIDE_ROUTER_ROUTER_IMPL_H

#include "base/metrics.h"
#include "inference/router/router.h"

enum member_phase { MEMBER_RESTING = 0, MEMBER_ASKING_HEALTH = 1, MEMBER_ASKING_MODELS = 2 };

/* A worker with what only the control loop keeps about it. */
struct member {
    struct router *router;
    struct worker *worker;      /* a reference */
    struct http_origin *origin; /* for probes */
    char *key_file;             /* as configured, to see changes */
    bool models_given;          /* by the configuration: not asked for */
    char models[WORKER_MODELS][MODEL_NAME];
    unsigned model_count;
    enum member_phase phase;
    struct http_op *op;
    unsigned status; /* of the probe's answer */
    struct buf answer;
    uint64_t next_ms;   /* monotonic: next probe */
    uint64_t models_ms; /* when models were last asked for */
    unsigned failed;    /* probes in a row */
    struct metric_child *up, *running, *outstanding, *requests, *failures, *opened;
    struct member *next;
};

struct router {
    struct loop *control;
    void (*on_table)(void *arg, struct worker_table *t);
    void *arg;
    struct member *members;
    unsigned member_count;
    uint32_t next_id;
    uint64_t probe_ms;
    struct loop_timer tick;
    struct model_queue **queues;
    unsigned queue_count;
    pthread_mutex_t mutex; /* of `table` */
    struct worker_table *table;
};

/* router.c */
void router_publish(struct router *r); /* a new table of what members serve now */
void member_show(struct member *m);    /* its metrics */
/* probe.c */
void member_probe_if_due(struct member *m, uint64_t now_ms);
void member_probe_stop(struct member *m);

#endif

/* The inside of the router, shared by router.c, probe.c and report_stream.c. Not for others. */
#ifndef TIDE_ROUTER_ROUTER_IMPL_H
#define TIDE_ROUTER_ROUTER_IMPL_H

#include "base/http/sse.h"
#include "base/metrics.h"
#include "inference/router/router.h"

enum { REPORT_EVENT_BYTES = 4096 };

enum member_phase {
    MEMBER_RESTING = 0,
    MEMBER_ASKING_HEALTH = 1,
    MEMBER_ASKING_MODELS = 2,
    MEMBER_ASKING_CHAT = 3, /* whether it takes our key */
};

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
    struct {
        struct buf question; /* of a model; the op borrows it */
        unsigned model;      /* which one is asked for */
        uint64_t asked_ms;   /* monotonic: when this began last; 0: never */
        unsigned in_vain;    /* questions since the last trial or verdict, all without success */
    } key;
    struct {
        struct http_op *op; /* NULL: not listened to now */
        struct sse_scanner events;
        uint64_t heard;   /* reports */
        uint64_t next_ms; /* monotonic: when it is asked again */
        bool is_missing;  /* the worker has none; said once */
    } report;
    struct metric_child *up, *refuses_key, *running, *outstanding, *requests, *failures, *opened;
    struct metric_child *reports, *others, *kv_used, *credit; /* NULL: its reports are not listened to */
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
    uint64_t news_ms;            /* monotonic, when news were last published; 0: never */
    bool has_news;               /* the next tick publishes */
    struct model_queue **queues; /* sorted by name */
    unsigned queue_count;
    pthread_mutex_t mutex; /* of `table` */
    struct worker_table *table;
};

/* router.c */
void router_publish_news(
    struct router *r);              /* what members serve has changed: one table for all of a tick's news */
void member_show(struct member *m); /* its metrics */
/* probe.c */
void member_probe_if_due(struct member *m, uint64_t now_ms);
void member_probe_stop(struct member *m);
/* report_stream.c */
void member_listen_if_due(struct member *m, uint64_t now_ms);
void member_listen_stop(struct member *m);

#endif

/* Which workers there are and which models they serve: an immutable snapshot that the router publishes and each
 * loop holds a reference to. And the choice of a worker for a request.
 *
 * The choice: outstanding tokens for its weight; two candidates picked at random, the less loaded wins. They are drawn by
 * lot, which costs the same however many workers there are; where that does not find two at once, because they are few or
 * few of them are free, all are looked at. Where both tell their load (worker_report.h), requests of others count as well,
 * each as large as ours are in the mean, and the free share of the KV cache; as much as the older report still counts.
 * Candidates serve the model, are READY (when there is none: SUSPECT), have a free slot and a breaker that lets them, and
 * are not the one excluded (a retry's first worker).
 * Thread rule: any thread; tables are const once published. */
#ifndef TIDE_ROUTER_TABLE_H
#define TIDE_ROUTER_TABLE_H

#include "inference/router/worker.h"

struct model_queue;

struct table_model {
    char name[MODEL_NAME];
    struct model_queue *queue; /* borrowed from the router */
    struct worker **workers;   /* of table.places, in the order of table.workers */
    unsigned worker_count;
};

struct worker_table {
    atomic_uint refs;
    struct worker **workers; /* references held */
    unsigned worker_count;
    struct worker **places;     /* of all models, one after another; borrowed from `workers` */
    struct table_model *models; /* sorted by name */
    unsigned model_count;
};

/* models[i]: names that workers[i] serves, model_counts[i] of them. */
struct worker_table *worker_table_new(struct worker **workers, unsigned count,
                                      char (*const *models)[MODEL_NAME], const unsigned *model_counts);
struct worker_table *worker_table_ref(struct worker_table *t);
void worker_table_unref(struct worker_table *t);
struct table_model *worker_table_model(const struct worker_table *t, struct str name); /* NULL: unknown */

/* A request's place on a worker, from the choice to worker_grant_end. */
struct worker_grant {
    struct worker *worker; /* a reference; NULL: none */
    int64_t tokens;
    bool is_probe; /* of the breaker */
};

enum choose_result {
    CHOOSE_OK = 0,
    CHOOSE_BUSY = 1, /* there are healthy workers, all at their slots */
    CHOOSE_NONE = 2, /* no healthy worker */
};
enum choose_result worker_choose(const struct table_model *m, const struct worker *exclude, int64_t tokens,
                                 uint64_t now_ms, struct worker_grant *out);
/* The same, when it is known that `freed` has just given a place back, and that there was none before: it alone is looked
 * at, when it is READY and this table's. `freed` is only compared, and may be NULL. */
enum choose_result worker_choose_freed(const struct worker *freed, const struct table_model *m,
                                       const struct worker *exclude, int64_t tokens, uint64_t now_ms,
                                       struct worker_grant *out);
/* The verdict, once; a probe's counts at once, the place is kept. */
void worker_grant_note(struct worker_grant *g, uint64_t now_ms, enum breaker_result result);
/* Gives the place back. A probe without a verdict ends without one. */
void worker_grant_end(struct worker_grant *g, uint64_t now_ms);

#endif

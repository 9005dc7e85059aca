/* Requests of one model that wait because all its workers are at their slots. Bounded in length, in waiters of
 * one user, and in time (the waiter's loop has the timer).
 *
 *     queue_enter -> WAITING -> a slot is free: GRANTED, posted to the waiter's loop -> on_grant there
 *                          \-> queue_leave: on_grant never comes; a grant already on its way is given back
 *
 * Order: start-time fair queueing over users with equal cost: a user's second waiter counts one round later, so
 * that one user with many requests does not hold up the others.
 * A grant carries the slot: nobody who comes later can take it.
 * Thread rule: queue_enter and queue_leave on the waiter's loop; queue_pump on any. One mutex a model, held for a
 * few list steps. */
#ifndef TIDE_ROUTER_QUEUE_H
#define TIDE_ROUTER_QUEUE_H

#include "base/loop.h"
#include "inference/router/table.h"

struct queue_waiter;

struct queue_limits {
    uint32_t length;   /* waiters of one model; 256 */
    uint32_t per_user; /* of one user; 8 */
};

enum queue_refusal { QUEUE_OK = 0, QUEUE_FULL = 1, QUEUE_USER_FULL = 2 };

struct queue_request {
    struct loop *loop;
    uint64_t user; /* hash of who asks */
    int64_t tokens;
    const struct worker *exclude;                           /* compared only */
    void (*on_grant)(void *arg, struct worker_grant grant); /* ownership of the grant moves */
    void *arg;
};

struct model_queue *model_queue_new(const char *model);
void model_queue_free(struct model_queue *q); /* nobody waits any more */
const char *model_queue_name(const struct model_queue *q);
unsigned model_queue_length(const struct model_queue *q); /* atomic */

/* NULL: refused. The caller pumps afterwards: a slot may have come free meanwhile. */
struct queue_waiter *queue_enter(struct model_queue *q, const struct queue_limits *limits,
                                 const struct queue_request *req, enum queue_refusal *why);
void queue_leave(struct queue_waiter *w);
/* Hands free slots to those who wait. */
void queue_pump(const struct table_model *m, uint64_t now_ms);
void queue_pump_all(const struct worker_table *t, uint64_t now_ms);
/* The same, after `freed` gave a place back (worker_choose_freed). */
void queue_pump_freed(const struct worker_table *t, const struct worker *freed, uint64_t now_ms);

#endif

#include "inference/router/queue.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

struct queue_waiter {
    struct loop_msg msg; /* first: the posted message is the waiter */
    struct model_queue *queue;
    struct queue_request req;
    uint64_t round; /* order in the queue */
    struct worker_grant grant;
    bool is_granted;   /* under the queue's mutex: off the list, posted */
    bool is_abandoned; /* waiter's loop only */
    struct queue_waiter *prev, *next;
};

struct model_queue {
    pthread_mutex_t mutex;
    struct queue_waiter *head, *tail; /* by round, then age */
    uint64_t round;                   /* of the last one granted */
    atomic_uint length;
    char name[MODEL_NAME];
};

struct model_queue *model_queue_new(const char *model)
{
    struct model_queue *q = calloc(1, sizeof *q);
    BUG_ON(!q);
    pthread_mutex_init(&q->mutex, NULL);
    memcpy(q->name, model, strnlen(model, sizeof q->name - 1));
    return q;
}

void model_queue_free(struct model_queue *q)
{
    if (!q) {
        return;
    }
    BUG_ON(q->head);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

const char *model_queue_name(const struct model_queue *q)
{
    return q->name;
}

unsigned model_queue_length(const struct model_queue *q)
{
    return atomic_load_explicit(&q->length, memory_order_relaxed);
}

static void take_out(struct model_queue *q, struct queue_waiter *w)
{
    *(w->prev ? &w->prev->next : &q->head) = w->next;
    *(w->next ? &w->next->prev : &q->tail) = w->prev;
    w->prev = w->next = NULL;
    atomic_fetch_sub_explicit(&q->length, 1, memory_order_relaxed);
}

static void put_in(struct model_queue *q, struct queue_waiter *w)
{
    struct queue_waiter *after = q->tail;
    while (after && after->round > w->round) {
        after = after->prev;
    }
    w->prev = after;
    w->next = after ? after->next : q->head;
    *(w->prev ? &w->prev->next : &q->head) = w;
    *(w->next ? &w->next->prev : &q->tail) = w;
    atomic_fetch_add_explicit(&q->length, 1, memory_order_relaxed);
}

/* How many this user has waiting; *last is the latest of their rounds. */
static unsigned count_user(const struct model_queue *q, uint64_t user, uint64_t *last)
{
    unsigned n = 0;
    for (const struct queue_waiter *w = q->head; w; w = w->next) {
        if (w->req.user == user) {
            n++;
            *last = w->round;
        }
    }
    return n;
}

static void on_granted(struct loop_msg *m, bool canceled)
{
    struct queue_waiter *w = (struct queue_waiter *)(void *)m;
    if (canceled || w->is_abandoned) {
        /* The control loop's next pump finds the slot: others look only at the one that they gave back. */
        worker_grant_end(&w->grant, clock_mono_ms());
    } else {
        w->req.on_grant(w->req.arg, w->grant);
    }
    free(w);
}

struct queue_waiter *queue_enter(struct model_queue *q, const struct queue_limits *limits,
                                 const struct queue_request *req, enum queue_refusal *why)
{
    struct queue_waiter *w = calloc(1, sizeof *w);
    BUG_ON(!w);
    w->queue = q;
    w->req = *req;
    w->msg.fn = on_granted;
    pthread_mutex_lock(&q->mutex);
    uint64_t last = q->round;
    *why = atomic_load(&q->length) >= limits->length ? QUEUE_FULL : QUEUE_OK;
    if (*why == QUEUE_OK && count_user(q, req->user, &last) >= limits->per_user) {
        *why = QUEUE_USER_FULL;
    }
    if (*why == QUEUE_OK) {
        w->round = last + 1;
        put_in(q, w);
    }
    pthread_mutex_unlock(&q->mutex);
    if (*why != QUEUE_OK) {
        free(w);
        return NULL;
    }
    return w;
}

void queue_leave(struct queue_waiter *w)
{
    struct model_queue *q = w->queue;
    pthread_mutex_lock(&q->mutex);
    bool granted = w->is_granted;
    if (!granted) {
        take_out(q, w);
    }
    pthread_mutex_unlock(&q->mutex);
    if (granted) {
        w->is_abandoned = true; /* its message is on the way to this loop, and frees it */
    } else {
        free(w);
    }
}

static void pump(const struct table_model *m, const struct worker *freed, uint64_t now_ms)
{
    struct model_queue *q = m->queue;
    if (model_queue_length(q) == 0) {
        return;
    }
    pthread_mutex_lock(&q->mutex);
    struct queue_waiter *next;
    for (struct queue_waiter *w = q->head; w; w = next) {
        struct worker_grant grant;
        next = w->next;
        if (worker_choose_freed(freed, m, w->req.exclude, w->req.tokens, now_ms, &grant) != CHOOSE_OK) {
            if (w->req.exclude) {
                continue; /* what it may not have may do for those behind it */
            }
            break;
        }
        take_out(q, w);
        q->round = w->round > q->round ? w->round : q->round;
        w->grant = grant;
        w->is_granted = true;
        loop_post(w->req.loop, &w->msg);
    }
    pthread_mutex_unlock(&q->mutex);
}

void queue_pump(const struct table_model *m, uint64_t now_ms)
{
    pump(m, NULL, now_ms);
}

void queue_pump_all(const struct worker_table *t, uint64_t now_ms)
{
    queue_pump_freed(t, NULL, now_ms);
}

void queue_pump_freed(const struct worker_table *t, const struct worker *freed, uint64_t now_ms)
{
    for (unsigned i = 0; i < t->model_count; i++) {
        pump(&t->models[i], freed, now_ms);
    }
}

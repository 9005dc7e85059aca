/* One chat request, from its checked body to its last byte. Shared by chat.c (rows), chat_call.c (worker, retry,
 * errors) and chat_relay.c (what the client is sent). Not for others.
 *
 *     prepare -> handle: CHOOSING -> [QUEUED] -> RUNNING -> ENDED
 *                           ^                       |
 *                           '---- one retry --------'      only while no content has gone to the client
 *
 * Started: the client has status 200 and the head of a stream (an event or a keep-alive comment was due).
 * Committed: content has gone out; from here on an error can only end the stream: an event {"error":{...}}, then the end,
 * without [DONE].
 * Ownership: lives on the exchange's arena.
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_CHAT_CALL_H
#define TIDE_GATEWAY_CHAT_CALL_H

#include "gateway/chat_body.h"
#include "gateway/gateway.h"
#include "gateway/request.h"
#include "inference/router/queue.h"
#include "inference/router/upstream.h"

enum {
    CHAT_ATTEMPTS = 2,
    CHAT_HELD_BYTES = 65536, /* events kept back before the first content */
    CHAT_RETRY_COST = 100,   /* of the budget, which gains retry_percent a request */
    CHAT_RETRY_CREDIT_MAX = 1000,
};

struct chat_loop {
    struct worker_origins origins;
    uint32_t retry_credit;
};

/* How an attempt went wrong, ready to be told. */
struct chat_failure {
    const char *problem; /* row of the error table */
    const char *detail;
    uint32_t retry_after_s; /* 0: none */
    bool may_retry;         /* another worker may do better */
};

struct chat_call {
    struct request *r;
    struct chat_loop *cl;
    const struct chat_conf *conf; /* of r->conf */
    enum chat_kind kind;
    struct chat_body body;
    const struct worker *failed; /* compared only: not to be chosen again */
    struct queue_waiter *waiter; /* QUEUED */
    struct upstream *up;         /* RUNNING */
    struct loop_timer queue_timer;
    struct loop_timer keep_alive;
    struct buf held;          /* events before the first content */
    struct buf scratch, text; /* of chat_event_read */
    uint64_t queued_ms;       /* monotonic, when it entered the queue */
    unsigned attempts;
    uint32_t content_events; /* relayed */
    bool started;
    bool committed;
    bool has_finish; /* finish_reason was seen */
    bool has_done;   /* [DONE] was seen */
    bool has_error;  /* the worker's stream told of an error */
    bool is_late;    /* which was that the answer takes too long */
};

/* chat_call.c */
void chat_call_init(struct chat_call *c, struct request *r, enum chat_kind kind);
int64_t chat_call_reserved(const struct chat_call *c); /* tokens of the answer that limits are asked for */
void chat_call_run(struct chat_call *c);
void chat_call_fail(struct chat_call *c, const struct chat_failure *f); /* retry, or the end */
void chat_call_release(struct chat_call *c); /* drops timers and buffers: the answer is complete */

/* chat_relay.c */
enum http_flow chat_relay_event(struct chat_call *c, struct str event);
void chat_relay_keep_alive(struct chat_call *c);
void chat_relay_end(struct chat_call *c);                            /* the stream came to its proper end */
void chat_relay_error(struct chat_call *c, const struct problem *p); /* it did not */
void chat_relay_answer(struct chat_call *c, struct str json);        /* without streaming */

#endif

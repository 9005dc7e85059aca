/* One attempt: one request sent to one worker, and what came back. Not the choice of the worker, not retries, not
 * what the client sees.
 *
 *     upstream_start -> on_event* -> on_end     (a stream of events)
 *                   \-> on_end with the body      (anything else)
 *                   \-> on_end                    (no answer)
 *                   \-> upstream_cancel: nothing more is called, the connection is closed
 *
 * It notes results for the worker's breaker, time to first token and progress, and gives the worker's slot back at
 * its end; whoever waits for the slot is told.
 * Ownership: the grant moves in; the call is freed after on_end or by upstream_cancel. The request's body is borrowed
 * until then. What callbacks are given is borrowed until they return.
 * Errors in upstream_end.rc: as base/http/client.h, and ERR_LIMIT for an event or body past its cap.
 * Thread rule: the loop of the origins. */
#ifndef TIDE_ROUTER_UPSTREAM_H
#define TIDE_ROUTER_UPSTREAM_H

#include "base/http/sse.h"
#include "inference/router/origins.h"

struct upstream;

struct upstream_request {
    struct str target;               /* "/v1/chat/completions" */
    struct str body;                 /* JSON: borrowed */
    const struct http_field *fields; /* ours: content-type, accept, x-request-id, traceparent */
    unsigned field_count;
    uint64_t connect_ms, head_ms, idle_ms;
    size_t event_bytes;  /* largest event */
    size_t answer_bytes; /* largest body that is not a stream */
};

struct upstream_end {
    int rc; /* 0: the answer came whole, as far as HTTP goes */
    bool has_head;
    unsigned status; /* when has_head */
    uint32_t retry_after_s;
    struct str body;       /* of what was not a stream */
    const struct err *err; /* NULL when rc is 0 */
};

struct upstream_handler {
    enum http_flow (*on_event)(void *arg, struct str event);
    void (*on_end)(void *arg, const struct upstream_end *end);
};

struct upstream *upstream_start(struct worker_origins *o, struct worker_grant grant,
                                const struct upstream_request *req, const struct upstream_handler *handler,
                                void *arg); /* never NULL; callbacks come later */
void upstream_resume(struct upstream *u);
void upstream_cancel(struct upstream *u);
bool upstream_is_connecting(const struct upstream *u); /* the worker has seen nothing of the request */
/* What the handler found in a 200 stream: it was no good although HTTP was (an error event, no end). */
void upstream_spoil(struct upstream *u);
/* Or that it was the request's doing, and says nothing of the worker. */
void upstream_excuse(struct upstream *u);
/* Or that it was refused (worker_status_is_refusal), which may be either, and is no verdict: the router will ask. True: it
 * has, and it is our key. */
bool upstream_refuse(struct upstream *u);

#endif

/* The operator's own risk service, asked about one request for a code: a signed question, points back. What they do is
 * suspicion's (suspicion.h); the way there is hooks.h.
 *
 *     risk_ask -> hooks -> done, within hooks.risk.timeout -> points
 *
 * Question: {"type":"risk.code_request","timestamp":...,"data":{"request_id","address","ja4","number","phone_prefix",
 *     "ip_country","asn","device","platform","invite","may_create","policy_effect","policy_rule"}}; what is not
 *     known is not in it. `number` is a keyed hash: the same for the same number, and no way back.
 * Answer: 200 {"points": 0 to hooks.risk.points}; other members are ignored. Late, another status or anything else: the
 *     points of hooks.risk.silent_points. A service that fails often is not asked for a while (breaker.h).
 * Ownership: the question is on the request's arena; risk_forget before it ends.
 * Thread rule: the request's loop, which never waits: a timer of its own is the deadline. */
#ifndef TIDE_GATEWAY_RISK_H
#define TIDE_GATEWAY_RISK_H

#include "base/loop.h"

struct auth_attempt;
struct request;
struct risk_call;

struct risk_question {
    struct risk_call *call; /* NULL: none is under way */
    struct loop_timer late;
    uint32_t points; /* what counts */
    uint32_t said;   /* by the service; 0 when it said nothing */
    uint32_t most;   /* that it may say */
    uint32_t silent; /* what counts when it says nothing */
    void (*done)(void *arg);
    void *arg;
};

/* done may be called before this returns. */
void risk_ask(struct risk_question *q, struct request *r, const struct auth_attempt *a,
              void (*done)(void *arg), void *arg);
void risk_forget(struct risk_question *q); /* done is not called any more; callable twice */

#endif

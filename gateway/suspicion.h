/* Suspicion in the gateway: gathers the facts of a code request, keeps what came of it, sets traps. The sum is
 * ratelimit/suspicion.h's; what follows from it is attempt.c's.
 *
 *     suspicion_weigh -> counts of the fleet (one round trip)  \
 *                     -> the risk hook, when there is one (risk.h)} both -> r->suspicion->score -> done
 *     suspicion_keep  -> a row of signup_scores, in a job of its own that nobody waits for: at most
 *                        suspicion.records a minute and loop, in a ring of 100,000 rows
 *     suspicion_look_at_path   a path that only scanners ask for marks the address, 20 a second and loop
 *
 * Thread rule: the request's loop; suspicion_open and _close the main thread. */
#ifndef TIDE_GATEWAY_SUSPICION_H
#define TIDE_GATEWAY_SUSPICION_H

#include "gateway/request.h"
#include "gateway/risk.h"
#include "ratelimit/suspicion_counts.h"

struct auth_attempt;
struct gateway;
struct gateway_loop;

/* Of one request, on its arena. */
struct suspicion_wait {
    struct request *r;
    struct suspicion_query query;
    struct risk_question risk;
    unsigned waiting; /* for one of the two, or both */
    struct suspicion_facts facts;
    struct suspicion_score score;
    void (*done)(void *arg);
    void *arg;
};

void suspicion_open(struct gateway *g);
void suspicion_close(struct gateway *g);

/* What is asked and noted through this loop's connection, by the configuration of now. */
struct suspicion_store suspicion_store_of(struct gateway_loop *gl);

/* r->suspicion is there when done is called, perhaps before this returns; with an empty score when it is off. */
void suspicion_weigh(struct request *r, const struct auth_attempt *a, void (*done)(void *arg), void *arg);
void suspicion_forget_request(struct request *r); /* request_finish only */
/* outcome: "allow", "challenge", "deny": what was done about this attempt. */
void suspicion_keep(struct request *r, const struct auth_attempt *a, const char *outcome);

void suspicion_verified(struct gateway_loop *gl, const struct addr *client); /* a code was used from here */
void suspicion_look_at_path(struct request *r);

#endif

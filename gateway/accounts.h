/* Accounts in the gateway: wires auth/ (routes under /auth/v1, policy, sessions) to limits, hooks and the control
 * thread. Everything here does nothing when the configuration has no section auth.
 *
 * Life: the functions of gateway.h's parts. The policy and the revoked sessions are fetched by watchers on the
 * control thread and posted to the loops; the last known policy is also kept in auth.state_dir.
 * Thread rule: as gateway.h says for each. */
#ifndef TIDE_GATEWAY_ACCOUNTS_H
#define TIDE_GATEWAY_ACCOUNTS_H

#include "gateway/gateway.h"
#include "gateway/request.h"

struct jws_claims;

struct policy;

int accounts_open(struct gateway *g, struct err *err) TIDE_CHECK;
int accounts_loop_open(struct gateway_loop *gl, struct err *err) TIDE_CHECK;
void accounts_loop_reload(struct gateway_loop *gl);
void accounts_loop_close(struct gateway_loop *gl);
void accounts_close(struct gateway *g);

extern const struct route accounts_routes[];
extern const unsigned accounts_route_count;

/* Whether the session of this token of our own issuer has ended. The loop's thread. */
bool accounts_is_revoked(const struct gateway_loop *gl, const struct jws_claims *who);
/* A policy is in force here (from the database, or the last known one from disk). Any thread. */
struct hooks;
struct hooks *accounts_hooks(const struct gateway *g); /* NULL: no accounts */
bool accounts_has_policy(const struct gateway *g);
/* That policy, borrowed; NULL: none yet. The control thread. */
const struct policy *accounts_policy(const struct gateway *g);

#endif

/* Carries out changes of the policy that are due (auth/policy_change.h), and its ramp (auth/policy_ramp_run.h): every
 * gateway asks twice a second, the database decides which one of them does it. Not the fetching of the policy, which
 * follows by the poll of versions.
 *
 * Thread rule: the main thread before the control thread runs, then the control thread. */
#ifndef TIDE_GATEWAY_POLICY_DUE_H
#define TIDE_GATEWAY_POLICY_DUE_H

struct gateway;

void policy_due_open(
    struct gateway *g); /* after the control thread is made; nothing without accounts and database */
void policy_due_close(struct gateway *g); /* after it has ended */

#endif

/* A code on its way to a phone, once everything that could refuse it has let it pass (http_otp.c). Answers the call.
 *
 *     begin (pending row) -> send -> activate -> 200
 *         \- too soon: 429      \- failed: drop, 503
 *
 * With create_user false the answer is 200 and comes before the message is sent: known and unknown take the same steps
 * (an unknown number gets a decoy row and no message). The flow outlives its client: what was begun is settled.
 * Thread rule: the call's loop. Private to auth/. */
#ifndef TIDE_AUTH_OTP_FLOW_H
#define TIDE_AUTH_OTP_FLOW_H

#include "auth/call.h"
#include "auth/otp.h"

/* create_user: the request allows a new account; intent->may_create: and so does the policy. */
void otp_flow_start(struct auth_call *call, const struct phone *phone, bool create_user,
                    const struct otp_intent *intent);

/* Counts a request for a code by what came of it: tidegate_auth_code_requests_total. */
void otp_count(const char *result);

#endif

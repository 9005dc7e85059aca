/* A code on its way to a phone, once everything that could refuse it has let it pass (http_otp.c). Answers the call.
 *
 *     begin (pending row) -> send -> activate -> 200
 *         \- too soon: 429      \- failed: drop, 422
 *
 * When it makes no account, because create_user is false or the budgets have room for accounts alone, the answer is 200
 * and comes before the message is sent:
 *
 *     begin (live row) -> 200 -> send -> nothing more, whatever came of it
 *
 * Known and unknown take the same steps (an unknown number gets a decoy row and no message), and guesses count from the same
 * moment. The flow outlives its client: what was begun is settled, and what limits
 * and budgets took is given back when no message went, whatever failed.
 * Thread rule: the call's loop. Private to auth/. */
#ifndef TIDE_AUTH_OTP_FLOW_H
#define TIDE_AUTH_OTP_FLOW_H

#include "auth/call.h"
#include "auth/otp.h"

enum otp_answer {
    OTP_ANSWER_SENT = 0,          /* 200 when the provider has the message, else why not */
    OTP_ANSWER_AT_ONCE = 1,       /* 200 before anything is sent */
    OTP_ANSWER_ACCOUNTS_ONLY = 2, /* likewise, and it says that only numbers with an account get a code now */
};
/* intent->may_create: the request allows a new account, and so does the policy. */
void otp_flow_start(struct auth_call *call, const struct phone *phone, enum otp_answer answer,
                    const struct otp_intent *intent);

/* Counts a request for a code by what came of it: tidegate_auth_code_requests_total. */
void otp_count(const char *result);

#endif

/* Accounts and sessions as GoTrue clients read them. Private to auth/.
 *
 * Thread rule: the call's loop. */
#ifndef TIDE_AUTH_REPLY_H
#define TIDE_AUTH_REPLY_H

#include "auth/access_token.h"
#include "auth/account.h"
#include "auth/refresh_token.h"
#include "base/json.h"

void reply_write_user(struct json_writer *w, const struct account *a);
/* The answer to verify and refresh: mints the access token and replies. */
void reply_session(struct auth_call *call, const struct account *a, const struct access_grant *grant,
                   int64_t counter, bool is_new_user);
/* A sign-up that the policy does not allow: the reason, its words in the caller's language, what is allowed instead. */
void reply_denied(struct auth_call *call, const struct policy *p, const struct policy_decision *d);
/* Likewise, with the position on the waiting list that a newcomer would get; 0: there is none. */
void reply_refused(struct auth_call *call, const struct policy *p, const struct policy_decision *d,
                   int64_t position);

#endif

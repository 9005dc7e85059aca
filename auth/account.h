/* Accounts in the database, as steps inside jobs: find, make, read. Private to auth/.
 *
 * Thread rule: inside jobs; struct account is a plain value. */
#ifndef TIDE_AUTH_ACCOUNT_H
#define TIDE_AUTH_ACCOUNT_H

#include "auth/auth.h"
#include "auth/subject.h"

enum { ACCOUNT_TIME_TEXT = 32 };

struct account {
    struct uuid user;
    struct uuid identity;
    char phone[PHONE_E164_MAX + 1];          /* E.164 */
    char created_at[ACCOUNT_TIME_TEXT];      /* ISO 8601, UTC */
    char updated_at[ACCOUNT_TIME_TEXT];      /* likewise */
    char last_sign_in_at[ACCOUNT_TIME_TEXT]; /* "" = never */
    char identity_created_at[ACCOUNT_TIME_TEXT];
    bool is_banned;
};

/* What lets somebody in beside the policy, and is settled with the account. */
struct account_pass {
    const struct uuid *invite;   /* counted; NULL: none was needed or good */
    const struct uuid *waitlist; /* leaves the waiting list; NULL: was not on it */
    bool is_released;            /* the decision counts on the release from it */
};
/* The only way to an account: calls auth_create_user.
 * ERR_CONFLICT: the policy has moved on, the invite or the release has run out, or the number got its account meanwhile; the
 * transaction is lost, begin again. */
int account_create(struct pg *pg, const struct secret_ring *r, const struct policy_decision *decision,
                   const struct account_pass *pass, const struct phone *phone, const struct subject *s,
                   struct uuid *user) TIDE_CHECK;
int account_touch(struct pg *pg, const struct uuid *user) TIDE_CHECK; /* signed in now */
/* ERR_NOT_FOUND when there is no such user. */
int account_load(struct pg *pg, const struct secret_ring *r, const struct uuid *user,
                 struct account *out) TIDE_CHECK;

/* The policy in force, as a new reference; `known` (NULL allowed) spares reading the document again. */
int account_policy(struct pg *pg, struct policy *known, struct policy **out) TIDE_CHECK;

#endif

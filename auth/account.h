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

/* The only way to an account: calls auth_create_user, which counts the invite (NULL: none was needed or good).
 * ERR_CONFLICT: the policy has moved on, the invite has run out, or the number got its account meanwhile; the
 * transaction is lost, begin again. */
int account_create(struct pg *pg, const struct secret_ring *r, const struct policy_decision *decision,
                   const struct uuid *invite, const struct phone *phone, const struct subject *s,
                   struct uuid *user) TIDE_CHECK;
int account_touch(struct pg *pg, const struct uuid *user) TIDE_CHECK; /* signed in now */
/* ERR_NOT_FOUND when there is no such user. */
int account_load(struct pg *pg, const struct secret_ring *r, const struct uuid *user,
                 struct account *out) TIDE_CHECK;

/* The policy in force, as a new reference; `known` (NULL allowed) spares reading the document again. */
int account_policy(struct pg *pg, struct policy *known, struct policy **out) TIDE_CHECK;

#endif

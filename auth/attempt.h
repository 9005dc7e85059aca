/* One decided attempt to sign up, ready to be stored in signup_attempts: by refusal.h as a sample of the refused, and by
 * the transaction that makes an account. Not what is read again (attempt_facts.h). Private to auth/.
 *
 * Thread rule: attempt_init on any thread; attempt_store inside a database job. */
#ifndef TIDE_AUTH_ATTEMPT_H
#define TIDE_AUTH_ATTEMPT_H

#include "auth/attempt_facts.h"
#include "auth/subject.h"

struct pg;

struct attempt {
    int64_t stands_for; /* attempts like it, with this one */
    int64_t version;    /* of the policy that decided */
    enum policy_effect effect;
    char stage[8], rule[POLICY_NAME_MAX + 1], reason[POLICY_NAME_MAX + 1];
    struct subject subject;
    struct buf facts; /* owned: JSON */
};

struct attempt_of {
    const char *stage; /* "otp": a code was asked for; "verify": an account was to be made */
    const struct phone *phone;
    const struct policy_caller *caller;
    const struct subject *subject;
    const struct policy_decision *decision;
    const struct secret_ring *secrets; /* of the ramp */
};
void attempt_init(struct attempt *a, const struct attempt_of *of, int64_t stands_for);
void attempt_clear(struct attempt *a);
int attempt_store(struct pg *pg, const struct attempt *a) TIDE_CHECK;

#endif

#include "gateway/attempt.h"

#include "auth/auth.h"
#include "gateway/challenge.h"
#include "gateway/config.h"
#include "gateway/suspicion.h"

enum { RETRY_S = 600 };

struct attempt {
    struct auth_call *call;
    const struct auth_attempt *a;
    void (*done)(struct auth_call *call, bool is_admitted);
    unsigned waiting;
};

static void refuse(struct request *r)
{
    http_reply_problem(r->ex, &(struct problem){.code = "abnormal_usage", .retry_after_s = RETRY_S});
}

/* What its score asks of this attempt. Who only signs in is never denied by it. */
static enum suspicion_verdict verdict_of(const struct request *r, const struct auth_attempt *a)
{
    if (r->conf->set->suspicion.mode != SUSPICION_ENFORCE) {
        return SUSPICION_ALLOW;
    }
    enum suspicion_verdict v = r->suspicion->score.verdict;
    return v == SUSPICION_DENY && !a->may_create ? SUSPICION_CHALLENGE_HARD : v;
}

static void conclude(struct attempt *t)
{
    struct request *r = t->call->request;
    enum suspicion_verdict v = verdict_of(r, t->a);
    bool is_admitted = v != SUSPICION_DENY;
    if (!is_admitted) {
        refuse(r);
    } else {
        enum pow_level level =
            challenge_level(r, t->a->may_create, (enum pow_level)t->a->decision.challenge, (enum pow_level)v);
        is_admitted = challenge_conclude(r, level);
    }
    suspicion_keep(r, t->a, is_admitted ? "allow" : v == SUSPICION_DENY ? "deny" : "challenge");
    t->done(t->call, is_admitted);
}

static void on_part(void *arg)
{
    struct attempt *t = arg;
    if (--t->waiting == 0) {
        conclude(t);
    }
}

void attempt_check(struct auth_call *call, const struct auth_attempt *a,
                   void (*done)(struct auth_call *call, bool is_admitted))
{
    _Static_assert((int)POW_LEVEL_HARD == (int)POLICY_CHALLENGE_POW_HARD, "levels are the policy's words");
    _Static_assert((int)POW_LEVEL_HARD == (int)SUSPICION_CHALLENGE_HARD, "and the verdicts of suspicion");
    struct request *r = call->request;
    struct attempt *t = ARENA_NEW(&r->ex->arena, struct attempt);
    *t = (struct attempt){call, a, done, .waiting = 3};
    suspicion_weigh(r, a, on_part, t);
    challenge_verify(r, "otp", a->payload, on_part, t);
    on_part(t); /* the one that kept the end from coming meanwhile */
}

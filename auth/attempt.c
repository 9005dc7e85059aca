#include "auth/attempt.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/pg.h"

void attempt_init(struct attempt *a, const struct attempt_of *of, int64_t stands_for)
{
    const struct policy_decision *d = of->decision;
    *a = (struct attempt){
        .stands_for = stands_for, .version = d->version, .effect = d->effect, .subject = *of->subject};
    snprintf(a->stage, sizeof a->stage, "%s", of->stage);
    snprintf(a->rule, sizeof a->rule, "%s", d->rule);
    snprintf(a->reason, sizeof a->reason, "%s", d->reason ? d->reason : "");
    struct policy_facts facts;
    policy_facts_of_phone(NULL, of->secrets, of->phone, of->caller, &facts);
    buf_init(&a->facts, ATTEMPT_FACTS_MAX);
    attempt_facts_write(&facts, &a->facts);
}

void attempt_clear(struct attempt *a)
{
    buf_clear(&a->facts);
}

int attempt_store(struct pg *pg, const struct attempt *a)
{
    int rows = pg_query(pg, "SELECT signup_keep_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                        PG_I64(a->stands_for), PG_CSTR(a->stage), PG_CSTR(policy_effect_name(a->effect)),
                        PG_I64(a->version), PG_CSTR(a->rule), PG_CSTR(a->reason), PG_STR(buf_str(&a->facts)),
                        PG_BYTES(a->subject.hash[0], SECRET_HMAC_BYTES), PG_CSTR(a->subject.key_id));
    return rows < 0 ? rows : 0;
}

#include "auth/refusal.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"

enum { MINUTE_MS = 60000 };

static struct metric refusals = METRIC_COUNTER_L(
    "tidegate_auth_refusals_total",
    "Sign-ups refused by the policy: stored in the sample, only counted, or lost on the way there.",
    "result");

struct refusal_job {
    struct pg_job pg;
    int64_t stands_for;
    struct phone phone;
    struct subject subject;
    int64_t version;
    char stage[8], rule[POLICY_ID_MAX + 1], reason[POLICY_ID_MAX + 1];
};

/* GCRA: `full_ms` is when the bucket would be full again. */
bool refusal_sampler_take(struct refusal_sampler *s, uint64_t per_minute, uint64_t now_ms,
                          int64_t *stands_for)
{
    s->unkept++;
    uint64_t full_ms = s->full_ms > now_ms ? s->full_ms : now_ms;
    uint64_t each_ms = per_minute ? MINUTE_MS / per_minute : 0;
    if (per_minute == 0 || full_ms + each_ms > now_ms + MINUTE_MS) {
        return false;
    }
    s->full_ms = full_ms + each_ms;
    *stands_for = s->unkept;
    s->unkept = 0;
    return true;
}

static void count(const char *result)
{
    metric_child_add(metric_child(&refusals, result), 1);
}

static int run_keep(struct pg *pg, void *arg)
{
    const struct refusal_job *j = arg;
    char prefix[PHONE_E164_MAX + 1];
    phone_prefix(&j->phone, prefix);
    int rows =
        pg_query(pg, "SELECT signup_keep_refusal($1, $2, $3, $4, $5, 'phone', $6, $7, $8, $9, $10, $11)",
                 PG_I64(j->stands_for), PG_CSTR(j->stage), PG_I64(j->version), PG_CSTR(j->rule),
                 PG_CSTR(j->reason), PG_CSTR(j->phone.country), PG_CSTR(prefix),
                 PG_CSTR(phone_type_name(j->phone.type)), PG_BOOL(j->phone.is_virtual),
                 PG_BYTES(j->subject.hash[0], SECRET_HMAC_BYTES), PG_CSTR(j->subject.key_id));
    return rows < 0 ? rows : 0;
}

static void on_kept(void *arg, int rc, const struct err *err)
{
    count(rc == 0 ? "stored" : "lost");
    if (rc < 0 && rc != ERR_CANCELED) {
        log_warn("refused sign-up not stored code=%s error=\"%s\"", err_name(rc), err->msg);
    }
    secret_cleanse(arg, sizeof(struct refusal_job));
    free(arg);
}

void refusal_sample(struct auth_loop *al, const struct auth_config *conf, const struct refusal *r)
{
    int64_t stands_for;
    if (!refusal_sampler_take(&al->refusals, conf->refusal_samples, clock_mono_ms(), &stands_for)) {
        count("counted");
        return;
    }
    struct refusal_job *j = calloc(1, sizeof *j);
    BUG_ON(!j);
    j->stands_for = stands_for;
    j->phone = *r->phone;
    j->subject = *r->subject;
    j->version = r->decision->version;
    snprintf(j->stage, sizeof j->stage, "%s", r->stage);
    snprintf(j->rule, sizeof j->rule, "%s", r->decision->rule);
    snprintf(j->reason, sizeof j->reason, "%s", r->decision->reason);
    j->pg = (struct pg_job){.run = run_keep, .done = on_kept, .arg = j, .timeout_ms = conf->job_ms};
    int rc = *al->pg ? pg_submit(*al->pg, &j->pg) : ERR_UNAVAILABLE;
    if (rc < 0) {
        on_kept(j, rc, &(struct err){.msg = "no room among the database's jobs"});
    }
}

#include "auth/refusal.h"

#include <stdio.h>
#include <stdlib.h>

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
    struct attempt attempt;
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
    return attempt_store(pg, &j->attempt);
}

static void on_kept(void *arg, int rc, const struct err *err)
{
    struct refusal_job *j = arg;
    count(rc == 0 ? "stored" : "lost");
    if (rc < 0 && rc != ERR_CANCELED) {
        log_warn("refused sign-up not stored code=%s error=\"%s\"", err_name(rc), err->msg);
    }
    attempt_clear(&j->attempt);
    secret_cleanse(j, sizeof *j);
    free(j);
}

void refusal_sample(struct auth_loop *al, const struct auth_config *conf, const struct attempt_of *r)
{
    int64_t stands_for;
    if (!refusal_sampler_take(&al->refusals, conf->refusal_samples, clock_mono_ms(), &stands_for)) {
        count("counted");
        return;
    }
    struct refusal_job *j = calloc(1, sizeof *j);
    BUG_ON(!j);
    attempt_init(&j->attempt, r, stands_for);
    j->pg = (struct pg_job){.run = run_keep, .done = on_kept, .arg = j, .timeout_ms = conf->job_ms};
    int rc = *al->pg ? pg_submit(*al->pg, &j->pg) : ERR_UNAVAILABLE;
    if (rc < 0) {
        on_kept(j, rc, &(struct err){.msg = "no room among the database's jobs"});
    }
}

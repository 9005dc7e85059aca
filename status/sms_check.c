/* Text messages: what the gateway counts of its hook, and the hook's own health. */
#include "base/clock.h"
#include "status/checks_inner.h"
#include "status/prom_text.h"

enum { METRICS_MAX = 4 * 1024 * 1024 };

#define SMS_COUNTER "tidegate_hook_calls_total"

static void finish_sms(struct check *k, enum verdict v)
{
    check_observe(k->owner, COMPONENT_SMS, "", v);
    check_run_again(k);
}

static void on_sms_health(void *arg, const struct prober_result *r)
{
    struct check *k = arg;
    enum verdict v = verdict_of_health(r, k->owner->conf->slow_ms);
    check_note(k, v, r);
    finish_sms(k, verdict_worse(v, k->first));
}

static void ask_sms_health(struct check *k)
{
    struct prober_request request = {.url = k->owner->conf->sms_health_url,
                                     .deadline_ms = k->owner->conf->deadline_ms};
    if (request.url) {
        check_fetch(k, &request, NULL, false, on_sms_health);
    } else {
        finish_sms(k, k->first);
    }
}

static void on_metrics(void *arg, const struct prober_result *r)
{
    struct check *k = arg;
    enum verdict v = verdict_of_health(r, k->owner->conf->deadline_ms);
    if (v == VERDICT_OK) {
        double sent = 0, asked = 0; /* a counter that is not there yet has counted nothing */
        prom_text_sum(r->body, SMS_COUNTER, "hook=\"sms\"", &asked);
        prom_text_sum(r->body, SMS_COUNTER, "hook=\"sms\",result=\"ok\"", &sent);
        v = verdict_of_sms(&k->owner->sms, sent, asked - sent, clock_mono_ms());
    } else {
        v = VERDICT_NONE; /* counters out of reach say nothing about SMS */
    }
    check_note(k, v, r);
    k->first = v;
    ask_sms_health(k);
}

void sms_check_run(struct check *k)
{
    struct prober_request request = {.url = k->owner->conf->metrics_url,
                                     .deadline_ms = k->owner->conf->deadline_ms,
                                     .max_body_bytes = METRICS_MAX};
    k->first = VERDICT_NONE;
    if (request.url) {
        check_fetch(k, &request, NULL, false, on_metrics);
    } else {
        ask_sms_health(k);
    }
}

/* Log-in and sign-up: the settings, and a refresh with a token that is none. */
#include "status/checks_inner.h"

static void finish_login(struct check *k, enum verdict v)
{
    check_observe(k->owner, COMPONENT_LOGIN, "", v);
    check_observe(k->owner, COMPONENT_SIGNUP, "", v);
    check_run_again(k);
}

static void on_token(void *arg, const struct prober_result *r)
{
    struct check *k = arg;
    enum verdict v = verdict_of_token(r, k->owner->conf->slow_ms);
    check_note(k, v, r);
    finish_login(k, verdict_worse(v, k->first));
}

static void read_signup_state(struct checks *c, const cJSON *settings)
{
    const cJSON *signup = cJSON_GetObjectItemCaseSensitive(settings, "signup");
    c->has_signup_state = notice_signup_state(signup, &c->signup_state);
}

static void on_settings(void *arg, const struct prober_result *r)
{
    struct check *k = arg;
    cJSON *settings;
    enum verdict v = verdict_of_settings(r, k->owner->conf->slow_ms, &settings);
    check_note(k, v, r);
    if (settings) {
        read_signup_state(k->owner, settings);
        cJSON_Delete(settings);
    }
    if (v != VERDICT_OK && v != VERDICT_SLOW) {
        finish_login(k, v);
        return;
    }
    k->first = v;
    struct prober_request request = {.body = "{\"refresh_token\":\"status-probe-not-a-token\"}",
                                     .deadline_ms = k->owner->conf->deadline_ms};
    check_fetch(k, &request, "/auth/v1/token?grant_type=refresh_token", false, on_token);
}

void login_check_run(struct check *k)
{
    struct prober_request request = {.deadline_ms = k->owner->conf->deadline_ms, .fresh = true};
    check_fetch(k, &request, "/auth/v1/settings", false, on_settings);
}

#include "gateway/logins.h"

#include <stdio.h>

#include "auth/auth.h"
#include "base/metrics.h"
#include "gateway/attack.h"
#include "gateway/request.h"
#include "ratelimit/attack_ladder.h"

enum login_step { STEP_CODE = 0, STEP_VERIFY = 1, STEPS = 2 };
enum login_result { RESULT_OK = 0, RESULT_WRONG = 1, RESULT_REFUSED = 2, RESULT_FAILED = 3, RESULTS = 4 };

static struct metric logins = METRIC_COUNTER_L(
    "tidegate_auth_logins_total", "Steps of a log-in of who has an account, by level of the attack ladder.",
    "level,step,result");
static struct metric_child *counts[LADDER_LEVELS][STEPS][RESULTS];

void logins_open(void)
{
    static const char *const steps[] = {"code", "verify"};
    static const char *const results[] = {"ok", "wrong", "refused", "failed"};
    for (int level = 0; level < LADDER_LEVELS; level++) {
        for (int s = 0; s < STEPS; s++) {
            for (int k = 0; k < RESULTS; k++) {
                char labels[40];
                snprintf(labels, sizeof labels, "A%d,%s,%s", level, steps[s], results[k]);
                counts[level][s][k] = metric_child(&logins, labels);
            }
        }
    }
}

void logins_count(const struct request *r)
{
    const struct auth_call *call = r->account_call;
    if (call == NULL || call->login == AUTH_LOGIN_NONE || r->ex->status == 0) {
        return;
    }
    unsigned status = r->ex->status;
    enum login_step step = call->login == AUTH_LOGIN_CODE ? STEP_CODE : STEP_VERIFY;
    enum login_result result = call->login == AUTH_LOGIN_WRONG ? RESULT_WRONG
                               : status >= 200 && status < 300 ? RESULT_OK
                               : status >= 400 && status < 500 ? RESULT_REFUSED
                                                               : RESULT_FAILED;
    metric_child_add(counts[attack_level(r->gl->gateway)][step][result], 1);
}

/* Verbs of the admin API about a policy that comes into force in stages. */
#include <math.h>

#include "gateway/accounts.h"
#include "gateway/admin_inner.h"

void admin_ramp(struct admin_call *c)
{
    admin_auth_list(c, AUTH_ADMIN_RAMP_GET);
}

static bool refuse(struct admin_call *c, const char *text)
{
    http_reply_error(c->ex, "validation_failed", "%s", text);
    return false;
}

/* False when it has answered. */
static bool get_stages(struct admin_call *c, struct policy_ramp_plan *plan)
{
    const struct json_slice *list = json_member(&c->body, "stages");
    struct json_slice item;
    double percent;
    if (list == NULL) {
        return true;
    }
    if (list->type != JSON_ARRAY) {
        return refuse(c, "stages: wants a list of percents");
    }
    struct str rest = list->raw;
    for (plan->count = 0; json_next(&rest, &item); plan->count++) {
        if (plan->count == POLICY_RAMP_STAGES_MAX) {
            return refuse(c, "stages: are too many");
        }
        if (!json_get_f64(&item, &percent) || percent < 0.01 || percent > 100) {
            return refuse(c, "stages: percents are 0.01 to 100");
        }
        plan->stages[plan->count] = (uint32_t)lround(percent * 100);
    }
    return true;
}

static bool get_plan(struct admin_call *c, struct policy_ramp_plan *plan)
{
    struct str on_bad = STR("hold");
    struct err err = {0};
    *plan = policy_ramp_plan_default;
    if (!get_stages(c, plan) || !admin_get_number(c, "every_s", &plan->every_s) ||
        !admin_get_text(c, "on_bad", &on_bad)) {
        return false;
    }
    plan->reverts = str_is(on_bad, "revert");
    if (!plan->reverts && !str_is(on_bad, "hold")) {
        return refuse(c, "on_bad: is not one of hold, revert");
    }
    return policy_ramp_plan_check(plan, &err) == 0 || refuse(c, err.msg);
}

void admin_ramp_start(struct admin_call *c)
{
    static const char *const members[] = {"preset", "document", "reason",  "if_version",
                                          "force",  "stages",   "every_s", "on_bad"};
    struct policy_ramp_plan plan;
    if (!admin_knows_members(c, members, 8) || !get_plan(c, &plan)) {
        return;
    }
    struct auth_admin *a = admin_policy_document_new(c, AUTH_ADMIN_RAMP_START);
    if (a != NULL) {
        a->plan = plan;
        admin_auth_submit(c, a);
    }
}

static void tell(struct admin_call *c, enum auth_admin_verb verb)
{
    static const char *const members[] = {"reason"};
    struct auth_admin *a = admin_knows_members(c, members, 1) ? admin_policy_change_new(c, verb) : NULL;
    if (a != NULL) {
        admin_auth_submit(c, a);
    }
}

void admin_ramp_pause(struct admin_call *c)
{
    tell(c, AUTH_ADMIN_RAMP_PAUSE);
}

void admin_ramp_resume(struct admin_call *c)
{
    tell(c, AUTH_ADMIN_RAMP_RESUME);
}

void admin_ramp_abort(struct admin_call *c)
{
    tell(c, AUTH_ADMIN_RAMP_ABORT);
}

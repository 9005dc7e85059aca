/* Verbs about codes by SMS: what they cost, what is left, which prefixes are blocked. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 64 };

static const struct ctl_view views[] = {
    {"budgets",
     "budget",
     "rule",
     {{"BUDGET", "rule"},
      {"LIMIT", "limit"},
      {"LEFT", "remaining"},
      {"SIGN-UPS", "signup_remaining"},
      {"NEXT", "next"}}},
    {"countries", "country", "name", {{"COUNTRY", "name"}, {"SENT", "sent"}, {"COST", "cost"}}},
    {"prefixes", "prefix", "name", {{"PREFIX", "name"}, {"SENT", "sent"}, {"COST", "cost"}}},
    {"providers", "provider", "name", {{"PROVIDER", "name"}, {"SENT", "sent"}, {"COST", "cost"}}},
    {"health", "provider", "name", {{"PROVIDER", "name"}, {"BREAKER", "breaker"}}},
    {"blocked", "blocked", "prefix", {{"BLOCKED", "prefix"}, {"SECONDS-LEFT", "seconds_left"}}},
};

/* The day (UTC) so far, list under list; -o name: what is blocked. */
static int sms_top(const struct ctl *c)
{
    struct ctl_answer a;
    struct buf target;
    unsigned n = sizeof views / sizeof views[0];
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/sms");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_request(c, "GET", target.p, NULL, &a);
    for (unsigned i = c->form == CTL_TABLE ? 0 : n - 1; i < n && code == CTL_OK; i++) {
        code = ctl_print(c, buf_str(&a.body), &views[i]);
        printf("%s", c->form == CTL_TABLE && i + 1 < n ? "\n" : "");
    }
    buf_clear(&a.body);
    buf_clear(&target);
    return code;
}

static int sms_unblock(const struct ctl *c)
{
    char thing[64];
    snprintf(thing, sizeof thing, "blocked/%.40s", c->words[0]);
    return ctl_change_reason(c, "/admin/v1/sms/unblock", "prefix", thing, "lifted");
}

const struct ctl_verb ctl_verbs_sms[] = {
    {
        .words = "sms top",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "what codes cost today, what is left, who is blocked",
        .about = "By country, prefix and provider since midnight UTC, for all gateways, in sms.currency (as "
                 "JSON, budgets of money are in millionths). SIGN-UPS is what is left for new accounts: less "
                 "than LEFT by "
                 "sms.login_reserve, and while "
                 "the attack ladder is up by attack.sms_percent. A blocked prefix is one whose codes hardly "
                 "anybody used; it is let go by "
                 "itself. What a number has "
                 "left of each budget: limits explain.",
        .examples = "sms top\n"
                    "sms top --watch --every 5s",
        .run = sms_top,
    },
    {
        .words = "sms unblock",
        .args = "PREFIX",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "codes to a blocked prefix again, or to all",
        .about = "For blocks that were wrong: codes that a provider took and did not bring are typed in by "
                 "nobody. The guard counts anew, and may block again. PREFIX as sms top says, or all.",
        .examples = "sms unblock +861380013 --reason \"the operator delivers again\"\n"
                    "sms unblock all --reason \"the operator delivers again\"",
        .names = sms_top,
        .run = sms_unblock,
    },
    {.words = NULL},
};

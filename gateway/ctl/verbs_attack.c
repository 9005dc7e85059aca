/* Verbs about the attack ladder. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { BODY_MAX = 4096 };

static int attack_status(const struct ctl *c)
{
    static const struct ctl_view view = {NULL,
                                         "attack",
                                         "level",
                                         {{"LEVEL", "level"},
                                          {"MODE", "mode"},
                                          {"UNTIL", "until"},
                                          {"SINCE", "since"},
                                          {"REASON", "reason"},
                                          {"ACTOR", "actor"},
                                          {"ATTEMPTS-PER-MIN", "attempts_per_min"},
                                          {"USUALLY", "baseline_per_min"},
                                          {"MOVES", "moves_lately"},
                                          {"SIGN-UP-SMS-%", "signup_sms_percent"},
                                          {"CONNECTIONS-%", "connections_percent"},
                                          {"POLICY", "policy"}}};
    return ctl_get(c, "/admin/v1/attack", &view);
}

static int attack_history(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "move",
                                         "id",
                                         {{"AT", "at"},
                                          {"LEVEL", "level"},
                                          {"BEFORE", "before"},
                                          {"ACTION", "action"},
                                          {"ATTEMPTS-PER-MIN", "attempts_per_min"},
                                          {"ACTOR", "actor"},
                                          {"REASON", "reason"}}};
    struct buf target;
    buf_init(&target, BODY_MAX);
    buf_add_cstr(&target, "/admin/v1/attack/history");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int closing_harm(const struct ctl *c, struct ctl_harm *out)
{
    if (strcmp(c->words[0], "A3") == 0 || strcmp(c->words[0], "A4") == 0) {
        *out = (struct ctl_harm){c->words[0], "Nobody without an account could sign up, on any gateway."};
    }
    return CTL_OK;
}

static int attack_set(const struct ctl *c)
{
    struct buf body;
    char happened[64];
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "level", str_from(c->words[0]));
    json_i64_at(&w, "ttl_s", c->ttl_ms / 1000);
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    snprintf(happened, sizeof happened, "is %.8s for %lld s", c->words[0], (long long)(c->ttl_ms / 1000));
    int code = ctl_change(c, "PUT", "/admin/v1/attack", &body, "attack/ladder", happened);
    buf_clear(&body);
    return code;
}

static int attack_auto(const struct ctl *c)
{
    return ctl_change_reason(c, "/admin/v1/attack/auto", NULL, "attack/ladder", "moves by itself");
}

const struct ctl_verb ctl_verbs_attack[] = {
    {
        .words = "attack status",
        .options = "watch every",
        .level = CTL_LEVEL_READ,
        .summary = "where the attack ladder stands, why, and what it sees",
        .examples = "attack status",
        .run = attack_status,
    },
    {
        .words = "attack history",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "its moves: when, by whom, why, at how many requests",
        .examples = "attack history --limit 20",
        .run = attack_history,
    },
    {
        .words = "attack set",
        .args = "LEVEL",
        .options = "ttl! reason! dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "a level by hand, for a time, on every gateway",
        .about =
            "A0 nothing. A1 sign-up wants proof of work. A2 the restricted policy of the configuration "
            "(mainland-phone-only). A3 sign-up is closed. A4 log-in wants proof of work too. After --ttl the "
            "ladder is back at A0 and moves by itself; the policy from before comes back, unless somebody "
            "changed it meanwhile. `get audit` has every step.",
        .examples = "attack set A2 --ttl 2h --reason \"SMS pumping\"\n"
                    "attack set A3 --ttl 1h --confirm=A3 --reason \"it goes on\"\n"
                    "attack set A0 --ttl 1h --reason \"over\"",
        .harm = closing_harm,
        .run = attack_set,
    },
    {
        .words = "attack auto",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "keep the level, and let it move by itself again",
        .examples = "attack auto --reason \"watched long enough\"",
        .run = attack_auto,
    },
    {.words = NULL},
};

/* Verbs about limits: top, explain, set, reset. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 1024, BODY_MAX = 4096 };

static bool has_overrides(const struct buf *answer)
{
    static const struct json_limits limits = {
        .max_depth = 8, .max_members = 1u << 16, .max_items = 1u << 16, .max_string = 4096};
    struct arena arena;
    struct json_doc doc;
    arena_init(&arena);
    const struct json_slice *list =
        json_scan(&arena, buf_str(answer), &limits, &doc, NULL) == 0 ? json_member(&doc, "overrides") : NULL;
    bool has = list != NULL && !str_is(list->raw, "[]");
    arena_clear(&arena);
    return has;
}

static int get_limits(const struct ctl *c)
{
    static const struct ctl_view view = {"rules",
                                         "limit",
                                         "name",
                                         {{"NAME", "name"},
                                          {"BY", "by"},
                                          {"LIMIT", "limit"},
                                          {"BURST", "burst"},
                                          {"UNIT", "unit"},
                                          {"ON-ERROR", "on_error"},
                                          {"ALLOWED", "allowed"},
                                          {"DENIED", "denied"},
                                          {"SHADOW", "shadow"}}};
    static const struct ctl_view changed = {"overrides",
                                            "limit",
                                            "rule",
                                            {{"CHANGED", "rule"},
                                             {"LIMIT", "limit"},
                                             {"SECONDS-LEFT", "seconds_left"},
                                             {"ACTOR", "actor"},
                                             {"REASON", "reason"}}};
    struct ctl_answer a;
    int code = ctl_request(c, "GET", "/admin/v1/limits", NULL, &a);
    code = code == CTL_OK ? ctl_print(c, buf_str(&a.body), &view) : code;
    if (code == CTL_OK && c->form == CTL_TABLE && has_overrides(&a.body)) {
        printf("\n");
        code = ctl_print(c, buf_str(&a.body), &changed);
    }
    buf_clear(&a.body);
    return code;
}

static int limits_top(const struct ctl *c)
{
    static const struct ctl_view view = {
        "items", "source", "source", {{"RULE", "rule"}, {"SOURCE", "source"}, {"REFUSED", "refused"}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/limits/top");
    ctl_add_query(&target, "rule", c->word_count > 0 ? c->words[0] : NULL);
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int limits_explain(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "limit",
                                         "rule",
                                         {{"RULE", "rule"},
                                          {"BY", "by"},
                                          {"LIMIT", "limit"},
                                          {"BURST", "burst"},
                                          {"REMAINING", "remaining"},
                                          {"RESET-S", "reset_s"},
                                          {"NEXT", "next"},
                                          {"RETRY-S", "retry_s"},
                                          {"KNOWN", "known"}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/limits/explain");
    ctl_add_query(&target, "key", c->words[0]);
    ctl_add_query(&target, "route", c->route);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int send_change(const struct ctl *c, const char *method, const char *suffix, const struct buf *body,
                       const char *happened)
{
    struct buf target;
    struct buf thing;
    buf_init(&target, TARGET_MAX);
    buf_init(&thing, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/limits/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, suffix);
    buf_addf(&thing, "limit/%s", c->words[0]);
    int code = ctl_change(c, method, target.p, body, thing.p, happened);
    buf_clear(&thing);
    buf_clear(&target);
    return code;
}

static int limits_set(const struct ctl *c)
{
    if (c->ttl_ms < 1000) {
        return ctl_usage(c, "--ttl: a second at least");
    }
    struct buf body;
    char happened[128];
    char burst[24];
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "limit", str_from(c->words[1]));
    if (c->burst > 0) {
        snprintf(burst, sizeof burst, "%lld", (long long)c->burst);
        json_str_at(&w, "burst", str_from(burst));
    }
    json_i64_at(&w, "ttl_s", c->ttl_ms / 1000);
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    snprintf(happened, sizeof happened, "is %.40s for %lld s", c->words[1], (long long)(c->ttl_ms / 1000));
    int code = send_change(c, "PUT", "", &body, happened);
    buf_clear(&body);
    return code;
}

static int limits_reset(const struct ctl *c)
{
    struct buf body;
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = send_change(c, "POST", "/reset", &body, "is the configuration's again");
    buf_clear(&body);
    return code;
}

const struct ctl_verb ctl_verbs_limits[] = {
    {
        .words = "get limits",
        .options = "watch every",
        .level = CTL_LEVEL_READ,
        .summary = "the rules, and what each has allowed and refused",
        .about = "Under them what limits set has changed for a while.",
        .examples = "get limits\n"
                    "get limits -o name",
        .run = get_limits,
    },
    {
        .words = "limits top",
        .args = "[RULE]",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "who is refused most",
        .examples = "limits top\n"
                    "limits top --watch\n"
                    "limits top otp_address4 --limit 50",
        .names = get_limits,
        .run = limits_top,
    },
    {
        .words = "limits explain",
        .args = "KEY",
        .options = "route",
        .level = CTL_LEVEL_READ,
        .summary = "what an address, phone or account has left",
        .examples = "limits explain 2001:db8::7\n"
                    "limits explain +8613800138000",
        .run = limits_explain,
    },
    {
        .words = "limits set",
        .args = "RULE LIMIT",
        .options = "ttl! reason! burst dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "other numbers for a while, on every gateway",
        .about = "LIMIT is units and period: 10/1s, 100/1h. It ends by itself.",
        .examples = "limits set address 10/1s --ttl 10m --reason \"flood\"",
        .names = get_limits,
        .run = limits_set,
    },
    {
        .words = "limits reset",
        .args = "RULE",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "back to the configuration's numbers",
        .examples = "limits reset address --reason \"over\"",
        .names = get_limits,
        .run = limits_reset,
    },
    {.words = NULL},
};

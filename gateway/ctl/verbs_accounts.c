/* Verbs about accounts and what is on record: users, sessions, numbers, incidents, the audit log. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 512, BODY_MAX = 4096 };

static int get_users(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "user",
                                         "id",
                                         {{"ID", "id"},
                                          {"PHONE", "phone"},
                                          {"CREATED", "created_at"},
                                          {"LAST-SIGN-IN", "last_sign_in_at"},
                                          {"SESSIONS", "sessions"},
                                          {"COUNTRY", "country"},
                                          {"POLICY", "policy_version"},
                                          {"BANNED-UNTIL", "banned_until"}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/users");
    ctl_add_query(&target, "phone", c->attempt.phone);
    ctl_add_query(&target, "user", c->user);
    ctl_add_query(&target, "banned", c->banned ? "1" : NULL);
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int get_incidents(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "incident",
                                         "id",
                                         {{"ID", "id"},
                                          {"STATUS", "status"},
                                          {"IMPACT", "impact"},
                                          {"STARTED", "started_at"},
                                          {"RESOLVED", "resolved_at"},
                                          {"NAME", "name"}}};
    return ctl_get(c, c->open ? "/admin/v1/incidents?open=1" : "/admin/v1/incidents", &view);
}

static int get_audit(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "audit",
                                         "id",
                                         {{"ID", "id"},
                                          {"AT", "at"},
                                          {"ACTOR", "actor"},
                                          {"ACTION", "action"},
                                          {"TARGET", "target"},
                                          {"REASON", "reason"}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/audit");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

/* Of one user: POST /admin/v1/users/ID/DEED. */
static int change_user(const struct ctl *c, const char *deed, const char *happened)
{
    struct buf target;
    struct buf body;
    char thing[96];
    buf_init(&target, TARGET_MAX);
    buf_init(&body, BODY_MAX);
    buf_add_cstr(&target, "/admin/v1/users/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, deed);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    if (c->until != NULL) {
        json_str_at(&w, "until", str_from(c->until));
    }
    if (c->ttl_ms > 0) {
        json_i64_at(&w, "ttl_s", (c->ttl_ms + 999) / 1000);
    }
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    snprintf(thing, sizeof thing, "user/%.80s", c->words[0]);
    int code = ctl_change(c, "POST", target.p, &body, thing, happened);
    buf_clear(&body);
    buf_clear(&target);
    return code;
}

static int revoke_user(const struct ctl *c)
{
    return change_user(c, "/revoke", "sessions ended");
}

static int ban_user(const struct ctl *c)
{
    return change_user(c, "/ban", "banned");
}

static int unban_user(const struct ctl *c)
{
    return change_user(c, "/unban", "no longer banned");
}

static int everybody_harm(const struct ctl *c, struct ctl_harm *out)
{
    (void)c;
    *out = (struct ctl_harm){"everybody",
                             "Everybody would have to sign in again, by a code that costs a message."};
    return CTL_OK;
}

static int revoke_everybody(const struct ctl *c)
{
    return ctl_change_reason(c, "/admin/v1/sessions/revoke", NULL, "sessions/everybody", "ended");
}

static int unlock_number(const struct ctl *c)
{
    char thing[96];
    snprintf(thing, sizeof thing, "number/%.80s", c->words[0]);
    return ctl_change_reason(c, "/admin/v1/numbers/unlock", "phone", thing, "unlocked");
}

const struct ctl_verb ctl_verbs_accounts[] = {
    {
        .words = "get users",
        .options = "phone user banned limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "accounts; numbers are shown masked",
        .examples = "get users --phone +8613800138000\n"
                    "get users --banned\n"
                    "get users --limit 20",
        .run = get_users,
    },
    {
        .words = "revoke user",
        .args = "ID",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "ends all sessions of an account",
        .examples = "revoke user 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --reason \"stolen phone\"",
        .run = revoke_user,
    },
    {
        .words = "revoke everybody",
        .options = "reason! dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "signs everybody out, on every gateway within a second",
        .about =
            "Every session of before ends: its access tokens are refused, its streams are cut, its refresh "
            "token is "
            "good for nothing. Whoever comes back asks for a code: look at the budgets of codes first "
            "(sms top, get limits).",
        .examples = "revoke everybody --confirm=everybody --reason \"a proxy logged tokens\"",
        .harm = everybody_harm,
        .run = revoke_everybody,
    },
    {
        .words = "ban user",
        .args = "ID",
        .options = "reason! ttl until dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "keeps an account out, on every gateway within a second",
        .about = "Its sessions end, and signing in and refreshing answer 403 user_banned, for good or until "
                 "the end "
                 "that --ttl or --until says. The number has to show a code then: no session comes back.",
        .examples = "ban user 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --ttl 24h --reason \"spam, ticket 4711\"\n"
                    "ban user 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --reason \"fraud\"  # for good",
        .run = ban_user,
    },
    {
        .words = "unban user",
        .args = "ID",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "lets a banned account sign in again",
        .examples = "unban user 3f0c8e1a-6a53-4a0e-9d5e-0f6f3a1f7f11 --reason \"appeal\"",
        .run = unban_user,
    },
    {
        .words = "unlock number",
        .args = "PHONE",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "forgets the wrong guesses that closed a number for codes",
        .about = "A number takes auth.otp_failures wrong guesses in auth.otp_failure_window, whoever makes "
                 "them, and then "
                 "no code for the rest of it. Whoever closes somebody's number on purpose can do it again: "
                 "see limits.",
        .examples = "unlock number +8613800138000 --reason \"called support, ticket 4711\"",
        .run = unlock_number,
    },
    {
        .words = "get audit",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "who changed what, when, and why",
        .examples = "get audit --limit 20",
        .run = get_audit,
    },
    {
        .words = "get incidents",
        .options = "open watch every",
        .level = CTL_LEVEL_READ,
        .summary = "what the status page tells the public",
        .examples = "get incidents --open",
        .run = get_incidents,
    },
    {.words = NULL},
};

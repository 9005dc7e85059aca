/* Verbs about invites: make, look at, revoke. */
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 512, BODY_MAX = 4096 };

static int invite_create(const struct ctl *c)
{
    static const struct ctl_view view = {"items", "invite", "id", {{"ID", "id"}, {"CODE", "code"}}};
    struct ctl_answer a;
    struct buf body;
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_i64_at(&w, "count", c->count > 0 ? c->count : 1);
    json_i64_at(&w, "uses", c->uses > 0 ? c->uses : 1);
    json_str_at(&w, "campaign", str_from(c->attempt.campaign));
    json_str_at(&w, "inviter", str_from(c->inviter));
    json_i64_at(&w, "ttl_s", c->ttl_ms / 1000);
    if (c->quota > 0) {
        json_i64_at(&w, "quota", c->quota);
    }
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = ctl_request(c, "POST", "/admin/v1/invites", &body, &a);
    if (code == CTL_OK && c->dry_run) {
        ctl_say_done(c, buf_str(&a.body), "invites", "made");
    } else if (code == CTL_OK) {
        code = ctl_print(c, buf_str(&a.body), &view);
    }
    buf_clear(&a.body);
    buf_clear(&body);
    return code;
}

#define INVITE_COLUMNS                                                                                       \
    {                                                                                                        \
        {"ID", "id"}, {"STATE", "state"}, {"CODE-END", "hint"}, {"USES", "uses"}, {"OF", "max_uses"},        \
            {"CAMPAIGN", "campaign"}, {"INVITER", "inviter"}, {"CREATED", "created_at"},                     \
            {"EXPIRES", "expires_at"}, {"BY", "created_by"},                                                 \
        {                                                                                                    \
            NULL, NULL                                                                                       \
        }                                                                                                    \
    }

static int invite_list(const struct ctl *c)
{
    static const struct ctl_view view = {"items", "invite", "id", INVITE_COLUMNS};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/invites");
    ctl_add_query(&target, "campaign", c->attempt.campaign);
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

/* An invite is named by its id, or by its code. */
static const char *named_by(const char *word)
{
    struct uuid id;
    return uuid_parse(str_from(word), &id) ? "id" : "code";
}

static int invite_show(const struct ctl *c)
{
    static const struct ctl_view view = {"items", "invite", "id", INVITE_COLUMNS};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/invites");
    ctl_add_query(&target, named_by(c->words[0]), c->words[0]);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int campaign_harm(const struct ctl *c, struct ctl_harm *out)
{
    if (c->attempt.campaign != NULL) {
        *out =
            (struct ctl_harm){c->attempt.campaign, "Every invite of the campaign would be void, for good."};
    }
    return CTL_OK;
}

static int invite_revoke(const struct ctl *c)
{
    const char *campaign = c->attempt.campaign;
    struct buf body;
    char thing[96];
    if ((c->word_count > 0) == (campaign != NULL)) {
        return ctl_usage(c, "either an INVITE or --campaign NAME");
    }
    bool is_id = campaign == NULL && strcmp(named_by(c->words[0]), "id") == 0;
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, campaign ? "campaign" : named_by(c->words[0]),
                str_from(campaign ? campaign : c->words[0]));
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    snprintf(thing, sizeof thing, "%s/%.80s", campaign ? "campaign" : "invite",
             campaign ? campaign
             : is_id  ? c->words[0]
                      : "of that code");
    int code = ctl_change(c, "POST", "/admin/v1/invites/revoke", &body, thing, "revoked");
    buf_clear(&body);
    return code;
}

const struct ctl_verb ctl_verbs_invites[] = {
    {
        .words = "invite create",
        .options = "uses count campaign ttl inviter quota reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "new invites; their codes are shown this once",
        .about = "A code is for a policy that asks for one: policy set invite-only, or the conditions invite "
                 "and campaign. "
                 "Apps send it as data.invite of the code request. Only its keyed hash is kept.\n"
                 "\n"
                 "Invites of an --inviter count against that inviter's quota, which --quota sets; without, "
                 "auth.invite_quota.",
        .examples =
            "invite create --reason \"press\"\n"
            "invite create --count 100 --campaign beta --ttl 14d --reason \"beta, first wave\" -o json\n"
            "invite create --uses 5000 --campaign launch --reason \"on stage\"\n"
            "invite create --inviter li --quota 20 --reason \"ambassador\"",
        .run = invite_create,
    },
    {
        .words = "invite list",
        .options = "campaign limit",
        .level = CTL_LEVEL_READ,
        .summary = "invites and how far they are used, the newest first",
        .examples = "invite list --campaign beta --limit 200",
        .run = invite_list,
    },
    {
        .words = "invite show",
        .args = "INVITE",
        .level = CTL_LEVEL_READ,
        .summary = "one invite, by id or by code",
        .examples = "invite show K3QF-7M2P-XW9D-4TZB",
        .names = invite_list,
        .run = invite_show,
    },
    {
        .words = "invite revoke",
        .args = "[INVITE]",
        .options = "campaign reason! dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "an invite, or a whole campaign, lets nobody in any more",
        .about = "Accounts that came by it stay.",
        .examples = "invite revoke K3QF-7M2P-XW9D-4TZB --reason \"posted on a forum\"\n"
                    "invite revoke --campaign beta --confirm=beta --reason \"over\"",
        .harm = campaign_harm,
        .names = invite_list,
        .run = invite_revoke,
    },
    {.words = NULL},
};

/* Verbs about the waiting list: how long it is, who stands first, let people in. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 256, BODY_MAX = 4096 };

static int get_waitlist(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "waitlist",
                                         "id",
                                         {{"POSITION", "position"},
                                          {"PHONE", "phone"},
                                          {"COUNTRY", "country"},
                                          {"JOINED", "joined_at"},
                                          {"EXPIRES", "expires_at"},
                                          {"ID", "id"}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/waitlist");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int waitlist_status(const struct ctl *c)
{
    static const struct ctl_view view = {NULL,
                                         "waitlist",
                                         "waiting",
                                         {{"WAITING", "waiting"},
                                          {"RELEASED", "released"},
                                          {"TO-BE-TOLD", "to_be_told"},
                                          {"FIRST-JOINED", "first_joined_at"}}};
    return ctl_get(c, "/admin/v1/waitlist/status", &view);
}

static int64_t released_in(struct str answer)
{
    struct arena arena;
    struct json_doc doc;
    int64_t n = 0;
    arena_init(&arena);
    const struct json_slice *v = json_scan(&arena, answer, &json_limits_default, &doc, NULL) == 0
                                     ? json_member(&doc, "released")
                                     : NULL;
    if (v != NULL && !json_get_i64(v, &n)) {
        n = 0;
    }
    arena_clear(&arena);
    return n;
}

static int waitlist_release(const struct ctl *c)
{
    uint64_t count = 0;
    if (!str_u64(str_from(c->words[0]), &count) || count == 0 || count > INT64_MAX) {
        return ctl_usage(c, "N is how many people to let in");
    }
    struct ctl_answer a;
    struct buf body;
    char happened[64];
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_i64_at(&w, "count", (int64_t)count);
    json_str_at(&w, "phone_country", str_from(c->phone_country));
    json_str_at(&w, "joined_before", str_from(c->joined_before));
    if (c->ttl_ms > 0) {
        json_i64_at(&w, "ttl_s", c->ttl_ms / 1000);
    }
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = ctl_request(c, "POST", "/admin/v1/waitlist/release", &body, &a);
    if (code == CTL_OK) {
        snprintf(happened, sizeof happened, "released: %lld may come in",
                 (long long)released_in(buf_str(&a.body)));
        ctl_say_done(c, buf_str(&a.body), "waitlist", happened);
    }
    buf_clear(&a.body);
    buf_clear(&body);
    return code;
}

const struct ctl_verb ctl_verbs_waitlist[] = {
    {
        .words = "waitlist status",
        .level = CTL_LEVEL_READ,
        .summary = "how many wait, may come in, are still to be told",
        .examples = "waitlist status",
        .run = waitlist_status,
    },
    {
        .words = "get waitlist",
        .options = "limit",
        .level = CTL_LEVEL_READ,
        .summary = "who stands first; numbers are shown masked",
        .examples = "get waitlist --limit 20",
        .run = get_waitlist,
    },
    {
        .words = "waitlist release",
        .args = "N",
        .options = "phone-country joined-before ttl reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "lets the first N in, and tells them",
        .about =
            "They may sign up although the policy says waitlist; a rule that denies them still does. --ttl "
            "is for how long, else auth.waitlist_release_ttl. Each gets one message through the SMS hook, "
            "paced by auth.waitlist_notices.\n"
            "\n"
            "With a rule, the first N of whom it holds: fewer when there are fewer. People join in order, "
            "and are released in order.",
        .examples = "waitlist release 5000 --reason \"second cluster is up\"\n"
                    "waitlist release 1000 --phone-country CN --joined-before 2026-12-01T02:00:00Z --ttl 24h "
                    "--reason \"wave one\"",
        .run = waitlist_release,
    },
    {.words = NULL},
};

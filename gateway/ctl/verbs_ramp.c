/* Verbs about a policy that comes into force in stages. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { SMALL_MAX = 4096 };

static const char target[] = "/admin/v1/policy/ramp";

static const struct ctl_view view = {NULL,
                                     "ramp",
                                     "id",
                                     {{"RAMP", "id"},
                                      {"STATE", "state"},
                                      {"WHY", "note"},
                                      {"TO", "name"},
                                      {"PERCENT", "percent"},
                                      {"STAGES", "stages"},
                                      {"NEXT-AT", "next_at"},
                                      {"ON-BAD", "on_bad"},
                                      {"VERSION", "version"},
                                      {"BEFORE", "base"},
                                      {"ACTOR", "actor"},
                                      {"REASON", "reason"},
                                      {NULL, NULL}}};

static int ramp_status(const struct ctl *c)
{
    return ctl_get(c, target, &view);
}

/* Digits, points and commas become a list as they stand; the gateway looks at the numbers. */
static bool is_list(const char *text)
{
    return text[0] != '\0' && strspn(text, "0123456789.,") == strlen(text);
}

static void write_plan(struct json_writer *w, const struct ctl *c)
{
    char list[SMALL_MAX];
    json_str_at(w, "reason", str_from(c->reason));
    if (c->stages != NULL) {
        snprintf(list, sizeof list, "[%s]", c->stages);
        json_raw_at(w, "stages", str_from(list));
    }
    if (c->every_ms > 0) {
        json_i64_at(w, "every_s", (c->every_ms + 999) / 1000);
    }
    if (c->on_bad != NULL) {
        json_str_at(w, "on_bad", str_from(c->on_bad));
    }
    if (c->if_version > 0) {
        json_i64_at(w, "if_version", c->if_version);
    }
    if (c->force) {
        json_bool_at(w, "force", true);
    }
}

/* The candidate and the plan. False: it said why. */
static bool write_ramp(struct buf *body, const struct ctl *c)
{
    const char *path = c->file != NULL ? c->file : c->words[0];
    bool is_preset = c->file == NULL && ctl_is_preset(path);
    struct json_writer w = {.out = body};
    struct buf document;
    buf_init(&document, CTL_DOCUMENT_MAX);
    bool ok = is_preset || ctl_read_document(path, &document);
    json_open(&w, '{');
    if (is_preset) {
        json_str_at(&w, "preset", str_from(path));
    } else if (ok) {
        json_raw_at(&w, "document", buf_str(&document));
    }
    write_plan(&w, c);
    json_close(&w, '}');
    buf_clear(&document);
    return ok;
}

static int send(const struct ctl *c, const struct buf *body)
{
    struct ctl_answer answer;
    int code = ctl_request(c, "POST", target, body, &answer);
    if (code == CTL_OK) {
        code = c->dry_run ? ctl_print_trial(c, buf_str(&answer.body))
                          : ctl_print(c, buf_str(&answer.body), &view);
    }
    buf_clear(&answer.body);
    return code;
}

static int policy_ramp(const struct ctl *c)
{
    struct buf body;
    if ((c->word_count > 0) == (c->file != NULL)) {
        return ctl_usage(c, "either a preset, or a file");
    }
    if (c->stages != NULL && !is_list(c->stages)) {
        return ctl_usage(c, "--stages: percents that rise to 100, like 1,5,25,100");
    }
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    int code = CTL_FAILED;
    if (write_ramp(&body, c)) {
        code = ctl_confirm_policy(c, "POST", target, &body);
        code = code == CTL_OK ? send(c, &body) : code;
    }
    buf_clear(&body);
    return code;
}

static int tell(const struct ctl *c, const char *verb, const char *happened)
{
    struct buf body;
    struct json_writer w = {.out = &body};
    buf_init(&body, SMALL_MAX);
    json_open(&w, '{');
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = ctl_change(c, "POST", verb, &body, "policy/ramp", happened);
    buf_clear(&body);
    return code;
}

static int ramp_pause(const struct ctl *c)
{
    return tell(c, "/admin/v1/policy/ramp/pause", "stands at its stage");
}

static int ramp_resume(const struct ctl *c)
{
    return tell(c, "/admin/v1/policy/ramp/resume", "goes on");
}

static int ramp_abort(const struct ctl *c)
{
    return tell(c, "/admin/v1/policy/ramp/abort", "is over; the policy from before is in force");
}

const struct ctl_verb ctl_verbs_ramp[] = {
    {
        .words = "policy ramp",
        .args = "[FILE|PRESET]",
        .options = "file stages every on-bad reason! if-version dry-run force confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "another policy by stages: 1, 5, 25, 100 % of the people",
        .about =
            "At a stage the new policy decides for that part of the people, and the policy from before for "
            "the others; who is in stays in. The first stage begins at once. The gateways go from stage to "
            "stage by themselves, also after a crash or a restart, and watch the last one as long as the "
            "others. Each stage is a version of policy history.\n"
            "\n"
            "It stops by itself at attack level A2, when a prefix is blocked for pumping, when a budget of "
            "codes is nearly used up, or when too many code requests fail (section ramp of the "
            "configuration): then it stands at its stage, or with --on-bad revert goes back to the policy "
            "from before. Any other change of the policy ends it.",
        .examples =
            "policy ramp open --reason \"attack 17 is over\"\n"
            "policy ramp policy.json --stages 1,5,25,100 --every 10m --on-bad revert --reason \"Hong Kong\"\n"
            "policy ramp open --dry-run --reason \"try\"",
        .harm = ctl_policy_harm,
        .names = ctl_list_presets,
        .run = policy_ramp,
    },
    {
        .words = "policy ramp status",
        .options = "watch every",
        .level = CTL_LEVEL_READ,
        .summary = "at which stage it is, when the next one comes, why it stands",
        .examples = "policy ramp status --watch",
        .run = ramp_status,
    },
    {
        .words = "policy ramp pause",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "stay at this stage until resume or abort",
        .examples = "policy ramp pause --reason \"looking at the numbers\"",
        .run = ramp_pause,
    },
    {
        .words = "policy ramp resume",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "go on, also after a bad signal; the stage's time begins anew",
        .examples = "policy ramp resume --reason \"the numbers are good\"",
        .run = ramp_resume,
    },
    {
        .words = "policy ramp abort",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "end it: the policy from before comes back",
        .examples = "policy ramp abort --reason \"complaints\"",
        .run = ramp_abort,
    },
    {.words = NULL},
};

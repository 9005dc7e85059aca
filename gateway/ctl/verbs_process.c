/* Verbs about one gateway's process and its workers. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 512, UPGRADE_TIMEOUT_MS = 3600000 };

static int get_workers(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "worker",
                                         "name",
                                         {{"NAME", "name"},
                                          {"STATE", "state"},
                                          {"BREAKER", "breaker"},
                                          {"RUNNING", "running"},
                                          {"TOKENS", "tokens"},
                                          {"REQUESTS", "requests"},
                                          {"FAILURES", "failures"},
                                          {"MODELS", "models"},
                                          {"TARGET", "target"}}};
    return ctl_get(c, "/admin/v1/workers", &view);
}

static int drain_worker(const struct ctl *c)
{
    struct buf target;
    struct buf body;
    char thing[256];
    buf_init(&target, TARGET_MAX);
    buf_init(&body, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/workers/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, "/drain");
    buf_addf(&body, "{\"drain\":%s}", c->undo ? "false" : "true");
    snprintf(thing, sizeof thing, "worker/%.200s", c->words[0]);
    int code = ctl_change(c, "POST", target.p, &body, thing, c->undo ? "undrained" : "draining");
    buf_clear(&body);
    buf_clear(&target);
    return code;
}

/* A change of the process: POST without anything said. */
static int post(const struct ctl *c, const char *target, const char *thing, const char *happened)
{
    struct buf body;
    buf_init(&body, 16);
    buf_add_cstr(&body, "{}");
    int code = ctl_change(c, "POST", target, &body, thing, happened);
    buf_clear(&body);
    return code;
}

static int reload(const struct ctl *c)
{
    return post(c, "/admin/v1/reload", "configuration", "reloaded");
}

/* Answered when the new process serves: as long as process.upgrade may be. */
static int upgrade(const struct ctl *c)
{
    struct ctl patient = *c;
    patient.timeout_ms = UPGRADE_TIMEOUT_MS;
    return post(&patient, "/admin/v1/upgrade", "gateway", "upgraded");
}

static void print_checks(const struct ctl *c, struct str checks)
{
    struct json_slice m;
    while (json_next(&checks, &m)) {
        if (c->form == CTL_NAME) {
            printf("check/" STR_FMT "\n", STR_ARG(m.key));
        } else if (m.type == JSON_NUMBER) {
            printf("      " STR_FMT " " STR_FMT "\n", STR_ARG(m.key), STR_ARG(m.raw));
        } else {
            printf("%s  " STR_FMT "\n", m.type == JSON_TRUE ? "ok  " : "FAIL", STR_ARG(m.key));
        }
    }
}

static int check(const struct ctl *c)
{
    struct ctl_answer a;
    struct arena arena;
    struct json_doc doc;
    bool well = false;
    int code = ctl_request(c, "GET", "/admin/v1/check", NULL, &a);
    arena_init(&arena);
    if (code == CTL_OK && json_scan(&arena, buf_str(&a.body), &json_limits_default, &doc, NULL) == 0) {
        const struct json_slice *checks = json_member(&doc, "checks");
        const struct json_slice *verdict = json_member(&doc, "well");
        well = verdict != NULL && json_get_bool(verdict, &well) && well;
        if (!ctl_print_raw(c, buf_str(&a.body)) && checks != NULL) {
            print_checks(c, checks->raw);
        }
        code = well ? CTL_OK : CTL_DEGRADED;
    }
    arena_clear(&arena);
    buf_clear(&a.body);
    return code;
}

const struct ctl_verb ctl_verbs_process[] = {
    {
        .words = "check",
        .level = CTL_LEVEL_READ,
        .summary = "is all well?",
        .examples = "check\n"
                    "check -o json",
        .exits = "3 something is not well",
        .run = check,
    },
    {
        .words = "get workers",
        .level = CTL_LEVEL_READ,
        .summary = "the inference workers as this gateway sees them",
        .examples = "get workers\n"
                    "get workers -o json",
        .run = get_workers,
    },
    {
        .words = "drain worker",
        .args = "NAME",
        .options = "undo dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "no new chats there, from this gateway",
        .examples = "drain worker w1\n"
                    "drain worker w1 --undo",
        .names = get_workers,
        .run = drain_worker,
    },
    {
        .words = "reload",
        .options = "dry-run",
        .level = CTL_LEVEL_ADMIN,
        .summary = "reads the configuration and the certificates again",
        .about = "Something wrong in the file: it says which line, and the old configuration stays.",
        .examples = "reload --dry-run    # is the file good?\n"
                    "reload",
        .run = reload,
    },
    {
        .words = "upgrade",
        .level = CTL_LEVEL_ADMIN,
        .summary = "starts the installed program, and loses no connection",
        .about = "Waits until the new process serves. The old one ends what it has begun.",
        .examples = "upgrade",
        .run = upgrade,
    },
    {.words = NULL},
};

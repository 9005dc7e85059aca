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
                                          {"OTHERS", "others"},
                                          {"KV%", "kv_used_percent"},
                                          {"REQUESTS", "requests"},
                                          {"FAILURES", "failures"},
                                          {"MODELS", "models"},
                                          {"TARGET", "target"}}};
    return ctl_get(c, "/admin/v1/workers", &view);
}

static bool is_ready(struct arena *a, struct str worker, struct str *name)
{
    struct json_slice m;
    struct str state = STR("");
    while (json_next(&worker, &m)) {
        if (str_is(m.key, "state")) {
            (void)json_get_str(a, &m, &state);
        } else if (str_is(m.key, "name")) {
            (void)json_get_str(a, &m, name);
        }
    }
    return str_is(state, "ready");
}

/* The worker is ready, and no other is. */
static bool is_last(struct str answer, const char *name)
{
    struct arena arena;
    struct json_doc doc;
    unsigned others = 0;
    bool is_it_ready = false;
    arena_init(&arena);
    const struct json_slice *items =
        json_scan(&arena, answer, &json_limits_default, &doc, NULL) == 0 ? json_member(&doc, "items") : NULL;
    struct str rest = items != NULL ? items->raw : STR("[]");
    struct json_slice item;
    while (json_next(&rest, &item)) {
        struct str its = STR("");
        bool ready = is_ready(&arena, item.raw, &its);
        is_it_ready = is_it_ready || (ready && str_is(its, name));
        others += ready && !str_is(its, name) ? 1 : 0;
    }
    arena_clear(&arena);
    return is_it_ready && others == 0;
}

static int drain_harm(const struct ctl *c, struct ctl_harm *out)
{
    struct ctl_answer a;
    if (c->undo) {
        return CTL_OK;
    }
    int code = ctl_request(c, "GET", "/admin/v1/workers", NULL, &a);
    if (code == CTL_OK && is_last(buf_str(&a.body), c->words[0])) {
        *out = (struct ctl_harm){c->words[0], "No other worker is ready: this gateway would answer no chat."};
    }
    buf_clear(&a.body);
    return code;
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
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_bool_at(&w, "drain", !c->undo);
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
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
    patient.timeout_ms = c->timeout_ms > 0 ? c->timeout_ms : UPGRADE_TIMEOUT_MS;
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
            const char *state = m.type == JSON_TRUE ? "ok" : "FAIL";
            printf("%s%-4s%s  " STR_FMT "\n", ctl_paint(ctl_colour_of(str_from(state))), state,
                   ctl_paint(CTL_PLAIN), STR_ARG(m.key));
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
        .options = "watch every",
        .level = CTL_LEVEL_READ,
        .summary = "is all well?",
        .examples = "check\n"
                    "check -o json",
        .exits = "3 something is not well",
        .run = check,
    },
    {
        .words = "get workers",
        .options = "watch every",
        .level = CTL_LEVEL_READ,
        .summary = "the inference workers as this gateway sees them",
        .examples = "get workers\n"
                    "get workers -o json",
        .run = get_workers,
    },
    {
        .words = "drain worker",
        .args = "NAME",
        .options = "reason undo dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "no new chats there, from this gateway",
        .about = "Running answers end; --undo takes it back. Also without a database, but then the audit log "
                 "is not told.",
        .examples = "drain worker w1 --reason \"new weights\"\n"
                    "drain worker w1 --undo",
        .harm = drain_harm,
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
        .options = "dry-run",
        .level = CTL_LEVEL_ADMIN,
        .summary = "starts the installed program, and loses no connection",
        .about = "Waits until the new process serves. The old one ends what it has begun.",
        .examples = "upgrade",
        .run = upgrade,
    },
    {.words = NULL},
};

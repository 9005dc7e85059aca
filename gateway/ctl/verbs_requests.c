/* Verbs about single requests: what runs, what became of one, and ending one. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 512 };

static int list(const struct ctl *c, const char *path, const struct ctl_view *view)
{
    char target[96];
    snprintf(target, sizeof target, "%s?limit=%lld", path, (long long)(c->limit > 0 ? c->limit : 100));
    return ctl_get(c, target, view);
}

static int show_requests(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "request",
                                         "request_id",
                                         {{"ID", "request_id"},
                                          {"AGE-MS", "age_ms"},
                                          {"STATE", "state"},
                                          {"ROUTE", "route"},
                                          {"CLIENT", "client"},
                                          {"STATUS", "status"},
                                          {"WORKER", "worker"},
                                          {"SENT", "bytes_out"},
                                          {"QUEUED", "queued_bytes"}}};
    return list(c, "/admin/v1/requests", &view);
}

static int trace_sample(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "request",
                                         "request_id",
                                         {{"ENDED", "ended_at"},
                                          {"ID", "request_id"},
                                          {"ROUTE", "route"},
                                          {"STATUS", "status"},
                                          {"FINISH", "finish"},
                                          {"PARSE-US", "parse_us"},
                                          {"AUTH-US", "auth_us"},
                                          {"LIMIT-US", "limit_us"},
                                          {"QUEUE-US", "queue_us"},
                                          {"FIRST-US", "first_byte_us"},
                                          {"LAST-US", "last_byte_us"}}};
    return list(c, "/admin/v1/requests/ended", &view);
}

/* One member a line. */
static void print_members(struct arena *arena, struct str object)
{
    struct json_slice m;
    while (json_next(&object, &m)) {
        struct str text = m.raw;
        if (m.type == JSON_STRING) {
            (void)json_get_str(arena, &m, &text);
        }
        printf("%-14.*s " STR_FMT "\n", STR_ARG(m.key), STR_ARG(text));
    }
}

static int print_items(const struct ctl *c, const struct ctl_answer *a)
{
    struct arena arena;
    struct json_doc doc;
    int code = CTL_FAILED;
    static const struct ctl_view names = {"items", "request", "request_id", {{NULL, NULL}}};
    if (c->form != CTL_TABLE) {
        return ctl_print(c, buf_str(&a->body), &names);
    }
    arena_init(&arena);
    if (json_scan(&arena, buf_str(&a->body), &json_limits_default, &doc, NULL) == 0) {
        const struct json_slice *items = json_member(&doc, "items");
        struct str rest = items != NULL ? items->raw : STR("[]");
        struct json_slice item;
        for (bool first = true; json_next(&rest, &item); first = false) {
            printf("%s", first ? "" : "\n");
            print_members(&arena, item.raw);
        }
        code = CTL_OK;
    }
    arena_clear(&arena);
    return code;
}

/* METHOD /admin/v1/requests/ID and what follows; prints the items of the answer. */
static int about_one(const struct ctl *c, const char *method, const char *rest, const struct buf *body)
{
    struct ctl_answer a;
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/requests/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, rest);
    int code = ctl_request(c, method, target.p, body, &a);
    if (code == CTL_OK) {
        code = print_items(c, &a);
    }
    buf_clear(&a.body);
    buf_clear(&target);
    return code;
}

static int trace(const struct ctl *c)
{
    return about_one(c, "GET", "", NULL);
}

static int kill_request(const struct ctl *c)
{
    struct buf body;
    buf_init(&body, 16);
    buf_add_cstr(&body, "{}");
    int code = about_one(c, "POST", "/kill", &body);
    buf_clear(&body);
    return code;
}

const struct ctl_verb ctl_verbs_requests[] = {
    {
        .words = "show requests",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "what runs now at this gateway",
        .examples = "show requests --limit 20",
        .run = show_requests,
    },
    {
        .words = "trace",
        .args = "ID",
        .level = CTL_LEVEL_READ,
        .summary = "what became of a request, and where its time went",
        .about = "ID is the x-request-id of an answer, or a trace id.",
        .examples = "trace 0af7651916cd43dd8448eb211c80319c",
        .run = trace,
    },
    {
        .words = "trace sample",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "some requests that have ended, phase by phase",
        .examples = "trace sample --limit 20",
        .run = trace_sample,
    },
    {
        .words = "kill",
        .args = "ID",
        .options = "dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "ends a running request",
        .examples = "kill 0af7651916cd43dd8448eb211c80319c",
        .names = show_requests,
        .run = kill_request,
    },
    {.words = NULL},
};

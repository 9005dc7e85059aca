/* Verbs that ask the gateway's admin API. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 512 };

int ctl_get(const struct ctl *c, const char *target, const char *list, const struct ctl_column *columns)
{
    struct ctl_answer a;
    int code = ctl_request(c, "GET", target, NULL, &a);
    if (code == CTL_OK) {
        code = ctl_print(c, &a, list, columns);
    }
    buf_clear(&a.body);
    return code;
}

/* Sends a body, then says what happened: as JSON, or in one line. */
int ctl_change(const struct ctl *c, const char *method, const char *target, const struct buf *body,
               const char *done)
{
    struct ctl_answer a;
    int code = ctl_request(c, method, target, body, &a);
    if (code == CTL_OK && c->json) {
        printf(STR_FMT "\n", STR_ARG(buf_str(&a.body)));
    } else if (code == CTL_OK) {
        printf("%s\n", done);
    }
    buf_clear(&a.body);
    return code;
}

void ctl_add_encoded(struct buf *b, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char ch = (unsigned char)*text;
        bool plain =
            (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') || strchr("-._~", ch) != NULL;
        if (plain) {
            buf_add_char(b, (char)ch);
        } else {
            buf_addf(b, "%%%02X", ch);
        }
    }
}

void ctl_add_query(struct buf *b, const char *name, const char *value)
{
    if (value != NULL) {
        buf_addf(b, "%c%s=", memchr(b->p, '?', b->n) != NULL ? '&' : '?', name);
        ctl_add_encoded(b, value);
    }
}

void ctl_add_query_number(struct buf *b, const char *name, int64_t value)
{
    char text[24];
    if (value > 0) {
        snprintf(text, sizeof text, "%lld", (long long)value);
        ctl_add_query(b, name, text);
    }
}

/* --- policy -------------------------------------------------------------------------------------- */

int ctl_policy_get(const struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"VERSION", "version"},  {"NAME", "name"},   {"STATE", "state"},   {"IN-FORCE", "in_force"},
        {"SINCE", "created_at"}, {"ACTOR", "actor"}, {"REASON", "reason"}, {NULL, NULL}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/policy");
    ctl_add_query(&target, "version", c->word_count > 0 ? c->words[0] : NULL);
    int code = ctl_get(c, target.p, NULL, columns);
    buf_clear(&target);
    return code;
}

int ctl_policy_history(const struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"VERSION", "version"},  {"NAME", "name"},   {"STATE", "state"},   {"IN-FORCE", "in_force"},
        {"SINCE", "created_at"}, {"ACTOR", "actor"}, {"REASON", "reason"}, {NULL, NULL}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/policy/history");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, "items", columns);
    buf_clear(&target);
    return code;
}

/* Looked at here, so that the place is told in terms of the file. */
static bool is_json(const char *path, struct str text)
{
    struct arena arena;
    struct json_doc doc;
    struct err err = {0};
    struct json_limits limits = {
        .max_depth = 32, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 20};
    arena_init(&arena);
    int rc = json_scan(&arena, text, &limits, &doc, &err);
    if (rc != 0) {
        fprintf(stderr, "tidectl: %s: %s\n", path, err.msg);
    }
    arena_clear(&arena);
    return rc == 0;
}

bool ctl_read_document(const char *path, struct buf *out)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f == NULL) {
        fprintf(stderr, "tidectl: %s: cannot be read\n", path);
        return false;
    }
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) {
        buf_add(out, chunk, n);
    }
    bool ok = ferror(f) == 0 && !out->overflowed;
    if (f != stdin) {
        fclose(f);
    }
    if (!ok) {
        fprintf(stderr, "tidectl: %s: cannot be read, or is longer than %d bytes\n", path, CTL_DOCUMENT_MAX);
    }
    return ok && is_json(path, buf_str(out));
}

static void write_change(struct buf *body, const struct ctl *c, const char *preset,
                         const struct buf *document)
{
    struct json_writer w = {.out = body};
    json_open(&w, '{');
    if (preset != NULL) {
        json_str_at(&w, "preset", str_from(preset));
    } else {
        json_raw_at(&w, "document", buf_str(document));
    }
    json_str_at(&w, "reason", str_from(c->reason));
    if (c->if_version > 0) {
        json_i64_at(&w, "if_version", c->if_version);
    }
    json_close(&w, '}');
}

static int64_t version_in(struct str answer)
{
    struct arena arena;
    struct json_doc doc;
    int64_t version = 0;
    arena_init(&arena);
    const struct json_slice *v = json_scan(&arena, answer, &json_limits_default, &doc, NULL) == 0
                                     ? json_member(&doc, "version")
                                     : NULL;
    if (v != NULL && !json_get_i64(v, &version)) {
        version = 0;
    }
    arena_clear(&arena);
    return version;
}

/* As ctl_change; the line has the new version, which a rollback or --if-version wants. */
static int change_policy(const struct ctl *c, const char *method, const char *target, const struct buf *body,
                         const char *done)
{
    struct ctl_answer a;
    int code = ctl_request(c, method, target, body, &a);
    if (code == CTL_OK && c->json) {
        printf(STR_FMT "\n", STR_ARG(buf_str(&a.body)));
    } else if (code == CTL_OK) {
        printf("%s: version %lld\n", done, (long long)version_in(buf_str(&a.body)));
    }
    buf_clear(&a.body);
    return code;
}

int ctl_policy_set(const struct ctl *c)
{
    const char *preset = c->word_count > 0 ? c->words[0] : NULL;
    if ((preset != NULL) == (c->file != NULL)) {
        return ctl_usage("policy set: either a preset (open, mainland-phone-only, closed) or -f FILE");
    }
    if (c->reason == NULL) {
        return ctl_usage("policy set: --reason TEXT says why, for the audit log");
    }
    struct buf document;
    struct buf body;
    buf_init(&document, CTL_DOCUMENT_MAX);
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    int code = CTL_FAILED;
    if (c->file == NULL || ctl_read_document(c->file, &document)) {
        write_change(&body, c, preset, &document);
        code = change_policy(c, "PUT", "/admin/v1/policy", &body, "policy set");
    }
    buf_clear(&body);
    buf_clear(&document);
    return code;
}

int ctl_policy_rollback(const struct ctl *c)
{
    uint64_t version = 0;
    if (c->word_count != 1 || !str_u64(str_from(c->words[0]), &version) || version > INT64_MAX) {
        return ctl_usage("policy rollback VERSION: see tidectl policy history");
    }
    if (c->reason == NULL) {
        return ctl_usage("policy rollback: --reason TEXT says why, for the audit log");
    }
    struct buf body;
    buf_init(&body, CTL_DOCUMENT_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_i64_at(&w, "version", (int64_t)version);
    json_str_at(&w, "reason", str_from(c->reason));
    if (c->if_version > 0) {
        json_i64_at(&w, "if_version", c->if_version);
    }
    json_close(&w, '}');
    int code = change_policy(c, "POST", "/admin/v1/policy/rollback", &body, "policy rolled back");
    buf_clear(&body);
    return code;
}

/* --- get ----------------------------------------------------------------------------------------- */

int ctl_get_workers(const struct ctl *c)
{
    static const struct ctl_column columns[] = {{"NAME", "name"},         {"STATE", "state"},
                                                {"BREAKER", "breaker"},   {"RUNNING", "running"},
                                                {"TOKENS", "tokens"},     {"REQUESTS", "requests"},
                                                {"FAILURES", "failures"}, {"MODELS", "models"},
                                                {"TARGET", "target"},     {NULL, NULL}};
    return ctl_get(c, "/admin/v1/workers", "items", columns);
}

int ctl_get_limits(const struct ctl *c)
{
    static const struct ctl_column columns[] = {{"NAME", "name"},       {"BY", "by"},
                                                {"LIMIT", "limit"},     {"PERIOD-MS", "period_ms"},
                                                {"BURST", "burst"},     {"ON-ERROR", "on_error"},
                                                {"ALLOWED", "allowed"}, {"DENIED", "denied"},
                                                {"SHADOW", "shadow"},   {NULL, NULL}};
    return ctl_get(c, "/admin/v1/limits", "rules", columns);
}

int ctl_get_users(const struct ctl *c)
{
    static const struct ctl_column columns[] = {{"ID", "id"},
                                                {"PHONE", "phone"},
                                                {"CREATED", "created_at"},
                                                {"LAST-SIGN-IN", "last_sign_in_at"},
                                                {"SESSIONS", "sessions"},
                                                {"COUNTRY", "country"},
                                                {"POLICY", "policy_version"},
                                                {NULL, NULL}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/users");
    ctl_add_query(&target, "phone", c->phone);
    ctl_add_query(&target, "user", c->user);
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, "items", columns);
    buf_clear(&target);
    return code;
}

int ctl_get_incidents(const struct ctl *c)
{
    static const struct ctl_column columns[] = {{"ID", "id"},
                                                {"STATUS", "status"},
                                                {"IMPACT", "impact"},
                                                {"STARTED", "started_at"},
                                                {"RESOLVED", "resolved_at"},
                                                {"NAME", "name"},
                                                {NULL, NULL}};
    return ctl_get(c, c->open ? "/admin/v1/incidents?open=1" : "/admin/v1/incidents", "items", columns);
}

int ctl_get_audit(const struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"ID", "id"},         {"AT", "at"},         {"ACTOR", "actor"}, {"ACTION", "action"},
        {"TARGET", "target"}, {"REASON", "reason"}, {NULL, NULL}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/audit");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, "items", columns);
    buf_clear(&target);
    return code;
}

/* --- doing --------------------------------------------------------------------------------------- */

int ctl_drain_worker(const struct ctl *c)
{
    if (c->word_count != 1) {
        return ctl_usage("drain worker NAME: see tidectl get workers");
    }
    struct buf target;
    struct buf body;
    char done[256];
    buf_init(&target, TARGET_MAX);
    buf_init(&body, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/workers/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, "/drain");
    buf_addf(&body, "{\"drain\":%s}", c->undo ? "false" : "true");
    snprintf(done, sizeof done, "worker/%.200s %s", c->words[0], c->undo ? "undrained" : "draining");
    int code = ctl_change(c, "POST", target.p, &body, done);
    buf_clear(&body);
    buf_clear(&target);
    return code;
}

int ctl_revoke_user(const struct ctl *c)
{
    if (c->word_count != 1 || c->reason == NULL) {
        return ctl_usage("revoke user ID --reason TEXT: ends all sessions of the user");
    }
    struct buf target;
    struct buf body;
    buf_init(&target, TARGET_MAX);
    buf_init(&body, CTL_DOCUMENT_MAX);
    buf_add_cstr(&target, "/admin/v1/users/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, "/revoke");
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = ctl_change(c, "POST", target.p, &body, "sessions ended");
    buf_clear(&body);
    buf_clear(&target);
    return code;
}

int ctl_reload(const struct ctl *c)
{
    struct buf body;
    buf_init(&body, 16);
    buf_add_cstr(&body, "{}");
    int code = ctl_change(c, "POST", "/admin/v1/reload", &body, "configuration reloaded");
    buf_clear(&body);
    return code;
}

/* Answered when the new process serves: as long as process.upgrade may be. */
int ctl_upgrade(const struct ctl *c)
{
    struct ctl patient = *c;
    struct buf body;
    patient.timeout_s = 3600;
    buf_init(&body, 16);
    buf_add_cstr(&body, "{}");
    int code = ctl_change(&patient, "POST", "/admin/v1/upgrade", &body, "the new process serves");
    buf_clear(&body);
    return code;
}

static void print_checks(struct str checks)
{
    struct json_slice m;
    while (json_next(&checks, &m)) {
        if (m.type == JSON_NUMBER) {
            printf("      " STR_FMT " " STR_FMT "\n", STR_ARG(m.key), STR_ARG(m.raw));
        } else {
            printf("%s  " STR_FMT "\n", m.type == JSON_TRUE ? "ok  " : "FAIL", STR_ARG(m.key));
        }
    }
}

int ctl_check(const struct ctl *c)
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
        if (c->json) {
            printf(STR_FMT "\n", STR_ARG(buf_str(&a.body)));
        } else if (checks != NULL) {
            print_checks(checks->raw);
        }
        code = well ? CTL_OK : CTL_DEGRADED;
    }
    arena_clear(&arena);
    buf_clear(&a.body);
    return code;
}

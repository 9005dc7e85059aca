/* Verbs about the policy in force: what it is, another one, an older one. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 512 };

static const struct json_limits limits = {
    .max_depth = 64, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 24};

#define POLICY_COLUMNS                                                                                       \
    {                                                                                                        \
        {"VERSION", "version"}, {"NAME", "name"}, {"STATE", "state"}, {"IN-FORCE", "in_force"},              \
            {"SINCE", "created_at"}, {"ACTOR", "actor"}, {"REASON", "reason"},                               \
        {                                                                                                    \
            NULL, NULL                                                                                       \
        }                                                                                                    \
    }

static int policy_get(const struct ctl *c)
{
    static const struct ctl_view view = {NULL,
                                         "policy",
                                         "version",
                                         {{"VERSION", "version"},
                                          {"NAME", "name"},
                                          {"STATE", "state"},
                                          {"IN-FORCE", "in_force"},
                                          {"SINCE", "created_at"},
                                          {"ACTOR", "actor"},
                                          {"REASON", "reason"},
                                          {"REVERTS-AT", "reverts_at"},
                                          {"REVERTS-TO", "reverts_to"},
                                          {"REVERTS-BY", "reverts_by"},
                                          {NULL, NULL}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/policy");
    ctl_add_query(&target, "version", c->word_count > 0 ? c->words[0] : NULL);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static int policy_history(const struct ctl *c)
{
    static const struct ctl_view view = {"items", "policy", "version", POLICY_COLUMNS};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/policy/history");
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

static void print_warnings(struct arena *a, struct str findings)
{
    struct json_slice finding, m;
    while (json_next(&findings, &finding)) {
        struct str members = finding.raw, words;
        while (json_next(&members, &m)) {
            if (str_is(m.key, "message") && json_get_str(a, &m, &words)) {
                fprintf(stderr, "warning: " STR_FMT "\n", STR_ARG(words));
            }
        }
    }
}

/* The new version; what lint found goes to standard error. */
static int64_t version_in(struct str answer)
{
    struct arena arena;
    struct json_doc doc;
    int64_t version = 0;
    arena_init(&arena);
    bool is_read = json_scan(&arena, answer, &json_limits_default, &doc, NULL) == 0;
    const struct json_slice *v = is_read ? json_member(&doc, "version") : NULL;
    const struct json_slice *findings = is_read ? json_member(&doc, "findings") : NULL;
    struct str list = findings != NULL ? findings->raw : STR("[]");
    if (v != NULL && !json_get_i64(v, &version)) {
        version = 0;
    }
    print_warnings(&arena, list);
    arena_clear(&arena);
    return version;
}

/* As ctl_change; the line has the new version, which a rollback or --if-version wants. */
int ctl_send_policy_change(const struct ctl *c, const char *method, const char *target,
                           const struct buf *body, const char *done)
{
    struct ctl_answer a;
    int code = ctl_confirm_policy(c, method, target, body);
    if (code != CTL_OK) {
        return code;
    }
    code = ctl_request(c, method, target, body, &a);
    if (code == CTL_OK && c->dry_run) {
        code = ctl_print_trial(c, buf_str(&a.body));
    } else if (code == CTL_OK && !ctl_print_raw(c, buf_str(&a.body))) {
        printf(c->form == CTL_NAME ? "policy/%.0s%lld\n" : "%s: version %lld\n", done,
               (long long)version_in(buf_str(&a.body)));
    }
    buf_clear(&a.body);
    return code;
}

/* The members that all changes have. */
static void write_common(struct json_writer *w, const struct ctl *c)
{
    json_str_at(w, "reason", str_from(c->reason));
    if (c->if_version > 0) {
        json_i64_at(w, "if_version", c->if_version);
    }
    if (c->for_ms > 0) {
        json_i64_at(w, "for_s", (c->for_ms + 999) / 1000);
    }
    if (c->attempt.at != NULL) {
        json_str_at(w, "at", str_from(c->attempt.at));
    }
}

void ctl_write_policy_document(struct buf *body, const struct ctl *c, const struct buf *document)
{
    struct json_writer w = {.out = body};
    json_open(&w, '{');
    json_raw_at(&w, "document", buf_str(document));
    write_common(&w, c);
    if (c->force) {
        json_bool_at(&w, "force", true);
    }
    json_close(&w, '}');
}

static const struct ctl_harm closing = {"closed", "Nobody without an account could sign up, on any gateway."};

int ctl_policy_harm(const struct ctl *c, struct ctl_harm *out)
{
    if (c->word_count > 0 && strcmp(c->words[0], "closed") == 0) {
        *out = closing;
    }
    return CTL_OK;
}

int ctl_confirm_policy(const struct ctl *c, const char *method, const char *target, const struct buf *body)
{
    struct ctl trial = *c;
    struct ctl_answer a;
    struct arena arena;
    struct json_doc doc;
    bool is_preset = c->word_count > 0 && c->verb->harm == ctl_policy_harm; /* asked about already */
    if (c->dry_run || is_preset) {
        return CTL_OK;
    }
    trial.dry_run = true;
    int code = ctl_request(&trial, method, target, body, &a);
    arena_init(&arena);
    if (code == CTL_OK && json_scan(&arena, buf_str(&a.body), &limits, &doc, NULL) == 0 &&
        str_is(ctl_member(&arena, doc.raw, "state", STR("")), "closed")) {
        code = ctl_confirm_harm(c, &closing);
    }
    arena_clear(&arena);
    buf_clear(&a.body);
    return code;
}

bool ctl_write_policy_change(struct buf *body, const struct ctl *c, const char *preset)
{
    struct json_writer w = {.out = body};
    struct buf document;
    bool ok = true;
    if (preset != NULL) {
        json_open(&w, '{');
        json_str_at(&w, "preset", str_from(preset));
        write_common(&w, c);
        json_close(&w, '}');
        return true;
    }
    buf_init(&document, CTL_DOCUMENT_MAX);
    ok = ctl_read_document(c->file, &document);
    if (ok) {
        ctl_write_policy_document(body, c, &document);
    }
    buf_clear(&document);
    return ok;
}

static int policy_set(const struct ctl *c)
{
    const char *preset = c->word_count > 0 ? c->words[0] : NULL;
    if ((preset != NULL) == (c->file != NULL)) {
        return ctl_usage(
            c, "either a preset (open, mainland-phone-only, invite-only, waitlist, closed) or -f FILE");
    }
    struct buf body;
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    int code = ctl_write_policy_change(&body, c, preset)
                   ? ctl_send_policy_change(c, "PUT", "/admin/v1/policy", &body, "policy set")
                   : CTL_FAILED;
    buf_clear(&body);
    return code;
}

static int policy_rollback(const struct ctl *c)
{
    uint64_t version = 0;
    if (!str_u64(str_from(c->words[0]), &version) || version > INT64_MAX) {
        return ctl_usage(c, "VERSION is a number: see tidectl policy history");
    }
    struct buf body;
    buf_init(&body, CTL_DOCUMENT_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_i64_at(&w, "version", (int64_t)version);
    write_common(&w, c);
    json_close(&w, '}');
    int code = ctl_send_policy_change(c, "POST", "/admin/v1/policy/rollback", &body, "policy rolled back");
    buf_clear(&body);
    return code;
}

static const char *const presets[] = {"open", "mainland-phone-only", "invite-only", "waitlist", "closed",
                                      NULL};

bool ctl_is_preset(const char *word)
{
    unsigned i = 0;
    while (presets[i] != NULL && strcmp(presets[i], word) != 0) {
        i++;
    }
    return presets[i] != NULL;
}

int ctl_list_presets(const struct ctl *c)
{
    for (unsigned i = 0; presets[i] != NULL; i++) {
        puts(presets[i]);
    }
    return CTL_OK;
}

const struct ctl_verb ctl_verbs_policy[] = {
    {
        .words = "policy get",
        .args = "[VERSION]",
        .options = "watch every",
        .level = CTL_LEVEL_READ,
        .summary = "who may sign up now, since when, why",
        .about =
            "The policy in force, or an older VERSION of policy history. The document itself: policy show.",
        .examples = "policy get\n"
                    "policy get 41 -o yaml",
        .run = policy_get,
    },
    {
        .words = "policy set",
        .args = "[PRESET]",
        .options = "file reason! if-version for dry-run force confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "another policy, on every gateway within a second",
        .about =
            "A preset is open, mainland-phone-only, invite-only, waitlist or closed; --file puts a document "
            "of "
            "your own in force (try it first: policy lint, policy simulate). People who have an account "
            "are never touched.\n"
            "\n"
            "The public notice on the status page changes in the same transaction. With --for it goes back "
            "by itself, also when every gateway was restarted meanwhile; a later change of the policy ends "
            "that. --dry-run shows what would change, and what is hardly meant.",
        .examples = "policy set mainland-phone-only --reason \"attack 17\"\n"
                    "policy set -f policy.json --reason \"campaign\" --if-version 41\n"
                    "policy set closed --confirm=closed --reason \"leak\"\n"
                    "policy set open --reason \"over\"",
        .harm = ctl_policy_harm,
        .names = ctl_list_presets,
        .run = policy_set,
    },
    {
        .words = "policy apply",
        .args = "[PRESET]",
        .options = "file reason! if-version for dry-run force confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "the same as policy set, mostly with --for",
        .examples = "policy apply mainland-phone-only --for 2h --reason \"attack 17\"\n"
                    "policy apply -f policy.json --dry-run --reason \"try\"",
        .harm = ctl_policy_harm,
        .names = ctl_list_presets,
        .run = policy_set,
    },
    {
        .words = "policy history",
        .options = "limit watch every",
        .level = CTL_LEVEL_READ,
        .summary = "who changed it, when, and why",
        .examples = "policy history --limit 5",
        .run = policy_history,
    },
    {
        .words = "policy rollback",
        .args = "VERSION",
        .options = "reason! if-version for dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "back to an older version",
        .about = "The old document comes into force again, as a new version.",
        .examples = "policy rollback 41 --reason \"over\"",
        .names = policy_history,
        .run = policy_rollback,
    },
    {.words = NULL},
};

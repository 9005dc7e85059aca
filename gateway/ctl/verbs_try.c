/* Verbs that ask a policy and change nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ctl/ctl.h"

enum { BODY_MAX = 16 << 20, TARGET_MAX = 64 };

static const struct json_limits answer_limits = {
    .max_depth = 32, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 24};

/* Text of a member of an object, without its quotes. */
static struct str member(struct arena *a, struct str object, const char *key)
{
    struct json_slice m;
    struct str text = STR("-");
    while (json_next(&object, &m)) {
        if (str_is(m.key, key) && m.type != JSON_NULL && !json_get_str(a, &m, &text)) {
            text = m.raw;
        }
    }
    return text;
}

/* Opens a body; its policy is --policy FILE, the word of the command (a file), or else the one in force. */
static bool begin(struct buf *body, struct json_writer *w, const char *file)
{
    struct buf document;
    bool ok = true;
    buf_init(&document, CTL_DOCUMENT_MAX);
    buf_init(body, BODY_MAX);
    *w = (struct json_writer){.out = body};
    json_open(w, '{');
    if (file != NULL) {
        ok = ctl_read_document(file, &document);
        json_raw_at(w, "document", ok ? buf_str(&document) : STR("null"));
    }
    buf_clear(&document);
    return ok;
}

static int post(const struct ctl *c, const char *target, const struct buf *body,
                int (*print)(const struct ctl *c, struct arena *a, const struct json_doc *doc))
{
    struct ctl_answer answer;
    struct arena arena;
    struct json_doc doc;
    arena_init(&arena);
    int code = ctl_request(c, "POST", target, body, &answer);
    if (code == CTL_OK) {
        (void)ctl_print_raw(c, buf_str(&answer.body));
        bool is_read = json_scan(&arena, buf_str(&answer.body), &answer_limits, &doc, NULL) == 0;
        code = is_read ? print(c, &arena, &doc) : CTL_FAILED;
    }
    arena_clear(&arena);
    buf_clear(&answer.body);
    return code;
}

/* Is it shown as text, and not as the answer that came? */
static bool is_shown(const struct ctl *c)
{
    return c->form == CTL_TABLE;
}

static struct str list_of(const struct json_doc *doc, const char *key)
{
    const struct json_slice *m = json_member(doc, key);
    return m != NULL ? m->raw : STR("[]");
}

/* --- lint -------------------------------------------------------------------------------------------- */

static int print_findings(const struct ctl *c, struct arena *a, const struct json_doc *doc)
{
    static const struct ctl_view names = {"findings", "finding", "code", {{NULL, NULL}}};
    struct str list = list_of(doc, "findings");
    struct json_slice m;
    unsigned findings = 0;
    while (json_next(&list, &m)) {
        findings++;
        if (is_shown(c)) {
            printf(STR_FMT ": " STR_FMT " (" STR_FMT ")\n", STR_ARG(member(a, m.raw, "path")),
                   STR_ARG(member(a, m.raw, "message")), STR_ARG(member(a, m.raw, "code")));
        }
    }
    if (c->form == CTL_NAME) {
        (void)ctl_print(c, doc->raw, &names);
    } else if (is_shown(c) && findings == 0) {
        printf("nothing found\n");
    }
    return findings == 0 ? CTL_OK : CTL_DEGRADED;
}

static int policy_lint(const struct ctl *c)
{
    struct buf body;
    struct json_writer w;
    int code = CTL_FAILED;
    if (begin(&body, &w, c->word_count > 0 ? c->words[0] : NULL)) {
        json_close(&w, '}');
        code = post(c, "/admin/v1/policy/lint", &body, print_findings);
    }
    buf_clear(&body);
    return code;
}

/* --- simulate ---------------------------------------------------------------------------------------- */

static void print_conditions(struct arena *a, struct str list)
{
    struct json_slice m;
    const char *comma = "";
    while (json_next(&list, &m)) {
        printf("%s " STR_FMT " " STR_FMT, comma, STR_ARG(member(a, m.raw, "condition")),
               STR_ARG(member(a, m.raw, "result")));
        comma = ",";
    }
    printf("%s\n", comma[0] == 0 ? " no condition" : "");
}

/* The decision, and under it each rule that was asked. */
static int print_results(const struct ctl *c, struct arena *a, const struct json_doc *doc)
{
    static const struct ctl_view names = {"results", "rule", "rule", {{NULL, NULL}}};
    struct str results = list_of(doc, "results");
    struct json_slice result, rule;
    if (c->form == CTL_NAME) {
        return ctl_print(c, doc->raw, &names);
    }
    while (is_shown(c) && json_next(&results, &result)) {
        printf(STR_FMT "  rule " STR_FMT "  reason " STR_FMT "  ramp " STR_FMT "\n",
               STR_ARG(member(a, result.raw, "effect")), STR_ARG(member(a, result.raw, "rule")),
               STR_ARG(member(a, result.raw, "reason")), STR_ARG(member(a, result.raw, "ramp")));
        struct str trace = member(a, result.raw, "trace");
        trace = str_is(trace, "-") ? STR("[]") : trace;
        while (json_next(&trace, &rule)) {
            printf(
                "  %s " STR_FMT " (" STR_FMT "):", str_is(member(a, rule.raw, "matched"), "true") ? "*" : " ",
                STR_ARG(member(a, rule.raw, "rule")), STR_ARG(member(a, rule.raw, "effect")));
            print_conditions(a, member(a, rule.raw, "conditions"));
        }
    }
    return CTL_OK;
}

/* A number, true or false goes into the attempt as it is. */
static void write_attempt(struct json_writer *w, const struct ctl_attempt *a)
{
    const struct {
        const char *name, *value;
        bool is_text;
    } facts[] = {
        {"phone", a->phone, true},
        {"method", a->method, true},
        {"email", a->email, true},
        {"email_disposable", a->email_disposable, false},
        {"ip_country", a->ip_country, true},
        {"asn", a->asn, false},
        {"device", a->device, true},
        {"platform", a->platform, true},
        {"app_version", a->app_version, true},
        {"invite", a->invite, false},
        {"campaign", a->campaign, true},
        {"at", a->at, true},
    };
    json_open(w, '{');
    for (unsigned i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (facts[i].value != NULL && facts[i].is_text) {
            json_str_at(w, facts[i].name, str_from(facts[i].value));
        } else if (facts[i].value != NULL) {
            json_raw_at(w, facts[i].name, str_from(facts[i].value));
        }
    }
    json_close(w, '}');
}

/* One attempt a line. False: it said why. */
static bool write_cases(struct json_writer *w, const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    unsigned number = 0;
    bool ok = f != NULL;
    if (!ok) {
        fprintf(stderr, "tidectl: %s: cannot be read\n", path);
    }
    for (ssize_t n; ok && (n = getline(&line, &room, f)) > 0;) {
        struct arena arena;
        struct json_doc doc;
        struct err err = {0};
        struct str text = str_of(line, (size_t)n - (line[n - 1] == '\n'));
        number++;
        arena_init(&arena);
        if (str_trim(text).n > 0) {
            ok = json_scan(&arena, text, &answer_limits, &doc, &err) == 0;
            json_raw(w, ok ? text : STR("null"));
        }
        arena_clear(&arena);
        if (!ok) {
            fprintf(stderr, "tidectl: %s:%u: %s\n", path, number, err.msg);
        }
    }
    free(line);
    if (f != NULL) {
        fclose(f);
    }
    return ok;
}

static bool is_empty(const struct ctl_attempt *a)
{
    static const struct ctl_attempt none;
    return memcmp(a, &none, sizeof none) == 0; /* pointers only */
}

static int policy_simulate(const struct ctl *c)
{
    struct buf body;
    struct json_writer w;
    if (c->file != NULL && !is_empty(&c->attempt)) {
        return ctl_usage(c, "either --file or the facts of one attempt");
    }
    bool ok = begin(&body, &w, c->policy);
    json_bool_at(&w, "trace", c->file == NULL);
    json_open_at(&w, "attempts", '[');
    if (c->file == NULL) {
        write_attempt(&w, &c->attempt);
    } else {
        ok = ok && write_cases(&w, c->file);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    int code = ok ? post(c, "/admin/v1/policy/simulate", &body, print_results) : CTL_FAILED;
    buf_clear(&body);
    return code;
}

/* --- show, schema ------------------------------------------------------------------------------------ */

static void print_document(const struct ctl *c, struct str json, struct str name)
{
    if (c->form == CTL_NAME) {
        printf("policy/" STR_FMT "\n", STR_ARG(name));
    } else if (!ctl_print_raw(c, json)) {
        printf(STR_FMT "\n", STR_ARG(json));
    }
}

static int policy_schema(const struct ctl *c)
{
    struct ctl_answer a;
    int code = ctl_request(c, "GET", "/admin/v1/policy/schema", NULL, &a);
    if (code == CTL_OK) {
        print_document(c, buf_str(&a.body), STR("schema"));
    }
    buf_clear(&a.body);
    return code;
}

/* The document itself, as it was written: to a file, edited, and set again. */
static int policy_show(const struct ctl *c)
{
    struct ctl_answer a;
    struct arena arena;
    struct json_doc doc;
    char target[TARGET_MAX];
    uint64_t version = 0;
    if (c->word_count > 0 && !str_u64(str_from(c->words[0]), &version)) {
        return ctl_usage(c, "VERSION is a number: see tidectl policy history");
    }
    snprintf(target, sizeof target, "/admin/v1/policy?version=%llu", (unsigned long long)version);
    arena_init(&arena);
    int code = ctl_request(c, "GET", target, NULL, &a);
    if (code == CTL_OK && json_scan(&arena, buf_str(&a.body), &answer_limits, &doc, NULL) == 0) {
        print_document(c, list_of(&doc, "document"), member(&arena, doc.raw, "version"));
    }
    arena_clear(&arena);
    buf_clear(&a.body);
    return code;
}

const struct ctl_verb ctl_verbs_try[] = {
    {
        .words = "policy show",
        .args = "[VERSION]",
        .level = CTL_LEVEL_READ,
        .summary = "the document as it was written",
        .examples = "policy show > policy.json    # to edit, lint, and set again\n"
                    "policy show 41 -o yaml",
        .run = policy_show,
    },
    {
        .words = "policy lint",
        .args = "[FILE]",
        .level = CTL_LEVEL_READ,
        .summary = "what in a policy is hardly meant",
        .about = "Looks at the document in FILE (\"-\": standard input), or at the policy in force.",
        .examples = "policy lint policy.json",
        .exits = "3 something was found",
        .run = policy_lint,
    },
    {
        .words = "policy simulate",
        .options =
            "policy file phone method email email-disposable ip-country asn device platform app-version "
            "invite campaign at",
        .level = CTL_LEVEL_READ,
        .summary = "who would be let in, and why, rule by rule",
        .about = "One attempt, of the facts given; the others are not known. Or many: --file has an attempt "
                 "a line, as "
                 "JSON.",
        .examples = "policy simulate --phone +85251234567\n"
                    "policy simulate --policy policy.json --phone +8613800138000 --ip-country CN\n"
                    "policy simulate -f attempts.jsonl -o json",
        .run = policy_simulate,
    },
    {
        .words = "policy schema",
        .level = CTL_LEVEL_READ,
        .summary = "the JSON Schema of policy documents",
        .examples = "policy schema > policy.schema.json    # for an editor that checks as you write",
        .run = policy_schema,
    },
    {.words = NULL},
};

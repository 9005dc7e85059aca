/* What a policy change would do, for people: rules and members that differ, findings of lint. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

struct str ctl_member(struct arena *a, struct str object, const char *key, struct str absent)
{
    struct json_slice m;
    struct str text = absent;
    while (json_next(&object, &m)) {
        if (str_is(m.key, key) && m.type != JSON_NULL && !json_get_str(a, &m, &text)) {
            text = m.raw;
        }
    }
    return text;
}

/* The value as it is written, quotes and all; empty: not there. */
static struct str raw(struct str object, const char *key)
{
    struct json_slice m;
    struct str text = STR("");
    while (json_next(&object, &m)) {
        text = str_is(m.key, key) ? m.raw : text;
    }
    return text;
}

/* Places are counted from 1 for people. */
static int64_t place(struct str change, const char *key)
{
    int64_t n = -1;
    return str_i64(raw(change, key), &n) ? n + 1 : 0;
}

static void print_items(struct str list, char sign, struct str count)
{
    struct json_slice item;
    int64_t all = 0, shown = 0;
    (void)str_i64(count, &all);
    for (; json_next(&list, &item); shown++) {
        printf("  %c %.*s", sign, STR_ARG(item.raw));
    }
    if (shown < all) {
        printf("  %c %lld more", sign, (long long)(all - shown));
    }
}

static void print_members(struct arena *a, struct str list)
{
    struct json_slice m;
    while (json_next(&list, &m)) {
        struct str before = raw(m.raw, "before"), after = raw(m.raw, "after");
        printf("    " STR_FMT ":", STR_ARG(ctl_member(a, m.raw, "member", STR("-"))));
        if (before.n > 0 && after.n > 0) {
            printf(" " STR_FMT " -> " STR_FMT, STR_ARG(before), STR_ARG(after));
        } else if (before.n + after.n > 0) {
            printf(" %c " STR_FMT, before.n > 0 ? '-' : '+', STR_ARG(before.n > 0 ? before : after));
        }
        print_items(raw(m.raw, "removed"), '-', raw(m.raw, "removed_count"));
        print_items(raw(m.raw, "added"), '+', raw(m.raw, "added_count"));
        printf("\n");
    }
}

static void print_rule(struct arena *a, struct str change)
{
    struct str how = ctl_member(a, change, "change", STR(""));
    struct str id = ctl_member(a, change, "id", STR("-"));
    long long from = place(change, "from"), to = place(change, "to");
    if (str_is(how, "added")) {
        printf("+ rule " STR_FMT " (place %lld)\n    " STR_FMT "\n", STR_ARG(id), to,
               STR_ARG(raw(change, "after")));
    } else if (str_is(how, "removed")) {
        printf("- rule " STR_FMT " (place %lld)\n    " STR_FMT "\n", STR_ARG(id), from,
               STR_ARG(raw(change, "before")));
    } else if (str_is(how, "moved")) {
        printf("> rule " STR_FMT ": place %lld -> %lld\n", STR_ARG(id), from, to);
    } else if (str_is(raw(change, "moved"), "true")) {
        printf("~ rule " STR_FMT " (place %lld -> %lld)\n", STR_ARG(id), from, to);
    } else {
        printf("~ rule " STR_FMT "\n", STR_ARG(id));
    }
}

unsigned ctl_print_diff(struct arena *a, struct str diff)
{
    struct str changes = ctl_member(a, diff, "changes", STR("[]"));
    struct json_slice m;
    unsigned n = 0;
    for (; json_next(&changes, &m); n++) {
        struct str what = ctl_member(a, m.raw, "what", STR("-"));
        if (str_is(what, "rule")) {
            print_rule(a, m.raw);
        } else {
            printf("~ " STR_FMT "\n", STR_ARG(what));
        }
        print_members(a, ctl_member(a, m.raw, "members", STR("[]")));
    }
    return n;
}

void ctl_print_diff_names(struct arena *a, struct str diff)
{
    struct str changes = ctl_member(a, diff, "changes", STR("[]"));
    struct json_slice m;
    while (json_next(&changes, &m)) {
        struct str what = ctl_member(a, m.raw, "what", STR("-"));
        if (str_is(what, "rule")) {
            printf("rule/" STR_FMT "\n", STR_ARG(ctl_member(a, m.raw, "id", STR("-"))));
        } else {
            printf("policy/" STR_FMT "\n", STR_ARG(what));
        }
    }
}

unsigned ctl_print_findings(struct arena *a, struct str findings)
{
    struct json_slice m;
    unsigned n = 0;
    for (; json_next(&findings, &m); n++) {
        printf(STR_FMT ": " STR_FMT " (" STR_FMT ")\n", STR_ARG(ctl_member(a, m.raw, "path", STR("-"))),
               STR_ARG(ctl_member(a, m.raw, "message", STR("-"))),
               STR_ARG(ctl_member(a, m.raw, "code", STR("-"))));
    }
    return n;
}

int ctl_print_trial(const struct ctl *c, struct str answer)
{
    static const struct json_limits limits = {
        .max_depth = 64, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 24};
    struct arena arena;
    struct json_doc doc;
    struct err err = {0};
    if (ctl_print_raw(c, answer)) {
        return CTL_OK;
    }
    arena_init(&arena);
    bool ok = json_scan(&arena, answer, &limits, &doc, &err) == 0;
    if (!ok) {
        fprintf(stderr, "tidectl: the answer is not JSON: %s\n", err.msg);
    } else if (c->form == CTL_NAME) {
        ctl_print_diff_names(&arena, ctl_member(&arena, doc.raw, "diff", STR("{}")));
    } else {
        if (ctl_print_diff(&arena, ctl_member(&arena, doc.raw, "diff", STR("{}"))) == 0) {
            printf("no difference to the policy in force\n");
        }
        struct str lint = ctl_member(&arena, doc.raw, "lint", STR("{}"));
        if (ctl_print_findings(&arena, ctl_member(&arena, lint, "findings", STR("[]"))) > 0) {
            printf("nothing was changed, and see above what is hardly meant\n");
        } else {
            printf("nothing was changed\n");
        }
    }
    arena_clear(&arena);
    return ok ? CTL_OK : CTL_FAILED;
}

/* Verbs that change the policy with care: look first, for a time, at a time, in an emergency. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/ctl/ctl.h"
#include "gateway/ctl/edit.h"

enum { TARGET_MAX = 64, SMALL_MAX = 4096, DIFF_MAX = 17 << 20, REPLAY_MS = 600000 };

static const struct json_limits limits = {
    .max_depth = 64, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 24};

/* Text of a member of an answer; "-": there is none. */
static struct str scanned_member(struct arena *a, const struct ctl_answer *answer, struct json_doc *doc,
                                 const char *key)
{
    bool ok = json_scan(a, buf_str(&answer->body), &limits, doc, NULL) == 0;
    return ok ? ctl_member(a, doc->raw, key, STR("-")) : STR("-");
}

/* --- diff -------------------------------------------------------------------------------------------- */

/* A version, a preset or a file, as `base_` or the other side. False: it said why. */
static bool write_side(struct json_writer *w, const char *word, bool is_base)
{
    uint64_t version;
    struct buf document;
    if (str_u64(str_from(word), &version) && version <= INT64_MAX) {
        json_i64_at(w, is_base ? "base_version" : "version", (int64_t)version);
        return true;
    }
    if (ctl_is_preset(word)) {
        json_str_at(w, is_base ? "base_preset" : "preset", str_from(word));
        return true;
    }
    buf_init(&document, CTL_DOCUMENT_MAX);
    bool ok = ctl_read_document(word, &document);
    if (ok) {
        json_raw_at(w, is_base ? "base_document" : "document", buf_str(&document));
    }
    buf_clear(&document);
    return ok;
}

static int print_diff(const struct ctl *c, struct str answer)
{
    struct arena arena;
    struct json_doc doc;
    arena_init(&arena);
    bool is_shown = !ctl_print_raw(c, answer);
    bool ok = json_scan(&arena, answer, &limits, &doc, NULL) == 0;
    bool same = ok && str_is(ctl_member(&arena, doc.raw, "same", STR("false")), "true");
    if (ok && is_shown && c->form == CTL_NAME) {
        ctl_print_diff_names(&arena, doc.raw);
    } else if (ok && is_shown) {
        ctl_print_diff(&arena, doc.raw);
    }
    arena_clear(&arena);
    return same ? CTL_OK : CTL_FAILED;
}

static int policy_diff(const struct ctl *c)
{
    struct buf body;
    struct ctl_answer answer;
    struct json_writer w = {.out = &body};
    buf_init(&body, DIFF_MAX);
    json_open(&w, '{');
    bool ok = (c->word_count < 2 || write_side(&w, c->words[0], true)) &&
              write_side(&w, c->words[c->word_count - 1], false);
    json_close(&w, '}');
    int code = CTL_USAGE;
    if (ok) {
        code = ctl_request(c, "POST", "/admin/v1/policy/diff", &body, &answer);
        code = code == CTL_OK ? print_diff(c, buf_str(&answer.body)) : code == CTL_FAILED ? CTL_USAGE : code;
        buf_clear(&answer.body);
    }
    buf_clear(&body);
    return code;
}

/* --- replay ------------------------------------------------------------------------------------------ */

static void print_change(struct arena *a, struct str change)
{
    struct str samples = ctl_member(a, change, "samples", STR("[]"));
    struct json_slice m;
    printf(
        STR_FMT " by " STR_FMT " -> " STR_FMT " by " STR_FMT ": " STR_FMT " attempts, standing for " STR_FMT
                "\n",
        STR_ARG(ctl_member(a, change, "was", STR("-"))), STR_ARG(ctl_member(a, change, "was_rule", STR("-"))),
        STR_ARG(ctl_member(a, change, "now", STR("-"))), STR_ARG(ctl_member(a, change, "now_rule", STR("-"))),
        STR_ARG(ctl_member(a, change, "attempts", STR("-"))),
        STR_ARG(ctl_member(a, change, "stands_for", STR("-"))));
    while (json_next(&samples, &m)) {
        printf("    " STR_FMT "  " STR_FMT "\n", STR_ARG(ctl_member(a, m.raw, "at", STR("-"))),
               STR_ARG(ctl_member(a, m.raw, "facts", STR("-"))));
    }
}

static int print_replay(const struct ctl *c, struct str answer)
{
    static const struct ctl_view names = {"changes", "rule", "now_rule", {{NULL, NULL}}};
    static const char *const counts[] = {"same", "uncertain", "unreadable", "others"};
    static const char *const words[] = {"decided as before",
                                        "uncertain: a rule asks for more digits than are kept",
                                        "cannot be read", "changes of further kinds"};
    struct arena arena;
    struct json_doc doc;
    struct json_slice m;
    if (c->form != CTL_TABLE) {
        return ctl_print(c, answer, &names);
    }
    arena_init(&arena);
    bool ok = json_scan(&arena, answer, &limits, &doc, NULL) == 0;
    struct str all = ok ? doc.raw : STR("{}");
    struct str changes = ctl_member(&arena, all, "changes", STR("[]"));
    while (json_next(&changes, &m)) {
        print_change(&arena, m.raw);
    }
    printf(STR_FMT " attempts\n", STR_ARG(ctl_member(&arena, all, "attempts", STR("0"))));
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct str n = ctl_member(&arena, all, counts[i], STR("0"));
        if (i == 0 || !str_is(n, "0")) {
            printf("    " STR_FMT " %s\n", STR_ARG(n), words[i]);
        }
    }
    arena_clear(&arena);
    return ok ? CTL_OK : CTL_FAILED;
}

/* False: it said why. */
static bool write_replay(struct buf *body, const struct ctl *c)
{
    struct buf document;
    struct json_writer w = {.out = body};
    buf_init(&document, CTL_DOCUMENT_MAX);
    json_open(&w, '{');
    bool ok = c->file == NULL || ctl_read_document(c->file, &document);
    if (c->file == NULL) {
        json_str_at(&w, "preset", str_from(c->words[0]));
    } else if (ok) {
        json_raw_at(&w, "document", buf_str(&document));
    }
    if (c->limit > 0) {
        json_i64_at(&w, "limit", c->limit);
    }
    json_close(&w, '}');
    buf_clear(&document);
    return ok;
}

static int policy_replay(const struct ctl *c)
{
    struct ctl patient = *c;
    struct buf body;
    struct ctl_answer answer;
    if ((c->word_count > 0) == (c->file != NULL)) {
        return ctl_usage(c, "either a preset or -f FILE");
    }
    patient.timeout_ms = c->timeout_ms > REPLAY_MS ? c->timeout_ms : REPLAY_MS;
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    int code = CTL_FAILED;
    if (write_replay(&body, c)) {
        code = ctl_request(&patient, "POST", "/admin/v1/policy/replay", &body, &answer);
        code = code == CTL_OK ? print_replay(c, buf_str(&answer.body)) : code;
        buf_clear(&answer.body);
    }
    buf_clear(&body);
    return code;
}

/* --- at a time --------------------------------------------------------------------------------------- */

static int policy_schedule(const struct ctl *c)
{
    const char *preset = c->word_count > 0 ? c->words[0] : NULL;
    struct buf body;
    struct ctl_answer answer;
    char id[32];
    if ((preset != NULL) == (c->file != NULL)) {
        return ctl_usage(c, "either a preset (open, mainland-phone-only, closed) or -f FILE");
    }
    if (c->attempt.at == NULL) {
        return ctl_usage(c, "--at TIME: when, as 2026-12-01T09:00:00+08:00");
    }
    buf_init(&body, 2 * CTL_DOCUMENT_MAX);
    bool ok = ctl_write_policy_change(&body, c, preset);
    int code = ok ? ctl_confirm_policy(c, "POST", "/admin/v1/policy/schedule", &body) : CTL_FAILED;
    ok = ok && code == CTL_OK;
    code = ok ? ctl_request(c, "POST", "/admin/v1/policy/schedule", &body, &answer) : code;
    if (ok && code == CTL_OK && c->dry_run) {
        code = ctl_print_trial(c, buf_str(&answer.body));
    } else if (ok && code == CTL_OK) {
        struct arena arena;
        struct json_doc doc;
        arena_init(&arena);
        snprintf(id, sizeof id, "schedule/" STR_FMT, STR_ARG(scanned_member(&arena, &answer, &doc, "id")));
        arena_clear(&arena);
        ctl_say_done(c, buf_str(&answer.body), id, "waits for its time");
    }
    if (ok) {
        buf_clear(&answer.body);
    }
    buf_clear(&body);
    return code;
}

static int policy_schedule_list(const struct ctl *c)
{
    static const struct ctl_view view = {"items",
                                         "schedule",
                                         "id",
                                         {{"ID", "id"},
                                          {"AT", "at"},
                                          {"UNTIL", "until"},
                                          {"NAME", "name"},
                                          {"ACTOR", "actor"},
                                          {"REASON", "reason"},
                                          {NULL, NULL}}};
    return ctl_get(c, "/admin/v1/policy/schedule", &view);
}

static int policy_schedule_cancel(const struct ctl *c)
{
    struct buf target, body;
    char thing[64];
    struct json_writer w = {.out = &body};
    buf_init(&target, SMALL_MAX);
    buf_init(&body, SMALL_MAX);
    buf_add_cstr(&target, "/admin/v1/policy/schedule/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, "/cancel");
    json_open(&w, '{');
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    snprintf(thing, sizeof thing, "schedule/%.40s", c->words[0]);
    int code = ctl_change(c, "POST", target.p, &body, thing, "canceled");
    buf_clear(&body);
    buf_clear(&target);
    return code;
}

/* --- emergency --------------------------------------------------------------------------------------- */

static int emergency(const struct ctl *c, bool closed)
{
    struct buf body;
    struct ctl_answer answer;
    struct arena arena;
    struct json_writer w = {.out = &body};
    buf_init(&body, SMALL_MAX);
    json_open(&w, '{');
    json_bool_at(&w, "closed", closed);
    json_str_at(&w, "reason", str_from(c->reason));
    if (c->id != NULL) {
        json_str_at(&w, "id", str_from(c->id));
    }
    json_close(&w, '}');
    int code = ctl_request(c, "POST", "/admin/v1/policy/emergency", &body, &answer);
    arena_init(&arena);
    if (code == CTL_OK && c->form == CTL_NAME) {
        printf("policy/emergency\n");
    } else if (code == CTL_OK && !ctl_print_raw(c, buf_str(&answer.body))) {
        struct json_doc doc;
        struct str where = scanned_member(&arena, &answer, &doc, "where");
        struct str id = scanned_member(&arena, &answer, &doc, "id");
        bool is_closed = str_is(scanned_member(&arena, &answer, &doc, "state"), "closed");
        printf("sign-up %s on " STR_FMT "%s\n",
               closed      ? "closed"
               : is_closed ? "still closed, by the attack ladder,"
                           : "open as before",
               STR_ARG(where), c->dry_run ? " (dry run)" : "");
        if (closed && !c->dry_run && str_is(where, "this gateway")) {
            printf("the database is away: tell the other gateways too, each by its own socket:\n"
                   "  tidectl --socket PATH policy emergency-close --id " STR_FMT " --reason TEXT\n",
                   STR_ARG(id));
        }
        if (str_is(scanned_member(&arena, &answer, &doc, "kept"), "false")) {
            fprintf(stderr, "tidectl: the gateway could not keep this on its disk: a restart forgets it\n");
        }
    }
    arena_clear(&arena);
    buf_clear(&answer.body);
    buf_clear(&body);
    return code;
}

static int policy_emergency_close(const struct ctl *c)
{
    return emergency(c, true);
}

static int policy_emergency_open(const struct ctl *c)
{
    return emergency(c, false);
}

/* --- table ------------------------------------------------------------------------------------------- */

const struct ctl_verb ctl_verbs_change[] = {
    {
        .words = "policy diff",
        .args = "A [B]",
        .level = CTL_LEVEL_READ,
        .summary = "what changes from one policy to another",
        .about =
            "Each is a version, a preset by its name, or a file (\"-\": standard input; ./open where it is "
            "called as a preset). With one of them: what would change from the policy in force to it.\n"
            "\n"
            "+ a rule that comes, - one that goes, ~ one that changes, > one that only moves. The order "
            "inside lists and the spelling do not count.",
        .examples = "policy diff policy.json\n"
                    "policy diff 41 42\n"
                    "policy diff mainland-phone-only invite-only\n"
                    "policy diff 41 mainland-phone-only",
        .exits = "0 they mean the same, 1 they differ, 2 one cannot be read",
        .run = policy_diff,
    },
    {
        .words = "policy replay",
        .args = "[PRESET]",
        .options = "file limit",
        .level = CTL_LEVEL_READ,
        .summary = "who of those who came would be decided otherwise",
        .about =
            "The last attempts to sign up (10,000; --limit N, at most a million) against another policy: how "
            "many would be let in or turned away that were not, by which rules, with samples. Nothing "
            "changes. Attempts are kept without their numbers: where a rule asks for more digits than are "
            "kept, they are counted as uncertain.",
        .examples = "policy replay -f policy.json\n"
                    "policy replay mainland-phone-only -n 1000000",
        .run = policy_replay,
    },
    {
        .words = "policy edit",
        .options = "reason! for force dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "change the policy in force in your editor",
        .about = "Opens $VISUAL or $EDITOR (else vi). What you saved is looked at before it is sent; when "
                 "something is wrong you may go on editing, and whatever happens your text is not lost. "
                 "Refused when somebody else has changed the policy meanwhile. Wants a terminal.",
        .examples = "policy edit --reason \"Hong Kong by steps\"",
        .run = ctl_policy_edit,
    },
    {
        .words = "policy schedule",
        .args = "[PRESET]",
        .options = "file reason! at for force dry-run confirm",
        .level = CTL_LEVEL_WRITE,
        .summary = "another policy, from a time on",
        .about =
            "Comes into force at --at, once, by the clock of the database; with --for it goes back after "
            "that. While sign-up is closed in an emergency it waits until that is over.",
        .examples = "policy schedule open --at 2026-12-01T09:00:00+08:00 --for 2h --reason \"campaign\"",
        .harm = ctl_policy_harm,
        .run = policy_schedule,
    },
    {
        .words = "policy schedule list",
        .level = CTL_LEVEL_READ,
        .summary = "policies that wait for their time",
        .examples = "policy schedule list",
        .run = policy_schedule_list,
    },
    {
        .words = "policy schedule cancel",
        .args = "ID",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "take a scheduled policy back",
        .examples = "policy schedule cancel 7 --reason \"postponed\"",
        .names = policy_schedule_list,
        .run = policy_schedule_cancel,
    },
    {
        .words = "policy emergency-close",
        .options = "reason! id dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "nobody signs up any more, also while the database is away",
        .about =
            "At once on the gateway that is asked, on every gateway within a second when the database is "
            "there. Without it: on this gateway alone, kept on its disk, and written when the database "
            "is back; ask each of the others by its own socket, with the same --id. People who have an "
            "account sign in as before.",
        .examples = "policy emergency-close --reason \"attack 17\"",
        .run = policy_emergency_close,
    },
    {
        .words = "policy emergency-open",
        .options = "reason! dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "ends an emergency: the policy from before it",
        .about = "While the database is away, only what this gateway closed meanwhile can be opened.",
        .examples = "policy emergency-open --reason \"over\"",
        .run = policy_emergency_open,
    },
    {.words = NULL},
};

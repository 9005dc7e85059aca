/* Verbs of the admin API that look at the policy's versions and change what is in force, now or later. */
#include <stdlib.h>

#include "base/clock.h"
#include "gateway/accounts.h"
#include "gateway/admin_inner.h"
#include "gateway/emergency.h"

enum { FOR_MIN_S = 1, FOR_MAX_S = 365 * 86400 };

/* --- looking ------------------------------------------------------------------------------------- */

void admin_policy_get(struct admin_call *c)
{
    admin_auth_list(c, AUTH_ADMIN_POLICY_GET);
}

bool admin_policy_known(struct admin_call *c)
{
    const struct gateway *g = c->control->gateway;
    const struct policy *p = accounts_policy(g);
    const struct policy_emergency *now = g->accounts != NULL ? emergency_now(g->accounts) : NULL;
    struct buf text;
    struct json_writer w = {.out = &text};
    if (p == NULL) {
        return false;
    }
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_i64_at(&w, "version", policy_version(p));
    json_bool_at(&w, "in_force", true);
    json_str_at(&w, "name", str_from(policy_name(p)));
    json_str_at(&w, "state", str_from(policy_state_name(policy_state(p))));
    json_str_at(&w, "reason", now != NULL ? str_from(now->reason) : STR("the database is away"));
    json_str_at(&w, "actor", now != NULL ? str_from(now->actor) : STR(""));
    json_str_at(&w, "known_from", now != NULL ? STR("an emergency of this gateway") : STR("this gateway"));
    json_raw_at(&w, "document", policy_document(p));
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
    return true;
}

void admin_policy_history(struct admin_call *c)
{
    admin_auth_list(c, AUTH_ADMIN_POLICY_HISTORY);
}

void admin_policy_scheduled(struct admin_call *c)
{
    admin_auth_list(c, AUTH_ADMIN_POLICY_SCHEDULED);
}

void admin_policy_diff(struct admin_call *c)
{
    static const char *const members[] = {"base_document", "base_preset", "base_version",
                                          "document",      "preset",      "version"};
    struct str base_preset = STR(""), preset = STR("");
    int64_t base_version = 0, version = 0;
    if (!admin_knows_members(c, members, 6) || !admin_get_text(c, "base_preset", &base_preset) ||
        !admin_get_text(c, "preset", &preset) || !admin_get_number(c, "base_version", &base_version) ||
        !admin_get_number(c, "version", &version)) {
        return;
    }
    const struct json_slice *given = json_member(&c->body, "base_document");
    const struct json_slice *document = json_member(&c->body, "document");
    const char *known = base_preset.n > 0 ? policy_preset(base_preset) : NULL;
    struct str base = known != NULL ? str_from(known) : given != NULL ? given->raw : STR("");
    if ((preset.n > 0) + (document != NULL) + (version != 0) > 1 ||
        (base_preset.n > 0) + (given != NULL) + (base_version != 0) > 1) {
        http_reply_error(c->ex, "validation_failed", "one of document, preset and version, and one base");
        return;
    }
    if (base_preset.n > 0 && known == NULL) {
        http_reply_error(c->ex, "validation_failed", "base_preset: is not known");
        return;
    }
    struct auth_admin *a = admin_auth_verb(c, AUTH_ADMIN_POLICY_DIFF);
    if (a == NULL) {
        return;
    }
    a->base_document = base.n > 0 ? strndup(base.p, base.n) : NULL;
    a->base_version = base_version;
    a->document = document != NULL ? strndup(document->raw.p, document->raw.n) : NULL;
    a->preset = preset.n > 0 ? strndup(preset.p, preset.n) : NULL;
    a->version = version;
    admin_auth_submit(c, a);
}

/* --- changing ------------------------------------------------------------------------------------ */

struct auth_admin *admin_policy_change_new(struct admin_call *c, enum auth_admin_verb verb)
{
    struct str reason = STR("");
    int64_t if_version = 0, for_s = 0;
    if (!admin_get_reason(c, &reason) || !admin_get_number(c, "if_version", &if_version) ||
        !admin_get_number(c, "for_s", &for_s)) {
        return NULL;
    }
    if (json_member(&c->body, "for_s") != NULL && (for_s < FOR_MIN_S || for_s > FOR_MAX_S)) {
        http_reply_error(c->ex, "validation_failed", "for_s: %d to %d", FOR_MIN_S, FOR_MAX_S);
        return NULL;
    }
    struct auth_admin *a = admin_auth_verb(c, verb);
    if (a != NULL) {
        a->reason = strndup(reason.p, reason.n);
        a->if_version = if_version;
        a->for_ms = for_s * 1000;
        a->is_dry_run = c->dry_run;
    }
    return a;
}

struct auth_admin *admin_policy_document_new(struct admin_call *c, enum auth_admin_verb verb)
{
    struct str preset = STR("");
    bool is_forced = false;
    if (!admin_get_text(c, "preset", &preset) || !admin_get_bool(c, "force", &is_forced)) {
        return NULL;
    }
    const struct json_slice *document = json_member(&c->body, "document");
    if ((preset.n > 0) == (document != NULL)) {
        http_reply_error(c->ex, "validation_failed", "either preset or document is wanted");
        return NULL;
    }
    struct auth_admin *a = admin_policy_change_new(c, verb);
    if (a != NULL) {
        a->is_forced = is_forced;
        a->preset = preset.n > 0 ? strndup(preset.p, preset.n) : NULL;
        a->document = document != NULL ? strndup(document->raw.p, document->raw.n) : NULL;
    }
    return a;
}

void admin_policy_set(struct admin_call *c)
{
    static const char *const members[] = {"preset", "document", "reason", "if_version", "for_s", "force"};
    struct auth_admin *a =
        admin_knows_members(c, members, 6) ? admin_policy_document_new(c, AUTH_ADMIN_POLICY_SET) : NULL;
    if (a != NULL) {
        admin_auth_submit(c, a);
    }
}

void admin_policy_rollback(struct admin_call *c)
{
    static const char *const members[] = {"version", "reason", "if_version", "for_s"};
    int64_t version = 0;
    if (!admin_knows_members(c, members, 4) || !admin_get_number(c, "version", &version)) {
        return;
    }
    if (version <= 0) {
        http_reply_error(c->ex, "validation_failed", "version: which one to go back to");
        return;
    }
    struct auth_admin *a = admin_policy_change_new(c, AUTH_ADMIN_POLICY_ROLLBACK);
    if (a != NULL) {
        a->version = version;
        admin_auth_submit(c, a);
    }
}

void admin_policy_schedule(struct admin_call *c)
{
    static const char *const members[] = {"preset", "document", "reason", "at", "for_s", "force"};
    struct str at = STR("");
    int64_t at_ms = 0;
    if (!admin_knows_members(c, members, 6) || !admin_get_text(c, "at", &at)) {
        return;
    }
    if (clock_parse_iso(at.p, at.n, &at_ms) < 0) {
        http_reply_error(c->ex, "validation_failed", "at: wants a time as 2026-12-01T09:00:00+08:00");
        return;
    }
    struct auth_admin *a = admin_policy_document_new(c, AUTH_ADMIN_POLICY_SCHEDULE);
    if (a != NULL) {
        a->at_ms = at_ms;
        admin_auth_submit(c, a);
    }
}

void admin_policy_unschedule(struct admin_call *c)
{
    static const char *const members[] = {"reason"};
    int64_t id = 0;
    if (!admin_knows_members(c, members, 1)) {
        return;
    }
    if (!str_i64(c->name, &id)) {
        http_reply_error(c->ex, "not_found", "no scheduled change has the id " STR_FMT, STR_ARG(c->name));
        return;
    }
    struct auth_admin *a = admin_policy_change_new(c, AUTH_ADMIN_POLICY_CANCEL);
    if (a != NULL) {
        a->id = id;
        admin_auth_submit(c, a);
    }
}

/* Verbs of admin.h about the policy: what is in force, what was, what will be, and changing it. */
#include <stdio.h>

#include "auth/admin_inner.h"
#include "auth/policy_change.h"
#include "auth/policy_diff.h"
#include "auth/policy_lint.h"
#include "base/clock.h"

static int not_a_version(struct pg *pg, int64_t version)
{
    return err_set(pg_err(pg), ERR_NOT_FOUND, "there is no policy version %lld", (long long)version);
}

/* --- looking ----------------------------------------------------------------------------------------- */

int auth_admin_policy_get(struct pg *pg, struct auth_admin *a)
{
    static const char *const names[] = {"name",       "state",      "reason",     "actor",
                                        "created_at", "reverts_at", "reverts_by", NULL};
    int rows = pg_query(
        pg,
        "SELECT v.name, v.state, v.reason, v.actor, " ADMIN_ISO("v.created_at") ", " ADMIN_ISO(
            "nullif(w.due_at, 'infinity')") ", CASE WHEN w.is_emergency THEN 'emergency-open'"
                                            " WHEN w.due_at = 'infinity' THEN 'whoever made it' WHEN w.id IS "
                                            "NOT NULL THEN 'itself' END,"
                                            " v.version, v.version = c.version, v.document::text, w.back_to"
                                            " FROM policy_current c CROSS JOIN policy_versions v"
                                            " LEFT JOIN policy_pending w ON w.kind = 'revert' AND w.version "
                                            "= v.version AND v.version = c.version"
                                            " WHERE v.version = CASE WHEN $1 = 0 THEN c.version ELSE $1 END",
        PG_I64(a->version));
    if (rows <= 0) {
        return rows < 0 ? rows : not_a_version(pg, a->version);
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "version", pg_i64(pg, 0, 7));
    json_bool_at(&w, "in_force", pg_bool(pg, 0, 8));
    admin_write_columns(&w, pg, 0, names);
    json_key(&w, "reverts_to");
    if (pg_is_null(pg, 0, 10)) {
        json_null(&w);
    } else {
        json_i64(&w, pg_i64(pg, 0, 10));
    }
    json_raw_at(&w, "document", pg_value(pg, 0, 9));
    json_close(&w, '}');
    return 0;
}

int auth_admin_policy_history(struct pg *pg, struct auth_admin *a)
{
    static const char *const names[] = {"name", "state", "reason", "actor", "created_at", NULL};
    int rows = pg_query(pg,
                        "SELECT v.name, v.state, v.reason, v.actor, " ADMIN_ISO(
                            "v.created_at") ", v.version,"
                                            " v.version = c.version FROM policy_versions v, policy_current c"
                                            " ORDER BY v.version DESC LIMIT $1",
                        PG_I64(admin_limit(a)));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        json_open(&w, '{');
        json_i64_at(&w, "version", pg_i64(pg, i, 5));
        json_bool_at(&w, "in_force", pg_bool(pg, i, 6));
        admin_write_columns(&w, pg, i, names);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

int auth_admin_policy_scheduled(struct pg *pg, struct auth_admin *a)
{
    static const char *const names[] = {"at", "until", "name", "state", "reason", "actor", NULL};
    int rows = pg_query_n(pg,
                          "SELECT " ADMIN_ISO("due_at") ", " ADMIN_ISO(
                              "until") ", name, state, reason, actor, id"
                                       " FROM policy_pending WHERE kind = 'set' ORDER BY due_at, id",
                          0, NULL);
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        json_open(&w, '{');
        json_i64_at(&w, "id", pg_i64(pg, i, 6));
        admin_write_columns(&w, pg, i, names);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

/* --- documents --------------------------------------------------------------------------------------- */

/* Of a version; 0: the current one, whose number *version becomes. Valid until the job returns. */
static int document_of(struct pg *pg, int64_t *version, struct str *out)
{
    int rows = pg_query(pg,
                        "SELECT v.document::text, v.version FROM policy_current c, policy_versions v"
                        " WHERE v.version = CASE WHEN $1 = 0 THEN c.version ELSE $1 END",
                        PG_I64(*version));
    if (rows <= 0) {
        return rows < 0 ? rows : not_a_version(pg, *version);
    }
    *out = pg_value(pg, 0, 0);
    *version = pg_i64(pg, 0, 1);
    return 0;
}

int admin_document_given(struct pg *pg, const struct auth_admin *a, struct str *out)
{
    if (!a->preset == !a->document) {
        return err_set(pg_err(pg), ERR_INVALID, "either preset or document is wanted");
    }
    const char *text = a->preset ? policy_preset(str_from(a->preset)) : a->document;
    *out = str_from(text);
    return text ? 0
                : err_set(pg_err(pg), ERR_INVALID,
                          "preset: is not one of open, mainland-phone-only, invite-only, waitlist, closed");
}

int auth_admin_policy_diff(struct pg *pg, struct auth_admin *a)
{
    struct str before = str_from(a->base_document), after;
    int rc = a->base_document ? 0 : document_of(pg, &a->base_version, &before);
    if (rc == 0) {
        rc = a->preset || a->document ? admin_document_given(pg, a, &after)
                                      : document_of(pg, &a->version, &after);
    }
    return rc < 0 ? rc : policy_diff(before, after, &a->out, pg_err(pg));
}

/* --- changing ---------------------------------------------------------------------------------------- */

int admin_policy_try(struct pg *pg, struct auth_admin *a, const struct policy_change *c)
{
    struct policy *p = NULL;
    struct str now;
    int64_t version = 0;
    int rc = document_of(pg, &version, &now);
    if (rc == 0 && c->if_version != 0 && c->if_version != version) {
        rc = err_set(pg_err(pg), ERR_CONFLICT, "version %lld is in force, not %lld", (long long)version,
                     (long long)c->if_version);
    }
    if (rc == 0) {
        rc = policy_parse(c->document, 0, &p, pg_err(pg));
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_bool_at(&w, "dry_run", true);
    json_i64_at(&w, "version", version);
    if (rc == 0) {
        json_str_at(&w, "state", str_from(policy_state_name(policy_state(p))));
        json_key(&w, "lint");
        policy_lint(p, clock_wall_s(), &a->out);
        w.need_comma = true;
        json_key(&w, "diff");
        rc = policy_diff(now, c->document, &a->out, pg_err(pg));
    }
    json_close(&w, '}');
    policy_unref(p);
    return rc;
}

int admin_lint_check(struct pg *pg, const struct auth_admin *a, const struct policy *p,
                     struct policy_findings *findings)
{
    policy_lint_list(p, clock_wall_s(), findings);
    for (unsigned i = 0; a->document && !a->is_forced && i < findings->count; i++) {
        const struct policy_finding *f = &findings->items[i];
        if (f->severity == POLICY_SEVERITY_ERROR) {
            return err_set(pg_err(pg), ERR_INVALID, "%s: %s (%s; --force does it all the same)", f->path,
                           f->message, f->code);
        }
    }
    return 0;
}

static int policy_put(struct pg *pg, struct auth_admin *a, struct str document, const char *action)
{
    struct policy *p = NULL;
    int rc = policy_parse(document, 0, &p, pg_err(pg));
    if (rc < 0) {
        return rc;
    }
    struct policy_change c = {.document = document,
                              .actor = a->actor,
                              .reason = a->reason,
                              .request_id = a->request_id,
                              .action = action,
                              .if_version = a->if_version,
                              .for_ms = a->for_ms};
    struct policy_changed changed;
    bool is_edited = a->verb == AUTH_ADMIN_POLICY_SET && a->document;
    c.if_version = c.if_version == 0 && is_edited ? policy_edited_from(p) : c.if_version;
    if (a->is_dry_run) {
        policy_unref(p);
        return admin_policy_try(pg, a, &c);
    }
    struct policy_findings findings;
    rc = admin_lint_check(pg, a, p, &findings);
    if (rc == 0) {
        rc = policy_change_make(pg, &c, &changed);
    }
    if (rc == 0) {
        struct json_writer w = {.out = &a->out};
        json_open(&w, '{');
        json_i64_at(&w, "version", changed.version);
        json_str_at(&w, "name", str_from(policy_name(p)));
        json_str_at(&w, "state", str_from(policy_state_name(policy_state(p))));
        json_i64_at(&w, "previous", changed.previous);
        if (a->for_ms > 0) {
            json_i64_at(&w, "for_s", a->for_ms / 1000);
        }
        policy_findings_write(&findings, &w);
        json_close(&w, '}');
    }
    policy_findings_clear(&findings);
    policy_unref(p);
    return rc;
}

int auth_admin_policy_set(struct pg *pg, struct auth_admin *a)
{
    struct str document;
    int rc = admin_wants_reason(pg, a);
    if (rc == 0) {
        rc = admin_document_given(pg, a, &document);
    }
    return rc < 0 ? rc : policy_put(pg, a, document, "policy.set");
}

int auth_admin_policy_rollback(struct pg *pg, struct auth_admin *a)
{
    struct str document;
    int rc = admin_wants_reason(pg, a);
    if (rc == 0) {
        rc = document_of(pg, &a->version, &document);
    }
    return rc < 0 ? rc : policy_put(pg, a, document, "policy.rollback");
}

static int schedule_check(struct pg *pg, const struct auth_admin *a, struct str document)
{
    struct policy *p = NULL;
    struct policy_findings findings;
    int rc = policy_parse(document, 0, &p, pg_err(pg));
    if (rc == 0) {
        rc = admin_lint_check(pg, a, p, &findings);
        policy_findings_clear(&findings);
    }
    policy_unref(p);
    return rc;
}

int auth_admin_policy_schedule(struct pg *pg, struct auth_admin *a)
{
    struct policy_change c = {.actor = a->actor,
                              .reason = a->reason,
                              .request_id = a->request_id,
                              .for_ms = a->for_ms,
                              .at_ms = a->at_ms};
    char at[CLOCK_ISO_LEN + 1];
    int64_t id = 0;
    int rc = admin_wants_reason(pg, a);
    if (rc == 0) {
        rc = admin_document_given(pg, a, &c.document);
    }
    if (rc == 0 && a->is_dry_run) {
        return admin_policy_try(pg, a, &c);
    }
    if (rc == 0) {
        rc = schedule_check(pg, a, c.document);
    }
    if (rc == 0) {
        rc = policy_change_schedule(pg, &c, &id);
    }
    clock_format_iso(a->at_ms, at);
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "id", id);
    json_str_at(&w, "at", str_from(at));
    json_close(&w, '}');
    return rc;
}

int auth_admin_policy_cancel(struct pg *pg, struct auth_admin *a)
{
    struct policy_change c = {.actor = a->actor, .reason = a->reason, .request_id = a->request_id};
    int rc = admin_wants_reason(pg, a);
    if (rc == 0) {
        rc = policy_change_cancel(pg, &c, a->id);
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "canceled", a->id);
    json_close(&w, '}');
    return rc;
}

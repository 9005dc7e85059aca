/* Verbs of admin.h about the ramp of the policy. */
#include "auth/admin_inner.h"
#include "auth/policy_lint.h"
#include "auth/policy_ramp_run.h"

/* What came of it; findings NULL: none were looked for. */
static int write_ramp(struct pg *pg, struct auth_admin *a, const struct policy_findings *findings)
{
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    int rc = policy_ramp_write(pg, &w);
    if (findings) {
        policy_findings_write(findings, &w);
    }
    json_close(&w, '}');
    return rc;
}

/* A trial does it too: it is rolled back, and so finds what would stand in the way. */
static int start_checked(struct pg *pg, struct auth_admin *a, struct policy_change *c, const struct policy *p)
{
    struct policy_findings findings = {0};
    struct policy_ramp_started started;
    c->if_version = a->if_version == 0 && a->document ? policy_edited_from(p) : a->if_version;
    int rc = a->is_dry_run ? admin_policy_try(pg, a, c) : admin_lint_check(pg, a, p, &findings);
    if (rc == 0) {
        rc = policy_ramp_start(pg, c, &a->plan, &started);
    }
    if (rc == 0 && !a->is_dry_run) {
        rc = write_ramp(pg, a, &findings);
    }
    policy_findings_clear(&findings);
    return rc;
}

int auth_admin_ramp_start(struct pg *pg, struct auth_admin *a)
{
    struct policy_change c = {.actor = a->actor, .reason = a->reason, .request_id = a->request_id};
    struct policy *p = NULL;
    int rc = admin_wants_reason(pg, a);
    if (rc == 0) {
        rc = admin_document_given(pg, a, &c.document);
    }
    if (rc == 0) {
        rc = policy_parse(c.document, 0, &p, pg_err(pg));
    }
    if (rc == 0) {
        rc = start_checked(pg, a, &c, p);
    }
    policy_unref(p);
    return rc;
}

int auth_admin_ramp_get(struct pg *pg, struct auth_admin *a)
{
    return write_ramp(pg, a, NULL);
}

int auth_admin_ramp_tell(struct pg *pg, struct auth_admin *a)
{
    struct policy_change c = {.actor = a->actor, .reason = a->reason, .request_id = a->request_id};
    enum policy_ramp_verb verb = a->verb == AUTH_ADMIN_RAMP_PAUSE    ? POLICY_RAMP_PAUSE
                                 : a->verb == AUTH_ADMIN_RAMP_RESUME ? POLICY_RAMP_RESUME
                                                                     : POLICY_RAMP_ABORT;
    int rc = admin_wants_reason(pg, a);
    if (rc == 0) {
        rc = policy_ramp_tell(pg, verb, &c);
    }
    return rc < 0 ? rc : write_ramp(pg, a, NULL);
}

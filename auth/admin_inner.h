/* Inside of admin.h: shared by admin*.c only.
 *
 * A verb reads its inputs from the struct, writes its answer to a->out, and returns 0 or an error with words in
 * pg_err(pg).
 * Thread rule: a database thread. */
#ifndef TIDE_AUTH_ADMIN_INNER_H
#define TIDE_AUTH_ADMIN_INNER_H

#include "auth/admin.h"
#include "base/json.h"
#include "base/pg.h"

#define ADMIN_ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

/* Likewise of a time that may be "infinity". */
#define ADMIN_ISO_OR_EVER(column) "coalesce(" ADMIN_ISO(column) ", " column "::text)"

int64_t admin_limit(const struct auth_admin *a); /* rows to ask for */
int admin_wants_reason(struct pg *pg, const struct auth_admin *a) TIDE_CHECK;
/* The first columns of a row as members; names ends with NULL. */
void admin_write_columns(struct json_writer *w, const struct pg *pg, int row, const char *const *names);

/* admin_policy.c */
int auth_admin_policy_get(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_set(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_history(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_rollback(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_diff(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_schedule(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_scheduled(struct pg *pg, struct auth_admin *a);
int auth_admin_policy_cancel(struct pg *pg, struct auth_admin *a);
/* The document or preset that the verb names. */
int admin_document_given(struct pg *pg, const struct auth_admin *a, struct str *out) TIDE_CHECK;
struct policy;
struct policy_change;
struct policy_findings;
/* A document that is hardly meant so is refused, unless it is forced. Presets and old versions are not looked at: going
 * back must never fail. findings: the caller's in any case. */
int admin_lint_check(struct pg *pg, const struct auth_admin *a, const struct policy *p,
                     struct policy_findings *findings) TIDE_CHECK;
/* Writes what a change would do. Its `version` is the one that is in force and goes on being. */
int admin_policy_try(struct pg *pg, struct auth_admin *a, const struct policy_change *c) TIDE_CHECK;

/* admin_users.c */
int auth_admin_user_ban(struct pg *pg, struct auth_admin *a);
int auth_admin_user_unban(struct pg *pg, struct auth_admin *a);
int auth_admin_everybody_out(struct pg *pg, struct auth_admin *a);

/* admin_ramp.c */
int auth_admin_ramp_start(struct pg *pg, struct auth_admin *a);
int auth_admin_ramp_get(struct pg *pg, struct auth_admin *a);
int auth_admin_ramp_tell(struct pg *pg, struct auth_admin *a);

#endif

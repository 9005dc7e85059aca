/* What is lawful in a policy and yet hardly meant: hints for people, before it is put in force.
 *
 *     unreachable_rule   an earlier rule takes everybody whom this one is for
 *     everybody_denied   no rule and no default lets anybody in
 *     country_emptied    a country that an allow rule names is denied or listed before as a whole
 *     window_past        the time of a rule is over
 *     unknown_fact       a condition on what accounts do not tell yet: it never allows, and always denies or lists
 *
 * Thread rule: pure. */
#ifndef TIDE_AUTH_POLICY_LINT_H
#define TIDE_AUTH_POLICY_LINT_H

#include "auth/policy.h"

/* Appends {"name", "state", "rules": n, "findings": [{"path", "code", "message"}]}. */
void policy_lint(const struct policy *p, int64_t now_s, struct buf *out);
/* Appends the JSON Schema of the language. What it cannot say (unique ids, real times), policy_parse says. */
void policy_write_schema(struct buf *out);

#endif

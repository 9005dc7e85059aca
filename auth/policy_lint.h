/* What is lawful in a policy and yet hardly meant: hints for people, before it is put in force.
 *
 *     (E: an error, which `policy set` refuses unless it is forced; others are warnings)
 *   E unreachable_rule   an earlier rule takes everybody whom this one is for
 *     everybody_denied   no rule and no default lets anybody in
 *   E country_emptied    a country that an allow rule names is denied or listed before as a whole
 *     window_past        the time of a rule is over
 *     unknown_fact       a condition on what accounts do not tell yet: it never allows (E: always denies or lists)
 *   E cap_zero           a cap of 0 lets nobody in
 *     cap_without_effect a shorter period's cap is always reached before
 *
 * Ownership: findings are the caller's until policy_findings_clear. Cost: rules times rules. Thread rule: pure. */
#ifndef TIDE_AUTH_POLICY_LINT_H
#define TIDE_AUTH_POLICY_LINT_H

#include "auth/policy.h"

enum policy_severity { POLICY_SEVERITY_WARNING = 0, POLICY_SEVERITY_ERROR = 1 };
enum { POLICY_FINDINGS_MAX = 200 };

struct policy_finding {
    enum policy_severity severity;
    char path[32];     /* "$.rules[3]", or "$": the whole */
    const char *code;  /* one of the above; static */
    char message[200]; /* for people */
};
struct policy_findings {
    struct policy_finding *items; /* the first POLICY_FINDINGS_MAX, in the order of the rules */
    unsigned count;
    unsigned errors; /* of all, also those past the maximum */
};
void policy_lint_list(const struct policy *p, int64_t now_s, struct policy_findings *out);
void policy_findings_clear(struct policy_findings *f);
/* The member "findings": [{"path", "code", "severity", "message"}]. */
void policy_findings_write(const struct policy_findings *f, struct json_writer *w);

/* Appends {"name", "state", "rules": n, "findings": [...]}. */
void policy_lint(const struct policy *p, int64_t now_s, struct buf *out);
/* Appends the JSON Schema of the language. What it cannot say (unique ids, real times), policy_parse says. */
void policy_write_schema(struct buf *out);

#endif

/* The conditions of a rule, read: `when`, and `ramp_percent` that stands beside it. Private to auth/.
 *
 * Thread rule: one thread. */
#ifndef TIDE_AUTH_POLICY_WHEN_H
#define TIDE_AUTH_POLICY_WHEN_H

#include "auth/policy_read.h"

/* Members of a rule; into: struct policy_rule. */
int policy_read_when(struct policy_reader *r, const cJSON *value, void *rule);
int policy_read_ramp(struct policy_reader *r, const cJSON *value, void *rule);

#endif

/* Made-up attempts against a policy, with the reasons for each decision. What the gateway itself decides by is
 * policy.h; this reads facts from JSON and shows how the rules were asked.
 *
 * An attempt is an object of what is known; what is not in it is not known:
 *     {"method": "phone", "phone": "+8613800138000", "email": "a@mail.example", "email_disposable": false,
 *      "ip_country": "CN", "asn": 4134, "device": "strong", "platform": "ios", "app_version": "2.10",
 *      "invite": true, "campaign": "spring", "caps_full": ["mainland"], "at": "2026-12-01T09:00:00+08:00"}
 * method is phone when absent, `at` is now; `caps_full` names rules that have no place left under their caps.
 * Answer: {"policy", "version", "results": [{"effect", "rule", "reason", "challenge", "ramp", "shadow", "trace": [{"rule", "effect",
 * "matched", "shadow", "conditions": [{"condition", "result": "held"|"failed"|"unknown"}]}]}]}; the trace ends with the rule
 * that decided.
 * Errors: ERR_INVALID names the path of an attempt that cannot be read.
 * Thread rule: pure. */
#ifndef TIDE_AUTH_POLICY_SIMULATE_H
#define TIDE_AUTH_POLICY_SIMULATE_H

#include "auth/policy.h"

enum { POLICY_ATTEMPTS_MAX = 10000 };

struct policy_simulation {
    const struct policy *policy;
    const struct secret_ring *secrets; /* of the ramp */
    enum phone_mode phone_mode;
    bool has_trace;
    struct str attempts; /* a JSON array of 1 to POLICY_ATTEMPTS_MAX */
};
/* Appends the answer. */
int policy_simulate(const struct policy_simulation *s, struct buf *out, struct err *err) TIDE_CHECK;

#endif

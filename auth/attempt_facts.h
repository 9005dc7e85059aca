/* The facts of an attempt as they are kept, and read again for a replay: JSON without the number itself.
 *
 *     {"method": "phone", "phone_country": "CN", "phone_prefix": "+861380013", "phone_type": "mobile",
 *      "phone_virtual": false, "ramp": 4711, "ip_country": "CN", "asn": 4134, "platform": "ios", ...}
 * What was not known is not in it. A number read again is its prefix only: policy_facts.phone_is_prefix.
 * Ownership: read facts borrow the JSON text, and the phone from the struct.
 * Errors: ERR_INVALID.
 * Thread rule: pure. */
#ifndef TIDE_AUTH_ATTEMPT_FACTS_H
#define TIDE_AUTH_ATTEMPT_FACTS_H

#include "auth/policy.h"

enum { ATTEMPT_FACTS_MAX = 2048 }; /* bytes of the JSON */

struct attempt_facts {
    struct policy_facts facts;
    struct phone phone; /* of facts.phone */
};

void attempt_facts_write(const struct policy_facts *f, struct buf *out);
/* at_s: when it was. arena: for the time of the call and as long as the facts are used. */
int attempt_facts_read(struct arena *arena, struct str json, int64_t at_s,
                       struct attempt_facts *out) TIDE_CHECK;

#endif

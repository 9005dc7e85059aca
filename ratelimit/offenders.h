/* Who is refused most: a count-min sketch of refusals and the keys with the highest counts. Fixed memory whatever
 * arrives. For operators (tidectl limits top), never for a decision.
 *
 *     refusal -> four counters of the sketch -> the least of them is at most too high, never too low
 *             -> higher than the lowest of the top table: takes its place
 *
 * Counts are halved every minute: about what the last two minutes brought.
 * Memory: 1 MiB of counters and 256 rows.
 * Thread rule: any thread; a refusal that would have to wait for the lock is not counted. */
#ifndef TIDE_RATELIMIT_OFFENDERS_H
#define TIDE_RATELIMIT_OFFENDERS_H

#include "base/addr.h"
#include "ratelimit/local.h"
#include "ratelimit/rules.h"

enum { OFFENDERS_TOP = 256, OFFENDERS_HALVE_US = 60000000 };

struct offender {
    struct limit_key key;
    char rule[LIMIT_NAME_MAX + 1];
    struct addr_prefix source; /* rules by address; bits 0: another dimension, only its hash is known */
    uint32_t refused;          /* lately, estimated */
};

struct offenders;
struct offenders *offenders_new(void);
void offenders_free(struct offenders *o);
void offenders_add(struct offenders *o, const struct limit_rule *rule, struct limit_key key,
                   const struct addr *address, int64_t now_us);
/* Most refused first; of one rule, or of all (NULL). Returns how many, at most OFFENDERS_TOP. */
unsigned offenders_top(struct offenders *o, const char *rule, struct offender out[OFFENDERS_TOP],
                       int64_t now_us);

#endif

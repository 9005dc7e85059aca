/* Section `challenge`: how hard proof of work is, and for how long a challenge stands.
 *
 * Thread rule: const data. */
#ifndef TIDE_GATEWAY_CHALLENGE_CONF_H
#define TIDE_GATEWAY_CHALLENGE_CONF_H

#include <stdint.h>

#include "base/conf.h"
#include "ratelimit/pow.h"

struct challenge_conf {
    enum pow_level level; /* asked of everybody who asks for a code that may make an account */
    uint32_t work;        /* most tries of level pow; half of them on average */
    uint32_t hard_work;   /* likewise pow_hard */
    uint32_t busy;        /* code requests a second at this gateway; above, work grows in proportion */
    uint32_t busy_max;    /* by at most this factor */
    uint64_t life_ms;
    uint32_t ipv4_bits; /* of the network that a challenge is bound to */
    uint32_t ipv6_bits;
    uint32_t spent_entries;
};
extern const struct conf_section challenge_conf_section;
extern const char *const challenge_level_names[]; /* by enum pow_level: "none", "pow", "pow_hard" */

#endif

/* The section `attack` of the configuration: when the attack ladder moves by itself, and what it does to sign-up.
 *
 * Thread rule: immutable once read. */
#ifndef TIDE_GATEWAY_ATTACK_CONF_H
#define TIDE_GATEWAY_ATTACK_CONF_H

#include "base/conf.h"
#include "ratelimit/attack_ladder.h"

struct attack_conf {
    bool is_automatic;
    const char *preset;           /* the policy of A2 */
    uint32_t sms_percent;         /* of the SMS budgets that sign-ups have from A1 on; 50 */
    uint32_t connections_percent; /* of the limits per address, at A4; 25 */
    uint64_t window_ms;           /* over which rates are smoothed */
    struct ladder_conf ladder;
};
extern const struct conf_section attack_conf_section;

/* What a level leaves: of the SMS budgets to sign-ups, of the limits on connections to each address. */
uint32_t attack_sms_percent(const struct attack_conf *c, int level);
uint32_t attack_connections_percent(const struct attack_conf *c, int level);

#endif

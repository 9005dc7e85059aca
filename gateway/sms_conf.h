/* The section `sms` of the configuration: what a message costs, and when a prefix is taken for pumped.
 *
 * Prices feed the rules of unit money at the event sms (section limits) and `tidectl sms top`; the longest prefix wins.
 * Thread rule: const data. */
#ifndef TIDE_GATEWAY_SMS_CONF_H
#define TIDE_GATEWAY_SMS_CONF_H

#include <stdint.h>

#include "base/conf.h"
#include "ratelimit/sms_ledger.h"

struct sms_price_row {
    const char *prefix; /* "+86", "+1242" */
    const char *price;
    uint64_t millionths; /* price: set by the check */
};

struct sms_conf {
    const char *currency;    /* a word for people */
    const char *price;       /* of a number that no row names */
    uint64_t millionths;     /* price: set by the check */
    struct conf_list prices; /* of struct sms_price_row */
    struct sms_guard_conf guard;
    uint32_t login_reserve; /* percent of each budget that is kept for numbers with an account; 20 */
};
extern const struct conf_section sms_conf_section;

/* Of a message to a number that begins like this; millionths. */
uint64_t sms_price(const struct sms_conf *c, struct str number);

#endif

/* The section `bans` of the configuration.
 *
 * Thread rule: immutable once read. */
#ifndef TIDE_GATEWAY_BANS_CONF_H
#define TIDE_GATEWAY_BANS_CONF_H

#include "base/conf.h"

struct bans_conf {
    uint32_t most;   /* entries */
    uint64_t ttl_ms; /* of a ban that names none */
};
extern const struct conf_section bans_conf_section;

#endif

/* The section `ramp` of the configuration: what stops a policy that comes into force in stages.
 *
 * Thread rule: immutable once read. */
#ifndef TIDE_GATEWAY_RAMP_CONF_H
#define TIDE_GATEWAY_RAMP_CONF_H

#include "base/conf.h"

struct ramp_conf {
    uint64_t window_ms;      /* of code requests that are looked at */
    uint32_t attempts;       /* within it; fewer say nothing */
    uint32_t failed_percent; /* of them that may fail */
    uint32_t budget_percent; /* of each SMS budget that has to be left */
};
extern const struct conf_section ramp_conf_section;

#endif

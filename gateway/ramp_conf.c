/* Names, defaults and ranges of the section `ramp`. */
#include "gateway/ramp_conf.h"

#define FIELD(field_) CONF_FIELD(struct ramp_conf, field_)

static const struct conf_entry entries[] = {
    {.name = "window",
     .type = CONF_DURATION,
     FIELD(window_ms),
     .preset = "30s",
     .min = 1000,
     .max = 3600000,
     .flags = CONF_RELOADABLE,
     .help = "How far back each gateway looks at its code requests."},
    {.name = "attempts",
     .type = CONF_INT,
     FIELD(attempts),
     .preset = "20",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Code requests of one gateway within the window; fewer say nothing."},
    {.name = "failed_percent",
     .type = CONF_INT,
     FIELD(failed_percent),
     .preset = "20",
     .min = 1,
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "When more of them fail (5xx, limits, message not sent), the ramp stops. Who is refused by the "
             "policy itself is not counted."},
    {.name = "budget_percent",
     .type = CONF_INT,
     FIELD(budget_percent),
     .preset = "10",
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help =
         "When less is left of a budget of codes that all share (rules by all at sms), the ramp stops. 0: "
         "budgets are not looked at."},
};

const struct conf_section ramp_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct ramp_conf),
    .help =
        "What stops a policy that comes into force in stages (tidectl policy ramp), beside attack level A2 "
        "and a prefix blocked by sms.guard.",
};

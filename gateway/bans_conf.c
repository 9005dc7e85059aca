/* Names, defaults and ranges of the section `bans`. */
#include "gateway/bans_conf.h"

static const struct conf_entry entries[] = {
    {.name = "most",
     .type = CONF_INT,
     CONF_FIELD(struct bans_conf, most),
     .preset = "200000",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Bans and allowances in all; a change that would pass it is refused. About 150 bytes each."},
    {.name = "ttl",
     .type = CONF_DURATION,
     CONF_FIELD(struct bans_conf, ttl_ms),
     .preset = "4h",
     .min = 1000,
     .max = 31536000000.,
     .flags = CONF_RELOADABLE,
     .help = "How long a ban holds that names no time. An allowance that names none has no end."},
};
const struct conf_section bans_conf_section = {
    .entries = entries, .count = CONF_COUNT(entries), .size = sizeof(struct bans_conf)};

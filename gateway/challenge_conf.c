/* Names, defaults and ranges of the section `challenge`. */
#include "gateway/challenge_conf.h"

const char *const challenge_level_names[] = {"none", "pow", "pow_hard", NULL};

static const struct conf_entry challenge_entries[] = {
    {.name = "level",
     .type = CONF_ENUM,
     CONF_FIELD(struct challenge_conf, level),
     .preset = "none",
     .names = challenge_level_names,
     .flags = CONF_RELOADABLE,
     .help = "Asked of every code request that may make an account; policy, suspicion and the attack ladder "
             "may ask for more."},
    {.name = "work",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, work),
     .preset = "50000",
     .min = 1,
     .max = POW_WORK_MAX,
     .flags = CONF_RELOADABLE,
     .help =
         "Level pow: SHA-256 tries at most, half of them on average. 50000 are about 0.3 s in a desktop's "
         "browser, 1 to 2 s in a cheap phone's."},
    {.name = "hard_work",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, hard_work),
     .preset = "400000",
     .min = 1,
     .max = POW_WORK_MAX,
     .flags = CONF_RELOADABLE,
     .help = "Level pow_hard, likewise."},
    {.name = "busy",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, busy),
     .preset = "50",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Code requests a second at this gateway up to which that is all; at three times as many, "
             "challenges are three times as hard."},
    {.name = "busy_max",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, busy_max),
     .preset = "8",
     .min = 1,
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "The most that load makes them harder. 1: load makes no difference."},
    {.name = "life",
     .type = CONF_DURATION,
     CONF_FIELD(struct challenge_conf, life_ms),
     .preset = "3m",
     .min = 10000,
     .max = 1800000,
     .flags = CONF_RELOADABLE,
     .help = "A challenge has to be solved and sent within."},
    {.name = "ipv4_prefix",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, ipv4_bits),
     .preset = "24",
     .min = 8,
     .max = 32,
     .flags = CONF_RELOADABLE,
     .help = "Bits of the client's network that a challenge is bound to: phones change addresses, seldom "
             "networks."},
    {.name = "ipv6_prefix",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, ipv6_bits),
     .preset = "48",
     .min = 16,
     .max = 128,
     .flags = CONF_RELOADABLE,
     .help = "Likewise, IPv6."},
    {.name = "spent_entries",
     .type = CONF_INT,
     CONF_FIELD(struct challenge_conf, spent_entries),
     .preset = "65536",
     .min = 1024,
     .max = 16777216,
     .help =
         "Used challenges that this process remembers, 26 bytes each; Redis (the ledger) knows all of them."},
};

static int check_challenge(void *section, const char **field, struct err *err)
{
    const struct challenge_conf *c = section;
    *field = "hard_work";
    return c->hard_work >= c->work
               ? 0
               : err_set(err, ERR_INVALID, "must not be easier than challenge.work (%u)", c->work);
}

const struct conf_section challenge_conf_section = {
    .entries = challenge_entries,
    .count = CONF_COUNT(challenge_entries),
    .size = sizeof(struct challenge_conf),
    .check = check_challenge,
    .help = "Proof of work after ALTCHA v2 before a code is sent (docs/proof-of-work.md).",
};

/* Names, defaults and ranges of the section `attack`. */
#include "gateway/attack_conf.h"

#include "auth/policy.h"

#define FIELD(field_) CONF_FIELD(struct attack_conf, field_)
#define DURATION(name_, field_, preset_, help_)                                                              \
    {                                                                                                        \
        .name = (name_), .type = CONF_DURATION, FIELD(field_), .preset = (preset_), .min = 1000,             \
        .max = 86400000, .flags = CONF_RELOADABLE, .help = (help_)                                           \
    }
#define FACTOR(name_, i_, preset_, help_)                                                                    \
    {                                                                                                        \
        .name = (name_), .type = CONF_F64, FIELD(ladder.factors[i_]), .preset = (preset_), .min = 1,         \
        .max = 1e6, .flags = CONF_RELOADABLE, .help = (help_)                                                \
    }

static const struct conf_entry entries[] = {
    {.name = "automatic",
     .type = CONF_BOOL,
     FIELD(is_automatic),
     .preset = "true",
     .flags = CONF_RELOADABLE,
     .help = "false: only `tidectl attack set` moves the ladder."},
    {.name = "preset",
     .type = CONF_STRING,
     FIELD(preset),
     .preset = "mainland-phone-only",
     .flags = CONF_RELOADABLE,
     .help =
         "The policy that A2 puts in force over one that lets in everybody; A3 is `closed`. What was there "
         "before comes back, unless somebody changed it meanwhile."},
    {.name = "sms_percent",
     .type = CONF_INT,
     FIELD(sms_percent),
     .preset = "50",
     .min = 10,
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "From A1 on sign-ups have this part of the budgets of codes by SMS: each of their codes is "
             "counted as two "
             "(50), or ten (10)."},
    {.name = "connections_percent",
     .type = CONF_INT,
     FIELD(connections_percent),
     .preset = "25",
     .min = 1,
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "At A4 an address has this part of http.connections_per_address and "
             "http.new_connections_per_second, at least one. Open connections stay."},
    {.name = "floor",
     .type = CONF_INT,
     FIELD(ladder.floor_per_min),
     .preset = "100",
     .min = 1,
     .max = 10000000,
     .flags = CONF_RELOADABLE,
     .help = "Code requests a minute, of all gateways, up to which nothing is an attack."},
    FACTOR("a1_factor", 0, "5", "A1: so many times the requests of quiet times, and they look bad."),
    FACTOR("a2_factor", 1, "20", "A2 at once: so many times."),
    FACTOR("a3_factor", 2, "50", "A3 at once: so many times."),
    {.name = "refused_percent",
     .type = CONF_INT,
     FIELD(ladder.refused_percent),
     .preset = "50",
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "Requests look bad when more of them are refused (limits, also for want of Redis, policy, "
             "challenges)."},
    {.name = "failed_percent",
     .type = CONF_INT,
     FIELD(ladder.failed_percent),
     .preset = "20",
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "They also look bad when more of them fail on our side: the database, or the SMS provider."},
    {.name = "verified_percent",
     .type = CONF_INT,
     FIELD(ladder.verified_percent),
     .preset = "30",
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "They also look bad when fewer of the codes tried are right."},
    DURATION("hold", ladder.hold_ms, "60s",
             "For so long, until the ladder goes up to A1, or at once further."),
    DURATION("worse", ladder.worse_ms, "120s", "A2: when A1 has not ended it for so long."),
    DURATION("halve", ladder.halve_ms, "5m", "A3: when A2 has not halved the requests for so long."),
    DURATION("calm", ladder.calm_ms, "10m", "Down one step after so long below 70 % of the threshold of A1."),
    {.name = "moves",
     .type = CONF_INT,
     FIELD(ladder.moves_per_h),
     .preset = "4",
     .min = 1,
     .max = 10000,
     .flags = CONF_RELOADABLE,
     .help = "Moves by itself an hour; past them it stays up (metric tidegate_attack_frozen)."},
    DURATION("window", window_ms, "10s", "Rates are smoothed over so long."),
};

static int check(void *section, const char **field, struct err *err)
{
    const struct attack_conf *c = section;
    if (policy_preset(str_from(c->preset)) == NULL) {
        *field = "preset";
        return err_set(err, ERR_INVALID, "there is no such preset");
    }
    if (c->ladder.factors[0] > c->ladder.factors[1] || c->ladder.factors[1] > c->ladder.factors[2]) {
        *field = "a2_factor";
        return err_set(err, ERR_INVALID, "the factors rise from A1 to A3");
    }
    return 0;
}

const struct conf_section attack_conf_section = {.entries = entries,
                                                 .count = CONF_COUNT(entries),
                                                 .size = sizeof(struct attack_conf),
                                                 .check = check,
                                                 .help =
                                                     "The attack ladder: A1 asks for proof of work, A2 "
                                                     "restricts sign-up, A3 closes it, A4 (by hand) asks for "
                                                     "proof of work at log-in as well, and allows an address "
                                                     "fewer connections."};

uint32_t attack_sms_percent(const struct attack_conf *c, int level)
{
    return level >= 1 ? c->sms_percent : 100;
}

uint32_t attack_connections_percent(const struct attack_conf *c, int level)
{
    return level >= 4 ? c->connections_percent : 100;
}

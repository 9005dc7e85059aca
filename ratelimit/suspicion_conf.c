/* Names, defaults and ranges of the section `suspicion`. */
#include "ratelimit/suspicion.h"

static const char *const modes[] = {"off", "observe", "enforce", NULL};

static const struct conf_entry weight_entries[] = {
    {.name = "ja4_accounts",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_JA4_ACCOUNTS]),
     .preset = "20",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "One kind of TLS client (JA4) in one network (IPv4 /24, IPv6 /48) asked for codes "
             "for more than `ja4_numbers` numbers."},
    {.name = "prefix_heat",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_PREFIX_HEAT]),
     .preset = "20",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "More than `prefix_requests` codes were asked for numbers of this prefix."},
    {.name = "failure_ratio",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_FAILURE_RATIO]),
     .preset = "30",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "Of the codes that this network asked for, few were used."},
    {.name = "attestation",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_ATTESTATION]),
     .preset = "0",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "The device was to attest itself and could not. Accounts ask no device to do so yet: it never "
             "speaks."},
    {.name = "velocity",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_VELOCITY]),
     .preset = "20",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "This address (IPv4 /32, IPv6 /64) asked more than `velocity_requests` times."},
    {.name = "disposable_email",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_DISPOSABLE_EMAIL]),
     .preset = "30",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help =
         "The e-mail address belongs to a throw-away service. Accounts take no e-mail yet: it never speaks."},
    {.name = "hosting_asn",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_HOSTING_ASN]),
     .preset = "20",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "The client's network is a data centre's."},
    {.name = "honeypot",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_weights, of[SUSPICION_HONEYPOT]),
     .preset = "40",
     .max = 1000,
     .flags = CONF_RELOADABLE,
     .help = "The address asked for one of `trap_paths` lately, or filled `trap_field`."},
};

static const struct conf_section weights_section = {
    .entries = weight_entries, .count = CONF_COUNT(weight_entries), .size = sizeof(struct suspicion_weights)};

static const struct conf_entry suspicion_entries[] = {
    {.name = "mode",
     .type = CONF_ENUM,
     CONF_FIELD(struct suspicion_conf, mode),
     .preset = "observe",
     .names = modes,
     .flags = CONF_RELOADABLE,
     .help = "off: nothing is counted; observe: scored and recorded, nothing follows; enforce: "
             "scores ask for proof of work, and deny."},
    {.name = "weights",
     .type = CONF_SECTION,
     CONF_FIELD(struct suspicion_conf, weights),
     .section = &weights_section,
     .flags = CONF_RELOADABLE,
     .help = "Points that each signal adds. 0: that signal is off."},
    {.name = "challenge_at",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, challenge_at),
     .preset = "30",
     .min = 1,
     .max = 10000,
     .flags = CONF_RELOADABLE,
     .help = "From this score on a code request has to show proof of work (level pow)."},
    {.name = "hard_at",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, hard_at),
     .preset = "60",
     .min = 1,
     .max = 10000,
     .flags = CONF_RELOADABLE,
     .help = "Likewise, level pow_hard."},
    {.name = "deny_at",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, deny_at),
     .preset = "100",
     .max = 10000,
     .flags = CONF_RELOADABLE,
     .help = "From this score on a code request that may make an account is refused "
             "(abnormal_usage). 0: never. Nobody is denied while Redis is away."},
    {.name = "ja4_numbers",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, ja4_numbers),
     .preset = "30",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Numbers, in `window`, up to which ja4_accounts is silent."},
    {.name = "prefix_requests",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, prefix_requests),
     .preset = "20",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Requests, in `prefix_window`, up to which prefix_heat is silent."},
    {.name = "failure_requests",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, failure_requests),
     .preset = "10",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Requests, in `window`, up to which failure_ratio is silent."},
    {.name = "failure_percent",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, failure_percent),
     .preset = "30",
     .min = 1,
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "failure_ratio: fewer than so many of a hundred codes were used."},
    {.name = "velocity_requests",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, velocity_requests),
     .preset = "5",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Requests, in `velocity_window`, up to which velocity is silent."},
    {.name = "window",
     .type = CONF_DURATION,
     CONF_FIELD(struct suspicion_conf, window_ms),
     .preset = "1h",
     .min = 10000,
     .max = 86400000,
     .flags = CONF_RELOADABLE,
     .help = "What ja4_accounts and failure_ratio look at, from the first request on."},
    {.name = "prefix_window",
     .type = CONF_DURATION,
     CONF_FIELD(struct suspicion_conf, prefix_window_ms),
     .preset = "10m",
     .min = 10000,
     .max = 86400000,
     .flags = CONF_RELOADABLE,
     .help = "What prefix_heat looks at."},
    {.name = "velocity_window",
     .type = CONF_DURATION,
     CONF_FIELD(struct suspicion_conf, velocity_window_ms),
     .preset = "1m",
     .min = 1000,
     .max = 86400000,
     .flags = CONF_RELOADABLE,
     .help = "What velocity looks at."},
    {.name = "trap_life",
     .type = CONF_DURATION,
     CONF_FIELD(struct suspicion_conf, trap_ms),
     .preset = "1h",
     .min = 10000,
     .max = 86400000,
     .flags = CONF_RELOADABLE,
     .help = "How long a step into a trap is held against an address."},
    {.name = "hosting_asns",
     .type = CONF_STRINGS,
     CONF_FIELD(struct suspicion_conf, hosting_asns),
     .preset = "14061,14618,16276,16509,20473,24940,31898,36352,37963,45090,45102,46606,51167,60068,60781,"
               "62567,63949,8075,9009,132203,136907,396982",
     .max = 512,
     .flags = CONF_RELOADABLE,
     .help = "Autonomous systems of data centres, for hosting_asn; needs `geography`."},
    {.name = "trap_paths",
     .type = CONF_STRINGS,
     CONF_FIELD(struct suspicion_conf, trap_paths),
     .preset =
         "/.env,/.git/config,/admin.php,/phpmyadmin/,/vendor/phpunit/,/wp-admin/,/wp-login.php,/xmlrpc.php",
     .max = 64,
     .flags = CONF_RELOADABLE,
     .help = "Paths that nobody needs and scanners ask for; who does is marked. One that ends "
             "in a slash covers all below it."},
    {.name = "trap_field",
     .type = CONF_STRING,
     CONF_FIELD(struct suspicion_conf, trap_field),
     .preset = "website",
     .min = 1,
     .max = 32,
     .flags = CONF_RELOADABLE,
     .help = "A member of `data` of a code request that no form shows to people: filled, it is "
             "a robot."},
    {.name = "records",
     .type = CONF_INT,
     CONF_FIELD(struct suspicion_conf, records),
     .preset = "600",
     .max = 60000,
     .flags = CONF_RELOADABLE,
     .help = "Decisions that each loop keeps a minute in signup_scores, for `tidectl explain`."},
};

static int check_suspicion(void *section, const char **field, struct err *err)
{
    const struct suspicion_conf *c = section;
    uint64_t asn;
    *field = "hard_at";
    if (c->hard_at < c->challenge_at) {
        return err_set(err, ERR_INVALID, "must not be below suspicion.challenge_at (%u)", c->challenge_at);
    }
    *field = "deny_at";
    if (c->deny_at != 0 && c->deny_at < c->hard_at) {
        return err_set(err, ERR_INVALID, "must not be below suspicion.hard_at (%u)", c->hard_at);
    }
    *field = "hosting_asns";
    for (unsigned i = 0; i < c->hosting_asns.n; i++) {
        if (!str_u64(str_from(c->hosting_asns.items[i]), &asn) || asn == 0 || asn > UINT32_MAX) {
            return err_set(err, ERR_INVALID, "\"%s\" is no number of an autonomous system",
                           c->hosting_asns.items[i]);
        }
    }
    *field = "trap_paths";
    for (unsigned i = 0; i < c->trap_paths.n; i++) {
        if (c->trap_paths.items[i][0] != '/' || !c->trap_paths.items[i][1]) {
            return err_set(err, ERR_INVALID, "\"%s\" is no path", c->trap_paths.items[i]);
        }
    }
    return 0;
}

const struct conf_section suspicion_conf_section = {
    .entries = suspicion_entries,
    .count = CONF_COUNT(suspicion_entries),
    .size = sizeof(struct suspicion_conf),
    .check = check_suspicion,
    .help = "A score for each request for a code: the sum of the weights of the signals that speak "
            "(docs/suspicion.md).",
};

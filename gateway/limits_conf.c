#include "gateway/limits_conf.h"

#include <stdlib.h>

#include "gateway/routes.h"

#define ROW(field_) CONF_FIELD(struct limit_row, field_)

static const struct conf_entry rule_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     ROW(name),
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "a-z 0-9 _; in metrics, headers and Redis keys."},
    {.name = "by",
     .type = CONF_STRING,
     ROW(by),
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help =
         "What is counted: address (see prefixes), device, phone, phone_prefix, phone_country, account, "
         "apikey, "
         "route, "
         "ja4 (kind of TLS client, as it shows itself: apart from rare kinds, millions share one), model; "
         "asn (network operator of the address, where geography knows it), all (everything together, one "
         "bucket); "
         "several joined with +. A request without a value is not "
         "concerned."},
    {.name = "at",
     .type = CONF_STRING,
     ROW(at),
     .preset = "*",
     .flags = CONF_RELOADABLE,
     .help = "Routes by name, or events (sms, signup_denied, invite, waitlist), separated by commas. \"*\": "
             "every route."},
    {.name = "limit",
     .type = CONF_STRING,
     ROW(limit),
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Units a period: 50/1s, 5/1h, 7000000/1m. Of unit concurrent: a count."},
    {.name = "burst",
     .type = CONF_STRING,
     ROW(burst),
     .flags = CONF_RELOADABLE,
     .help = "Units at once. Not given: the count of `limit`."},
    {.name = "on_error",
     .type = CONF_STRING,
     ROW(on_error),
     .preset = "local",
     .flags = CONF_RELOADABLE,
     .help = "While Redis is away: local (this gateway's share of the rate), open, closed."},
    {.name = "role",
     .type = CONF_STRING,
     ROW(role),
     .preset = "limits",
     .flags = CONF_RELOADABLE,
     .help = "Which server keeps it: limits, or ledger (what must not be evicted)."},
    {.name = "unit",
     .type = CONF_STRING,
     ROW(unit),
     .preset = "requests",
     .flags = CONF_RELOADABLE,
     .help =
         "requests; tokens: reserved as estimated, settled when they are known; concurrent: requests that "
         "run at once, free again when they end, and within 9 s when their gateway is killed; money: what a "
         "message costs by sms.prices, limits like 50/1d or 0.5/1h in that currency."},
    {.name = "address",
     .type = CONF_STRING,
     ROW(address),
     .flags = CONF_RELOADABLE,
     .help = "4 or 6: the row is for that family only."},
    {.name = "prefixes",
     .type = CONF_STRING,
     ROW(prefixes),
     .flags = CONF_RELOADABLE,
     .help =
         "Rules by address: what counts as one source, like \"32 24x16 64 56x4 48x16\". 24 to 32 bits are "
         "IPv4, 48 to 128 IPv6; xM gives that prefix M times the limit and burst, as a rule NAME_BITS. "
         "Not given: 32 64."},
    {.name = "lease",
     .type = CONF_STRING,
     ROW(lease),
     .preset = "auto",
     .flags = CONF_RELOADABLE,
     .help =
         "auto: a key asked for 20 times a second is served from units taken in advance, without asking "
         "Redis each time; in a window W at most burst + rate * (W + 1 s) pass. off: never. Rules of tokens, "
         "of what runs at once and of the ledger are never leased."},
    {.name = "newcomers",
     .type = CONF_STRING,
     ROW(newcomers),
     .preset = "auto",
     .flags = CONF_RELOADABLE,
     .help = "auto: the first two requests of an address or a device are counted in this process, so that a "
             "flood of "
             "invented ones does not fill Redis; rules with a burst of 8 or more that are neither closed nor "
             "of the ledger. exact: "
             "never."},
    {.name = "shadow",
     .type = CONF_BOOL,
     ROW(shadow),
     .preset = "false",
     .flags = CONF_RELOADABLE,
     .help = "Counted and reported, never enforced."},
};
/* Compiled alone, so that what is wrong with a row is told with its line. */
static int check_rule(void *section, const char **field, struct err *err)
{
    (void)field; /* the text names it */
    struct limit_rules *rules = limit_rules_new(section, 1, err);
    limit_rules_unref(rules);
    return rules ? 0 : ERR_INVALID;
}

static const struct conf_section rule_section = {.entries = rule_entries,
                                                 .count = CONF_COUNT(rule_entries),
                                                 .size = sizeof(struct limit_row),
                                                 .check = check_rule};

#define FIELD(field_) CONF_FIELD(struct limits_conf, field_)

static const struct conf_entry entries[] = {
    {.name = "redis",
     .type = CONF_OPTION,
     FIELD(redis),
     .section = &redis_conf_section,
     .help = "Where limits are counted, for all gateways together. Without it each gateway counts alone."},
    {.name = "ledger",
     .type = CONF_OPTION,
     FIELD(ledger),
     .section = &redis_conf_section,
     .help = "Another server for rules with role: ledger. Not given: the same."},
    {.name = "rules",
     .type = CONF_LIST,
     FIELD(rules),
     .section = &rule_section,
     .max = LIMIT_RULES_MAX,
     .flags = CONF_RELOADABLE,
     .help =
         "Further rules; one with the name of a shipped rule replaces it. With the shipped ones, and each "
         "prefix "
         "that has a factor counted as one, 256 at most (metric tidegate_limits_rules), 24 at one route."},
    {.name = "shipped_rules",
     .type = CONF_BOOL,
     FIELD(shipped_rules),
     .preset = "true",
     .flags = CONF_RELOADABLE,
     .help = "Whether the rules that come with the program are in force (tidectl get limits shows them)."},
    {.name = "headers",
     .type = CONF_BOOL,
     FIELD(headers),
     .preset = "true",
     .flags = CONF_RELOADABLE,
     .help = "RateLimit and RateLimit-Policy also on answers that passed. Refusals always have them."},
    {.name = "key_file",
     .type = CONF_STRING,
     FIELD(key_file),
     .flags = CONF_SECRET_FILE,
     .help = "Any 16 bytes or more, the same on all gateways: hashes what is counted. Not given: from the "
             "key ring of "
             "accounts, and without accounts a built-in value, so that who reads Redis can guess addresses."},
    {.name = "fallback_entries",
     .type = CONF_INT,
     FIELD(fallback_entries),
     .preset = "262144",
     .min = 1024,
     .max = 67108864,
     .help =
         "Keys counted in this process while Redis is away, 26 bytes each; the soonest to end are dropped."},
    {.name = "deny_entries",
     .type = CONF_INT,
     FIELD(deny_entries),
     .preset = "262144",
     .min = 1024,
     .max = 67108864,
     .help = "Keys that are known to be refused, 26 bytes each."},
    {.name = "lease_entries",
     .type = CONF_INT,
     FIELD(lease_entries),
     .preset = "65536",
     .min = 1024,
     .max = 16777216,
     .help = "Keys watched for being busy (lease: auto), 64 bytes each."},
    {.name = "newcomer_entries",
     .type = CONF_INT,
     FIELD(newcomer_entries),
     .preset = "1048576",
     .min = 1024,
     .max = 67108864,
     .help = "New addresses and devices that are remembered (newcomers: auto), 16 bytes each."},
    {.name = "deny_max",
     .type = CONF_DURATION,
     FIELD(deny_ms),
     .preset = "1s",
     .max = 60000,
     .help = "How long a refusal is repeated without asking Redis again."},
    {.name = "heartbeat",
     .type = CONF_DURATION,
     FIELD(heartbeat_ms),
     .preset = "3s",
     .min = 100,
     .max = 60000,
     .help = "How often a gateway tells the others that it lives; the shares of `on_error: local` follow "
             "from it."},
};

const struct conf_section limits_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct limits_conf),
    .help = "Rate limits: exact GCRA in Redis, all rules of a request in one call, all or nothing.",
};

/* --- rows to rules --------------------------------------------------------------------------------- */

static bool is_replaced(const struct limits_conf *conf, const char *name)
{
    const struct limit_row *rows = conf->rules.items;
    for (unsigned i = 0; i < conf->rules.n; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool point_exists(const struct route_table *routes, const char *name)
{
    static const char *const events[] = {"sms", "signup_denied", "invite", "waitlist"};
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (strcmp(name, events[i]) == 0) {
            return true;
        }
    }
    const struct route_entry *e = NULL;
    for (unsigned i = 0; (e = route_at(routes, i)) != NULL; i++) {
        if (strcmp(e->route.name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A row of the file for a route that does not exist would limit nothing, silently. */
static int check_points(const struct limits_conf *conf, const struct route_table *routes, struct err *err)
{
    struct limit_rules *written = limit_rules_new(conf->rules.items, conf->rules.n, err);
    struct limit_rules *shipped = limit_rules_new(limit_rows_default, limit_rows_default_count, NULL);
    int rc = written ? 0 : ERR_INVALID;
    BUG_ON(!shipped);
    for (unsigned i = 0; rc == 0 && limit_rules_point(written, i); i++) {
        const char *name = limit_rules_point(written, i);
        if (!point_exists(routes, name) && !limit_rules_names(shipped, str_from(name))) {
            rc = err_set(err, ERR_INVALID, "limits.rules: at: there is no route or event \"%s\"", name);
        }
    }
    limit_rules_unref(written);
    limit_rules_unref(shipped);
    return rc;
}

bool limits_conf_has_row(const struct limits_conf *conf, const char *name)
{
    for (unsigned i = 0; conf->shipped_rules && i < limit_rows_default_count; i++) {
        if (strcmp(limit_rows_default[i].name, name) == 0) {
            return true;
        }
    }
    return is_replaced(conf, name);
}

static void rows_change(struct limit_row *rows, unsigned n, const struct limit_change *change)
{
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(rows[i].name, change->rule) == 0) {
            rows[i].limit = change->limit;
            rows[i].burst = change->burst;
        }
    }
}

struct limit_rules *limits_rules_build(const struct limits_conf *conf, const struct route_table *routes,
                                       const struct limit_change *changes, unsigned change_count,
                                       struct err *err)
{
    if (check_points(conf, routes, err) != 0) {
        return NULL;
    }
    struct limit_row *rows = calloc(conf->rules.n + limit_rows_default_count + 1, sizeof(*rows));
    BUG_ON(!rows);
    unsigned n = 0;
    for (unsigned i = 0; conf->shipped_rules && i < limit_rows_default_count; i++) {
        if (!is_replaced(conf, limit_rows_default[i].name)) {
            rows[n++] = limit_rows_default[i];
        }
    }
    for (unsigned i = 0; i < conf->rules.n; i++) {
        rows[n++] = ((const struct limit_row *)conf->rules.items)[i];
    }
    for (unsigned i = 0; i < change_count; i++) {
        rows_change(rows, n, &changes[i]);
    }
    struct limit_rules *rules = limit_rules_new(rows, n, err);
    free(rows);
    return rules;
}

/* The section `limits` of the configuration: where Redis is, which rules there are, how much memory they may use.
 * Not what rules mean (ratelimit/rules.h).
 * Thread rule: const tables; built rules are immutable and counted. */
#ifndef TIDE_GATEWAY_LIMITS_CONF_H
#define TIDE_GATEWAY_LIMITS_CONF_H

#include "base/conf.h"
#include "base/redis.h"
#include "ratelimit/rules.h"

struct limits_conf {
    struct redis_conf *redis;  /* NULL: no Redis; every rule falls back, the ledger's too */
    struct redis_conf *ledger; /* NULL: the same as redis */
    struct conf_list rules;    /* of struct limit_row */
    bool shipped_rules;        /* those of rules_default.c as well; a row of the same name replaces one */
    bool headers;              /* RateLimit and RateLimit-Policy also on answers that were let pass */
    const char *key_file;      /* NULL: from the key ring of accounts */
    uint32_t fallback_entries;
    uint32_t deny_entries;
    uint32_t lease_entries;
    uint32_t newcomer_entries;
    uint32_t deny_ms;
    uint32_t heartbeat_ms;
};
extern const struct conf_section limits_conf_section;

/* Other numbers for a row, whatever file or program say. */
struct limit_change {
    const char *rule;
    const char *limit;
    const char *burst; /* NULL: limit's number */
};

struct route_table;
/* Rows of the file and the shipped ones, compiled. Names of routes in `at` must exist in the table, or be events,
 * or be named by a shipped row. A change of a row that is not there is left out. */
struct limit_rules *limits_rules_build(const struct limits_conf *conf, const struct route_table *routes,
                                       const struct limit_change *changes, unsigned change_count,
                                       struct err *err);
bool limits_conf_has_row(const struct limits_conf *conf, const char *name); /* of the file, or shipped */

#endif

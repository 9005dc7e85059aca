/* The limits as rows of configuration, compiled: what is counted (dimensions), where (points), how
 * much (GCRA), and what happens while Redis is away.
 *
 * A point is the name of a route ("chat", "auth_otp"), "*" for every route, or an event that a
 * handler raises itself ("sms", "signup_denied"; "*" does not cover events). A row whose dimension
 * has no value in a request (no device sent, no account) does not apply to it.
 *
 *     rows (text) -> limit_rules_new -> immutable, reference-counted -> limit_rules_at(point)
 *
 * Key in Redis: "rl:<rule>:<32 hex digits>" ("rc:" of what runs at once), a keyed SipHash-128 of the rule's name and
 * its dimension values: bounded length, and nothing about a person without the key. In a Cluster with a hash tag
 * before the digits (limiter_key.h).
 * Changing a row's numbers keeps its state: what Redis holds is a time, not a count.
 * Errors: ERR_INVALID, naming rule and field (the configuration adds the line).
 * Thread rule: made on one thread, then only read; references are atomic. */
#ifndef TIDE_RATELIMIT_RULES_H
#define TIDE_RATELIMIT_RULES_H

#include "base/addr.h"
#include "base/err.h"
#include "base/metrics.h"
#include "base/str.h"
#include "ratelimit/gcra.h"

enum limit_dimension {
    LIMIT_BY_ADDRESS = 0,      /* "address": IPv4 /32 or IPv6 /64 */
    LIMIT_BY_DEVICE = 1,       /* "device": as sent by the app, untrusted */
    LIMIT_BY_PHONE = 2,        /* "phone": canonical E.164 */
    LIMIT_BY_PHONE_PREFIX = 3, /* "phone_prefix": country code and the first digits */
    LIMIT_BY_ACCOUNT = 4,      /* "account": the verified token's subject */
    LIMIT_BY_APIKEY = 5,       /* "apikey" */
    LIMIT_BY_ROUTE = 6, /* "route": one bucket a route, in composites or alone for all clients together */
    LIMIT_BY_JA4 = 7,   /* "ja4": kind of TLS client, chosen by the client; in composites or wide */
    LIMIT_BY_MODEL = 8, /* "model": that a chat names */
    LIMIT_BY_PHONE_COUNTRY = 9, /* "phone_country": of the number */
    LIMIT_BY_ALL = 10,          /* "all": everything together, one bucket for the fleet */
    LIMIT_BY_ASN = 11,          /* "asn": network operator of the address, where it is known */
    LIMIT_DIMENSIONS = 12,
};
const char *limit_dimension_name(enum limit_dimension d);

enum limit_on_error {
    LIMIT_ON_ERROR_LOCAL = 0,  /* the same algorithm in this process with its share of the rate */
    LIMIT_ON_ERROR_OPEN = 1,   /* let pass */
    LIMIT_ON_ERROR_CLOSED = 2, /* refuse */
};

enum limit_role { LIMIT_ROLE_LIMITS = 0, LIMIT_ROLE_LEDGER = 1, LIMIT_ROLES = 2 };
enum limit_unit {
    LIMIT_UNIT_REQUESTS = 0,
    LIMIT_UNIT_TOKENS = 1,     /* reserved as estimated, settled after */
    LIMIT_UNIT_CONCURRENT = 2, /* running at once: given back when the request ends (concurrency.h) */
    LIMIT_UNIT_MONEY = 3,      /* what the request costs, in millionths; written "50/1d", "0.5/1h" */
    LIMIT_UNITS = 4,
};

/* One row as written. Texts are borrowed until limit_rules_new returns; NULL takes the default. */
struct limit_row {
    const char *name;     /* [a-z0-9_]{1,32}, unique */
    const char *by;       /* dimensions joined with '+': "address", "address+route" */
    const char *at;       /* points separated by spaces or commas; NULL = "*" */
    const char *limit;    /* "50/1s", "5/1h", "7000000/1m"; unit concurrent: "4" */
    const char *burst;    /* units; NULL = limit's number */
    const char *on_error; /* local (default) | open | closed */
    const char *role;     /* limits (default) | ledger */
    const char
        *unit; /* requests (default) | tokens: reserved as estimated, settled after | concurrent | money */
    const char *address; /* only rows by address: "4" or "6" narrows the row to that family; NULL = both */
    /* Only rows by address: what counts as one source, "32 24x16 64 56x4 48x16": 24 to 32 bits are IPv4, 48
     * to 128 IPv6; xM: that prefix may have M times the limit and burst. NULL = "32 64". Prefixes with a factor are rules
     * of their own, name_24. */
    const char *prefixes;
    const char *lease; /* auto (default) | off: units taken in advance for busy keys (lease.h) */
    const char
        *newcomers; /* auto (default) | exact: the first requests of a source count here (newcomers.h) */
    bool shadow;    /* counted and reported, never enforced */
};

enum { LIMIT_NAME_MAX = 32, LIMIT_RULES_MAX = 256, LIMIT_AT_MAX = 24 };

enum limit_outcome {
    LIMIT_ALLOWED = 0,
    LIMIT_DENIED = 1,           /* by Redis */
    LIMIT_DENIED_CACHED = 2,    /* by the deny cache */
    LIMIT_SHADOW_DENIED = 3,    /* would have been */
    LIMIT_FALLBACK_ALLOWED = 4, /* Redis away: let pass (local or open) */
    LIMIT_FALLBACK_DENIED = 5,  /* Redis away: refused (local or closed) */
    LIMIT_LEASED = 6,           /* allowed by a lease */
    LIMIT_NEWCOMER = 7,         /* allowed as one of the first requests of its source */
    LIMIT_RESERVED = 8,         /* denied: what is left is kept for others (struct limit_terms) */
    LIMIT_OUTCOMES = 9,
};
const char *limit_outcome_name(enum limit_outcome o);

struct limit_rule {
    char name[LIMIT_NAME_MAX + 1];
    uint8_t name_n;      /* bytes of it */
    uint16_t dimensions; /* bits 1 << enum limit_dimension */
    uint8_t family;      /* 0 both, 4, 6 */
    uint8_t bits4;       /* prefix that counts as one IPv4 source */
    uint8_t bits6;       /* likewise, IPv6 */
    bool shadow;
    bool leases;     /* busy keys may be leased */
    bool newcomers;  /* the first requests of a source count in this process */
    bool is_private; /* a budget of ours: clients are not told its numbers */
    bool is_shared;  /* no source or person alone uses it up: struct limit_terms apply to it */
    enum limit_on_error on_error;
    enum limit_role role;
    enum limit_unit unit;
    struct gcra gcra;
    int64_t inc_us;     /* of one unit */
    char key_head[48];  /* a key up to its hash: "rl:name:" */
    char args[96];      /* RESP of the script's three arguments for a cost of one unit */
    uint8_t key_head_n; /* bytes of it */
    uint8_t args_n;     /* bytes of it */
    uint8_t args_inc_n; /* bytes of the first of them */
    char policy[96];    /* item of RateLimit-Policy: "name";q=..;w=.. */
    uint8_t policy_n;   /* bytes of it */
    struct metric_child *outcomes[LIMIT_OUTCOMES]; /* tidegate_limits_decisions_total */
};

/* The rules of one point, enforced ones first. */
struct limit_set {
    const struct limit_rule *rules[LIMIT_AT_MAX];
    unsigned count;
    uint16_t dimensions; /* of all of them */
};

struct limit_rules;
struct limit_rules *limit_rules_new(const struct limit_row *rows, unsigned count, struct err *err);
struct limit_rules *limit_rules_ref(struct limit_rules *r);
void limit_rules_unref(struct limit_rules *r);
/* Of a route (with the rows at "*") or of an event (without). Never NULL. */
const struct limit_set *limit_rules_at(const struct limit_rules *r, struct str route);
const struct limit_set *limit_rules_at_event(const struct limit_rules *r, struct str event);
unsigned limit_rules_count(const struct limit_rules *r);
const struct limit_rule *limit_rules_get(const struct limit_rules *r, unsigned i);
/* Routes and events that rows name, for a check against those that exist; NULL past the last. */
const char *limit_rules_point(const struct limit_rules *r, unsigned i);
bool limit_rules_names(const struct limit_rules *r, struct str point);

/* What is shipped: sensible numbers for every room (rules_default.c). */
extern const struct limit_row limit_rows_default[];
extern const unsigned limit_rows_default_count;

#endif

/* The configuration of tidegate as one immutable, counted snapshot: the settings as read, and what is made from
 * them once (routes, certificates, issuers with their keys). Not the reading of YAML (base/conf.h).
 *
 *     config_load(path) -> refs 1 -> loops and requests take references -> the last config_unref frees it
 *
 * A new room adds its section to struct gateway_settings and one row to the table in config_table.c.
 * Errors: config_load leaves nothing behind; the text begins with FILE:LINE:COLUMN.
 * Thread rule: immutable after config_load; references from any thread. */
#ifndef TIDE_GATEWAY_CONFIG_H
#define TIDE_GATEWAY_CONFIG_H

#include <stdatomic.h>

#include "auth/auth.h"
#include "base/conf.h"
#include "base/http/server.h"
#include "base/jws.h"
#include "base/log.h"
#include "base/pg.h"
#include "gateway/admin_conf.h"
#include "gateway/challenge_conf.h"
#include "gateway/attack_conf.h"
#include "gateway/bans_conf.h"
#include "gateway/chat_conf.h"
#include "gateway/client_addr.h"
#include "gateway/geography.h"
#include "gateway/hooks_conf.h"
#include "gateway/limits_conf.h"
#include "gateway/proxy_conf.h"
#include "gateway/ramp_conf.h"
#include "gateway/sms_conf.h"
#include "ratelimit/suspicion.h"

struct route_table;

struct process_conf {
    uint32_t threads;    /* loops; 0: one a core */
    uint64_t drain_ms;   /* after SIGTERM: running answers may take this long */
    uint64_t retire_ms;  /* after an upgrade: likewise, in the process that was replaced */
    uint64_t upgrade_ms; /* an upgrade's new process has to be ready within */
    uint64_t memory_max; /* bytes that the process may have resident; 0: nine tenths of the control group's */
    uint32_t trace_requests; /* ended requests that each loop remembers */
    uint64_t handle_ms;      /* for handlers without deadlines of their own */
    uint64_t watchdog_ms;    /* a loop silent for this long is reported dead to the service manager */
    struct log_conf log;
    const char *access_log_file;      /* NULL: none; "-": stdout */
    const char *state_dir;            /* last known policy, revocations */
    struct conf_strings name_servers; /* none: those of /etc/resolv.conf */
};

struct issuer_row {
    const char *issuer;   /* claim iss */
    const char *audience; /* claim aud */
    const char *type;     /* header typ; NULL: JWT, at+jwt or absent */
    const char *keys;     /* PEM file or folder of KID.pem */
    bool needs_session;
};

struct identify_conf {
    uint32_t cache_entries;     /* verified tokens kept, a loop */
    uint32_t failures;          /* failed checks an address may make at once */
    uint64_t failure_period_ms; /* then one each */
    uint32_t spare_checks;      /* a second and loop, for addresses without failures left */
};

struct cors_conf {
    struct conf_strings origins; /* exact: "https://app.example.com"; none: CORS is off */
};

struct gateway_settings {
    struct process_conf process;
    struct conf_list listeners;    /* of struct http_listener_conf */
    struct conf_list certificates; /* of struct tls_cert_conf; the first is the default */
    const char *ticket_ring_file;  /* NULL: the ring of accounts */
    struct http_limits http;
    struct conf_prefixes trusted_proxies;
    struct geography_conf geography;
    struct cors_conf cors;
    struct conf_strings apikeys; /* publishable: apps send one as `apikey` */
    struct conf_list issuers;    /* of struct issuer_row, besides our own */
    struct identify_conf identify;
    struct pg_conf *database; /* NULL: none, accounts are off */
    struct auth_config *auth; /* NULL: accounts are off */
    struct limits_conf limits;
    struct challenge_conf challenge;
    struct bans_conf bans;
    struct attack_conf attack;
    struct ramp_conf ramp;
    struct suspicion_conf suspicion;
    struct hooks_conf hooks;
    struct sms_conf sms;
    struct chat_conf chat;
    struct proxy_conf proxy;
    struct admin_conf admin;
    struct http_listener_conf metrics;
};
extern const struct conf_section gateway_conf_section;

struct gateway_config {
    atomic_uint refs;
    uint64_t serial;                     /* counts loads in this process */
    struct conf *file;                   /* owned; holds `set` */
    const struct gateway_settings *set;  /* as read */
    struct client_addr_conf client_addr; /* trusted proxies, ready to use */
    struct route_table *routes;          /* owned */
    struct limit_rules *limits;          /* owned; of set->limits */
    struct tls_set *tls;                 /* owned; NULL: no certificate */
    struct tls_set *admin_tls;           /* owned; NULL: the admin API is not on TCP */
    struct jws_issuer *issuers;          /* owned; [0] is our own when has_own_issuer */
    struct jws_verifier verifier;        /* over issuers */
    bool has_own_issuer;                 /* accounts are on */
    struct secret_ring *secrets;         /* owned; NULL: accounts are off */
    /* Not NULL: this is that one with other limits; all else is borrowed from it, and a reference is held. */
    const struct gateway_config *original;
};

int config_load(const char *path, struct gateway_config **out, struct err *err) TIDE_CHECK;
const struct gateway_config *config_ref(const struct gateway_config *c);
void config_unref(const struct gateway_config *c);
/* The same with other rules, or as it was loaded: both take the reference to c and return one; rules are taken. */
const struct gateway_config *config_with_limits(const struct gateway_config *c, struct limit_rules *limits);
const struct gateway_config *config_without_changes(const struct gateway_config *c);

/* A loop's reference, counted by its requests without atomics: loops would otherwise pass one cache line around for every
 * request. Made and used on one loop. */
struct config_hold {
    const struct gateway_config *conf; /* a reference is held */
    unsigned refs;
};
struct config_hold *config_hold_new(const struct gateway_config *conf); /* takes the reference; refs 1 */
void config_hold_drop(struct config_hold *h);

#endif

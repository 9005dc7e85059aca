/* The configuration of tide-status: the structs that base/conf fills from /etc/tidegate/tide-status.yaml.
 *
 * Ownership and life: as in base/conf.h; everything is borrowed from the struct conf.
 * Thread rule: immutable. */
#ifndef TIDE_STATUS_SETTINGS_H
#define TIDE_STATUS_SETTINGS_H

#include "base/conf.h"
#include "base/http/server.h"
#include "base/log.h"
#include "base/pg.h"
#include "status/ops/ops_conf.h"

struct status_process_conf {
    uint32_t threads;  /* loops that answer the public */
    uint64_t drain_ms; /* after SIGTERM: running answers may take this long */
    struct log_conf log;
    const char *snapshot; /* file of the board; NULL: none is kept */
};

struct status_page_conf {
    const char *name;
    const char *url;
    uint64_t stale_after_ms;
};

struct status_probe_conf {
    const char *target;   /* "https://127.0.0.1:8443", without a slash at the end */
    const char *ca_file;  /* NULL: the system's */
    const char *apikey;   /* publishable key of the gateway; NULL: none is sent */
    uint64_t interval_ms; /* log-in, sign-up, list of models, SMS */
    uint64_t deadline_ms; /* of one such request */
    uint64_t slow_ms;     /* later than this is degraded */
    bool chat;            /* probe models by one-token completions */
    uint64_t chat_interval_ms;
    uint64_t chat_deadline_ms;
    uint64_t chat_slow_ms;
    uint64_t confirm_ms;        /* while the last result contradicts what is shown */
    struct conf_strings models; /* empty: those of /v1/models */
    const char *token_key;      /* ES256 PEM; NULL: no token is sent */
    const char *token_issuer;
    const char *token_audience;
    const char *metrics_url;    /* the gateway's; NULL: no SMS component from counters */
    const char *sms_health_url; /* of the hook; NULL: not asked */
};

struct status_incidents_conf {
    uint64_t open_after_ms;
    uint64_t update_gap_ms;
    uint64_t update_every_ms;
    uint64_t resolve_after_ms;
    uint64_t window_ms;
};

struct status_settings {
    struct status_process_conf process;
    struct conf_list listeners;    /* of struct http_listener_conf */
    struct conf_list certificates; /* of struct tls_cert_conf */
    struct http_limits http;
    struct http_listener_conf metrics;
    struct status_page_conf page;
    struct pg_conf *database; /* NULL: none */
    struct status_probe_conf probe;
    struct status_incidents_conf incidents;
    struct ops_conf *ops; /* NULL: no dashboard */
};

extern const struct conf_section status_conf_section;

#endif

/* Section `hooks`: the servers that Tidegate calls, each over HTTP with a Standard Webhooks signature.
 *
 * Thread rule: const data. */
#ifndef TIDE_GATEWAY_HOOKS_CONF_H
#define TIDE_GATEWAY_HOOKS_CONF_H

#include <stdint.h>

#include "base/conf.h"

enum { HOOK_PROVIDERS_MAX = 8 };

struct hook_conf {
    const char *name;        /* in metrics and reports; NULL: sms, sms2, ... */
    const char *url;         /* https, or http to a loopback address */
    const char *secret_file; /* whsec_... */
    const char *ca_file;     /* PEM; NULL: the system's */
    uint64_t timeout_ms;     /* of one try */
    uint64_t tries;          /* 1 and more */
    uint64_t backoff_ms;     /* between tries, doubled each time */
    bool is_loopback;        /* of url: set by the check */
};

/* A service that is asked how suspicious a request for a code is (risk.h). */
struct risk_conf {
    struct hook_conf hook; /* url NULL: there is none */
    uint32_t points;       /* that it may add at most */
    uint32_t silent;       /* added when it does not say in time, or not rightly */
    uint64_t in_flight;
};

struct hooks_conf {
    struct conf_list sms;     /* of struct hook_conf, in order of preference; none: no codes can be sent */
    uint64_t sms_deadline_ms; /* of a code, all providers and tries together */
    uint64_t in_flight;       /* codes at once; more are refused */
    struct risk_conf risk;
    struct conf_prefixes allowed_networks; /* beyond the public Internet */
};
extern const struct conf_section hooks_conf_section;

#endif

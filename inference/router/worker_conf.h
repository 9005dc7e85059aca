/* How a worker is configured: one item of `chat.workers`.
 * Ownership: texts belong to the configuration snapshot; worker_new copies what it keeps.
 * Thread rule: const. */
#ifndef TIDE_ROUTER_WORKER_CONF_H
#define TIDE_ROUTER_WORKER_CONF_H

#include "base/conf.h"
#include "base/http/client.h"

struct worker_conf {
    const char *name;   /* unique; "w1" */
    const char *target; /* host:port or unix:/path */
    enum http_origin_protocol protocol;
    uint64_t ping_ms;           /* HTTP/2: silence before a PING, and again until it is given up */
    struct conf_strings models; /* what it serves; none: asked at /v1/models */
    const char *api_key_file;   /* its own key, or NULL */
    uint32_t weight;            /* share of the load; 100 */
    uint32_t slots;             /* requests at once; more wait in the queue; 0: no bound */
    bool load_report;           /* it is a tide-worker that tells its load */
    uint64_t report_fresh_ms;   /* a report counts whole for so long, by half for as long again */
};
extern const struct conf_section worker_conf_section;

#endif

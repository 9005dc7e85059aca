/* The `proxy` section of the configuration: groups of upstream servers, and routes that pass through to them.
 * Ownership: part of the configuration snapshot.
 * Thread rule: const. */
#ifndef TIDE_GATEWAY_PROXY_CONF_H
#define TIDE_GATEWAY_PROXY_CONF_H

#include "base/conf.h"
#include "base/http/client.h"
#include "gateway/request.h"

struct proxy_upstream_conf {
    const char *name; /* "api" */
    struct conf_strings
        targets; /* host:port or unix:/path; the one with the fewest running requests is taken */
    enum http_origin_protocol protocol;
    uint32_t max_idle;        /* kept connections of one loop and target */
    uint32_t max_connections; /* of one loop and target */
    uint64_t connect_ms;
    uint64_t answer_ms; /* request written to head of the answer */
    uint64_t idle_ms;   /* between bytes of the answer */
    uint64_t keep_ms;   /* a kept connection is closed after this */
    uint64_t ping_ms;   /* HTTP/2: silence before a PING, and again until it is given up */
};

struct proxy_route_conf {
    const char *name;            /* for metrics, limits and the access log */
    const char *path;            /* ends with '/': all below it */
    struct conf_strings methods; /* none: all */
    const char *upstream;        /* name of the group */
    enum route_auth auth;
    enum route_body body;
    uint64_t max_body_bytes;
    bool cookies;         /* Cookie and Set-Cookie pass */
    unsigned group;       /* index into upstreams; set by the section's check */
    uint32_t method_bits; /* of methods; likewise */
};

struct proxy_conf {
    struct conf_list upstreams; /* struct proxy_upstream_conf */
    struct conf_list routes;    /* struct proxy_route_conf */
};
extern const struct conf_section proxy_conf_section;

#endif

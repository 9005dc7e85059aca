#include "gateway/proxy_conf.h"

#include <stdint.h>

#define SECOND 1000.0
#define MINUTE (60 * SECOND)
#define MIB (1024.0 * 1024)

static const struct conf_entry upstream_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct proxy_upstream_conf, name),
     .min = 1,
     .max = 63,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Unique name of the group."},
    {.name = "targets",
     .type = CONF_STRINGS,
     CONF_FIELD(struct proxy_upstream_conf, targets),
     .min = 1,
     .max = 64,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Its servers: host:port or unix:/path. The one with the fewest running requests is taken."},
    {.name = "protocol",
     .type = CONF_ENUM,
     CONF_FIELD(struct proxy_upstream_conf, protocol),
     .preset = "h1",
     .names = http_origin_protocol_names,
     .flags = CONF_RELOADABLE,
     .help = "h2: HTTP/2 without TLS and without asking (prior knowledge), many requests on one connection."},
    {.name = "max_idle",
     .type = CONF_INT,
     CONF_FIELD(struct proxy_upstream_conf, max_idle),
     .preset = "1024",
     .min = 1,
     .max = 65536,
     .flags = CONF_RELOADABLE,
     .help = "Connections kept, for each loop and target. HTTP/1.1."},
    {.name = "max_connections",
     .type = CONF_INT,
     CONF_FIELD(struct proxy_upstream_conf, max_connections),
     .preset = "4096",
     .min = 1,
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Connections in all, for each loop and target; more requests answer 503."},
    {.name = "connect",
     .type = CONF_DURATION,
     CONF_FIELD(struct proxy_upstream_conf, connect_ms),
     .preset = "3s",
     .min = 10,
     .max = MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Longest wait for a connection."},
    {.name = "answer",
     .type = CONF_DURATION,
     CONF_FIELD(struct proxy_upstream_conf, answer_ms),
     .preset = "1m",
     .min = 10,
     .max = 60 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Longest wait from the end of the request to the head of the answer."},
    {.name = "idle",
     .type = CONF_DURATION,
     CONF_FIELD(struct proxy_upstream_conf, idle_ms),
     .preset = "2m",
     .min = 10,
     .max = 60 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "Longest silence inside an answer."},
    {.name = "keep",
     .type = CONF_DURATION,
     CONF_FIELD(struct proxy_upstream_conf, keep_ms),
     .preset = "30s",
     .min = 100,
     .max = 60 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "A kept connection is closed after this; less than the upstream's own time."},
    {.name = "ping",
     .type = CONF_DURATION,
     CONF_FIELD(struct proxy_upstream_conf, ping_ms),
     .preset = "10s",
     .min = 100,
     .max = 60 * MINUTE,
     .flags = CONF_RELOADABLE,
     .help = "protocol h2: silence of a connection with running requests until a PING, and from there until "
             "it is "
             "given up."},
};
static const struct conf_section upstream_section = {.entries = upstream_entries,
                                                     .count = CONF_COUNT(upstream_entries),
                                                     .size = sizeof(struct proxy_upstream_conf)};

static const char *const auth_names[] = {"none", "apikey", "user", "apikey_user", NULL};
static const char *const body_names[] = {"none", "buffer", "stream", NULL};

static const struct conf_entry route_entries[] = {
    {.name = "name",
     .type = CONF_STRING,
     CONF_FIELD(struct proxy_route_conf, name),
     .min = 1,
     .max = 63,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Name in metrics, limits and the access log."},
    {.name = "path",
     .type = CONF_STRING,
     CONF_FIELD(struct proxy_route_conf, path),
     .min = 1,
     .max = 1024,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Exact path; with a slash at its end, all below it. A request whose path an upstream may read "
             "as one of "
             "another route (%61 for a, // for /, /x;y/ for /x/) is answered 400."},
    {.name = "methods",
     .type = CONF_STRINGS,
     CONF_FIELD(struct proxy_route_conf, methods),
     .max = 6,
     .flags = CONF_RELOADABLE,
     .help = "GET, HEAD, POST, PUT, PATCH, DELETE; none given: all of them. Others go to a shorter path that "
             "takes "
             "them, unless less has to be shown there."},
    {.name = "upstream",
     .type = CONF_STRING,
     CONF_FIELD(struct proxy_route_conf, upstream),
     .min = 1,
     .max = 63,
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Name of the group that answers."},
    {.name = "auth",
     .type = CONF_ENUM,
     CONF_FIELD(struct proxy_route_conf, auth),
     .preset = "user",
     .names = auth_names,
     .flags = CONF_RELOADABLE,
     .help = "What the client must show. Who shows a token is named to the upstream by x-tide-user: its sub, "
             "and for "
             "another issuer than the first (our own, where there are accounts) its iss, a | and its sub."},
    {.name = "body",
     .type = CONF_ENUM,
     CONF_FIELD(struct proxy_route_conf, body),
     .preset = "stream",
     .names = body_names,
     .flags = CONF_RELOADABLE,
     .help =
         "none: a request body is dropped; buffer: read whole before limits; stream: passed on as it comes."},
    {.name = "max_body",
     .type = CONF_SIZE,
     CONF_FIELD(struct proxy_route_conf, max_body_bytes),
     .preset = "1MiB",
     .max = 1024 * MIB,
     .flags = CONF_RELOADABLE,
     .help = "Largest request body."},
    {.name = "cookies",
     .type = CONF_BOOL,
     CONF_FIELD(struct proxy_route_conf, cookies),
     .preset = "false",
     .flags = CONF_RELOADABLE,
     .help = "Whether Cookie and Set-Cookie pass."},
};

static int check_route(void *section, const char **field, struct err *err)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    struct proxy_route_conf *r = section;
    if (r->path[0] != '/') {
        *field = "path";
        return err_set(err, ERR_INVALID, "does not begin with a slash");
    }
    r->method_bits = r->methods.n == 0 ? (1u << 6) - 1 : 0;
    for (unsigned i = 0; i < r->methods.n; i++) {
        unsigned m = 0;
        while (m < 6 && strcmp(r->methods.items[i], methods[m]) != 0) {
            m++;
        }
        if (m == 6) {
            *field = "methods";
            return err_set(err, ERR_INVALID, "\"%s\" is not one of GET, HEAD, POST, PUT, PATCH, DELETE",
                           r->methods.items[i]);
        }
        r->method_bits |= 1u << m;
    }
    return 0;
}
static const struct conf_section route_section = {.entries = route_entries,
                                                  .count = CONF_COUNT(route_entries),
                                                  .size = sizeof(struct proxy_route_conf),
                                                  .check = check_route};

static const struct conf_entry entries[] = {
    {.name = "upstreams",
     .type = CONF_LIST,
     CONF_FIELD(struct proxy_conf, upstreams),
     .section = &upstream_section,
     .max = 256,
     .flags = CONF_RELOADABLE,
     .help = "Groups of servers."},
    {.name = "routes",
     .type = CONF_LIST,
     CONF_FIELD(struct proxy_conf, routes),
     .section = &route_section,
     .max = 1024,
     .flags = CONF_RELOADABLE,
     .help = "Paths that pass through to a group."},
};

static int check(void *section, const char **field, struct err *err)
{
    struct proxy_conf *c = section;
    const struct proxy_upstream_conf *up = c->upstreams.items;
    struct proxy_route_conf *r = (struct proxy_route_conf *)(uintptr_t)c->routes.items;
    for (unsigned i = 0; i < c->upstreams.n; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(up[i].name, up[k].name) == 0) {
                *field = "upstreams";
                return err_set(err, ERR_INVALID, "two groups are named \"%s\"", up[i].name);
            }
        }
    }
    for (unsigned i = 0; i < c->routes.n; i++) {
        r[i].group = 0;
        while (r[i].group < c->upstreams.n && strcmp(up[r[i].group].name, r[i].upstream) != 0) {
            r[i].group++;
        }
        if (r[i].group == c->upstreams.n) {
            *field = "routes";
            return err_set(err, ERR_INVALID, "route \"%s\": there is no upstream \"%s\"", r[i].name,
                           r[i].upstream);
        }
    }
    return 0;
}

const struct conf_section proxy_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct proxy_conf),
    .check = check,
    .help = "Routes that pass through to other servers, behind the same authentication and limits."};

#include "gateway/cors.h"

#include "gateway/config.h"
#include "gateway/routes.h"

static const char exposed[] =
    "x-request-id, retry-after, ratelimit, ratelimit-policy, x-supabase-api-version, x-sb-error-code";

enum { ASKED_FIELDS_MAX = 1024 /* bytes of access-control-request-headers that are allowed, else none */ };

bool cors_lists(const struct gateway_config *conf, struct str origin)
{
    const struct conf_strings *origins = &conf->set->cors.origins;
    for (unsigned i = 0; i < origins->n; i++) {
        if (str_is(origin, origins->items[i])) {
            return true;
        }
    }
    return false;
}

static void answer_preflight(struct request *r, uint32_t methods)
{
    struct http_exchange *ex = r->ex;
    struct str asked = http_field_get(ex, "access-control-request-headers");
    http_add_field(ex, "access-control-allow-methods", route_methods_text(&ex->arena, methods));
    if (asked.n > 0 && asked.n <= ASKED_FIELDS_MAX) {
        http_add_field(ex, "access-control-allow-headers", asked);
    }
    http_add_field(ex, "vary", STR("access-control-request-headers"));
    http_add_field(ex, "access-control-max-age", STR("600"));
    http_reply(ex, 204, NULL, 0, STR(""));
}

bool cors_allows(const struct request *r)
{
    struct str origin = http_field_get(r->ex, "origin");
    return origin.n > 0 && cors_lists(r->conf, origin);
}

bool cors_apply(struct request *r, uint32_t methods)
{
    struct http_exchange *ex = r->ex;
    if (r->conf->set->cors.origins.n == 0) {
        return false;
    }
    http_add_field(ex, "vary", STR("origin"));
    if (!cors_allows(r)) {
        return false;
    }
    http_add_field(ex, "access-control-allow-origin", http_field_get(ex, "origin"));
    http_add_field(ex, "access-control-expose-headers", str_from(exposed));
    if (ex->method != HTTP_OPTIONS || methods == 0 ||
        http_field_find(ex, "access-control-request-method") == NULL) {
        return false;
    }
    answer_preflight(r, methods);
    return true;
}

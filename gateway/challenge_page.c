#include "gateway/challenge_page.h"

#include "gateway/config.h"
#include "gateway/cors.h"

/* Made of the files in gateway/assets by CMake. */
extern const struct str challenge_asset_html, challenge_asset_css, challenge_asset_js;

static const struct {
    const char *path, *type;
    const struct str *text;
} assets[] = {
    {"/auth/v1/challenge/page", "text/html; charset=utf-8", &challenge_asset_html},
    {"/auth/v1/challenge/page.css", "text/css; charset=utf-8", &challenge_asset_css},
    {"/auth/v1/challenge/page.js", "text/javascript; charset=utf-8", &challenge_asset_js},
};

static void reply(struct request *r, const char *type, struct str text, struct str ancestor)
{
    struct str policy = arena_printf(&r->ex->arena,
                                     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src "
                                     "'self'; base-uri 'none'; form-action 'none'; frame-ancestors " STR_FMT,
                                     STR_ARG(ancestor));
    const struct http_field fields[] = {
        {STR("content-type"), str_from(type)},        {STR("cache-control"), STR("public, max-age=300")},
        {STR("content-security-policy"), policy},     {STR("x-content-type-options"), STR("nosniff")},
        {STR("referrer-policy"), STR("no-referrer")},
    };
    http_reply(r->ex, 200, fields, sizeof fields / sizeof *fields, text);
}

void challenge_page(struct request *r)
{
    struct str origin;
    bool has_origin = http_query_get(r->ex, "origin", &origin);
    if (has_origin && !cors_lists(r->conf, origin)) {
        http_reply_error(r->ex, "validation_failed", "origin: is not one of cors.origins");
        return;
    }
    for (size_t i = 0; i < sizeof assets / sizeof *assets; i++) {
        if (str_is(r->ex->path, assets[i].path)) {
            reply(r, assets[i].type, *assets[i].text, has_origin ? origin : STR("'none'"));
            return;
        }
    }
    http_reply_error(r->ex, "not_found", "there is nothing at this path");
}

#include "status/answer.h"

#include <stdio.h>

#include "base/metrics.h"
#include "status/negotiate.h"

enum { FIELDS_MAX = 16, CODES = 5 };

static struct metric requests = METRIC_COUNTER_L(
    "tidestatus_requests_total", "Public requests, by what was asked and the answer.", "format,code");

static const char cache_rule[] = "public, max-age=5, stale-while-revalidate=30, stale-if-error=86400";

struct fields {
    struct http_field items[FIELDS_MAX];
    unsigned count;
};

static void add(struct fields *f, const char *name, struct str value)
{
    f->items[f->count++] = (struct http_field){str_from(name), value};
}

static bool is_api(struct str path)
{
    return str_starts(path, STR("/api/")) || str_is(path, "/api");
}

static const unsigned codes[CODES] = {200, 204, 304, 404, 405};
static struct metric_child *children[2][CODES]; /* page, api; set once by answer_metrics_register */

static void count(const struct http_exchange *ex, unsigned status)
{
    bool machine =
        is_api(ex->path) || str_ends(ex->path, STR(".json")) || str_starts(ex->path, STR("/history."));
    for (unsigned k = 0; k < CODES; k++) {
        if (codes[k] == status) {
            metric_child_add(children[machine][k], 1);
        }
    }
}

static void reply(struct http_exchange *ex, unsigned status, const struct fields *f, struct str body)
{
    count(ex, status);
    http_reply(ex, status, f->items, f->count, body);
}

/* What every answer carries; csp NULL: not a page. */
static void add_common(struct fields *f, const char *csp)
{
    add(f, "access-control-allow-origin", STR("*"));
    add(f, "x-content-type-options", STR("nosniff"));
    add(f, "referrer-policy", STR("no-referrer"));
    if (csp) {
        add(f, "content-security-policy", str_from(csp));
    }
}

static bool is_unchanged(const struct http_exchange *ex, const struct site_document *d)
{
    const struct http_field *tag = http_field_find(ex, "if-none-match");
    if (tag) {
        return negotiate_is_known(tag->value, d);
    }
    return str_is(http_field_get(ex, "if-modified-since"), d->modified);
}

static void answer_document(struct http_exchange *ex, const struct site *site, const struct site_document *d,
                            unsigned status, bool varies)
{
    struct fields f = {.count = 0};
    bool zipped = d->gzip.n && negotiate_takes_gzip(http_field_get(ex, "accept-encoding"));
    const struct site_body *body = zipped ? &d->gzip : &d->plain;
    add(&f, "content-type", str_from(d->type));
    add(&f, "cache-control", status == 200 ? str_from(cache_rule) : STR("no-cache"));
    add(&f, "vary", varies ? STR("accept-encoding, accept-language") : STR("accept-encoding"));
    if (d->language) {
        add(&f, "content-language", str_from(d->language));
    }
    if (zipped) {
        add(&f, "content-encoding", STR("gzip"));
    }
    add_common(&f, d->language ? site->csp : NULL);
    if (status == 200) {
        add(&f, "etag", str_from(body->etag));
        add(&f, "last-modified", str_from(d->modified));
    }
    bool unchanged = status == 200 && is_unchanged(ex, d);
    reply(ex, unchanged ? 304 : status, &f, str_of(body->p, body->n));
}

static void answer_missing(struct http_exchange *ex, const struct site *site)
{
    bool machine = is_api(ex->path) || str_ends(ex->path, STR(".json"));
    if (!machine) {
        enum problem_lang lang = negotiate_lang(ex->path, http_field_get(ex, "accept-language"));
        answer_document(ex, site, site_not_found(site, lang), 404, true);
        return;
    }
    struct fields f = {.count = 0};
    add(&f, "content-type", STR("application/json; charset=utf-8"));
    add(&f, "cache-control", STR("no-cache"));
    add_common(&f, NULL);
    reply(ex, 404, &f, STR("{\"error\":\"not_found\"}"));
}

static void answer_preflight(struct http_exchange *ex)
{
    struct fields f = {.count = 0};
    add(&f, "allow", STR("GET, HEAD, OPTIONS"));
    add(&f, "access-control-allow-origin", STR("*"));
    add(&f, "access-control-allow-methods", STR("GET, HEAD, OPTIONS"));
    add(&f, "access-control-allow-headers", STR("*"));
    add(&f, "access-control-max-age", STR("86400"));
    reply(ex, 204, &f, STR(""));
}

static void answer_method(struct http_exchange *ex)
{
    struct fields f = {.count = 0};
    add(&f, "allow", STR("GET, HEAD, OPTIONS"));
    add(&f, "content-type", STR("application/json; charset=utf-8"));
    add_common(&f, NULL);
    reply(ex, 405, &f, STR("{\"error\":\"method_not_allowed\"}"));
}

void answer_request(struct http_exchange *ex, const struct site *site)
{
    bool varies = false;
    if (ex->method == HTTP_OPTIONS) {
        answer_preflight(ex);
        return;
    }
    if (ex->method != HTTP_GET && ex->method != HTTP_HEAD) {
        answer_method(ex);
        return;
    }
    const struct site_document *d =
        negotiate_find(site, ex->path, http_field_get(ex, "accept-language"), &varies);
    if (d) {
        answer_document(ex, site, d, 200, varies);
    } else {
        answer_missing(ex, site);
    }
}

void answer_metrics_register(void)
{
    char labels[16];
    for (unsigned k = 0; k < CODES; k++) {
        snprintf(labels, sizeof labels, "page,%u", codes[k]);
        children[0][k] = metric_child(&requests, labels);
        snprintf(labels, sizeof labels, "api,%u", codes[k]);
        children[1][k] = metric_child(&requests, labels);
    }
}

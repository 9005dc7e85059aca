#include "gateway/health.h"

#include "gateway/accounts.h"
#include "gateway/chat.h"
#include "gateway/config.h"
#include "gateway/gateway.h"
#include "gateway/routes.h"

struct check {
    const char *name;
    bool (*is_well)(const struct gateway *g);
    bool fails_ready; /* false: shown only */
};

static bool is_not_draining(const struct gateway *g)
{
    return !atomic_load(&g->draining);
}

static bool has_policy(const struct gateway *g)
{
    return !g->has_accounts || accounts_has_policy(g);
}

static bool has_worker(const struct gateway *g)
{
    return !g->has_workers || chat_is_ready((struct gateway *)(uintptr_t)g);
}

static bool has_database(const struct gateway *g)
{
    return g->pg == NULL || atomic_load(&g->pg_is_up);
}

static const struct check checks[] = {
    {"serving", is_not_draining, true},
    {"policy", has_policy, true},
    {"workers", has_worker, true},
    {"database", has_database, false},
};
enum { CHECKS = sizeof checks / sizeof checks[0] };

/* exclude: comma-separated names that do not count. */
static bool is_excluded(struct str exclude, const char *name)
{
    struct str one;
    while (str_cut(&exclude, ',', &one)) {
        if (str_is(one, name)) {
            return true;
        }
    }
    return false;
}

static bool write_checks(const struct gateway *g, struct str exclude, struct buf *text)
{
    bool ready = true;
    for (unsigned i = 0; i < CHECKS; i++) {
        bool well = checks[i].is_well(g);
        bool counts = checks[i].fails_ready && !is_excluded(exclude, checks[i].name);
        buf_addf(text, "[%c]%s %s\n", well ? '+' : '-', checks[i].name,
                 well     ? "ok"
                 : counts ? "failed"
                          : "failed (does not count)");
        ready = ready && (well || !counts);
    }
    buf_addf(text, "readyz check %s\n", ready ? "passed" : "failed");
    return ready;
}

void health_write(const struct gateway *g, struct json_writer *w, bool *ready)
{
    *ready = true;
    for (unsigned i = 0; i < CHECKS; i++) {
        bool well = checks[i].is_well(g);
        json_bool_at(w, checks[i].name, well);
        *ready = *ready && (well || !checks[i].fails_ready);
    }
}

bool health_is_ready(const struct gateway *g)
{
    for (unsigned i = 0; i < CHECKS; i++) {
        if (checks[i].fails_ready && !checks[i].is_well(g)) {
            return false;
        }
    }
    return true;
}

static const struct http_field text_fields[] = {
    {STR_INIT("content-type"), STR_INIT("text/plain; charset=utf-8")},
    {STR_INIT("cache-control"), STR_INIT("no-store")},
};

static void answer_ready(struct http_exchange *ex, const struct gateway *g)
{
    struct buf text;
    struct str exclude = STR("");
    struct str verbose;
    buf_init(&text, 4096);
    (void)http_query_get(ex, "exclude", &exclude);
    bool ready = write_checks(g, exclude, &text);
    if (!http_query_get(ex, "verbose", &verbose)) {
        buf_truncate(&text);
        buf_add_cstr(&text, ready ? "ok\n" : "not ready\n");
    }
    http_reply(ex, ready ? 200 : 503, text_fields, 2, buf_str(&text));
    buf_clear(&text);
}

bool health_answer(struct http_exchange *ex, const struct gateway *g)
{
    if (str_is(ex->path, "/livez")) {
        http_reply(ex, 200, text_fields, 2, STR("ok\n"));
        return true;
    }
    if (str_is(ex->path, "/readyz")) {
        answer_ready(ex, g);
        return true;
    }
    return false;
}

static void handle_health(struct request *r)
{
    (void)health_answer(r->ex, r->gl->gateway);
}

const struct route health_routes[] = {
    {.name = "livez", .methods = ROUTE_GET, .path = STR_INIT("/livez"), .handle = handle_health},
    {.name = "readyz", .methods = ROUTE_GET, .path = STR_INIT("/readyz"), .handle = handle_health},
};
const unsigned health_route_count = sizeof health_routes / sizeof health_routes[0];

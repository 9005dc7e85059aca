#include "status/ops/ops_desk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"
#include "status/ops/ops_access.h"
#include "status/ops/ops_page.h"

enum { BACKLOG = 64, OPERATORS_MAX = 4096, CSP_MAX = 320 };

static struct metric viewers_now = METRIC_GAUGE("tidestatus_ops_viewers", "Live pages of the dashboard.");
static struct metric requests = METRIC_COUNTER_L(
    "tidestatus_ops_requests_total", "Requests to the dashboard, by status of the answer.", "code");

struct viewer {
    struct ops_desk *desk;
    struct http_exchange *ex;
    bool is_paused; /* it does not read: nothing is sent */
    bool is_behind; /* it wants all parts */
};

struct ops_desk {
    struct ops_feed *feed;
    const struct ops_conf *conf;
    struct ops_access access;
    struct http_listener *listener;
    struct http_server *server;
    struct http_handler handler;
    struct viewer *viewers[OPS_VIEWERS_MAX];
    unsigned count;
    bool is_stopping;
    struct buf parts[OPS_PARTS]; /* as they were sent last */
    char csp[CSP_MAX];
};

/* --- answers ----------------------------------------------------------------------------------- */

static void count_answer(unsigned status)
{
    char code[8];
    snprintf(code, sizeof code, "%u", status);
    metric_child_add(metric_child(&requests, code), 1);
}

static void reply(struct ops_desk *d, struct http_exchange *ex, unsigned status, const char *type,
                  struct str body)
{
    const struct http_field fields[] = {
        {STR("content-type"), str_from(type)},
        {STR("cache-control"), STR("no-store")},
        {STR("content-security-policy"), str_from(d->csp)},
        {STR("cross-origin-resource-policy"), STR("same-origin")},
        {STR("x-content-type-options"), STR("nosniff")},
        {STR("referrer-policy"), STR("no-referrer")},
        {STR("allow"), STR("GET, HEAD")},
        {STR("www-authenticate"), STR("Basic realm=\"Tidegate operations\", charset=\"UTF-8\"")},
        {STR("retry-after"), STR("10")},
    };
    unsigned n = status == 405 ? 7 : 6;
    struct http_field out[sizeof fields / sizeof *fields];
    memcpy(out, fields, sizeof fields);
    if (status == 401 || status == 503) {
        out[n++] = fields[status == 401 ? 7 : 8];
    }
    count_answer(status);
    http_reply(ex, status, out, n, body);
}

static void reply_words(struct ops_desk *d, struct http_exchange *ex, unsigned status, const char *words)
{
    reply(d, ex, status, "text/plain; charset=utf-8", str_from(words));
}

static void reply_page(struct ops_desk *d, struct http_exchange *ex)
{
    struct ops_view view;
    struct buf text;
    buf_init(&text, OPS_PAGE_MAX);
    ops_feed_view(d->feed, &view);
    ops_page(&view, &text);
    if (text.overflowed) {
        log_error("dashboard too large");
        reply_words(d, ex, 500, "The dashboard is too large; the log of tide-status says so too.\n");
    } else {
        reply(d, ex, 200, "text/html; charset=utf-8", buf_str(&text));
    }
    buf_clear(&text);
}

/* --- streams ----------------------------------------------------------------------------------- */

static void on_viewer_drain(struct http_exchange *ex)
{
    struct viewer *w = ex->user;
    w->is_paused = false;
}

static void on_viewer_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct viewer *w = ex->user;
    struct ops_desk *d = w->desk;
    for (unsigned k = 0; k < d->count; k++) {
        if (d->viewers[k] == w) {
            d->viewers[k] = d->viewers[--d->count];
            break;
        }
    }
    metric_set(&viewers_now, d->count);
    log_debug("dashboard viewer gone reason=%s", http_finish_name(reason));
    free(w);
}

static void send_to(struct viewer *w, struct str text)
{
    w->is_paused = http_send(w->ex, text.p, text.n) != HTTP_FLOW_GO;
}

static void open_stream(struct ops_desk *d, struct http_exchange *ex)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("text/event-stream")},
        {STR_INIT("cache-control"), STR_INIT("no-store")},
        {STR_INIT("x-accel-buffering"), STR_INIT("no")},
        {STR_INIT("x-content-type-options"), STR_INIT("nosniff")},
    };
    if (d->is_stopping) {
        reply_words(d, ex, 503, "tide-status ends.\n");
        return;
    }
    if (d->count >= d->conf->viewers) {
        reply_words(d, ex, 503,
                    "As many live pages as ops.viewers allows are open; this one reloads itself.\n");
        return;
    }
    struct viewer *w = calloc(1, sizeof *w);
    BUG_ON(!w);
    *w = (struct viewer){.desk = d, .ex = ex, .is_behind = true};
    ex->user = w;
    ex->on_drain = on_viewer_drain;
    ex->on_finish = on_viewer_finish;
    d->viewers[d->count++] = w;
    metric_set(&viewers_now, d->count);
    count_answer(200);
    http_start(ex, 200, fields, sizeof fields / sizeof *fields, -1);
    send_to(w, STR("retry: 2000\n\nevent: beat\ndata:\n\n"));
}

static void add_event(struct buf *out, unsigned part, struct str html)
{
    buf_addf(out, "event: part\ndata: %s ", ops_part_id(part));
    buf_add_str(out, html);
    buf_add_cstr(out, "\n\n");
}

/* Draws all parts: what changed since they were sent goes to *changed, everything to *all. */
static void draw(struct ops_desk *d, struct buf *changed, struct buf *all)
{
    struct ops_view view;
    struct ops_verdict verdict;
    struct buf html;
    ops_feed_view(d->feed, &view);
    ops_judge(&view, &verdict);
    buf_init(&html, OPS_PAGE_MAX);
    for (unsigned part = 0; part < OPS_PARTS; part++) {
        buf_truncate(&html);
        ops_part(&view, &verdict, part, &html);
        if (html.overflowed) {
            continue;
        }
        add_event(all, part, buf_str(&html));
        if (!str_eq(buf_str(&html), buf_str(&d->parts[part]))) {
            add_event(changed, part, buf_str(&html));
            buf_truncate(&d->parts[part]);
            buf_add_str(&d->parts[part], buf_str(&html));
        }
    }
    buf_add_cstr(changed, "event: beat\ndata:\n\n");
    buf_add_cstr(all, "event: beat\ndata:\n\n");
    buf_clear(&html);
}

void ops_desk_broadcast(struct ops_desk *d)
{
    struct buf changed, all;
    if (d->count == 0 || d->is_stopping) {
        return;
    }
    buf_init(&changed, 2 * OPS_PAGE_MAX);
    buf_init(&all, 2 * OPS_PAGE_MAX);
    draw(d, &changed, &all);
    for (unsigned k = 0; k < d->count; k++) {
        struct viewer *w = d->viewers[k];
        if (w->is_paused) {
            w->is_behind = true;
        } else {
            bool was_behind = w->is_behind;
            w->is_behind = false;
            send_to(w, buf_str(was_behind ? &all : &changed));
        }
    }
    buf_clear(&changed);
    buf_clear(&all);
}

/* --- requests ---------------------------------------------------------------------------------- */

static void on_request(struct http_exchange *ex, void *arg)
{
    struct ops_desk *d = arg;
    bool is_get = ex->method == HTTP_GET;
    if (!ops_access_allows(&d->access, http_field_get(ex, "authorization"))) {
        reply_words(d, ex, 401, "The dashboard wants its password.\n");
    } else if (!ops_access_allows_host(&d->access, ex->authority)) {
        reply_words(d, ex, 421, "Without a password the dashboard answers to localhost only.\n");
    } else if (!is_get && ex->method != HTTP_HEAD) {
        reply_words(d, ex, 405, "GET and HEAD only: the dashboard changes nothing, tidectl does.\n");
    } else if (str_is(ex->path, "/ops") || str_is(ex->path, "/")) {
        reply_page(d, ex);
    } else if (str_is(ex->path, "/ops.js")) {
        reply(d, ex, 200, "text/javascript; charset=utf-8", ops_page_script());
    } else if (str_is(ex->path, "/ops/events") && is_get) {
        open_stream(d, ex);
    } else {
        reply_words(d, ex, 404, "The dashboard is at /ops.\n");
    }
}

/* --- life -------------------------------------------------------------------------------------- */

static int listen_desk(struct ops_desk *d, struct loop *loop, const struct http_limits *limits,
                       struct tls_set *tls, struct err *err)
{
    struct http_limits own = *limits;
    struct http_listener_conf lc = {.endpoint = d->conf->address,
                                    .tls = d->conf->tls,
                                    .http2 = true,
                                    .shards = 1,
                                    .backlog = BACKLOG,
                                    .unix_mode = d->conf->unix_mode,
                                    .name = "ops"};
    own.connections = OPERATORS_MAX; /* when the public listeners are full, operators still come in */
    d->listener = http_listener_open(&lc, 1, err);
    if (!d->listener) {
        return err->code;
    }
    d->handler = (struct http_handler){.on_request = on_request, .arg = d};
    d->server = http_server_new(loop, &own, &d->handler);
    log_info("listening name=ops address=%s", http_listener_endpoint(d->listener)->text);
    return http_server_attach(d->server, d->listener, 0, d->conf->tls ? tls : NULL, NULL, err);
}

struct ops_desk *ops_desk_new(struct loop *loop, struct ops_feed *feed, const struct ops_conf *conf,
                              const struct http_limits *limits, struct tls_set *tls, struct err *err)
{
    struct ops_desk *d = calloc(1, sizeof *d);
    char hash[64];
    BUG_ON(!d);
    d->feed = feed;
    d->conf = conf;
    for (unsigned part = 0; part < OPS_PARTS; part++) {
        buf_init(&d->parts[part], OPS_PAGE_MAX);
    }
    ops_page_style_hash(hash);
    snprintf(d->csp, sizeof d->csp,
             "default-src 'none'; style-src '%s'; script-src 'self'; connect-src 'self'; img-src data:; "
             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
             hash);
    metric_register(&viewers_now);
    metric_register(&requests);
    if (ops_access_load(&d->access, conf->password_file, err) < 0 ||
        listen_desk(d, loop, limits, tls, err) < 0) {
        ops_desk_free(d);
        return NULL;
    }
    return d;
}

/* They showed a password that is none any more. */
static void cut_viewers(struct ops_desk *d)
{
    for (unsigned k = 0; k < d->count; k++) {
        http_abort(d->viewers[k]->ex);
    }
}

int ops_desk_set_conf(struct ops_desk *d, const struct ops_conf *conf, const struct http_limits *limits,
                      struct tls_set *tls, struct err *err)
{
    struct http_limits own = *limits;
    struct ops_access before = d->access;
    int rc = ops_access_load(&d->access, conf->password_file, err);
    bool is_same = ops_access_is_same(&before, &d->access);
    ops_access_clear(&before);
    if (rc < 0) {
        return rc;
    }
    if (!is_same) {
        cut_viewers(d);
    }
    own.connections = OPERATORS_MAX;
    d->conf = conf;
    http_server_set_limits(d->server, &own);
    if (conf->tls) {
        http_server_set_tls(d->server, d->listener, tls);
    }
    return 0;
}

void ops_desk_stop(struct ops_desk *d)
{
    d->is_stopping = true;
    for (unsigned k = 0; k < d->count; k++) {
        http_end(d->viewers[k]->ex);
    }
}

void ops_desk_free(struct ops_desk *d)
{
    if (!d) {
        return;
    }
    if (d->server) {
        http_server_free(d->server);
    }
    if (d->listener) {
        http_listener_close(d->listener);
    }
    for (unsigned part = 0; part < OPS_PARTS; part++) {
        buf_clear(&d->parts[part]);
    }
    ops_access_clear(&d->access);
    free(d);
}

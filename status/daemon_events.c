/* Signals of the process, and its metrics listener. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "status/daemon_inner.h"

static struct metric build_info =
    METRIC_GAUGE_L("tidestatus_build_info", "Version of the program.", "version");
static struct metric open_incidents =
    METRIC_GAUGE("tidestatus_incidents_open", "Incidents that are not resolved.");
static struct metric indicator =
    METRIC_GAUGE("tidestatus_indicator",
                 "What the page says: 0 operational, 1 maintenance, 2 stale, 3 to 7 rising trouble.");
static struct metric data_age =
    METRIC_GAUGE("tidestatus_data_age_seconds", "Age of the oldest of the components' newest results.");
static struct metric component_status = METRIC_GAUGE_L(
    "tidestatus_component_status",
    "As the page shows it: 0 operational, 1 maintenance, 2 degraded, 3 partial, 4 major.", "component");
static struct metric component_faults =
    METRIC_GAUGE_L("tidestatus_component_fault",
                   "What is wrong with it, without what is limited on purpose: 0 nothing, 2 degraded, 3 "
                   "partial, 4 major.",
                   "component");
static struct metric reloads =
    METRIC_COUNTER_L("tidestatus_config_reloads_total", "Reloads asked for, by result.", "result");

/* --- stopping ---------------------------------------------------------------------------------- */

static void on_web_empty(void *arg)
{
    struct daemon *d = arg;
    if (--d->draining == 0) {
        loop_stop(d->loop);
    }
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;
    if (d->is_stopping) {
        return;
    }
    d->is_stopping = true;
    log_info("draining deadline_ms=%llu", (unsigned long long)d->settings->process.drain_ms);
    sd_notify_state("STOPPING=1\nSTATUS=draining");
    if (d->ops) {
        ops_stop(d->ops);
    }
    d->draining = d->web_count;
    for (unsigned k = 0; k < d->web_count; k++) {
        web_drain(d->webs[k], d->settings->process.drain_ms, d->loop, on_web_empty, d);
    }
}

/* --- reloading --------------------------------------------------------------------------------- */

static int load_checked(struct daemon *d, struct conf **conf, struct tls_set **tls, struct err *err)
{
    char setting[128];
    int rc = conf_load(d->path, &status_conf_section, conf, err);
    if (rc < 0) {
        return rc;
    }
    if (conf_needs_restart(d->conf, *conf, setting, sizeof setting)) {
        rc = err_set(err, ERR_CONFLICT, "%s: %s changes only by a restart", d->path, setting);
    } else {
        err->code = ERR_OK;
        *tls = daemon_load_tls(conf_root(*conf), err);
        rc = err->code;
    }
    if (rc == 0 && d->ops) {
        struct ops_parts parts = daemon_ops_parts(d, conf_root(*conf), *tls);
        rc = ops_set_conf(d->ops, &parts, err);
    }
    if (rc < 0) {
        tls_set_unref(*tls);
        conf_unref(*conf);
    }
    return rc;
}

static void take_conf(struct daemon *d, struct conf *conf, struct tls_set *tls)
{
    struct conf *old = d->conf;
    d->conf = conf;
    d->settings = conf_root(conf);
    log_set_level((enum log_level)d->settings->process.log.level);
    checks_set_conf(d->checks, &d->settings->probe);
    daemon_set_watch(d);
    for (unsigned k = 0; k < d->web_count; k++) {
        web_set_tls(d->webs[k], tls, &d->settings->http);
    }
    tls_set_unref(d->tls);
    d->tls = tls;
    conf_unref(old);
}

static void on_hangup(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;
    struct conf *conf = NULL;
    struct tls_set *tls = NULL;
    struct err err = {.code = ERR_OK};
    char text[96];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_mono_us());
    sd_notify_state(text);
    int rc = load_checked(d, &conf, &tls, &err);
    if (rc == 0) {
        take_conf(d, conf, tls);
        log_info("reload result=ok");
    } else {
        log_error("reload result=refused, the old configuration goes on: %s", err.msg);
    }
    metric_child_add(metric_child(&reloads, rc == 0 ? "ok" : "refused"), 1);
    sd_notify_state("READY=1");
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
    log_reopen();
    log_info("logs reopened");
}

void daemon_events_open(struct daemon *d)
{
    static const struct {
        int number;
        event_callback_fn fn;
    } rows[DAEMON_SIGNALS] = {
        {SIGTERM, on_stop}, {SIGINT, on_stop}, {SIGHUP, on_hangup}, {SIGUSR1, on_reopen}};
    for (unsigned k = 0; k < DAEMON_SIGNALS; k++) {
        d->signals[k] = evsignal_new(loop_event_base(d->loop), rows[k].number, rows[k].fn, d);
        BUG_ON(!d->signals[k] || event_add(d->signals[k], NULL) != 0);
    }
}

void daemon_events_close(struct daemon *d)
{
    for (unsigned k = 0; k < DAEMON_SIGNALS; k++) {
        if (d->signals[k]) {
            event_free(d->signals[k]);
        }
    }
}

/* --- metrics and health ------------------------------------------------------------------------ */

static void reply_text(struct http_exchange *ex, unsigned status, const char *type, struct str body)
{
    struct http_field fields[] = {{STR("content-type"), str_from(type)},
                                  {STR("cache-control"), STR("no-store")}};
    http_reply(ex, status, fields, 2, body);
}

static void reply_metrics(struct http_exchange *ex)
{
    struct buf text;
    buf_init(&text, 4 * 1024 * 1024);
    metrics_write(&text);
    reply_text(ex, 200, METRICS_CONTENT_TYPE, buf_str(&text));
    buf_clear(&text);
}

static void on_metrics_request(struct http_exchange *ex, void *arg)
{
    const struct daemon *d = arg;
    const char plain[] = "text/plain; charset=utf-8";
    if (ex->method != HTTP_GET && ex->method != HTTP_HEAD) {
        reply_text(ex, 405, plain, STR("method not allowed\n"));
    } else if (str_is(ex->path, "/metrics")) {
        reply_metrics(ex);
    } else if (str_is(ex->path, "/livez")) {
        reply_text(ex, 200, plain, STR("ok\n"));
    } else if (str_is(ex->path, "/readyz")) {
        reply_text(ex, d->is_stopping ? 503 : 200, plain, d->is_stopping ? STR("draining\n") : STR("ok\n"));
    } else {
        reply_text(ex, 404, plain, STR("not found\n"));
    }
}

int daemon_metrics_open(struct daemon *d, struct err *err)
{
    const struct http_listener_conf *m = &d->settings->metrics;
    struct metric *all[] = {&build_info,       &open_incidents,   &indicator, &data_age,
                            &component_status, &component_faults, &reloads};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
        metric_register(all[k]);
    }
    metric_child_set(metric_child(&build_info, TIDE_VERSION), 1);
    if (m->endpoint.text[0] == '\0') {
        return 0;
    }
    d->metrics_listener = http_listener_open(m, 1, err);
    if (!d->metrics_listener) {
        return err->code;
    }
    d->metrics_handler = (struct http_handler){.on_request = on_metrics_request, .arg = d};
    d->metrics_server = http_server_new(d->loop, &d->settings->http, &d->metrics_handler);
    return http_server_attach(d->metrics_server, d->metrics_listener, 0, NULL, NULL, err);
}

static void release_gauges(struct daemon *d)
{
    for (unsigned k = 0; k < d->gauge_count; k++) {
        metric_child_release(d->gauges[k].status);
        metric_child_release(d->gauges[k].fault);
    }
    d->gauge_count = 0;
}

void daemon_metrics_close(struct daemon *d)
{
    release_gauges(d);
    if (d->metrics_server) {
        http_server_free(d->metrics_server);
    }
    if (d->metrics_listener) {
        http_listener_close(d->metrics_listener);
    }
}

/* The old holds go after the new ones are there: the gauge of a component that is gone goes with its last hold. */
static void update_gauges(struct daemon *d)
{
    const struct board *b = &d->board;
    struct component_gauges gauges[STATUS_COMPONENTS_MAX];
    for (unsigned k = 0; k < b->component_count; k++) {
        const struct component *c = &b->components[k];
        gauges[k] = (struct component_gauges){metric_child(&component_status, c->key),
                                              metric_child(&component_faults, c->key)};
        metric_child_set(gauges[k].status, c->shown);
        metric_child_set(gauges[k].fault, component_fault(c));
    }
    release_gauges(d);
    memcpy(d->gauges, gauges, b->component_count * sizeof gauges[0]);
    d->gauge_count = b->component_count;
}

void daemon_metrics_update(struct daemon *d)
{
    const struct board *b = &d->board;
    metric_set(&open_incidents, incident_book_open_count(&b->book));
    metric_set(&indicator, b->state);
    metric_set(&data_age, b->as_of_ms ? (double)(clock_wall_ms() - b->as_of_ms) / 1000.0 : 0);
    update_gauges(d);
}

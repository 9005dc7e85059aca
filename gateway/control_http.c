/* The listeners of the control thread: metrics and health in plain HTTP, the admin API on unix sockets and in TLS. */
#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/admin.h"
#include "gateway/config.h"
#include "gateway/control_inner.h"
#include "gateway/health.h"

static struct metric build_info =
    METRIC_GAUGE_L("tidegate_build_info", "Always 1; which version runs.", "version");
static struct metric start_time =
    METRIC_GAUGE("process_start_time_seconds", "Unix time at which the process began.");

enum { METRICS_BYTES_MAX = 16 << 20, OPERATORS_MAX = 1 << 20 };

static void answer_metrics(struct http_exchange *ex)
{
    static const struct http_field fields[] = {{STR_INIT("content-type"), STR_INIT(METRICS_CONTENT_TYPE)}};
    struct buf text;
    buf_init(&text, METRICS_BYTES_MAX);
    metrics_write(&text);
    http_reply(ex, 200, fields, 1, buf_str(&text));
    buf_clear(&text);
}

static void on_metrics_request(struct http_exchange *ex, void *arg)
{
    struct control *c = arg;
    if (ex->method != HTTP_GET && ex->method != HTTP_HEAD) {
        http_reply_error(ex, "method_not_allowed", "only GET and HEAD here");
    } else if (str_is(ex->path, "/metrics")) {
        answer_metrics(ex);
    } else if (!health_answer(ex, c->gateway)) {
        http_reply_error(ex, "not_found", "/metrics, /livez and /readyz are here");
    }
}

static int listen_on(struct control *c, const struct http_listener_conf *conf, struct tls_set *tls,
                     void (*fn)(struct http_exchange *, void *), struct http_listener **out, struct err *err)
{
    struct http_handler handler = {.on_request = fn, .arg = c};
    struct http_listener_conf lc = *conf;
    lc.handover = c->gateway->start.handover;
    lc.waits = lc.handover != NULL;
    *out = http_listener_open(&lc, 1, err);
    if (*out == NULL) {
        return err->code;
    }
    return http_server_attach(c->server, *out, 0, tls, &handler, err);
}

static int listen_metrics(struct control *c, const struct http_listener_conf *conf, struct err *err)
{
    return conf->endpoint.text[0] == '\0'
               ? 0
               : listen_on(c, conf, NULL, on_metrics_request, &c->listeners[CONTROL_METRICS], err);
}

static int listen_admin(struct control *c, const struct admin_conf *conf, struct err *err)
{
    const struct {
        const struct endpoint *endpoint;
        const char *name;
        uint32_t mode;
        struct tls_set *tls;
        struct http_listener **out;
    } rows[] = {
        {&conf->socket, "admin", conf->mode, NULL, &c->listeners[CONTROL_ADMIN]},
        {&conf->read_socket, "admin_read", conf->read_mode, NULL, &c->listeners[CONTROL_ADMIN_READ]},
        {&conf->address, "admin_tls", 0, c->gateway->conf->admin_tls, &c->listeners[CONTROL_ADMIN_TLS]},
    };
    int rc = 0;
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0] && rc == 0; i++) {
        struct http_listener_conf lc = {.endpoint = *rows[i].endpoint,
                                        .tls = rows[i].tls != NULL,
                                        .shards = 1,
                                        .backlog = 64,
                                        .unix_mode = rows[i].mode,
                                        .name = rows[i].name};
        if (rows[i].endpoint->text[0] != '\0') {
            rc = listen_on(c, &lc, rows[i].tls, admin_on_request, rows[i].out, err);
        }
    }
    return rc;
}

void control_http_reload(struct control *c)
{
    if (c->listeners[CONTROL_ADMIN_TLS] != NULL) {
        http_server_set_tls(c->server, c->listeners[CONTROL_ADMIN_TLS], c->gateway->conf->admin_tls);
    }
}

int control_listen(struct control *c, struct err *err)
{
    static const struct http_handler none = {0};
    const struct gateway_settings *set = c->gateway->conf->set;
    metric_child_set(metric_child(&build_info, TIDE_VERSION), 1);
    metric_set(&start_time, (double)clock_wall_s());
    struct http_limits limits = set->http;
    limits.connections = OPERATORS_MAX; /* when the public listeners are full, operators still come in */
    c->server = http_server_new(c->loop, &limits, &none);
    if (c->gateway->start.handover != NULL) {
        http_server_wait(c->server);
    }
    int rc = listen_metrics(c, &set->metrics, err);
    return rc == 0 ? listen_admin(c, &set->admin, err) : rc;
}

int control_http_begin(struct control *c, struct err *err)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (c->listeners[i] != NULL && http_listener_begin(c->listeners[i], err) != 0) {
            return err->code;
        }
    }
    http_server_begin(c->server);
    return 0;
}

/* What is being answered ends by itself, or with the loops. */
void control_retire(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (c->listeners[i] != NULL) {
            http_listener_leave(c->listeners[i]);
        }
    }
    http_server_retire(c->server, c->gateway->conf->set->process.retire_ms, NULL, NULL);
}

void control_http_close(struct control *c)
{
    if (c->server != NULL) {
        http_server_free(c->server);
        c->server = NULL;
    }
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (c->listeners[i] != NULL) {
            http_listener_close(c->listeners[i]);
            c->listeners[i] = NULL;
        }
    }
}

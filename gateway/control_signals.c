/* SIGTERM and SIGINT drain, SIGHUP reloads, SIGUSR1 reopens logs, SIGUSR2 upgrades. */
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/config.h"
#include "gateway/control_inner.h"
#include "gateway/upgrade.h"
#include "gateway/limits_override.h"
#include "base/sd_notify.h"

static struct metric reloads =
    METRIC_COUNTER_L("tidegate_config_reloads_total", "Reloads asked for, by result.", "result");

static void notify_reloading(void)
{
    char text[96];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_mono_us());
    sd_notify_state(text);
}

static int load_checked(struct control *c, struct gateway_config **out, struct err *err)
{
    char setting[128];
    int rc = config_load(c->gateway->start.conf_path, out, err);
    if (rc != 0) {
        return rc;
    }
    if (conf_needs_restart(c->gateway->conf->file, (*out)->file, setting, sizeof setting)) {
        config_unref(*out);
        return err_set(err, ERR_CONFLICT, "%s: %s changes only by a restart or an upgrade",
                       c->gateway->start.conf_path, setting);
    }
    return 0;
}

int control_try_reload(struct control *c, struct err *err)
{
    struct gateway_config *conf = NULL;
    if (atomic_load(&c->gateway->retired)) {
        return err_set(err, ERR_CONFLICT, "another process serves now: this one only ends what it has begun");
    }
    int rc = load_checked(c, &conf, err);
    if (rc == 0) {
        config_unref(conf);
    }
    return rc;
}

int control_reload(struct control *c, struct err *err)
{
    struct gateway_config *conf = NULL;
    if (atomic_load(&c->gateway->retired)) {
        return err_set(err, ERR_CONFLICT, "another process serves now: this one only ends what it has begun");
    }
    notify_reloading();
    int rc = load_checked(c, &conf, err);
    if (rc == 0) {
        gateway_set_config(c->gateway, limits_override_apply(c->gateway, conf));
        control_http_reload(c);
        log_info("reload result=ok serial=%llu", (unsigned long long)conf->serial);
    } else {
        log_error("reload result=refused, the old configuration goes on: %s", err->msg);
    }
    metric_child_add(metric_child(&reloads, rc == 0 ? "ok" : "refused"), 1);
    sd_notify_state("READY=1");
    return rc;
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    gateway_drain(c->gateway);
}

static void on_hangup(evutil_socket_t fd, short what, void *arg)
{
    struct err err = {0};
    (void)!control_reload(arg, &err); /* it has said what is wrong */
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
    log_reopen();
    log_info("logs reopened");
}

static void on_upgrade(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    struct err err = {0};
    if (upgrade_start(c->upgrade, &err) != 0) {
        log_error("upgrade result=refused: %s", err.msg);
    }
}

void control_signals_open(struct control *c)
{
    static const struct {
        int number;
        event_callback_fn fn;
    } rows[CONTROL_SIGNALS] = {{SIGTERM, on_stop},
                               {SIGINT, on_stop},
                               {SIGHUP, on_hangup},
                               {SIGUSR1, on_reopen},
                               {SIGUSR2, on_upgrade}};
    struct event_base *base = loop_event_base(c->loop);
    for (unsigned i = 0; i < CONTROL_SIGNALS; i++) {
        c->signals[i] = evsignal_new(base, rows[i].number, rows[i].fn, c);
        BUG_ON(c->signals[i] == NULL || event_add(c->signals[i], NULL) != 0);
    }
}

/* The process is ending: a signal that comes now must not cut what is still being written. */
void control_signals_close(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_SIGNALS; i++) {
        if (c->signals[i] != NULL) {
            int number = event_get_signal(c->signals[i]);
            event_free(c->signals[i]);
            c->signals[i] = NULL;
            signal(number, SIG_IGN);
        }
    }
}

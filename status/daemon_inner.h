/* What daemon.c and daemon_events.c share. Inner header. */
#ifndef TIDE_STATUS_DAEMON_INNER_H
#define TIDE_STATUS_DAEMON_INNER_H

#include "base/sd_notify.h"
#include "status/checks.h"
#include "status/daemon.h"
#include "status/ops/ops.h"
#include "status/saver.h"
#include "status/store.h"
#include "status/watch.h"
#include "status/web.h"

enum { DAEMON_LISTENERS = 8, DAEMON_THREADS = 32, DAEMON_SIGNALS = 4, DAEMON_TICK_MS = 500 };

struct daemon {
    const char *path; /* of the configuration */
    struct conf *conf;
    const struct status_settings *settings; /* root of conf */
    struct loop *loop;                      /* control */
    struct board board;
    struct watch watch;
    struct prober *prober;
    struct checks *checks;
    struct store *store; /* NULL: no database */
    struct saver *saver; /* NULL: no snapshot */
    struct site *site;
    struct tls_set *tls; /* NULL: no certificates */
    struct web_listener listeners[DAEMON_LISTENERS];
    unsigned listener_count;
    struct web *webs[DAEMON_THREADS];
    unsigned web_count;
    unsigned draining; /* webs that are not empty yet */
    bool is_stopping;
    struct http_listener *metrics_listener; /* NULL: none */
    struct http_server *metrics_server;
    struct http_handler metrics_handler;
    struct component_gauges {
        struct metric_child *status, *fault; /* one hold each */
    } gauges[STATUS_COMPONENTS_MAX];         /* of the components as last told */
    unsigned gauge_count;
    struct ops *ops; /* NULL: no dashboard */
    struct loop_timer tick;
    struct event *signals[DAEMON_SIGNALS];
    int64_t notice_id; /* newest notice of the database; 0: none, /auth/v1/settings speaks */
    uint64_t saved_mono_ms;
    int64_t rendered_minute; /* of as_of_ms, as the page shows it */
    uint64_t watchdog_ms;    /* 0: not asked for */
    uint64_t watchdog_mono_ms;
};

void daemon_publish(struct daemon *d); /* renders and hands out the board as it is */
struct tls_set *daemon_load_tls(const struct status_settings *s,
                                struct err *err); /* NULL without err: none */
struct ops_parts daemon_ops_parts(struct daemon *d, const struct status_settings *s, struct tls_set *tls);
void daemon_set_watch(struct daemon *d);
void daemon_events_open(struct daemon *d); /* signals */
void daemon_events_close(struct daemon *d);
int daemon_metrics_open(struct daemon *d, struct err *err);
void daemon_metrics_close(struct daemon *d);
void daemon_metrics_update(struct daemon *d);

#endif

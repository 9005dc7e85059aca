/* Inside of the control thread: shared by control.c, control_signals.c and control_http.c only.
 *
 * Thread rule: the control thread. */
#ifndef TIDE_GATEWAY_CONTROL_INNER_H
#define TIDE_GATEWAY_CONTROL_INNER_H

#include "base/http/server.h"
#include "base/pg.h"
#include "gateway/control.h"
#include "gateway/gateway.h"

struct control_tick {
    struct control_tick *next;
    struct loop_timer timer;
    uint64_t period_ms;
    void (*fn)(void *arg);
    void *arg;
};

struct control_watcher {
    struct control_watcher *next;
    enum control_subject subject;
    void (*on_moved)(void *arg, int64_t version);
    void *arg;
};

struct control_poll {
    struct control *control;
    struct loop_timer timer;
    struct pg_job job;
    bool is_running;                 /* job belongs to the pool */
    bool again;                      /* asked for meanwhile */
    int last_rc;                     /* of the poll before; 1: there was none */
    bool is_schema_good;             /* looked at once; it only grows newer */
    int64_t known[CONTROL_SUBJECTS]; /* what watchers were told last */
    int64_t found[CONTROL_SUBJECTS]; /* written by the job */
};

enum { CONTROL_SIGNALS = 5 };

struct replay;
struct upgrade;

enum control_listener {
    CONTROL_METRICS = 0,
    CONTROL_ADMIN = 1,
    CONTROL_ADMIN_READ = 2,
    CONTROL_ADMIN_TLS = 3,
    CONTROL_LISTENERS = 4,
};

struct control {
    struct gateway *gateway;
    struct loop *loop;
    struct control_tick *ticks;
    struct control_watcher *watchers;
    struct control_poll poll;
    struct event *signals[CONTROL_SIGNALS];
    struct http_server *server; /* of metrics and admin; NULL: neither is configured */
    struct http_listener *listeners[CONTROL_LISTENERS]; /* NULL: not configured */
    struct upgrade *upgrade;                            /* upgrade.h */
    struct replay *replay;                              /* admin_replay.c: the one that runs; or NULL */
};

void control_signals_open(struct control *c);
void control_signals_close(struct control *c);
int control_http_begin(struct control *c, struct err *err) TIDE_CHECK; /* of handed-over sockets */
void control_http_close(struct control *c);
void control_http_reload(struct control *c); /* certificates of the admin API */

/* SIGHUP and tidectl reload. On error the old configuration goes on and err says which line. */
int control_reload(struct control *c, struct err *err) TIDE_CHECK;
/* Would the file be taken? Loads it, and drops it. */
int control_try_reload(struct control *c, struct err *err) TIDE_CHECK;

#endif

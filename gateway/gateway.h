/* The process: what exists once, what exists once a loop, and in which order both come up and go down.
 *
 *     struct gateway            one a process: configuration, database pool, control thread, loops
 *       `- struct gateway_loop  one a loop thread: server, Redis, limiter, token cache, origins
 *
 *     start: config_load -> gateway_open (sockets, pools, then X_open of each part, then X_loop_open on
 *     each loop) -> gateway_run (threads) -> drain -> X_loop_close, X_close in reverse -> gateway_free
 *
 * Parts. accounts, limits, chat, proxy each keep a header gateway/X.h with these functions (those that
 * they need; gateway.c calls them by name, there is no table to search):
 *     int  X_open(struct gateway *g, struct err *err);             main thread, before any loop runs
 *     int  X_loop_open(struct gateway_loop *gl, struct err *err);  main thread, before gl's loop runs
 *     void X_loop_reload(struct gateway_loop *gl);                 gl's thread, after gl->conf was swapped
 *     void X_loop_close(struct gateway_loop *gl);                  main thread, after gl's loop has ended
 *     void X_close(struct gateway *g);
 * Each has one pointer in struct gateway and one in struct gateway_loop for what it keeps.
 *
 * Configuration is an immutable snapshot (config.h). A reload makes a new one and posts it to each loop,
 * which swaps gl->conf between two events. A request holds a reference to the one it began with.
 * Thread rule: a struct gateway is const for loops, but for what says atomic; a gateway_loop belongs to its
 * loop. */
#ifndef TIDE_GATEWAY_GATEWAY_H
#define TIDE_GATEWAY_GATEWAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "gateway/heartbeat.h"
#include "gateway/pressure.h"

struct access_log;
struct accounts;
struct accounts_loop;
struct bans;
struct chat;
struct chat_loop;
struct config_hold;
struct control;
struct gateway_attack;
struct gateway_bans;
struct gateway_config;
struct geography;
struct geography_loop;
struct http_handover;
struct http_listener;
struct http_server;
struct identify_loop;
struct limits;
struct limits_loop;
struct pg_pool;
struct policy_due;
struct proxy_loop;
struct request;
struct route_table;
struct tls_set;
struct token_cache;
struct trace_ring;

enum { GATEWAY_LINE = 64 };

/* On cache lines of its own: loops write theirs with every request. */
struct gateway_loop {
    _Alignas(GATEWAY_LINE) struct gateway *gateway; /* borrowed */
    struct loop *loop;                              /* owned */
    struct http_server *server;                     /* owned */
    const struct gateway_config *conf;              /* the snapshot for new requests: that of hold */
    struct config_hold *hold;                       /* owned */
    const struct route_table *routes;               /* of conf (routes.h); borrowed from it */
    struct geography_loop *geography;               /* geography.h: where clients are */
    struct identify_loop *identify; /* issuers, token cache, buckets of failed checks (identify.h) */
    struct limits_loop *limits;     /* limits.h: Redis connections, local fallback */
    struct bans *bans;              /* a reference (bans.h) */
    struct accounts_loop *accounts; /* accounts.h: policy snapshot, ports of auth/ */
    struct chat_loop *chat;         /* chat.h: router's loop half, worker origins */
    struct proxy_loop *proxy;       /* proxy.h: origins of the upstream groups */
    int64_t scores_kept_us;         /* suspicion.c: how much of its rates is used */
    int64_t traps_noted_us;         /* likewise */
    struct trace_ring *trace;       /* the last requests (trace.h); NULL: none are kept */
    enum pressure_level pressure;   /* of memory (pressure.h) */
    unsigned requests;              /* running on this loop now */
    struct request *running;        /* these, newest first */
    struct heartbeat heartbeat;     /* whether it answers the control thread (heartbeat.h) */
    bool is_empty;                  /* draining, and its last connection is gone */
};

/* How the process was started. */
struct gateway_start {
    const char *conf_path; /* borrowed: of the command line; a reload reads it again */
    char **argv;           /* borrowed: an upgrade starts the same command */
    struct http_handover
        *handover;       /* sockets of the process that this one replaces (upgrade.h); NULL: none */
    int told_fd;         /* where that process hears of us, or -1 */
    bool waits_ready;    /* take over only when /readyz says so */
    const char *drained; /* borrowed: names of workers, a line each, that it gave nothing more; NULL: none */
};

struct gateway {
    const struct gateway_config *conf; /* control thread only; loops have their own */
    struct gateway_start start;
    struct gateway_loop *loops; /* loop_count of them */
    unsigned loop_count;
    struct pg_pool *pg;               /* database threads (base/pg.h); NULL when no database is configured */
    struct pressure *pressure;        /* pressure.h */
    struct control *control;          /* control.h: its loop runs timers, polls and admin requests */
    struct http_listener **listeners; /* listener_count of them, the public ones, in the order of the file */
    unsigned listener_count;
    struct access_log *access_log; /* access_log.h */
    struct geography *geography;
    struct accounts *accounts;
    struct policy_due *policy_due; /* policy_due.h */
    struct limits *limits;
    struct challenge *challenge;   /* challenge.h */
    struct suspicion *suspicion;   /* suspicion.h */
    struct gateway_bans *bans;     /* bans.h */
    struct gateway_attack *attack; /* attack.h */
    struct chat *chat;
    char instance[33];              /* random, this process: name of its share in Redis hashes */
    uint64_t started_ms;            /* monotonic */
    bool has_accounts, has_workers; /* the configuration at start asks for them */
    atomic_bool pg_is_up;           /* as the last poll of the control thread found it */
    atomic_uint loops_left;         /* to become empty while draining */
    atomic_bool draining;           /* SIGTERM came */
    atomic_bool retired;            /* another process serves our sockets now */
};

/* Takes the reference to conf, also when it fails. */
struct gateway *gateway_open(const struct gateway_config *conf, const struct gateway_start *start,
                             struct err *err);
int gateway_run(struct gateway *g); /* until drained; 0 or 1 for exit */
void gateway_free(struct gateway *g);

/* Runs fn(gl, arg) on every loop's own thread, soon. arg must outlive all of them: give a
 * refcounted snapshot and take one reference a loop before. Any thread; not run on a loop that is
 * going away. */
void gateway_each_loop(struct gateway *g, void (*fn)(struct gateway_loop *gl, void *arg), void *arg);
/* The control thread: hand over a new snapshot (the caller's reference goes with it), loops follow. */
void gateway_set_config(struct gateway *g, const struct gateway_config *conf);
/* The control thread: no new connections, running answers end; then gateway_run returns. Again: at once. */
void gateway_drain(struct gateway *g);
/* The control thread: connections are accepted from now on, when gateway_open had handed-over sockets. */
int gateway_begin(struct gateway *g, struct err *err) TIDE_CHECK;
/* The control thread: another process has begun with our sockets; what runs here ends, then gateway_run returns. */
void gateway_retire(struct gateway *g);

#endif

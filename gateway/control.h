/* The control thread: one loop of its own for what is slow, rare or alone in the process. Signals, reloads,
 * the poll of versions, ticks of the parts, the admin and metrics listeners, sd_notify.
 *
 * Versions: every 400 ms one job reads the row of versions (migrations: table `versions`); for each subject
 * that moved since, its watcher runs on the control thread. A watcher usually starts a job that fetches what
 * moved, and posts a new snapshot to the loops. While the database is away nothing is called; after its
 * return every subject that moved is. The first successful poll calls every watcher once.
 * Thread rule: control_watch and control_tick before gateway_run; all callbacks on the control thread. */
#ifndef TIDE_GATEWAY_CONTROL_H
#define TIDE_GATEWAY_CONTROL_H

#include "base/err.h"
#include "base/loop.h"

struct control;
struct gateway;

enum control_subject {
    CONTROL_POLICY = 0,
    CONTROL_BANS = 1,
    CONTROL_REVOCATIONS = 2,
    CONTROL_KEYS = 3,
    CONTROL_LADDER = 4,
    CONTROL_WORKERS = 5,
    CONTROL_LIMITS = 6,
    CONTROL_EVERYBODY = 7, /* the number is the era of sessions (auth/README.md) */
    CONTROL_SUBJECTS = 8,
};

struct control *control_new(struct gateway *g);
void control_free(struct control *c);
struct loop *control_loop(struct control *c);
/* Metrics and admin listeners, as the configuration says. After all parts are open. */
int control_listen(struct control *c, struct err *err) TIDE_CHECK;
void control_begin(struct control *c);  /* signals, polls, ticks; then its loop may run */
void control_retire(struct control *c); /* its listeners are another process's now */
void control_end(struct control *c);    /* closes listeners; after its loop has ended */

void control_watch(struct control *c, enum control_subject subject,
                   void (*on_moved)(void *arg, int64_t version), void *arg);
/* Calls fn(arg) every period_ms on the control thread (worker probes, renewals). */
void control_tick(struct control *c, uint64_t period_ms, void (*fn)(void *arg), void *arg);
/* Polls versions now instead of at the next 400 ms (after a change of our own). Any thread. */
void control_poll_soon(struct control *c);

#endif

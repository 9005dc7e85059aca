/* The process tide-status: the control loop (this thread), the public loops, the probe, database and snapshot
 * threads, and what flows between them.
 *
 *     probes -> checks -> board <- store (notices, incidents of another writer)
 *                          |  tick, twice a second: uptime, incidents, staleness
 *                          v
 *                 site_render when something changed, or the minute shown has passed -> web_publish to each loop
 *                 snapshot after each change and every half minute -> saver
 *
 * Life: daemon_new (listens, loads the snapshot) -> daemon_run (until SIGTERM or SIGINT has drained) -> daemon_free.
 * Thread rule: the thread that called daemon_new. */
#ifndef TIDE_STATUS_DAEMON_H
#define TIDE_STATUS_DAEMON_H

#include "status/settings.h"

struct daemon;

/* Takes the configuration's reference; path is read again at SIGHUP (borrowed). */
struct daemon *daemon_new(const char *path, struct conf *conf, struct err *err);
void daemon_run(struct daemon *d);
void daemon_free(struct daemon *d);

#endif

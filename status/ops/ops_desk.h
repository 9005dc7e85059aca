/* The listener of the dashboard: the page, its script, and one stream of events for each live page.
 *
 *     GET /ops            the page as it is now (also /)
 *     GET /ops.js         its script
 *     GET /ops/events     text/event-stream: `part` events with what has changed, then a `beat`
 *
 * A viewer that does not read is left out until it does, and ended by http.send_stall; what it missed comes whole. So a slow
 * viewer costs at most http's high mark of memory and delays nobody.
 * Ownership: owns listener, server, viewers; borrows loop, feed and configuration.
 * Errors: ops_desk_new says what is wrong; the desk answers 401 (password), 404, 405, 421 (host), and 503 past ops.viewers.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_OPS_DESK_H
#define TIDE_STATUS_OPS_DESK_H

#include "base/http/server.h"
#include "status/ops/ops_feed.h"

struct ops_desk;

struct ops_desk *ops_desk_new(struct loop *loop, struct ops_feed *feed, const struct ops_conf *conf,
                              const struct http_limits *limits, struct tls_set *tls, struct err *err);
void ops_desk_free(struct ops_desk *d); /* NULL allowed; cuts what is open */
void ops_desk_stop(struct ops_desk *d); /* ends the streams in good order; no new ones */
/* Draws the parts anew, and sends those that changed to who looks. */
void ops_desk_broadcast(struct ops_desk *d);
/* A reload: the password is read again first; on failure nothing changes. A new one cuts the open streams. tls may be NULL. */
int ops_desk_set_conf(struct ops_desk *d, const struct ops_conf *conf, const struct http_limits *limits,
                      struct tls_set *tls, struct err *err) TIDE_CHECK;

#endif

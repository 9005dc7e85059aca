/* Chat over the workers: POST /v1/chat/completions and /v1/completions, GET /v1/models. Wires inference/router
 * into the gateway: router (one a process), its loop half (one a loop), the rows of the route table.
 * Life: chat_open makes the router on the control loop; chat_loop_open gives a loop its half; a reload of the
 * configuration on the control thread calls chat_reload, which publishes a new worker table to the loops.
 * Thread rule: as gateway.h says for each. */
#ifndef TIDE_GATEWAY_CHAT_H
#define TIDE_GATEWAY_CHAT_H

#include "gateway/chat_conf.h"
#include "gateway/gateway.h"
#include "gateway/request.h"

int chat_open(struct gateway *g, struct err *err) TIDE_CHECK;
void chat_reload(struct gateway *g,
                 const struct chat_conf *conf); /* control thread; conf is borrowed for the call */
int chat_loop_open(struct gateway_loop *gl, struct err *err) TIDE_CHECK;
void chat_loop_close(struct gateway_loop *gl);
void chat_close(struct gateway *g);

/* The rows, with the body cap of this configuration. */
enum { CHAT_ROUTES = 4 };
void chat_route_rows(const struct chat_conf *conf, struct route rows[CHAT_ROUTES]);

/* Admin: workers as JSON rows; draining by name (false: no such worker). Control thread. */
struct buf;
void chat_write_workers(struct gateway *g, struct buf *out);
bool chat_drain_worker(struct gateway *g, struct str name, bool drain);
void chat_write_drained(struct gateway *g, struct buf *out); /* their names, a line each */
bool chat_has_worker(struct gateway *g, struct str name);
/* Any worker ready for a model: for /readyz. Any thread. */
bool chat_is_ready(struct gateway *g);

#endif

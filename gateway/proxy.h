/* Passes a route through to a group of upstream servers. Authentication and limits were the pipeline's.
 *
 * Request: all header fields but those that are the hop's (connection, transfer-encoding, ...), the client's
 * credentials (authorization, apikey, cookie unless the row says so) and what only we may say (x-forwarded-*,
 * forwarded, x-real-ip, x-tide-*), also where '_' or another character stands for '-'; x-forwarded-for, x-forwarded-proto,
 * x-request-id and x-tide-user (who showed a token: its sub, of another issuer than the first "iss|sub") are ours.
 * Answer: streamed with back pressure, without the hop's fields, nor upstream's word on an origin that cors.h allows. Upstream trouble before its head answers 502, 503 or 504;
 * after it, the answer is cut.
 * Life: proxy_loop_open makes the origins of a loop; a reload makes new ones, the old ones go with their last request.
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_PROXY_H
#define TIDE_GATEWAY_PROXY_H

#include "gateway/gateway.h"
#include "gateway/proxy_conf.h"

int proxy_loop_open(struct gateway_loop *gl, struct err *err) TIDE_CHECK;
void proxy_loop_reload(struct gateway_loop *gl);
void proxy_loop_close(struct gateway_loop *gl);

/* The row of the route table for a configured route; the conf is borrowed (snapshot). */
struct route proxy_route_row(const struct proxy_route_conf *conf);

#endif

/* Which rows the route table of a configuration has: health, accounts, chat, and the proxy rows it names.
 *
 * Thread rule: pure; used while a configuration is loaded. */
#ifndef TIDE_GATEWAY_ROUTE_ROWS_H
#define TIDE_GATEWAY_ROUTE_ROWS_H

#include "base/err.h"

struct gateway_config;

/* Fills c->routes. ERR_INVALID, ERR_CONFLICT: names the row. */
int route_rows_build(struct gateway_config *c, struct err *err) TIDE_CHECK;

#endif

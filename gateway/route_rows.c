#include "gateway/route_rows.h"

#include "gateway/accounts.h"
#include "gateway/challenge.h"
#include "gateway/chat.h"
#include "gateway/config.h"
#include "gateway/health.h"
#include "gateway/proxy.h"
#include "gateway/routes.h"

int route_rows_build(struct gateway_config *c, struct err *err)
{
    const struct proxy_route_conf *proxies = c->set->proxy.routes.items;
    c->routes = route_table_new();
    int rc = route_table_add(c->routes, health_routes, health_route_count, err);
    if (rc == 0 && c->set->auth != NULL) {
        rc = route_table_add(c->routes, accounts_routes, accounts_route_count, err);
    }
    if (rc == 0 && c->set->auth != NULL) {
        rc = route_table_add(c->routes, challenge_routes, challenge_route_count, err);
    }
    if (rc == 0 && c->set->chat.workers.n > 0) {
        struct route rows[CHAT_ROUTES];
        chat_route_rows(&c->set->chat, rows);
        rc = route_table_add(c->routes, rows, CHAT_ROUTES, err);
    }
    for (unsigned i = 0; i < c->set->proxy.routes.n && rc == 0; i++) {
        struct route row = proxy_route_row(&proxies[i]);
        rc = route_table_add(c->routes, &row, 1, err);
    }
    route_table_seal(c->routes);
    return rc;
}

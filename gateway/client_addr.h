/* Who is the client, behind proxies that we trust and none that we do not.
 *
 * The socket's peer counts unless it is a trusted proxy; then X-Forwarded-For (all its fields, in
 * order, as one list) is walked from the right past trusted addresses: the first that is not
 * trusted is the client. An entry that is no address ("unknown", garbage) ends the walk at the
 * trusted hop that wrote it. At most 32 entries are looked at.
 * Forms: v4, v6, [v6], either with a port; ::ffff:a.b.c.d is the IPv4 address.
 * Thread rule: pure functions. */
#ifndef TIDE_GATEWAY_CLIENT_ADDR_H
#define TIDE_GATEWAY_CLIENT_ADDR_H

#include "base/addr.h"
#include "base/http/exchange.h"

struct client_addr_conf {
    const struct addr_prefix *trusted; /* proxies whose X-Forwarded-For is believed */
    unsigned trusted_count;
    bool trust_unix; /* peers on a unix socket are trusted proxies */
};

struct addr client_addr_find(const struct http_exchange *ex, const struct client_addr_conf *conf);
bool client_addr_parse(struct str s, struct addr *out); /* one entry of the list */

#endif

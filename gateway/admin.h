/* The admin API: JSON over HTTP on unix sockets, and in TLS for clients with certificates. tidectl is its client;
 * people may use curl --unix-socket.
 *
 *     GET  /admin/v1/workers               POST /admin/v1/workers/NAME/drain {"drain":true, "reason"}
 *     GET  /admin/v1/limits                GET  /admin/v1/users?phone=&user=&limit=
 *     GET  /admin/v1/limits/top?rule=&limit=   GET /admin/v1/limits/explain?key=&route=&device=&model=
 *     PUT  /admin/v1/limits/RULE {"limit", "burst", "ttl_s", "reason"}   POST .../RULE/reset {"reason"}
 *     GET  /admin/v1/attack                PUT  /admin/v1/attack {"level", "ttl_s", "reason"}
 *     POST /admin/v1/attack/auto {"reason"}        GET /admin/v1/attack/history?limit=
 *     GET  /admin/v1/bans?effect=&list=&after=&limit=          GET  /admin/v1/bans/test?target=
 *     POST /admin/v1/bans {"items": [{"target", "ttl_s", "reason"}], "effect", "list", "reason", "confirm"}
 *     POST /admin/v1/bans/remove {"targets"|"list", "effect", "reason"}
 *     GET  /admin/v1/policy?version=       PUT  /admin/v1/policy {"preset"|"document", "reason", "if_version"}
 *     GET  /admin/v1/policy/history        POST /admin/v1/policy/rollback {"version", "reason", "if_version"}
 *     POST /admin/v1/policy/simulate {"attempts", "document"|"preset", "trace"}
 *     POST /admin/v1/policy/lint {"document"|"preset"}              GET  /admin/v1/policy/schema
 *     GET  /admin/v1/invites?id=&code=&campaign=&limit=
 *     POST /admin/v1/invites {"count", "uses", "campaign", "ttl_s", "inviter", "quota", "reason"}
 *     POST /admin/v1/invites/revoke {"id"|"code"|"campaign", "reason"}
 *     GET  /admin/v1/waitlist?limit=       GET  /admin/v1/waitlist/status
 *     POST /admin/v1/waitlist/release {"count", "phone_country", "joined_before", "ttl_s", "reason"}
 *     GET  /admin/v1/sms?limit=            POST /admin/v1/sms/unblock {"prefix", "reason"}
 *     POST /admin/v1/users/ID/revoke {"reason"}     POST /admin/v1/numbers/unlock {"phone", "reason"}
 *     GET  /admin/v1/incidents             GET  /admin/v1/audit
 *     GET  /admin/v1/requests?limit=       GET  /admin/v1/requests/ended?limit=
 *     GET  /admin/v1/requests/ID           POST /admin/v1/requests/ID/kill
 *     GET  /admin/v1/check                 POST /admin/v1/reload
 *     POST /admin/v1/upgrade               (answered when the new process serves, or has failed)
 *
 * Who may connect is the socket's file mode, or the list of names in certificates; what they may do is the level of
 * the socket or of the name. Who did it is the peer's user (SO_PEERCRED) or that name, written into the audit log. Errors are problem+json; unknown members of a body are refused, naming the member.
 * Thread rule: the control thread; database work by jobs. */
#ifndef TIDE_GATEWAY_ADMIN_H
#define TIDE_GATEWAY_ADMIN_H

#include "base/http/exchange.h"

void admin_on_request(struct http_exchange *ex, void *control);

#endif

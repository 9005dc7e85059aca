/* Whether the process lives, and whether it should get traffic.
 *
 *     /livez   200 as long as a loop answers; looks at nothing else
 *     /readyz  503 while draining, before the first policy is known, or when no worker can take a chat;
 *              ?verbose lists every check for people, ?exclude=NAME leaves one out
 *
 * A Redis or a PostgreSQL that is away is shown, but fails neither: signed-in users still chat.
 * Thread rule: checks read atomics; any loop. */
#ifndef TIDE_GATEWAY_HEALTH_H
#define TIDE_GATEWAY_HEALTH_H

#include <stdbool.h>

#include "base/json.h"
#include "gateway/request.h"

extern const struct route health_routes[];
extern const unsigned health_route_count;

struct gateway;
/* For listeners without the pipeline (metrics): true when the path was one of ours and is answered. */
bool health_answer(struct http_exchange *ex, const struct gateway *g);
bool health_is_ready(const struct gateway *g); /* what /readyz says */
/* The checks as members of an open JSON object; *ready is the verdict. */
void health_write(const struct gateway *g, struct json_writer *w, bool *ready);

#endif

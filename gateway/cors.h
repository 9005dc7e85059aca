/* Cross-origin requests: off unless the configuration lists origins. Exact match only, no wildcard, no credentials.
 * A preflight may send whatever fields it asks for, up to 1 KiB of names: clients change theirs with every version.
 * Thread rule: pure, on the exchange's loop. */
#ifndef TIDE_GATEWAY_CORS_H
#define TIDE_GATEWAY_CORS_H

#include "gateway/request.h"

bool cors_lists(const struct gateway_config *conf, struct str origin); /* one of cors.origins */
bool cors_allows(const struct request *r); /* it names such a one: its script may read the answer */
/* Adds the fields that a listed origin may read the answer with. True: it was a preflight and is answered. */
bool cors_apply(struct request *r, uint32_t methods);

#endif

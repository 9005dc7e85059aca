/* One request to the public page and its answer, out of a site. Knows HTTP, not threads.
 *
 * Thread rule: on the exchange's loop. */
#ifndef TIDE_STATUS_ANSWER_H
#define TIDE_STATUS_ANSWER_H

#include "base/http/exchange.h"
#include "status/site.h"

void answer_request(struct http_exchange *ex, const struct site *site);
void answer_metrics_register(void); /* before the first request */

#endif

/* GET /v1/models and /v1/models/ID: what the workers serve now, and the aliases of the configuration.
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_CHAT_MODELS_H
#define TIDE_GATEWAY_CHAT_MODELS_H

#include "gateway/request.h"

void chat_models_handle(struct request *r);

#endif

/* What a client is told about limits: fields of passed answers, and refusals. Part of gateway/limits.
 *
 * RateLimit and RateLimit-Policy are structured-field lists (draft-ietf-httpapi-ratelimit-headers):
 *     RateLimit: "chat_account";r=17;t=3        RateLimit-Policy: "address";q=50;w=1, "chat_account";q=60;w=60
 * Thread rule: the request's loop. */
#ifndef TIDE_GATEWAY_LIMITS_REPLY_H
#define TIDE_GATEWAY_LIMITS_REPLY_H

#include "gateway/request.h"
#include "ratelimit/limiter.h"

void limits_reply_fields(struct request *r, const struct limit_check *c);
/* Answers a denied check. is_sms: a code by SMS was asked for. */
void limits_reply_denied(struct request *r, const struct limit_check *c, bool is_sms);

#endif

/* Which header fields a proxied request and its answer keep; the rules are told in proxy.h.
 * Ownership: values are borrowed from the exchange, or live on its arena.
 * Thread rule: pure. */
#ifndef TIDE_GATEWAY_PROXY_FIELDS_H
#define TIDE_GATEWAY_PROXY_FIELDS_H

#include "gateway/request.h"

/* The request's fields for upstream, on the arena; *n of them. */
const struct http_field *proxy_request_fields(struct request *r, bool cookies, unsigned *n);
/* Keeps in out (room for count) what the client may see. */
unsigned proxy_answer_fields(struct arena *arena, const struct http_field *fields, unsigned count,
                             bool cookies, struct http_field *out);
/* Takes out what an upstream says of cross-origin requests, but which fields it exposes; what is left of count. */
unsigned proxy_drop_cors(struct http_field *fields, unsigned count);
/* A field that speaks of one connection only, or that the one before us does not decide; in any spelling that an
 * upstream may take for its name. */
bool proxy_is_dropped_field(struct str name, bool cookies);

#endif

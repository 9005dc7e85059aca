/* W3C Trace Context (Recommendation of 2021-11-23): which trace a request belongs to, and what upstreams are told.
 *
 *     traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *                  version-trace id-parent id-flags
 *
 * A request that carries a valid traceparent stays in its trace, its flags are kept and its tracestate is passed on. One
 * without, or with anything malformed, begins a trace of its own, whose id is the request id; its tracestate is dropped.
 * What goes upstream names this request as the parent.
 * Thread rule: pure functions; texts on the request's arena. */
#ifndef TIDE_GATEWAY_TRACE_CONTEXT_H
#define TIDE_GATEWAY_TRACE_CONTEXT_H

#include "base/http/exchange.h"

enum { TRACE_ID_TEXT = 32, TRACE_PARENT_TEXT = 16, TRACE_CONTEXT_TEXT = 55, TRACE_STATE_MAX = 512 };

struct trace_context {
    char id[TRACE_ID_TEXT + 1];         /* lower-case hex, not all zero */
    char parent[TRACE_PARENT_TEXT + 1]; /* who called: "" when the trace begins here */
    uint8_t flags;                      /* bit 0: sampled; bit 1: the id is random */
};

/* Strict: false leaves *out alone. Versions above 00 may have more after the flags. */
bool trace_context_parse(struct str traceparent, struct trace_context *out);
void trace_context_of(const struct http_exchange *ex, struct trace_context *out);
/* Adds traceparent, and tracestate when there is one to pass on: at most 2 fields; how many. */
unsigned trace_context_fields(struct http_exchange *ex, const struct trace_context *t,
                              struct http_field *out);

#endif

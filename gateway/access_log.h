/* The access log: one JSON object a line, one line a request, written when it has ended. Not the
 * program's log (base/log.h).
 *
 * Fields: @timestamp, request_id, client (prefix: IPv4 /24, IPv6 /48), protocol, method, route,
 * path (no query), status, finish, duration_s, first_byte_s, bytes_in, bytes_out, and when known
 * user_id, country, ja4 (kind of TLS client), model, worker, prompt_tokens, completion_tokens, problem, limit_rule (that refused), trace_id and
 * parent_id (of a client's traceparent; without one the trace has the request's id), and the times of the phases that
 * were come to: parse_s, auth_s, body_s, limit_s, queue_s. Never: query, headers, body, tokens, phone numbers, full
 * addresses.
 * Thread rule: any thread (the file's writer is base/log's). */
#ifndef TIDE_GATEWAY_ACCESS_LOG_H
#define TIDE_GATEWAY_ACCESS_LOG_H

#include "gateway/request.h"

struct access_log;
struct access_log *access_log_open(const char *path, struct err *err); /* "-": stdout; NULL on error */
void access_log_close(struct access_log *l);
/* l NULL: off; phases: REQUEST_PHASES of them, in microseconds (trace.h) */
void access_log_write(struct access_log *l, const struct request *r, enum http_finish finish,
                      const uint64_t *phases);

#endif

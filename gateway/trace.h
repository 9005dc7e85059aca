/* Where the time of a request went, and what the last requests of a loop were: phases as histograms, and a ring of the
 * last process.trace_requests that ended, for `tidectl trace`. Not the access log, which outlives the process.
 *
 *     |-- parse --|-- auth --|-- body --|-- limit --|-- handler ......................|
 *     first byte  row found  who it is  body whole  may pass    |queue|  first_byte     last_byte (both from the left end)
 *
 * A phase that a request never came to is 0 and is not observed. Times are microseconds.
 * Life: a ring is made with its loop; entries are overwritten, oldest first. Texts are copied, cut at their field's size.
 * Cost: a clock read a stage, one entry copied a request. process.trace_requests 0 keeps none.
 * Thread rule: a ring belongs to its loop; histograms are base/metrics'. */
#ifndef TIDE_GATEWAY_TRACE_H
#define TIDE_GATEWAY_TRACE_H

#include "base/json.h"
#include "gateway/request.h"

struct trace_ring;
struct gateway_loop;

/* Fills us[] (REQUEST_PHASES of them) for a request, running or ended, as of now_us. */
void trace_phases(const struct request *r, uint64_t now_us, uint64_t *us);

struct trace_ring *trace_ring_new(unsigned entries); /* NULL for 0 */
void trace_ring_free(struct trace_ring *ring);
/* The request has ended: histograms, and the ring when there is one. */
void trace_finished(struct trace_ring *ring, const struct request *r, enum http_finish finish,
                    const uint64_t *us);

/* As JSON objects, for operators. */
void trace_write_running(struct json_writer *w, const struct request *r);
bool trace_write_found(struct json_writer *w, const struct trace_ring *ring,
                       struct str id); /* request or trace id */
void trace_write_last(struct json_writer *w, const struct trace_ring *ring, unsigned most); /* newest first */

#endif

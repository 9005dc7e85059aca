/* What a worker tells of its load: one event of tide-worker's GET /tide/v1/load. Not the stream (report_stream.c), not what
 * is made of it (worker_note_report).
 *
 *     {"running":3,"waiting":0,"slots":8,"kv_blocks_used":96,"kv_blocks":2048,"draining":false}
 *
 * Errors: worker_report_read answers ERR_INVALID, with the field's name, to what is no such object; further fields are
 * passed over.
 * Thread rule: pure functions. */
#ifndef TIDE_ROUTER_WORKER_REPORT_H
#define TIDE_ROUTER_WORKER_REPORT_H

#include "base/err.h"
#include "base/str.h"

struct worker_report {
    int32_t running; /* requests that it computes */
    int32_t waiting; /* requests in its queue */
    uint8_t kv_used; /* percent of its KV cache, 0 to 100 */
    bool is_draining;
};

int worker_report_read(struct str json, struct worker_report *out, struct err *err) TIDE_CHECK;

#endif

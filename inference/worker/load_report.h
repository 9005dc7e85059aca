/* GET /tide/v1/load: how busy the worker is, an event every 100 ms for as long as the gateway listens.
 *
 *     data: {"running":3,"waiting":0,"slots":8,"kv_blocks_used":96,"kv_blocks":2048,"draining":false}
 *
 * A listener who does not take an event gets the next one that it takes: nothing is gathered.
 * Thread rule: the HTTP loop. */
#ifndef TIDE_WORKER_LOAD_REPORT_H
#define TIDE_WORKER_LOAD_REPORT_H

#include "base/http/exchange.h"
#include "inference/worker/engine.h"

#define LOAD_REPORT_TYPE "text/event-stream; charset=utf-8"

/* Borrows engine and *draining until the exchange ends. Sets the exchange's callbacks. */
void load_report_start(struct http_exchange *ex, struct engine *engine, const bool *draining);

#endif

/* The HTTP side of tide-worker: its listener and its routes, all on one loop.
 *
 *     POST /v1/chat/completions, /v1/completions, /tokenize, /detokenize
 *     GET  /v1/models, /v1/models/ID, /health, /metrics
 *
 * Life: front_open (listening, "loading" to all but /health and /metrics, which say so) -> front_ready ->
 * front_drain -> front_close.
 * Errors of clients are OpenAI error objects. With an API key, every path but /health asks for it.
 * Thread rule: the loop's thread, or before it runs. */
#ifndef TIDE_WORKER_FRONT_H
#define TIDE_WORKER_FRONT_H

#include "base/loop.h"
#include "inference/worker/engine.h"
#include "inference/worker/options.h"

struct front;

int front_open(struct loop *loop, const struct options *o, struct front **out, struct err *err) TIDE_CHECK;
void front_ready(struct front *f, struct engine *engine); /* borrowed until front_close */
void front_drain(struct front *f, uint32_t deadline_ms, void (*on_empty)(void *), void *arg);
void front_close(struct front *f);

#endif

/* One answer on its way from the engine to a client: streamed as events or gathered and sent whole.
 *
 *     answer_start -> [engine's outputs, by the loop's inbox] -> last output -> http_end -> on_finish
 *
 * Two may still speak of an answer: its exchange (until on_finish) and its job (until the last output); it is
 * freed when both are over. When the client goes first, the job is canceled.
 * Back pressure: what a slow client does not take is kept up to 256 KiB; then the answer is cut.
 * Thread rule: the HTTP loop; only on_output runs on the engine's thread and posts to the loop. */
#ifndef TIDE_WORKER_ANSWER_H
#define TIDE_WORKER_ANSWER_H

#include "base/http/exchange.h"
#include "inference/worker/engine.h"
#include "inference/worker/openai_request.h"

/* Takes the request's prompt. Sets the exchange's callbacks; replies itself also when the queue is full.
 * within_ms: an answer that takes longer ends with an error. */
void answer_start(struct http_exchange *ex, struct engine *engine, struct str model, uint32_t within_ms,
                  struct openai_request *q);

#endif

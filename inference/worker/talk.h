/* `tide-worker chat`: a conversation in the terminal, a line of standard input a turn. */
#ifndef TIDE_WORKER_TALK_H
#define TIDE_WORKER_TALK_H

#include "inference/worker/options.h"

/* Until the end of input or /exit; /new forgets the conversation. Ctrl-C ends an answer, or the talk when there
 * is none. Errors: as engine_new; ERR_INVALID: not a chat model. */
int talk_run(const struct options *o, struct err *err) TIDE_CHECK;

#endif

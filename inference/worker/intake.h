/* Reads the bodies of requests on a thread of its own: making tokens of a megabyte of text takes a good part of a second,
 * and the HTTP loop serves everybody meanwhile. Not the reading itself: openai_request.h.
 *
 *     intake_read (loop) -> read (the intake's thread) -> on_read (loop)     not called when the client has left
 *
 * One after the other, by turns. A body's turn is its bytes behind those taken when it came, or behind the turn of its payer's
 * last one that waits. So one payer's are read in their order and of several payers' the shortest first; few words wait for the
 * long text in work and not for all that another sent before; and who comes when the bytes taken have reached a long text's turn
 * stands behind it.
 * Ownership: the body is copied. What on_read is given is borrowed until it returns, but for `prompt` and `tokens`, which it
 * may take.
 * Bounds: as many bodies wait as there are open requests, each of --body-limit at most.
 * Thread rule: the loop's thread. The tokenizer belongs to the intake's. */
#ifndef TIDE_WORKER_INTAKE_H
#define TIDE_WORKER_INTAKE_H

#include "base/http/exchange.h"
#include "inference/worker/openai_request.h"

enum intake_kind { INTAKE_CHAT = 0, INTAKE_COMPLETION = 1, INTAKE_TOKENS = 2 };

struct intake_result {
    int rc;
    struct openai_fault fault;     /* rc below 0 */
    struct openai_request request; /* INTAKE_CHAT, INTAKE_COMPLETION */
    struct token_list tokens;      /* INTAKE_TOKENS */
};
typedef void (*intake_cb)(struct http_exchange *ex, struct intake_result *r);

struct intake;

int intake_new(struct loop *loop, struct intake **out, struct err *err) TIDE_CHECK;
/* After the last exchange has ended, before the tokenizer does; waits for the body in work. */
void intake_free(struct intake *in);
/* ex->user and ex->on_finish are the intake's until on_read; there the first is what it was.
 * payer: whose bodies wait for one another; 0: nobody's. */
void intake_read(struct intake *in, struct http_exchange *ex, uint64_t payer, enum intake_kind kind,
                 struct str body, const struct openai_context *c, intake_cb on_read);

#endif

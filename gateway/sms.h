/* Codes by SMS on their way out: the guard of their prefix, what they cost, and the report of both. Not the budgets
 * (rules at the event sms), not the providers (hooks.h), not the counting (ratelimit/sms_ledger.h).
 *
 *     rules at sms let it pass -> sms_guard: blocked prefix? answered, 429 -> row, provider -> sms_account
 *                                            \- nothing was sent: sms_give_back      code typed in: sms_used
 *
 * A block is audited and logged by the gateway that set it; it ends by itself, or is lifted by an operator.
 * Thread rule: the loop; sms_report, sms_unblock and sms_account_notice the control thread. */
#ifndef TIDE_GATEWAY_SMS_H
#define TIDE_GATEWAY_SMS_H

#include "auth/phone.h"
#include "base/buf.h"
#include "gateway/gateway.h"

struct request;
struct sms_wait;
struct sms_sent;

/* done may be called before this returns; when not admitted it has been answered here. Never after sms_forget. */
void sms_guard(struct request *r, struct str prefix, void (*done)(void *arg, bool is_admitted), void *arg);
void sms_give_back(struct request *r); /* what sms_guard counted: nothing was sent */
/* The prefix that it counted: whoever has it says sms_unsend, once; or empty. */
void sms_take_over(struct request *r, char prefix[PHONE_E164_MAX + 1]);
void sms_unsend(struct gateway_loop *gl, struct str prefix);
void sms_forget(struct request *r); /* request_finish only; what nobody took over is taken back */

void sms_account(struct gateway_loop *gl, const struct sms_sent *s);
/* The control thread: a message of another kind than a code was taken, to this number. Loop 0 accounts for it. */
void sms_account_notice(struct gateway *g, const char *number, const char *provider);
void sms_used(struct gateway_loop *gl, struct str prefix);

/* tidectl sms top: asks loop 0, whose Redis answers. done once, unless forgotten. text NULL: the ledger does not answer. */
struct sms_report;
struct sms_report *sms_report(struct gateway *g, unsigned most,
                              void (*done)(void *arg, const struct buf *text), void *arg);
void sms_report_forget(struct sms_report *p);

/* tidectl sms unblock, likewise; what was lifted is audited and logged, wherever who asked for it has gone. */
struct sms_unblock;
struct sms_unblock_ask {
    struct str prefix; /* or "all" */
    bool is_trial;
    struct str actor, reason, request_id;
};
struct sms_unblock *sms_unblock(struct gateway *g, const struct sms_unblock_ask *from,
                                void (*done)(void *arg, int rc, int64_t blocks, bool is_audited), void *arg);
void sms_unblock_forget(struct sms_unblock *p);

#endif

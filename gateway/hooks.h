/* Calls to the operator's own servers: signed HTTP by libcurl, on the control thread's loop. Codes to SMS providers, and
 * questions to a risk service. Not the choice of what to say (auth/, sms_message.h, risk.h), not limits.
 *
 *     hooks_send_code on a loop -> control thread: try, try the next, wait, try again -> done back on that loop, once
 *
 * Providers stand in order of preference. A try that fails (no connection, no answer in time, 5xx, 429) or is refused goes
 * to the next at once; only when all were tried does the first get another. One that fails often is passed over
 * (breaker.h), unless there is no other. A 2xx ends it: no code is sent again that was taken. After a time-out nobody
 * knows: it may be taken twice, with the same webhook id. All ends by hooks.sms_deadline.
 * The webhook id is the message's, the same for each try; the time is each try's own. Redirects are not followed,
 * no proxy of the environment is used, and an answer past 200 KiB ends the try. hook_target.h says to which addresses.
 * The risk service is asked once, by a deadline of its own, and not at all while it fails often or too many questions are
 * under way (ERR_AGAIN): what it says is kept, up to HOOK_RISK_ANSWER_MAX.
 * rc: 0 taken (2xx); ERR_DENIED refused (another 4xx, 3xx); ERR_UNAVAILABLE no answer or 5xx after all tries;
 * ERR_AGAIN too many under way; ERR_CANCELED the process ends.
 * Thread rule: hooks_open and hooks_close on the main thread; hooks_send_code on a loop; the rest inside. */
#ifndef TIDE_GATEWAY_HOOKS_H
#define TIDE_GATEWAY_HOOKS_H

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"

struct auth_message;
struct hooks;
struct hooks_conf;

struct hooks *hooks_open(struct loop *control, const struct hooks_conf *conf, struct err *err);
void hooks_close(struct hooks *h); /* after hooks_forget_loop of every loop */

enum { HOOK_RISK_ANSWER_MAX = 4096 };
struct hook_end {
    int rc;
    const char *provider; /* the one that took it, or was asked last; "" when none was */
    struct str answer;    /* of the risk service: until done returns */
};
typedef void (*hook_done_cb)(void *arg, const struct hook_end *end);
void hooks_send_code(struct hooks *h, const struct auth_message *m, hook_done_cb done, void *arg);
/* Is there a risk service, and does it not fail often? Any thread. */
bool hooks_may_ask_risk(const struct hooks *h);
/* id: at most a UUID long. done is called on this loop, never before this returns. */
void hooks_ask_risk(struct hooks *h, struct str id, struct str body, hook_done_cb done, void *arg);
/* Items {name, breaker}, in order of preference. Any thread. */
struct json_writer;
void hooks_write_providers(const struct hooks *h, struct json_writer *w);
/* The main thread, once the loop's thread has ended: what is under way for it is told ERR_CANCELED here. */
void hooks_forget_loop(struct hooks *h, struct loop *loop);

#endif

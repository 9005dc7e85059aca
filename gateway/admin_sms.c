/* Verbs of the admin API about codes by SMS: what they cost, who is blocked. */
#include "gateway/admin_inner.h"
#include "gateway/sms.h"

enum { MOST_DEFAULT = 10, MOST_MAX = 100 };

static void on_report(void *arg, const struct buf *text)
{
    struct admin_call *c = arg;
    c->report = NULL;
    if (text == NULL) {
        http_reply_error(c->ex, "service_unavailable", "the ledger (Redis) does not answer");
        return;
    }
    admin_reply(c, text);
}

void admin_sms(struct admin_call *c)
{
    struct str text;
    uint64_t most = MOST_DEFAULT;
    if (http_query_get(c->ex, "limit", &text) && (!str_u64(text, &most) || most == 0 || most > MOST_MAX)) {
        http_reply_error(c->ex, "validation_failed", "limit: wants 1 to %d", MOST_MAX);
        return;
    }
    c->report = sms_report(c->control->gateway, (unsigned)most, on_report, c);
}

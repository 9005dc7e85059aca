/* Verbs of the admin API about codes by SMS: what they cost, who is blocked. */
#include "auth/phone.h"
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

/* --- a block is lifted ----------------------------------------------------------------------------------- */

static void on_lifted(void *arg, int rc, int64_t blocks, bool is_audited)
{
    struct admin_call *c = arg;
    c->unblock = NULL;
    if (rc != 0) {
        http_reply_error(c->ex, "service_unavailable", "the ledger (Redis) does not answer");
        return;
    }
    if (blocks == 0) {
        http_reply_error(c->ex, "not_found", "prefix: not blocked");
        return;
    }
    struct buf text;
    struct json_writer w = {.out = &text};
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_i64_at(&w, "lifted", blocks);
    json_bool_at(&w, "audited", is_audited);
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

/* "+" and digits, as sms top names it, or "all". */
static bool is_prefix(struct str s)
{
    if (str_eq(s, STR("all"))) {
        return true;
    }
    bool is_whole = s.n >= 2 && s.n <= PHONE_E164_MAX && s.p[0] == '+';
    for (size_t i = 1; i < s.n && is_whole; i++) {
        is_whole = s.p[i] >= '0' && s.p[i] <= '9';
    }
    return is_whole;
}

void admin_sms_unblock(struct admin_call *c)
{
    static const char *const members[] = {"prefix", "reason"};
    struct str prefix = STR(""), reason = STR("");
    if (!admin_knows_members(c, members, 2) || !admin_get_text(c, "prefix", &prefix) ||
        !admin_get_reason(c, &reason)) {
        return;
    }
    if (!is_prefix(prefix)) {
        http_reply_error(c->ex, "validation_failed", "prefix: wants + and digits, or all");
        return;
    }
    const struct sms_unblock_ask ask = {prefix, c->dry_run, str_from(c->actor), reason, str_from(c->ex->id)};
    c->unblock = sms_unblock(c->control->gateway, &ask, on_lifted, c);
}

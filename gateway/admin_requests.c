/* Verbs of the admin API about single requests: those that run, those that have ended, and ending one. */
#include <stdio.h>

#include "gateway/admin_inner.h"
#include "gateway/inspect.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

static void answer(struct admin_call *c, struct str items, unsigned silent)
{
    struct buf text;
    buf_init(&text, ADMIN_ANSWER_MAX);
    buf_addf(&text, "{\"silent_loops\":%u,\"items\":[", silent);
    buf_add_str(&text, items);
    buf_add_cstr(&text, "]}");
    admin_reply(c, &text);
    buf_clear(&text);
}

static void on_list(void *arg, struct str items, unsigned silent)
{
    struct admin_call *c = arg;
    c->inspection = NULL;
    answer(c, items, silent);
}

static void on_one(void *arg, struct str items, unsigned silent)
{
    struct admin_call *c = arg;
    c->inspection = NULL;
    if (items.n > 0) {
        answer(c, items, silent);
    } else if (silent > 0) {
        http_reply_error(c->ex, "gateway_timeout", "%u loops did not answer within %d ms", silent,
                         INSPECT_DEADLINE_MS);
    } else {
        http_reply_error(c->ex, "not_found", "no such request is known here");
    }
}

/* False when it has answered. */
static bool take_limit(struct admin_call *c, unsigned *out)
{
    struct str text;
    uint64_t n = LIMIT_DEFAULT;
    if (http_query_get(c->ex, "limit", &text) && (!str_u64(text, &n) || n == 0 || n > LIMIT_MAX)) {
        http_reply_error(c->ex, "validation_failed", "limit: wants 1 to %d", LIMIT_MAX);
        return false;
    }
    *out = (unsigned)n;
    return true;
}

static void list(struct admin_call *c,
                 void (*ask)(struct gateway_loop *, const struct inspect_question *, struct buf *))
{
    struct inspect_question q = {.ask = ask};
    if (take_limit(c, &q.most)) {
        c->inspection = inspect_begin(c->control, &q, on_list, c);
    }
}

static void ask_one(struct admin_call *c,
                    void (*ask)(struct gateway_loop *, const struct inspect_question *, struct buf *))
{
    struct inspect_question q = {.ask = ask};
    if (c->name.n > INSPECT_ID_MAX) {
        http_reply_error(c->ex, "not_found", "no request has such an id");
        return;
    }
    memcpy(q.id, c->name.p, c->name.n);
    c->inspection = inspect_begin(c->control, &q, on_one, c);
}

void admin_requests(struct admin_call *c)
{
    list(c, inspect_running);
}

void admin_requests_ended(struct admin_call *c)
{
    list(c, inspect_sample);
}

void admin_request_trace(struct admin_call *c)
{
    ask_one(c, inspect_trace);
}

void admin_request_kill(struct admin_call *c)
{
    if (admin_knows_members(c, NULL, 0)) {
        ask_one(c, c->dry_run ? inspect_would_kill : inspect_kill);
    }
}

/* Verbs of the admin API about limits: who is refused most, what somebody has left, other numbers for a while. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "auth/phone.h"
#include "base/clock.h"
#include "base/pg.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"
#include "gateway/limits.h"
#include "gateway/limits_explain.h"
#include "gateway/limits_override.h"

enum { TOP_DEFAULT = 20, TTL_MIN_S = 1, TTL_MAX_S = 7 * 86400 };

void admin_limits(struct admin_call *c)
{
    struct buf text;
    buf_init(&text, ADMIN_ANSWER_MAX);
    limits_write_json(c->control->gateway, &text);
    admin_reply(c, &text);
    buf_clear(&text);
}

void admin_limits_top(struct admin_call *c)
{
    struct str rule = STR("");
    struct str number;
    uint64_t most = TOP_DEFAULT;
    (void)http_query_get(c->ex, "rule", &rule);
    if (http_query_get(c->ex, "limit", &number) && !str_u64(number, &most)) {
        http_reply_error(c->ex, "validation_failed", "limit: wants a whole number");
        return;
    }
    const char *name = rule.n > 0 ? arena_cstr(&c->ex->arena, rule) : NULL;
    if (name != NULL && !limits_has_rule(c->control->gateway, name)) {
        http_reply_error(c->ex, "not_found", "there is no rule %s", name);
        return;
    }
    struct buf text;
    buf_init(&text, ADMIN_ANSWER_MAX);
    limits_write_top(c->control->gateway, name, most < 1000 ? (unsigned)most : 1000, &text);
    admin_reply(c, &text);
    buf_clear(&text);
}

/* --- explain ---------------------------------------------------------------------------------------- */

static void on_explained(void *arg, const struct buf *text)
{
    struct admin_call *c = arg;
    c->explain = NULL;
    admin_reply(c, text);
}

/* What the key is: an address, a phone number, or else an account. False when it has answered. */
static bool read_key(struct admin_call *c, struct str key, struct limits_question *q)
{
    struct phone phone;
    struct err err = {0};
    if (addr_parse(key, &q->address)) {
        return true;
    }
    if (!str_starts(key, STR("+"))) {
        q->account = key;
        return true;
    }
    if (phone_read(key, PHONE_MODE_STRICT, &phone, &err) != 0) {
        http_reply_error(c->ex, "validation_failed", "key: %s", err.msg);
        return false;
    }
    char *prefix = arena_alloc(&c->ex->arena, PHONE_E164_MAX + 1);
    phone_prefix(&phone, prefix);
    q->phone_prefix = str_from(prefix);
    q->phone_country = arena_dup(&c->ex->arena, str_from(phone.country));
    const struct secret_ring *ring = c->control->gateway->conf->secrets;
    if (ring != NULL) { /* accounts are on: what is counted by number has a key */
        char *number = arena_alloc(&c->ex->arena, AUTH_LIMIT_KEY);
        auth_limit_key(ring, &phone, number);
        q->phone = str_from(number);
    }
    return true;
}

void admin_limits_explain(struct admin_call *c)
{
    struct limits_question q = {0};
    struct str key;
    if (!http_query_get(c->ex, "key", &key) || key.n == 0) {
        http_reply_error(c->ex, "validation_failed",
                         "key: an address, a phone number or an account is wanted");
        return;
    }
    if (!read_key(c, key, &q)) {
        return;
    }
    (void)http_query_get(c->ex, "device", &q.device);
    (void)http_query_get(c->ex, "route", &q.route);
    (void)http_query_get(c->ex, "model", &q.model);
    c->explain = limits_explain(c->control->gateway, &q, on_explained, c);
}

/* --- other numbers for a while ------------------------------------------------------------------------ */

struct change {
    struct limit_override o;
    int64_t ttl_ms; /* 0: back to the configuration's */
    char *request_id;
};

static int run_change(struct pg *pg, void *arg)
{
    const struct change *x = arg;
    int rows = pg_query(pg, "SELECT limit_override_set($1, $2, $3, $4, $5, $6, $7)", PG_CSTR(x->o.rule),
                        PG_CSTR(x->o.amount), PG_CSTR(x->o.burst), PG_I64(x->ttl_ms), PG_CSTR(x->o.reason),
                        PG_CSTR(x->o.actor), PG_CSTR(x->request_id));
    return rows < 0 ? rows : 0;
}

static void reply_changed(struct admin_call *c, const struct change *x, bool everywhere)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_str_at(&w, "rule", str_from(x->o.rule));
    json_str_at(&w, "limit", str_from(x->o.amount));
    json_i64_at(&w, "ttl_s", x->ttl_ms / 1000);
    json_str_at(&w, "where", everywhere ? STR("every gateway") : STR("this gateway"));
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

static void on_changed(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    if (rc != 0) {
        admin_refuse(c, rc, err);
        return;
    }
    control_poll_soon(c->control);
    reply_changed(c, arg, true);
}

static void drop_change(void *arg)
{
    struct change *x = arg;
    free(x->request_id);
    free(x);
}

/* In the database for all gateways; without one, here. */
static void change_limits(struct admin_call *c, struct change *filled)
{
    struct gateway *g = c->control->gateway;
    struct err err = {0};
    filled->o.until_ms = filled->ttl_ms > 0 ? clock_mono_ms() + (uint64_t)filled->ttl_ms : 0;
    snprintf(filled->o.actor, sizeof filled->o.actor, "%s", c->actor);
    int rc = limits_override_check(g, &filled->o, &err);
    if (rc != 0) {
        admin_refuse(c, rc, &err);
        return;
    }
    if (g->pg == NULL) {
        if (!c->dry_run) {
            limits_override_put(g, &filled->o);
        }
        reply_changed(c, filled, false);
        return;
    }
    struct change *x = malloc(sizeof *x);
    BUG_ON(x == NULL);
    *x = *filled;
    x->request_id = strdup(c->ex->id);
    admin_submit(c,
                 &(struct admin_work){.run = run_change, .done = on_changed, .drop = drop_change, .arg = x});
}

/* Copies a text that has to fit; false when it has answered. */
static bool keep(struct admin_call *c, const char *name, struct str s, char *out, size_t room)
{
    if (s.n >= room) {
        http_reply_error(c->ex, "validation_failed", "%s: at most %zu bytes", name, room - 1);
        return false;
    }
    snprintf(out, room, STR_FMT, STR_ARG(s));
    return true;
}

/* The rule's name and the reason; false when it has answered. */
static bool get_common(struct admin_call *c, struct change *x)
{
    struct str reason = STR("");
    return admin_get_reason(c, &reason) && keep(c, "rule", c->name, x->o.rule, sizeof x->o.rule) &&
           keep(c, "reason", reason, x->o.reason, sizeof x->o.reason);
}

void admin_limits_set(struct admin_call *c)
{
    static const char *const members[] = {"limit", "burst", "ttl_s", "reason"};
    struct change x = {0};
    struct str limit = STR("");
    struct str burst = STR("");
    int64_t ttl_s = 0;
    if (!admin_knows_members(c, members, 4) || !get_common(c, &x) || !admin_get_text(c, "limit", &limit) ||
        !admin_get_text(c, "burst", &burst) || !admin_get_number(c, "ttl_s", &ttl_s)) {
        return;
    }
    if (ttl_s < TTL_MIN_S || ttl_s > TTL_MAX_S) {
        http_reply_error(c->ex, "validation_failed", "ttl_s: %d to %d: a change ends by itself", TTL_MIN_S,
                         TTL_MAX_S);
        return;
    }
    if (keep(c, "limit", limit, x.o.amount, sizeof x.o.amount) &&
        keep(c, "burst", burst, x.o.burst, sizeof x.o.burst)) {
        x.ttl_ms = ttl_s * 1000;
        change_limits(c, &x);
    }
}

void admin_limits_reset(struct admin_call *c)
{
    static const char *const members[] = {"reason"};
    struct change x = {0};
    if (admin_knows_members(c, members, 1) && get_common(c, &x)) {
        change_limits(c, &x);
    }
}

/* Verbs of the admin API about the attack ladder: where it stands, moving it by hand, leaving it to itself. */
#include <stdio.h>
#include <stdlib.h>

#include "base/pg.h"
#include "gateway/admin_inner.h"
#include "gateway/attack.h"
#include "gateway/config.h"

enum {
    TTL_MAX_S = 7 * 86400,
    REASON_MAX = 200,
    HISTORY_ROWS = 50,
    HISTORY_ROWS_MAX = 1000,
    OUT_MAX = 1 << 20
};

enum attack_verb { ATTACK_LOOK = 0, ATTACK_CHANGE = 1, ATTACK_HISTORY = 2 };

struct attack_work {
    enum attack_verb verb;
    struct attack_move move;
    int64_t limit; /* of the history, rows */
    char *reason, *actor, *request_id, *preset;
    struct attack_conf conf; /* its numbers */
    struct buf out;
};

static int change(struct pg *pg, const struct attack_move *wanted)
{
    struct attack_move m = *wanted;
    if (m.level < 0) { /* it stays, by itself from now on */
        int rows = pg_query(pg, "SELECT level FROM attack_ladder FOR UPDATE");
        if (rows != 1) {
            return rows < 0 ? rows : ERR_NOT_FOUND;
        }
        m.level = (int)pg_i64(pg, 0, 0);
    }
    return attack_move_make(pg, &m);
}

static int run(struct pg *pg, void *arg)
{
    struct attack_work *w = arg;
    buf_truncate(&w->out);
    if (w->verb == ATTACK_HISTORY) {
        return attack_history(pg, w->limit, &w->out);
    }
    int rc = w->verb == ATTACK_CHANGE ? change(pg, &w->move) : 0;
    return rc < 0 ? rc : attack_write(pg, &w->conf, &w->out);
}

static void done(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct attack_work *w = arg;
    if (rc != 0) {
        admin_refuse(c, rc, err);
        return;
    }
    if (w->verb == ATTACK_CHANGE && !c->dry_run) {
        control_poll_soon(c->control);
    }
    admin_reply(c, &w->out);
}

static void drop(void *arg)
{
    struct attack_work *w = arg;
    free(w->reason);
    free(w->actor);
    free(w->request_id);
    free(w->preset);
    buf_clear(&w->out);
    free(w);
}

static void submit(struct admin_call *c, enum attack_verb verb, const struct attack_move *m,
                   struct str reason, int64_t limit)
{
    const struct gateway_config *conf = c->control->gateway->conf;
    if (conf->set->auth == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return;
    }
    struct attack_work *w = calloc(1, sizeof *w);
    BUG_ON(w == NULL);
    w->verb = verb;
    w->limit = limit;
    w->conf = conf->set->attack;
    w->move = *m;
    w->move.reason = w->reason = strndup(reason.p, reason.n);
    w->move.actor = w->actor = strdup(c->actor);
    w->move.request_id = w->request_id = strdup(c->ex->id);
    w->move.preset = w->preset = strdup(conf->set->attack.preset);
    buf_init(&w->out, OUT_MAX);
    admin_submit(c, &(struct admin_work){.run = run, .done = done, .drop = drop, .arg = w});
}

void admin_attack(struct admin_call *c)
{
    submit(c, ATTACK_LOOK, &(struct attack_move){0}, STR(""), 0);
}

void admin_attack_history(struct admin_call *c)
{
    struct str text = STR("");
    int64_t limit = 0;
    if (http_query_get(c->ex, "limit", &text) && (!str_i64(text, &limit) || limit < 0)) {
        http_reply_error(c->ex, "validation_failed", "limit: wants a whole number");
        return;
    }
    limit = limit == 0 ? HISTORY_ROWS : limit < HISTORY_ROWS_MAX ? limit : HISTORY_ROWS_MAX;
    submit(c, ATTACK_HISTORY, &(struct attack_move){0}, STR(""), limit);
}

static bool get_reason(struct admin_call *c, struct str *reason)
{
    if (!admin_get_text(c, "reason", reason)) {
        return false;
    }
    if (reason->n == 0 || reason->n > REASON_MAX) {
        http_reply_error(c->ex, "validation_failed",
                         "reason: say why, in at most %d bytes; it goes into the audit log", REASON_MAX);
        return false;
    }
    return true;
}

void admin_attack_set(struct admin_call *c)
{
    static const char *const members[] = {"level", "ttl_s", "reason"};
    struct str reason = STR("");
    struct str level = STR("");
    int64_t ttl_s = 0;
    if (!admin_knows_members(c, members, 3) || !get_reason(c, &reason) ||
        !admin_get_text(c, "level", &level) || !admin_get_number(c, "ttl_s", &ttl_s)) {
        return;
    }
    if (level.n != 2 || level.p[0] != 'A' || level.p[1] < '0' || level.p[1] > '4') {
        http_reply_error(c->ex, "validation_failed", "level: is not one of A0, A1, A2, A3, A4");
        return;
    }
    if (ttl_s < 1 || ttl_s > TTL_MAX_S) {
        http_reply_error(c->ex, "validation_failed", "ttl_s: 1 to %d: a level set by hand ends by itself",
                         TTL_MAX_S);
        return;
    }
    struct attack_move m = {
        .level = level.p[1] - '0', .is_manual = true, .ttl_ms = ttl_s * 1000, .action = "attack.set"};
    submit(c, ATTACK_CHANGE, &m, reason, 0);
}

void admin_attack_auto(struct admin_call *c)
{
    static const char *const members[] = {"reason"};
    struct str reason = STR("");
    if (admin_knows_members(c, members, 1) && get_reason(c, &reason)) {
        submit(c, ATTACK_CHANGE, &(struct attack_move){.level = -1, .action = "attack.auto"}, reason, 0);
    }
}

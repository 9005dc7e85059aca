/* Verbs of the admin API about the attack ladder: where it stands, moving it by hand, leaving it to itself. */
#include <stdio.h>
#include <stdlib.h>

#include "base/pg.h"
#include "gateway/admin_inner.h"
#include "gateway/attack.h"
#include "gateway/config.h"

enum { TTL_MAX_S = 7 * 86400, REASON_MAX = 200 };

struct attack_work {
    struct attack_move move;
    bool is_change;
    char *reason, *actor, *request_id, *preset;
    struct buf out;
};

static int run(struct pg *pg, void *arg)
{
    struct attack_work *w = arg;
    buf_truncate(&w->out);
    if (w->is_change && w->move.level < 0) { /* the level stays, by itself from now on */
        int rows = pg_query(pg, "SELECT level FROM attack_ladder FOR UPDATE");
        if (rows != 1) {
            return rows < 0 ? rows : ERR_NOT_FOUND;
        }
        struct attack_move m = w->move;
        m.level = (int)pg_i64(pg, 0, 0);
        int rc = attack_move_make(pg, &m);
        return rc < 0 ? rc : attack_write(pg, &w->out);
    }
    int rc = w->is_change ? attack_move_make(pg, &w->move) : 0;
    return rc < 0 ? rc : attack_write(pg, &w->out);
}

static void done(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct attack_work *w = arg;
    if (rc != 0) {
        admin_refuse(c, rc, err);
        return;
    }
    if (w->is_change) {
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

static void submit(struct admin_call *c, const struct attack_move *m, struct str reason, bool is_change)
{
    const struct gateway_config *conf = c->control->gateway->conf;
    if (conf->set->auth == NULL) {
        http_reply_error(c->ex, "feature_disabled", "this gateway has no accounts (section auth)");
        return;
    }
    struct attack_work *w = calloc(1, sizeof *w);
    BUG_ON(w == NULL);
    w->is_change = is_change;
    w->move = *m;
    w->move.reason = w->reason = strndup(reason.p, reason.n);
    w->move.actor = w->actor = strdup(c->actor);
    w->move.request_id = w->request_id = strdup(c->ex->id);
    w->move.preset = w->preset = strdup(conf->set->attack.preset);
    buf_init(&w->out, 4096);
    admin_submit(c, &(struct admin_work){.run = run, .done = done, .drop = drop, .arg = w});
}

void admin_attack(struct admin_call *c)
{
    submit(c, &(struct attack_move){0}, STR(""), false);
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
    submit(c, &m, reason, true);
}

void admin_attack_auto(struct admin_call *c)
{
    static const char *const members[] = {"reason"};
    struct str reason = STR("");
    if (admin_knows_members(c, members, 1) && get_reason(c, &reason)) {
        submit(c, &(struct attack_move){.level = -1, .action = "attack.auto"}, reason, true);
    }
}

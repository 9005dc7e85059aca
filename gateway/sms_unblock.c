/* tidectl sms unblock: to loop 0, whose Redis lifts the blocks, and back to the control thread, which audits it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/pg.h"
#include "gateway/control.h"
#include "gateway/limits.h"
#include "gateway/sms.h"
#include "ratelimit/sms_ledger.h"

struct sms_unblock {
    struct loop_msg msg;
    struct gateway *gateway;
    struct arena arena;
    struct sms_lift lift;
    struct pg_job job;
    char *prefix, *actor, *reason, *request_id;
    bool is_trial;
    int rc;
    int64_t blocks;                                                   /* lifted */
    void (*done)(void *arg, int rc, int64_t blocks, bool is_audited); /* NULL: forgotten */
    void *arg;
};

static char *copy_of(struct str s)
{
    char *p = strndup(s.p, s.n);
    BUG_ON(!p);
    return p;
}

static void unblock_free(struct sms_unblock *p)
{
    arena_clear(&p->arena);
    free(p->prefix);
    free(p->actor);
    free(p->reason);
    free(p->request_id);
    free(p);
}

/* --- back on the control thread -------------------------------------------------------------------------- */

static int run_record(struct pg *pg, void *arg)
{
    const struct sms_unblock *p = arg;
    int rc = pg_query(pg,
                      "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES ($1, "
                      "'sms.unblock', 'phone_prefix/' || $2::text, $3, $4, jsonb_build_object('blocks', "
                      "$5::bigint))",
                      PG_CSTR(p->actor), PG_CSTR(p->prefix), PG_CSTR(p->reason), PG_CSTR(p->request_id),
                      PG_I64(p->blocks));
    return rc < 0 ? rc : 0;
}

static void end(struct sms_unblock *p, bool is_audited)
{
    if (p->done != NULL) {
        p->done(p->arg, p->rc, p->blocks, is_audited);
    }
    unblock_free(p);
}

static void on_recorded(void *arg, int rc, const struct err *err)
{
    struct sms_unblock *p = arg;
    if (rc != 0) {
        log_warn("sms state=unblock_not_audited prefix=%s: %s", p->prefix, err->msg);
    }
    end(p, rc == 0);
}

static void record(struct sms_unblock *p)
{
    enum { AUDIT_MS = 2000 };
    log_warn("sms state=unblocked prefix=%s blocks=%lld by=%s", p->prefix, (long long)p->blocks, p->actor);
    p->job = (struct pg_job){
        .run = run_record, .done = on_recorded, .arg = p, .lane = PG_LANE_URGENT, .timeout_ms = AUDIT_MS};
    if (p->gateway->pg == NULL || pg_submit(p->gateway->pg, &p->job) != 0) {
        log_warn("sms state=unblock_not_audited prefix=%s: the database is away or too busy", p->prefix);
        end(p, false);
    }
}

static void on_back(struct loop_msg *m, bool canceled)
{
    struct sms_unblock *p = (struct sms_unblock *)(void *)m;
    if (canceled) {
        p->done = NULL;
    }
    if (p->blocks > 0 && !p->is_trial) {
        record(p);
    } else {
        end(p, true); /* there is nothing to audit */
    }
}

static void go_back(struct sms_unblock *p, int rc)
{
    p->rc = rc;
    p->msg = (struct loop_msg){.fn = on_back};
    loop_post(control_loop(p->gateway->control), &p->msg);
}

/* --- on the loop ----------------------------------------------------------------------------------------- */

static void on_lifted(void *arg, int rc, int64_t blocks)
{
    struct sms_unblock *p = arg;
    p->blocks = blocks;
    go_back(p, rc);
}

static void ask(struct loop_msg *m, bool canceled)
{
    struct sms_unblock *p = (struct sms_unblock *)(void *)m;
    struct gateway_loop *gl = &p->gateway->loops[0];
    struct redis *ledger = canceled || gl->limits == NULL ? NULL : limits_ledger(gl);
    int rc = sms_ledger_unblock(ledger, &p->lift, str_from(p->prefix), p->is_trial, &p->arena, on_lifted, p);
    if (rc != 0) {
        go_back(p, rc);
    }
}

struct sms_unblock *sms_unblock(struct gateway *g, const struct sms_unblock_ask *from,
                                void (*done)(void *arg, int rc, int64_t blocks, bool is_audited), void *arg)
{
    struct sms_unblock *p = calloc(1, sizeof *p);
    BUG_ON(!p);
    p->gateway = g;
    p->prefix = copy_of(from->prefix);
    p->actor = copy_of(from->actor);
    p->reason = copy_of(from->reason);
    p->request_id = copy_of(from->request_id);
    p->is_trial = from->is_trial;
    p->done = done;
    p->arg = arg;
    arena_init(&p->arena);
    p->msg = (struct loop_msg){.fn = ask};
    loop_post(g->loops[0].loop, &p->msg);
    return p;
}

void sms_unblock_forget(struct sms_unblock *p)
{
    p->done = NULL;
}

/* See waitlist.h. A slot a message: claimed -> with the hook -> being settled -> free. */
#include "gateway/waitlist.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/waitlist.h"
#include "auth/waitlist_admin.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"
#include "gateway/hooks.h"
#include "gateway/sms.h"

enum { TICK_MS = 1000, JOB_MS = 5000, LEASE_MS = 60000 };

static struct metric waiting =
    METRIC_GAUGE("tidegate_waitlist_waiting", "People on the waiting list, as last counted.");
static struct metric released =
    METRIC_GAUGE("tidegate_waitlist_released",
                 "People released from the waiting list who have not signed up yet, as last counted.");

struct waitlist_slot {
    struct waitlist *waitlist;
    struct pg_job job;
    struct waitlist_settle settle;
    char to[PHONE_E164_MAX + 1];
    bool is_taken;
};

struct waitlist {
    struct gateway *gateway;
    struct hooks *hooks;
    struct pg_job job;
    struct waitlist_tend tend;
    bool is_running;
    struct waitlist_slot slots[WAITLIST_NOTICES_MAX];
};

/* --- one message ------------------------------------------------------------------------------------- */

static void on_settled(void *arg, int rc, const struct err *err)
{
    struct waitlist_slot *s = arg;
    if (rc < 0 && rc != ERR_CANCELED) { /* claimed again after the lease; the receiver knows its id */
        log_warn("waitlist message not settled code=%s error=\"%s\"", err_name(rc), err->msg);
    }
    s->is_taken = false;
}

static int run_settle(struct pg *pg, void *arg)
{
    return waitlist_settle_job(pg, &((struct waitlist_slot *)arg)->settle);
}

static void on_sent(void *arg, const struct hook_end *end)
{
    struct waitlist_slot *s = arg;
    int rc = end->rc;
    waitlist_count(rc == 0 ? "told" : "tell_failed", 1);
    if (rc == 0) {
        sms_account_notice(s->waitlist->gateway, s->to, end->provider);
    }
    secret_cleanse(s->to, sizeof s->to);
    s->settle.is_sent = rc == 0;
    s->settle.is_refused = rc == ERR_DENIED;
    s->job = (struct pg_job){.run = run_settle, .done = on_settled, .arg = s, .timeout_ms = JOB_MS};
    struct pg_pool *pool = s->waitlist->gateway->pg;
    int submitted = rc == ERR_CANCELED || !pool ? ERR_CANCELED : pg_submit(pool, &s->job);
    if (submitted < 0) {
        on_settled(s, submitted, &(struct err){.msg = "no room among the database's jobs"});
    }
}

static void send_notice(struct waitlist *w, const struct waitlist_notice *n)
{
    struct waitlist_slot *s = w->slots;
    while (s->is_taken) {
        s++; /* there are as many as were asked for */
    }
    struct auth_message m = {.kind = AUTH_MESSAGE_RELEASED, .channel = "sms", .expires_s = n->expires_s};
    snprintf(m.to, sizeof m.to, "%s", n->to);
    snprintf(m.lang, sizeof m.lang, "%s", n->lang);
    uuid_format(&n->message_id, m.id);
    *s = (struct waitlist_slot){.waitlist = w, .settle = {.message_id = n->message_id}, .is_taken = true};
    memcpy(s->to, m.to, sizeof s->to);
    hooks_send_code(w->hooks, &m, on_sent, s);
}

/* --- once a second ----------------------------------------------------------------------------------- */

static int run_tend(struct pg *pg, void *arg)
{
    return waitlist_tend_job(pg, &((struct waitlist *)arg)->tend);
}

static void on_tended(void *arg, int rc, const struct err *err)
{
    struct waitlist *w = arg;
    struct waitlist_tend *t = &w->tend;
    w->is_running = false;
    secret_ring_unref(t->secrets);
    if (rc < 0) {
        return; /* the pool says that the database is away */
    }
    metric_set(&waiting, (double)t->waiting);
    metric_set(&released, (double)t->released);
    if (t->expired > 0) {
        waitlist_count("expired", t->expired);
    }
    for (unsigned i = 0; i < t->notice_count; i++) {
        send_notice(w, &t->notices[i]);
    }
    secret_cleanse(t->notices, sizeof t->notices);
}

static unsigned free_slots(const struct waitlist *w)
{
    unsigned n = 0;
    for (unsigned i = 0; i < WAITLIST_NOTICES_MAX; i++) {
        n += !w->slots[i].is_taken;
    }
    return n;
}

static void on_tick(void *arg)
{
    struct waitlist *w = arg;
    struct gateway *g = w->gateway;
    const struct auth_config *conf = g->conf->set->auth;
    if (w->is_running || !conf || !g->pg || !atomic_load(&g->pg_is_up)) {
        return;
    }
    w->tend.secrets = secret_ring_ref(g->conf->secrets);
    w->tend.count_ms = conf->waitlist_count_ms;
    w->tend.notices_per_min = conf->waitlist_notices;
    w->tend.lease_ms = g->conf->set->hooks.sms_deadline_ms + LEASE_MS;
    w->tend.room = g->conf->set->hooks.sms.n > 0 ? free_slots(w) : 0;
    w->job = (struct pg_job){.run = run_tend, .done = on_tended, .arg = w, .timeout_ms = JOB_MS};
    w->is_running = true;
    int rc = pg_submit(g->pg, &w->job);
    if (rc < 0) {
        on_tended(w, rc, NULL);
    }
}

struct waitlist *waitlist_open(struct gateway *g, struct hooks *hooks)
{
    struct waitlist *w = calloc(1, sizeof *w);
    BUG_ON(!w);
    w->gateway = g;
    w->hooks = hooks;
    control_tick(g->control, TICK_MS, on_tick, w);
    return w;
}

void waitlist_close(struct waitlist *w)
{
    if (w) {
        secret_cleanse(w, sizeof *w);
        free(w);
    }
}

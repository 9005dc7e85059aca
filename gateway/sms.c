/* See sms.h. */
#include "gateway/sms.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/phone.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "base/secret.h"
#include "gateway/config.h"
#include "gateway/limits.h"
#include "gateway/request.h"
#include "ratelimit/sms_ledger.h"

static struct metric refusals =
    METRIC_COUNTER("tidegate_sms_guard_refusals_total", "Codes not sent because their prefix is blocked.");
static struct metric blocks =
    METRIC_COUNTER("tidegate_sms_guard_blocks_total", "Prefixes that this gateway found pumped and blocked.");
static struct metric messages =
    METRIC_COUNTER_L("tidegate_sms_messages_total", "Codes and notices that a provider took.", "provider");
static struct metric cost = METRIC_COUNTER_L("tidegate_sms_cost_millionths_total",
                                             "What they cost, in millionths of sms.currency.", "provider");

/* A question to the ledger. Outlives its request until the answer says whether there is something to take back. */
struct sms_wait {
    struct request *r; /* NULL: gone */
    struct gateway_loop *gl;
    struct arena arena;
    struct sms_ask ask;
    bool is_answered;
    char prefix[PHONE_E164_MAX + 1]; /* that it counted; or empty */
    void (*done)(void *arg, bool is_admitted);
    void *arg;
};

static const struct sms_guard_conf *guard_of(const struct gateway_config *conf)
{
    return &conf->set->sms.guard;
}

/* --- the audit record of a block --------------------------------------------------------------------- */

struct block_record {
    struct pg_job job;
    char prefix[32];
    int64_t sent, used, block_s;
};

static int run_record(struct pg *pg, void *arg)
{
    const struct block_record *b = arg;
    int rc =
        pg_query(pg,
                 "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES ('gateway', "
                 "'sms.block', 'phone_prefix/' || $1::text, 'few of its codes are used', '', "
                 "jsonb_build_object('sent', $2::bigint, 'used', $3::bigint, 'seconds', $4::bigint))",
                 PG_CSTR(b->prefix), PG_I64(b->sent), PG_I64(b->used), PG_I64(b->block_s));
    return rc < 0 ? rc : 0;
}

static void on_recorded(void *arg, int rc, const struct err *err)
{
    struct block_record *b = arg;
    if (rc != 0) {
        log_warn("sms state=block_not_audited prefix=%s: %s", b->prefix, err->msg);
    }
    free(b);
}

static void record_block(struct gateway *g, struct str prefix, const struct sms_verdict *v)
{
    struct block_record *b = calloc(1, sizeof *b);
    BUG_ON(!b);
    *b = (struct block_record){.job = {.run = run_record, .done = on_recorded, .arg = b},
                               .sent = (int64_t)v->sent,
                               .used = (int64_t)v->used,
                               .block_s = (int64_t)(v->retry_ms / 1000)};
    snprintf(b->prefix, sizeof b->prefix, STR_FMT, STR_ARG(prefix));
    metric_add(&blocks, 1);
    log_warn("sms state=blocked prefix=%s sent=%lld used=%lld seconds=%lld", b->prefix, (long long)b->sent,
             (long long)b->used, (long long)b->block_s);
    if (g->pg == NULL || pg_submit(g->pg, &b->job) != 0) {
        free(b);
    }
}

/* --- the guard ----------------------------------------------------------------------------------------- */

static void refuse(struct request *r, const struct sms_verdict *v)
{
    uint64_t retry_s = (v->retry_ms + 999) / 1000;
    metric_add(&refusals, 1);
    http_reply_problem(
        r->ex, &(struct problem){.code = "over_sms_send_rate_limit",
                                 .detail = STR("codes to numbers like this one are held back for a while"),
                                 .retry_after_s = (uint32_t)retry_s});
}

static void wait_free(struct sms_wait *w)
{
    arena_clear(&w->arena);
    free(w);
}

static void on_verdict(void *arg, const struct sms_verdict *v)
{
    struct sms_wait *w = arg;
    struct str prefix = str_from(w->prefix);
    if (v->is_new) {
        record_block(w->gl->gateway, prefix, v);
    }
    if (!w->r) {
        sms_unsend(w->gl, v->is_blocked ? STR("") : prefix);
        wait_free(w);
        return;
    }
    w->is_answered = true;
    if (v->is_blocked) {
        refuse(w->r, v);
        w->prefix[0] = '\0';
    }
    w->done(w->arg, !v->is_blocked);
}

void sms_guard(struct request *r, struct str prefix, void (*done)(void *arg, bool is_admitted), void *arg)
{
    struct sms_wait *w = calloc(1, sizeof *w);
    BUG_ON(!w || r->sms); /* one code a request */
    *w = (struct sms_wait){.r = r, .gl = r->gl, .done = done, .arg = arg};
    arena_init(&w->arena);
    snprintf(w->prefix, sizeof w->prefix, STR_FMT, STR_ARG(prefix));
    r->sms = w;
    sms_ledger_ask(limits_ledger(r->gl), &w->ask, guard_of(r->conf), str_from(w->prefix), &w->arena,
                   on_verdict, w);
}

void sms_give_back(struct request *r)
{
    char prefix[PHONE_E164_MAX + 1] = "";
    sms_take_over(r, prefix);
    sms_unsend(r->gl, str_from(prefix));
}

void sms_take_over(struct request *r, char prefix[PHONE_E164_MAX + 1])
{
    snprintf(prefix, PHONE_E164_MAX + 1, "%s", r->sms ? r->sms->prefix : "");
    if (r->sms) {
        r->sms->prefix[0] = '\0';
    }
}

void sms_unsend(struct gateway_loop *gl, struct str prefix)
{
    if (prefix.n > 0) {
        sms_ledger_undo(limits_ledger(gl), guard_of(gl->conf), prefix);
    }
}

void sms_forget(struct request *r)
{
    struct sms_wait *w = r->sms;
    r->sms = NULL;
    if (!w) {
        return;
    }
    w->r = NULL;
    if (w->is_answered) {
        sms_unsend(w->gl, str_from(w->prefix));
        wait_free(w);
    }
}

/* --- counting ------------------------------------------------------------------------------------------ */

void sms_account(struct gateway_loop *gl, const struct sms_sent *s)
{
    char provider[64];
    snprintf(provider, sizeof provider, STR_FMT, STR_ARG(s->provider));
    metric_child_add(metric_child(&messages, provider), 1);
    metric_child_add(metric_child(&cost, provider), (int64_t)s->price);
    sms_ledger_account(limits_ledger(gl), s);
}

/* On its way to loop 0. */
struct notice_cost {
    struct loop_msg msg;
    struct gateway_loop *gl;
    struct phone phone;
    char provider[64];
};

static void on_notice_cost(struct loop_msg *m, bool canceled)
{
    struct notice_cost *n = (struct notice_cost *)(void *)m;
    if (!canceled && n->gl->limits != NULL) {
        char prefix[PHONE_E164_MAX + 1];
        phone_prefix(&n->phone, prefix);
        sms_account(n->gl, &(struct sms_sent){.country = str_from(n->phone.country),
                                              .prefix = str_from(prefix),
                                              .provider = str_from(n->provider),
                                              .price = sms_price(&n->gl->conf->set->sms, str_from(prefix))});
    }
    secret_cleanse(n, sizeof *n);
    free(n);
}

void sms_account_notice(struct gateway *g, const char *number, const char *provider)
{
    struct notice_cost *n = calloc(1, sizeof *n);
    BUG_ON(!n);
    *n = (struct notice_cost){.msg = {.fn = on_notice_cost}, .gl = &g->loops[0]};
    snprintf(n->provider, sizeof n->provider, "%s", provider);
    if (phone_read(str_from(number), PHONE_MODE_SHAPE, &n->phone, NULL) < 0) {
        free(n); /* it was good when it was kept */
        return;
    }
    loop_post(n->gl->loop, &n->msg);
}

void sms_used(struct gateway_loop *gl, struct str prefix)
{
    sms_ledger_used(limits_ledger(gl), guard_of(gl->conf), prefix);
}

/* See suspicion.h. */
#include "gateway/suspicion.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/config.h"
#include "gateway/limits.h"
#include "ratelimit/gcra.h"

enum { MINUTE_US = 60000000, SECOND_US = 1000000, TRAPS_PER_S = 20, ITEMS_MAX = 2048, KEEP_MS = 5000 };

static struct metric verdicts =
    METRIC_COUNTER_L("tidegate_suspicion_verdicts_total",
                     "Code requests, by what their score says (mode observe too).", "verdict");
static struct metric signals =
    METRIC_COUNTER_L("tidegate_suspicion_signals_total", "Signals that spoke about code requests.", "signal");
static struct metric blind = METRIC_COUNTER("tidegate_suspicion_blind_total",
                                            "Code requests that were scored without what Redis counts.");
static struct metric records = METRIC_COUNTER_L(
    "tidegate_suspicion_records_total",
    "Scored code requests: stored for tidectl explain, only counted, or lost on the way.", "result");

struct suspicion {
    uint8_t key[SUSPICION_KEY_BYTES];
};

/* --- life ---------------------------------------------------------------------------------------------- */

void suspicion_open(struct gateway *g)
{
    static const struct str purpose = STR_INIT("tidegate suspicion");
    uint8_t mac[SECRET_HMAC_BYTES];
    struct suspicion *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    if (g->conf->secrets) {
        secret_hmac(secret_active(g->conf->secrets, SECRET_TOKEN), purpose, mac);
        memcpy(s->key, mac, sizeof s->key);
    }
    g->suspicion = s;
}

void suspicion_close(struct gateway *g)
{
    free(g->suspicion);
    g->suspicion = NULL;
}

struct suspicion_store suspicion_store_of(struct gateway_loop *gl)
{
    return (struct suspicion_store){
        .redis = limits_redis(gl), .key = gl->gateway->suspicion->key, .conf = &gl->conf->set->suspicion};
}

/* --- weighing ------------------------------------------------------------------------------------------ */

static const struct suspicion_conf *conf_of(const struct request *r)
{
    return &r->conf->set->suspicion;
}

/* Filled: anything but nothing, "" and null. */
static bool has_trap_field(const struct suspicion_conf *conf, struct str data)
{
    struct json_slice v;
    while (conf->trap_field && json_next(&data, &v)) {
        if (str_is(v.key, conf->trap_field)) {
            return v.type != JSON_NULL && !str_is(v.raw, "\"\"");
        }
    }
    return false;
}

static void count_score(const struct suspicion_score *s)
{
    metric_child_add(metric_child(&verdicts, suspicion_verdict_name(s->verdict)), 1);
    for (unsigned i = 0; i < s->count; i++) {
        metric_child_add(metric_child(&signals, suspicion_signal_name(s->items[i].signal)), 1);
    }
    if (s->is_blind) {
        metric_add(&blind, 1);
    }
}

static void on_part(void *arg)
{
    struct suspicion_wait *w = arg;
    if (--w->waiting > 0) {
        return;
    }
    w->facts.counts = w->query.counts;
    w->facts.risk_points = w->risk.points;
    w->facts.risk_said = w->risk.said;
    w->facts.risk_most = w->risk.most;
    suspicion_judge(conf_of(w->r), &w->facts, &w->score);
    count_score(&w->score);
    w->done(w->arg);
}

void suspicion_weigh(struct request *r, const struct auth_attempt *a, void (*done)(void *arg), void *arg)
{
    struct suspicion_wait *w = ARENA_NEW(&r->ex->arena, struct suspicion_wait);
    r->suspicion = w;
    *w = (struct suspicion_wait){.r = r, .waiting = 2, .done = done, .arg = arg};
    if (conf_of(r)->mode == SUSPICION_OFF) {
        done(arg);
        return;
    }
    w->facts = (struct suspicion_facts){.asn = a->caller->asn,
                                        .is_unattested = a->caller->device == POLICY_DEVICE_NONE,
                                        .is_disposable = a->email_disposable == POLICY_YES,
                                        .has_trap_field = has_trap_field(conf_of(r), a->data)};
    struct suspicion_who who = {
        .client = r->client, .ja4 = r->ex->ja4, .number = str_from(a->number), .prefix = str_from(a->prefix)};
    struct suspicion_store store = suspicion_store_of(r->gl);
    risk_ask(&w->risk, r, a, on_part, w);
    suspicion_count(&store, &who, &r->ex->arena, &w->query, on_part, w);
}

void suspicion_forget_request(struct request *r)
{
    if (r->suspicion) {
        suspicion_forget(&r->suspicion->query);
        risk_forget(&r->suspicion->risk);
    }
}

/* --- keeping ------------------------------------------------------------------------------------------- */

struct keep_job {
    struct pg_job pg;
    char request_id[ID_REQUEST_TEXT + 1];
    char outcome[16];
    const char *verdict; /* literals */
    int64_t score, version;
    bool is_blind, may_create;
    char rule[64], country[3];
    uint8_t subject[SECRET_HMAC_BYTES];
    char subject_key[SECRET_ID_MAX + 1];
    struct buf items;
};

static int run_keep(struct pg *pg, void *arg)
{
    const struct keep_job *j = arg;
    int rows =
        pg_query(pg, "SELECT signup_keep_score($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12)",
                 PG_CSTR(j->request_id), PG_CSTR(j->outcome), PG_CSTR(j->verdict), PG_I64(j->score),
                 PG_BOOL(j->is_blind), PG_STR(buf_str(&j->items)), PG_BOOL(j->may_create), PG_I64(j->version),
                 PG_CSTR(j->rule), PG_CSTR(j->country), PG_BYTES(j->subject, sizeof j->subject),
                 PG_CSTR(j->subject_key));
    return rows < 0 ? rows : 0;
}

static void count_record(const char *result)
{
    metric_child_add(metric_child(&records, result), 1);
}

static void on_kept(void *arg, int rc, const struct err *err)
{
    struct keep_job *j = arg;
    count_record(rc == 0 ? "stored" : "lost");
    if (rc < 0 && rc != ERR_CANCELED) {
        log_warn("score of a code request not stored code=%s error=\"%s\"", err_name(rc), err->msg);
    }
    buf_clear(&j->items);
    free(j);
}

/* Room for one more in this minute. */
static bool may_keep(struct request *r)
{
    struct gcra g;
    uint32_t most = conf_of(r)->records;
    if (most == 0 || !gcra_init(&g, most, MINUTE_US, most, 0)) {
        return false;
    }
    int64_t d = gcra_step(&g, &r->gl->scores_kept_us, (int64_t)clock_mono_us(), gcra_inc_us(&g, 1));
    return gcra_allows(&g, d);
}

void suspicion_keep(struct request *r, const struct auth_attempt *a, const char *outcome)
{
    const struct suspicion_score *score = &r->suspicion->score;
    if (conf_of(r)->mode == SUSPICION_OFF) {
        return;
    }
    if (!may_keep(r)) {
        count_record("counted");
        return;
    }
    struct keep_job *j = calloc(1, sizeof *j);
    BUG_ON(!j);
    memcpy(j->request_id, r->ex->id, sizeof j->request_id);
    snprintf(j->outcome, sizeof j->outcome, "%s", outcome);
    j->verdict = suspicion_verdict_name(score->verdict);
    j->score = score->total;
    j->is_blind = score->is_blind;
    j->may_create = a->may_create;
    j->version = a->decision.version;
    snprintf(j->rule, sizeof j->rule, "%s", a->decision.rule);
    memcpy(j->country, a->caller->ip_country, sizeof j->country);
    memcpy(j->subject, a->subject.hash[0], sizeof j->subject);
    snprintf(j->subject_key, sizeof j->subject_key, "%s", a->subject.key_id);
    buf_init(&j->items, ITEMS_MAX);
    struct json_writer w = {.out = &j->items};
    suspicion_write_items(score, &w);
    j->pg = (struct pg_job){.run = run_keep, .done = on_kept, .arg = j, .timeout_ms = KEEP_MS};
    int rc = r->gl->gateway->pg ? pg_submit(r->gl->gateway->pg, &j->pg) : ERR_UNAVAILABLE;
    if (rc < 0) {
        on_kept(j, rc, &(struct err){.msg = "no room among the database's jobs"});
    }
}

/* --- noting -------------------------------------------------------------------------------------------- */

void suspicion_verified(struct gateway_loop *gl, const struct addr *client)
{
    struct suspicion_store store = suspicion_store_of(gl);
    if (store.conf->mode != SUSPICION_OFF) {
        suspicion_note_verified(&store, client);
    }
}

static bool is_trap(const struct suspicion_conf *conf, struct str path)
{
    for (unsigned i = 0; i < conf->trap_paths.n; i++) {
        struct str trap = str_from(conf->trap_paths.items[i]);
        if (trap.p[trap.n - 1] == '/' ? str_starts(path, trap) : str_eq(path, trap)) {
            return true;
        }
    }
    return false;
}

/* A browser says so of what another site's page makes it ask for: its person wanted nothing of us. */
static bool is_sent_by_another_site(const struct request *r)
{
    return str_is(http_field_get(r->ex, "sec-fetch-site"), "cross-site");
}

void suspicion_look_at_path(struct request *r)
{
    struct gcra g;
    if (conf_of(r)->mode == SUSPICION_OFF || !is_trap(conf_of(r), r->ex->path) ||
        is_sent_by_another_site(r) || !gcra_init(&g, TRAPS_PER_S, SECOND_US, TRAPS_PER_S, 0)) {
        return;
    }
    int64_t d = gcra_step(&g, &r->gl->traps_noted_us, (int64_t)clock_mono_us(), gcra_inc_us(&g, 1));
    if (gcra_allows(&g, d)) {
        struct suspicion_store store = suspicion_store_of(r->gl);
        suspicion_note_trap(&store, &r->client);
    }
}

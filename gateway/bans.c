#include "gateway/bans.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/http/server.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/attack.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "ratelimit/bans_store.h"

enum {
    RETRY_MS = 400,
    SAVE_MS = 5000,
    HITS_MS = 2000,
    HITS_JSON_MAX = 256 << 10, /* what does not fit is told the next time */
    HIT_JSON_MAX = 64,
    PURGE_MS = 60000,
    JOB_MS = 20000,
    RELOAD_MS = 3600000, /* older than this, what is known is read anew: rows that ended may be gone */
};

/* --- metrics ----------------------------------------------------------------------------------------- */

enum stage { STAGE_ACCEPT = 0, STAGE_HELLO = 1, STAGE_REQUEST = 2, STAGE_PHONE = 3, STAGES = 4 };

static struct metric hits = METRIC_COUNTER_L("tidegate_bans_hits_total",
                                             "Connections and requests turned away by a ban.", "stage,kind");
static struct metric known =
    METRIC_GAUGE_L("tidegate_bans_entries", "Bans and allowances in force here.", "effect");
static struct metric_child *hits_of[STAGES][BAN_KINDS];

static void register_metrics(void)
{
    static const char *const stages[STAGES] = {"accept", "hello", "request", "phone"};
    for (int s = 0; s < STAGES; s++) {
        for (int k = 0; k < BAN_KINDS; k++) {
            char labels[40];
            snprintf(labels, sizeof labels, "%s,%s", stages[s], ban_kind_name((enum ban_kind)k));
            hits_of[s][k] = metric_child(&hits, labels);
        }
    }
}

static void count_known(const struct bans *b)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < bans_count(b); i++) {
        allowed += bans_at(b, i)->is_allow;
    }
    metric_child_set(metric_child(&known, "allow"), allowed);
    metric_child_set(metric_child(&known, "ban"), bans_count(b) - allowed);
}

/* --- asking: the loop's thread ----------------------------------------------------------------------- */

static void count_hit(const struct gateway_loop *gl, enum stage stage, const struct ban *ban)
{
    bans_count_hit(gl->bans, ban);
    metric_child_add(hits_of[stage][ban->kind], 1);
}

static bool refuses_connection(const struct gateway_loop *gl, enum stage stage, const struct ban_subject *who)
{
    const struct ban *ban = bans_find(gl->bans, who, loop_now_ms(gl->loop));
    if (ban != NULL) {
        count_hit(gl, stage, ban);
    }
    return ban != NULL;
}

static bool refuses_peer(void *arg, const struct addr *peer)
{
    return refuses_connection(arg, STAGE_ACCEPT, &(struct ban_subject){.address = peer});
}

static bool refuses_client(void *arg, const struct addr *peer, struct str ja4)
{
    return refuses_connection(arg, STAGE_HELLO, &(struct ban_subject){.address = peer, .ja4 = ja4});
}

static bool is_trusted(const struct request *r)
{
    const struct conf_prefixes *trusted = &r->conf->set->trusted_proxies;
    for (unsigned i = 0; i < trusted->n; i++) {
        if (addr_prefix_has(&trusted->items[i], &r->client)) {
            return true;
        }
    }
    return false;
}

static bool refuse_request(struct request *r, enum stage stage, const struct ban_subject *who)
{
    static const char *const codes[BAN_KINDS] = {[BAN_ADDRESS] = "address_banned",
                                                 [BAN_ASN] = "address_banned",
                                                 [BAN_JA4] = "client_banned",
                                                 [BAN_DEVICE] = "device_banned",
                                                 [BAN_PHONE] = "client_banned"};
    const struct ban *ban = bans_find(r->gl->bans, who, loop_now_ms(r->gl->loop));
    if (ban == NULL) {
        return false;
    }
    count_hit(r->gl, stage, ban);
    r->refused_by = "ban";
    http_reply_problem(r->ex, &(struct problem){.code = codes[ban->kind]});
    return true;
}

/* A proxy speaks TLS for many, and its address is not theirs. */
static struct ban_subject subject_of(const struct request *r)
{
    struct ban_subject who = {.ja4 = STR(""), .device = r->device, .phone = STR("")};
    if (!is_trusted(r)) {
        who.address = &r->client;
        who.asn = r->place.asn;
        who.ja4 = addr_eq(&r->client, &r->ex->peer) ? r->ex->ja4 : STR("");
    }
    return who;
}

bool bans_refuse_request(struct request *r)
{
    if (bans_count(r->gl->bans) == 0) {
        return false;
    }
    struct ban_subject who = subject_of(r);
    return refuse_request(r, STAGE_REQUEST, &who);
}

bool bans_refuse_phone(struct request *r, struct str e164)
{
    if (bans_count(r->gl->bans) == 0) {
        return false;
    }
    struct ban_subject who = subject_of(r);
    who.phone = e164;
    return refuse_request(r, STAGE_PHONE, &who);
}

/* --- the control thread ------------------------------------------------------------------------------ */

struct gateway_bans {
    struct gateway *gateway;
    struct bans *current;    /* a reference */
    struct bans *previous;   /* loops may still count hits in it until the next telling; or NULL */
    char path[512];          /* "": not kept on disk */
    bool is_dirty;           /* the file is behind */
    uint64_t fetched_ms;     /* monotonic; 0: never */
    int64_t moved;           /* of that fetch */
    struct bans_fetch fetch; /* the job's while it runs */
    struct pg_job fetch_job, hits_job, purge_job;
    bool is_fetching, is_due; /* due: moved meanwhile, or failed */
    bool is_telling, is_purging;
    struct buf told; /* JSON of hits; the job's while it runs */
};

const struct bans *bans_now(const struct gateway *g)
{
    return g->bans->current;
}

static void give(struct gateway_loop *gl, void *arg)
{
    bans_unref(gl->bans);
    gl->bans = arg;
}

static void use(struct gateway_bans *s, struct bans *b)
{
    bans_unref(s->previous);
    s->previous = s->current;
    s->current = b;
    s->is_dirty = true;
    count_known(b);
    for (unsigned i = 0; i < s->gateway->loop_count; i++) {
        bans_ref(b); /* one a loop */
    }
    gateway_each_loop(s->gateway, give, b);
    log_info("bans entries=%u", bans_count(b));
}

static void fetch(struct gateway_bans *s);

/* Both halves of a job get the whole; what the database thread fills is its own part. */
static int run_fetch(struct pg *pg, void *arg)
{
    return bans_fetch_job(pg, &((struct gateway_bans *)arg)->fetch);
}

static void on_fetched(void *arg, int rc, const struct err *err)
{
    struct gateway_bans *s = arg;
    s->is_fetching = false;
    bans_unref(s->fetch.old);
    if (rc == ERR_CANCELED || s->gateway->pg == NULL) { /* the process ends: no loop takes it any more */
        bans_unref(s->fetch.bans);
        return;
    }
    if (rc != 0) {
        log_warn("bans were not fetched error=\"%s\"", err->msg);
        bans_unref(s->fetch.bans);
        s->is_due = true; /* the tick tries again */
        return;
    }
    if (s->fetch.is_cut) {
        log_error("there are more bans than bans.most: the newest are left out");
    }
    s->fetched_ms = clock_mono_ms();
    s->moved = s->fetch.moved;
    use(s, s->fetch.bans);
    if (s->is_due) {
        fetch(s);
    }
}

static void fetch(struct gateway_bans *s)
{
    s->is_due = s->is_fetching;
    if (s->is_fetching || s->gateway->pg == NULL) {
        return;
    }
    bool is_fresh = s->fetched_ms > 0 && clock_mono_ms() - s->fetched_ms < RELOAD_MS;
    s->fetch = (struct bans_fetch){.old = is_fresh ? bans_ref(s->current) : NULL,
                                   .known = s->moved,
                                   .most = s->gateway->conf->set->bans.most};
    s->fetch_job = (struct pg_job){
        .run = run_fetch, .done = on_fetched, .arg = s, .timeout_ms = JOB_MS, .lane = PG_LANE_URGENT};
    s->is_fetching = true;
    int rc = pg_submit(s->gateway->pg, &s->fetch_job);
    if (rc != 0) {
        s->is_fetching = false;
        s->is_due = true;
        bans_unref(s->fetch.old);
    }
}

static void on_moved(void *arg, int64_t version)
{
    fetch(arg);
}

static void on_retry(void *arg)
{
    struct gateway_bans *s = arg;
    if (s->is_due && !s->is_fetching) {
        fetch(s);
    }
}

/* --- hits -------------------------------------------------------------------------------------------- */

static bool write_hits(void *arg, const struct ban *ban, uint32_t n)
{
    struct gateway_bans *s = arg;
    if (s->told.n + HIT_JSON_MAX > HITS_JSON_MAX) {
        return false;
    }
    buf_addf(&s->told, "%s{\"id\":%lld,\"n\":%u}", s->told.n > 1 ? "," : "", (long long)ban->id, n);
    return true;
}

static int run_tell(struct pg *pg, void *arg)
{
    return bans_hits_job(pg, &((struct gateway_bans *)arg)->told);
}

static void on_told(void *arg, int rc, const struct err *err)
{
    struct gateway_bans *s = arg;
    s->is_telling = false;
}

static void tell_hits(void *arg)
{
    struct gateway_bans *s = arg;
    if (s->is_telling || !atomic_load(&s->gateway->pg_is_up)) {
        return;
    }
    buf_truncate(&s->told);
    buf_add_char(&s->told, '[');
    if (s->previous != NULL) {
        bans_take_hits(s->previous, write_hits, s);
        bans_unref(s->previous);
        s->previous = NULL;
    }
    bans_take_hits(s->current, write_hits, s);
    if (s->told.n == 1) {
        return;
    }
    buf_add_char(&s->told, ']');
    s->hits_job = (struct pg_job){.run = run_tell, .done = on_told, .arg = s, .timeout_ms = JOB_MS};
    s->is_telling = pg_submit(s->gateway->pg, &s->hits_job) == 0;
}

/* --- disk and purge ---------------------------------------------------------------------------------- */

static void save(void *arg)
{
    struct gateway_bans *s = arg;
    struct err err;
    if (!s->is_dirty || s->path[0] == '\0') {
        return;
    }
    s->is_dirty = bans_save(s->current, s->path, &err) < 0;
    if (s->is_dirty) {
        log_warn("bans not kept on disk error=\"%s\"", err.msg);
    }
}

static void on_purged(void *arg, int rc, const struct err *err)
{
    ((struct gateway_bans *)arg)->is_purging = false;
}

static void purge(void *arg)
{
    struct gateway_bans *s = arg;
    if (!s->is_purging && atomic_load(&s->gateway->pg_is_up)) {
        s->purge_job =
            (struct pg_job){.run = bans_purge_job, .done = on_purged, .arg = s, .timeout_ms = JOB_MS};
        s->is_purging = pg_submit(s->gateway->pg, &s->purge_job) == 0;
    }
}

/* --- life -------------------------------------------------------------------------------------------- */

static void load(struct gateway_bans *s)
{
    const char *dir = s->gateway->conf->set->process.state_dir;
    struct err err;
    if (dir == NULL) {
        return;
    }
    snprintf(s->path, sizeof s->path, "%s/bans", dir);
    struct bans *b = NULL;
    int rc = bans_load(s->path, &b, &err);
    if (rc == 0) {
        bans_unref(s->current);
        s->current = b;
        log_info("bans from disk entries=%u", bans_count(b));
    } else if (rc != ERR_NOT_FOUND) {
        log_warn("no bans from disk error=\"%s\"", err.msg);
    }
}

void bans_open(struct gateway *g)
{
    struct gateway_bans *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    g->bans = s;
    s->gateway = g;
    s->current = bans_with(NULL, NULL, 0, clock_mono_ms());
    buf_init(&s->told, HITS_JSON_MAX);
    register_metrics();
    if (g->pg != NULL) {
        load(s);
        control_watch(g->control, CONTROL_BANS, on_moved, s);
        control_tick(g->control, RETRY_MS, on_retry, s);
        control_tick(g->control, HITS_MS, tell_hits, s);
        control_tick(g->control, SAVE_MS, save, s);
        control_tick(g->control, PURGE_MS, purge, s);
    }
    count_known(s->current);
}

void bans_close(struct gateway *g)
{
    struct gateway_bans *s = g->bans;
    if (s != NULL) {
        save(s);
        bans_unref(s->current);
        bans_unref(s->previous);
        buf_clear(&s->told);
        free(s);
        g->bans = NULL;
    }
}

static uint32_t addr_percent(void *arg)
{
    const struct gateway_loop *gl = arg;
    return attack_connections_percent(&gl->conf->set->attack, attack_level(gl->gateway));
}

void bans_loop_open(struct gateway_loop *gl)
{
    struct http_gate gate = {.refuses_peer = refuses_peer,
                             .refuses_client = refuses_client,
                             .addr_percent = addr_percent,
                             .arg = gl};
    gl->bans = bans_ref(gl->gateway->bans->current);
    http_server_set_gate(gl->server, &gate);
}

void bans_loop_close(struct gateway_loop *gl)
{
    bans_unref(gl->bans);
    gl->bans = NULL;
}

#include "gateway/attack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/attack_file.h"
#include "gateway/config.h"
#include "gateway/control.h"

enum { TICK_MS = 1000, JOB_MS = 3000, PATH_ROOM = 512, LOCK = 0x7469646c /* of pg_try_advisory_xact_lock */ };

static struct metric level_now =
    METRIC_GAUGE("tidegate_attack_level", "Level of the attack ladder in force here, 0 to 4.");
static struct metric frozen =
    METRIC_GAUGE("tidegate_attack_frozen", "1: the ladder has used its budget of moves and stays up.");
static struct metric moves = METRIC_COUNTER_L(
    "tidegate_attack_moves_total", "Moves of the ladder that this gateway made by itself.", "level");

struct gateway_attack {
    struct gateway *gateway;
    char path[PATH_ROOM]; /* where the level is kept */
    atomic_int level;     /* in force here: of the database, or tightened by ourselves */
    int known;            /* of the database */
    int kept;             /* on disk; -1: something else */
    /* what is seen here; control thread */
    struct auth_attempts counted; /* at the last tick */
    uint64_t counted_us;
    struct auth_attempts rate; /* a minute, smoothed */
    struct ladder_state alone; /* while the database is away */
    /* the job's while it runs */
    struct pg_job job;
    bool is_running;
    const struct gateway_config *held; /* a reference: conf's texts */
    struct attack_conf conf;
    struct auth_attempts told;
    int found, moved_to; /* moved_to -1: it stays */
    bool is_frozen;
};

int attack_level(const struct gateway *g)
{
    return g->attack ? atomic_load_explicit(&g->attack->level, memory_order_relaxed) : 0;
}

/* A level that cannot be written is tried again with the next tick. */
static void keep_level(struct gateway_attack *a, int level)
{
    struct err err = {0};
    if (a->kept == level) {
        return;
    }
    if (attack_file_save(level, a->path, &err) == 0) {
        a->kept = level;
    } else {
        log_error("the attack ladder's level is not kept: a restart without the database forgets it "
                  "error=\"%s\"",
                  err.msg);
    }
}

static void set_level(struct gateway_attack *a, int level)
{
    if (atomic_exchange(&a->level, level) != level) {
        log_warn("attack ladder level=A%d", level);
    }
    keep_level(a, level);
    metric_set(&level_now, level);
}

/* --- what is seen here ------------------------------------------------------------------------------- */

static void smooth(double *rate, double count, double passed_s, double share)
{
    *rate += (count * 60 / passed_s - *rate) * share;
}

static double look(struct gateway_attack *a)
{
    struct auth_attempts now;
    uint64_t now_us = clock_mono_us();
    double passed_s = (double)(now_us - a->counted_us) / 1e6;
    auth_attempts_read(&now);
    double share = 1 - exp(-passed_s * 1000 / (double)a->gateway->conf->set->attack.window_ms);
    smooth(&a->rate.attempts, now.attempts - a->counted.attempts, passed_s, share);
    smooth(&a->rate.failed, now.failed - a->counted.failed, passed_s, share);
    smooth(&a->rate.refused, now.refused - a->counted.refused, passed_s, share);
    smooth(&a->rate.tried, now.tried - a->counted.tried, passed_s, share);
    smooth(&a->rate.verified, now.verified - a->counted.verified, passed_s, share);
    a->counted = now;
    a->counted_us = now_us;
    return passed_s;
}

/* --- the job ----------------------------------------------------------------------------------------- */

static int tell_signals(struct pg *pg, const struct gateway_attack *a)
{
    int rows = pg_query(
        pg,
        "INSERT INTO attack_signals (instance, at, attempts, refused, tried, verified, failed) VALUES"
        " ($1, clock_timestamp(), $2, $3, $4, $5, $6) ON CONFLICT (instance) DO UPDATE SET"
        " at = excluded.at, attempts = excluded.attempts, refused = excluded.refused,"
        " tried = excluded.tried, verified = excluded.verified, failed = excluded.failed",
        PG_CSTR(a->gateway->instance), PG_F64(a->told.attempts), PG_F64(a->told.refused),
        PG_F64(a->told.tried), PG_F64(a->told.verified), PG_F64(a->told.failed));
    return rows < 0 ? rows : 0;
}

static int read_signals(struct pg *pg, struct ladder_signals *s)
{
    int rows =
        pg_query(pg, "SELECT coalesce(sum(attempts), 0), coalesce(sum(refused), 0), coalesce(sum(tried), 0),"
                     " coalesce(sum(verified), 0), coalesce(sum(failed), 0) FROM attack_signals"
                     " WHERE at > clock_timestamp() - interval '10 s'");
    if (rows >= 0) {
        s->attempts = pg_f64(pg, 0, 0);
        s->refused = pg_f64(pg, 0, 1);
        s->tried = pg_f64(pg, 0, 2);
        s->verified = pg_f64(pg, 0, 3);
        s->failed = pg_f64(pg, 0, 4);
        rows = pg_query(pg, "DELETE FROM attack_signals WHERE at < clock_timestamp() - interval '1 hour'");
    }
    return rows < 0 ? rows : 0;
}

struct ladder_row {
    struct ladder_state state;
    double baseline, passed_s;
    bool is_manual, is_over; /* over: the time of a level set by hand */
};

static int read_row(struct pg *pg, struct ladder_row *r)
{
    int rows =
        pg_query(pg, "SELECT level, hot_s, very_hot_s, calm_s, level_s, moves, rate_at_entry, baseline,"
                     " extract(epoch FROM clock_timestamp() - ticked_at)::float8, is_manual,"
                     " coalesce(until <= now(), false) FROM attack_ladder FOR UPDATE");
    if (rows != 1) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "attack_ladder has no row");
    }
    r->state = (struct ladder_state){.level = (int)pg_i64(pg, 0, 0),
                                     .hot_s = pg_f64(pg, 0, 1),
                                     .very_hot_s = pg_f64(pg, 0, 2),
                                     .calm_s = pg_f64(pg, 0, 3),
                                     .level_s = pg_f64(pg, 0, 4),
                                     .moves = pg_f64(pg, 0, 5),
                                     .rate_at_entry = pg_f64(pg, 0, 6)};
    r->baseline = pg_f64(pg, 0, 7);
    r->passed_s = pg_f64(pg, 0, 8);
    r->is_manual = pg_bool(pg, 0, 9);
    r->is_over = r->is_manual && pg_bool(pg, 0, 10);
    return 0;
}

/* Quiet times only teach what is usual, over a day. */
static double learn(const struct ladder_row *r, const struct ladder_signals *s)
{
    double passed_s = r->passed_s > 0 && r->passed_s < LADDER_STEP_MAX_S ? r->passed_s : 0;
    bool is_quiet = r->state.level == 0 && r->state.hot_s == 0;
    return is_quiet ? r->baseline + (s->attempts - r->baseline) * passed_s / 86400 : r->baseline;
}

static int keep_row(struct pg *pg, const struct ladder_row *r, double baseline)
{
    const struct ladder_state *st = &r->state;
    int rows = pg_query(
        pg,
        "UPDATE attack_ladder SET hot_s = $1, very_hot_s = $2, calm_s = $3, level_s = $4, moves = $5,"
        " baseline = $6, ticked_at = clock_timestamp()",
        PG_F64(st->hot_s), PG_F64(st->very_hot_s), PG_F64(st->calm_s), PG_F64(st->level_s), PG_F64(st->moves),
        PG_F64(baseline));
    return rows < 0 ? rows : 0;
}

static int move(struct pg *pg, struct gateway_attack *a, const struct ladder_row *r, int to, double attempts)
{
    const char *reason = r->is_over            ? "the time of the level set by hand is over"
                         : to > r->state.level ? "sign-up is being flooded"
                                               : "it has been calm";
    a->moved_to = to;
    return attack_move_make(pg, &(struct attack_move){.level = to,
                                                      .attempts = attempts,
                                                      .reason = reason,
                                                      .actor = "gateway",
                                                      .request_id = "",
                                                      .action = "attack.move",
                                                      .preset = a->conf.preset});
}

static int decide(struct pg *pg, struct gateway_attack *a)
{
    struct ladder_row r;
    struct ladder_signals s = {0};
    int rc = read_row(pg, &r);
    if (rc == 0) {
        rc = read_signals(pg, &s);
    }
    if (rc < 0) {
        return rc;
    }
    int before = r.state.level;
    s.baseline = r.baseline;
    double baseline = learn(&r, &s);
    int to = ladder_decide(&r.state, &s, &a->conf.ladder, r.passed_s);
    to = r.is_over ? 0 : r.is_manual || !a->conf.is_automatic ? before : to;
    a->found = before;
    a->is_frozen = before > 0 && r.state.moves + 1 > a->conf.ladder.moves_per_h;
    rc = keep_row(pg, &r, baseline);
    return rc == 0 && (to != before || r.is_over) ? move(pg, a, &r, to, s.attempts) : rc;
}

static int run_tick(struct pg *pg, void *arg)
{
    struct gateway_attack *a = arg;
    a->moved_to = -1;
    a->found = -1;
    int rc = tell_signals(pg, a);
    int rows = rc == 0 ? pg_query(pg, "SELECT pg_try_advisory_xact_lock($1)", PG_I64(LOCK)) : rc;
    if (rows < 0) {
        return rows;
    }
    if (pg_bool(pg, 0, 0)) {
        return decide(pg, a);
    }
    rows = pg_query(pg, "SELECT level FROM attack_ladder");
    if (rows > 0) {
        a->found = (int)pg_i64(pg, 0, 0);
    }
    return rows < 0 ? rows : 0;
}

/* --- ticks ------------------------------------------------------------------------------------------- */

/* Only tightens, by what is seen here, and lets go once the database says what holds. */
static void decide_alone(struct gateway_attack *a, double passed_s)
{
    const struct attack_conf *conf = &a->gateway->conf->set->attack;
    struct ladder_signals s = {.attempts = a->rate.attempts,
                               .refused = a->rate.refused,
                               .failed = a->rate.failed,
                               .tried = a->rate.tried,
                               .verified = a->rate.verified};
    if (conf->is_automatic && ladder_decide(&a->alone, &s, &conf->ladder, passed_s) > a->alone.level) {
        ladder_moved(&a->alone, a->alone.level + 1, s.attempts, true);
        log_warn("attack ladder tightened alone, the database is away");
    }
    set_level(a, a->alone.level > a->known ? a->alone.level : a->known);
}

static void on_ticked(void *arg, int rc, const struct err *err)
{
    struct gateway_attack *a = arg;
    a->is_running = false;
    config_unref(a->held);
    if (rc != 0 || a->found < 0) {
        return;
    }
    a->known = a->moved_to >= 0 ? a->moved_to : a->found;
    a->alone = (struct ladder_state){.level = a->known};
    set_level(a, a->known);
    metric_set(&frozen, a->is_frozen);
    if (a->moved_to >= 0) {
        static const char *const names[] = {"A0", "A1", "A2", "A3", "A4"};
        metric_child_add(metric_child(&moves, names[a->moved_to]), 1);
        control_poll_soon(a->gateway->control);
    }
}

static void start_job(struct gateway_attack *a)
{
    if (a->is_running || a->gateway->pg == NULL) {
        return;
    }
    a->held = config_ref(a->gateway->conf);
    a->conf = a->held->set->attack;
    a->told = a->rate;
    a->job = (struct pg_job){
        .run = run_tick, .done = on_ticked, .arg = a, .timeout_ms = JOB_MS, .lane = PG_LANE_URGENT};
    a->is_running = pg_submit(a->gateway->pg, &a->job) == 0;
    if (!a->is_running) {
        config_unref(a->held);
    }
}

static void on_tick(void *arg)
{
    struct gateway_attack *a = arg;
    double passed_s = look(a);
    if (!atomic_load(&a->gateway->pg_is_up)) {
        decide_alone(a, passed_s);
    }
    start_job(a);
}

static void on_moved(void *arg, int64_t version)
{
    start_job(arg);
}

/* --- life -------------------------------------------------------------------------------------------- */

void attack_open(struct gateway *g)
{
    if (!g->conf->set->auth || !g->pg) {
        return;
    }
    struct err err = {0};
    struct gateway_attack *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    g->attack = a;
    a->gateway = g;
    snprintf(a->path, sizeof a->path, "%s/attack", g->conf->set->process.state_dir);
    int rc = attack_file_load(a->path, &a->known, &err);
    if (rc < 0 && rc != ERR_NOT_FOUND) {
        log_error("the attack ladder's level cannot be read error=\"%s\"", err.msg);
    }
    a->kept = rc == 0 || rc == ERR_NOT_FOUND ? a->known : -1;
    a->alone.level = a->known; /* the database says otherwise as soon as it is there */
    atomic_store(&a->level, a->known);
    metric_set(&level_now, a->known);
    a->counted_us = clock_mono_us();
    auth_attempts_read(&a->counted);
    metric_register(&level_now);
    metric_register(&frozen);
    control_watch(g->control, CONTROL_LADDER, on_moved, a);
    control_tick(g->control, TICK_MS, on_tick, a);
}

void attack_close(struct gateway *g)
{
    free(g->attack);
    g->attack = NULL;
}

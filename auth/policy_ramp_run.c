#include "auth/policy_ramp_run.h"

#include <stdio.h>

#include "base/json.h"
#include "base/pg.h"

enum { STAGES_TEXT = POLICY_RAMP_STAGES_MAX * 6 + 3, ATTACK_LEVEL = 2 };

/* A ramp that has not ended, and what is in force. Texts live as long as the job. */
struct ramp {
    struct policy_ramp_view view;
    int64_t id, base, in_force;
    bool reverts, is_adopted; /* in force is the stage's document under another version */
    uint32_t share;           /* of the stage */
    struct str state, name, actor, reason;
    int attack_level;
    struct str blocked; /* target of an audit row; empty: none */
};

/* The ramp whose row this transaction has locked: by a statement before, so that this one sees what others did to it and
 * to the policy until then. 1, or 0: it has ended. */
static int ramp_read(struct pg *pg, struct ramp *r)
{
    int rows = pg_query_n(
        pg,
        "SELECT r.id, r.state, r.next_at <= now(), c.version, c.version = r.version,"
        " CASE WHEN c.version = r.version THEN true ELSE v.document::text = o.document::text END,"
        " EXISTS (SELECT FROM policy_pending w JOIN policy_versions b ON b.version = w.back_to"
        " WHERE (w.kind = 'held' OR w.kind = 'revert' AND w.version = c.version)"
        " AND b.document::text = o.document::text),"
        " l.level, coalesce((SELECT a.target FROM audit a WHERE r.state = 'running'"
        " AND a.action = 'sms.block' AND a.at >= r.moved_at ORDER BY a.at LIMIT 1), ''),"
        " r.stage, cardinality(r.stages), r.base, r.reverts, r.stages[r.stage], r.name, r.actor, r.reason"
        " FROM policy_ramps r JOIN policy_versions o ON o.version = r.version, policy_current c"
        " JOIN policy_versions v ON v.version = c.version, attack_ladder l WHERE r.ended_at IS NULL",
        0, NULL);
    if (rows <= 0) {
        return rows;
    }
    *r = (struct ramp){.id = pg_i64(pg, 0, 0),
                       .state = pg_value(pg, 0, 1),
                       .in_force = pg_i64(pg, 0, 3),
                       .attack_level = (int)pg_i64(pg, 0, 7),
                       .blocked = pg_value(pg, 0, 8),
                       .base = pg_i64(pg, 0, 11),
                       .reverts = pg_bool(pg, 0, 12),
                       .share = (uint32_t)pg_i64(pg, 0, 13),
                       .name = pg_value(pg, 0, 14),
                       .actor = pg_value(pg, 0, 15),
                       .reason = pg_value(pg, 0, 16)};
    r->view = (struct policy_ramp_view){.is_running = str_is(r->state, "running"),
                                        .is_due = pg_bool(pg, 0, 2),
                                        .is_ours = pg_bool(pg, 0, 5),
                                        .is_covered = pg_bool(pg, 0, 6),
                                        .stage = (unsigned)pg_i64(pg, 0, 9),
                                        .count = (unsigned)pg_i64(pg, 0, 10)};
    r->is_adopted = r->view.is_ours && !pg_bool(pg, 0, 4);
    return 1;
}

/* --- what is written --------------------------------------------------------------------------------- */

/* Who does something, and why: an operator, or the ramp by itself. */
struct cause {
    const char *actor, *reason, *request_id, *action;
};

static int audit(struct pg *pg, const struct ramp *r, const struct cause *by)
{
    int rows =
        pg_query(pg,
                 "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES ($1, $2,"
                 " 'policy-ramp/' || $3::bigint, $4, coalesce($5, ''), jsonb_build_object('name',"
                 " $6::text, 'percent', $7::bigint / 100.0))",
                 PG_CSTR(by->actor), PG_CSTR(by->action), PG_I64(r->id), PG_CSTR(by->reason),
                 PG_CSTR(by->request_id), PG_STR(r->name), PG_I64(r->share));
    return rows < 0 ? rows : 0;
}

/* state, and the version in force by the ramp (0: as it was). */
static int keep_state(struct pg *pg, const struct ramp *r, const char *state, const char *note, bool is_over,
                      int64_t version)
{
    int rows =
        pg_query(pg,
                 "UPDATE policy_ramps SET state = $2, note = $3, ended_at = CASE WHEN $4 THEN now() END,"
                 " version = CASE WHEN $5::bigint > 0 THEN $5 ELSE version END WHERE id = $1",
                 PG_I64(r->id), PG_CSTR(state), PG_CSTR(note), PG_BOOL(is_over), PG_I64(version));
    return rows < 0 ? rows : 0;
}

static int document_of(struct pg *pg, int64_t version, struct str *out)
{
    int rows = pg_query(pg, "SELECT document::text FROM policy_versions WHERE version = $1", PG_I64(version));
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "a version of the ramp is gone");
    }
    *out = pg_value(pg, 0, 0);
    return 0;
}

static int change_to(struct pg *pg, struct str document, const struct cause *by, int64_t if_version,
                     struct policy_changed *out)
{
    struct policy_change c = {.document = document,
                              .actor = by->actor,
                              .reason = by->reason,
                              .request_id = by->request_id,
                              .action = by->action,
                              .if_version = if_version};
    return policy_change_make(pg, &c, out);
}

/* Back to what was before the ramp: now, or when what lies over the stage is over; else the policy stays. */
static int go_back(struct pg *pg, const struct ramp *r, const struct cause *by, int64_t *version)
{
    struct policy_changed changed = {0};
    struct str base;
    int rc = 0;
    if (r->view.is_ours) {
        rc = document_of(pg, r->base, &base);
        rc = rc < 0 ? rc : change_to(pg, base, by, r->in_force, &changed);
    } else if (r->view.is_covered) {
        rc = policy_change_uncover(pg, r->id);
    }
    *version = changed.version;
    return rc < 0 ? rc : audit(pg, r, by);
}

static int end(struct pg *pg, const struct ramp *r, const char *state, const char *why, const char *action)
{
    struct cause by = {"gateway", why, "", action};
    int rc = audit(pg, r, &by);
    return rc < 0 ? rc : keep_state(pg, r, state, why, true, 0);
}

/* Another policy than its stage's is in force, and not for a time. */
static int end_replaced(struct pg *pg, const struct ramp *r)
{
    char why[POLICY_RAMP_TEXT_MAX];
    snprintf(why, sizeof why, "version %lld is in force instead", (long long)r->in_force);
    return end(pg, r, "replaced", why, "policy.ramp_end");
}

/* --- the beginning ----------------------------------------------------------------------------------- */

/* One whose policy was changed just now is over, whether a gateway has come to see it or not. */
static int none_runs(struct pg *pg)
{
    struct ramp r;
    int rows = pg_query_n(pg, "SELECT FROM policy_ramps WHERE ended_at IS NULL FOR UPDATE", 0, NULL);
    rows = rows > 0 ? ramp_read(pg, &r) : rows;
    if (rows <= 0) {
        return rows;
    }
    if (!r.view.is_ours && !r.view.is_covered) {
        return end_replaced(pg, &r);
    }
    return err_set(pg_err(pg), ERR_CONFLICT, "a ramp to " STR_FMT " is there (" STR_FMT "): abort it first",
                   STR_ARG(r.name), STR_ARG(r.state));
}

static int refuse_for_attack(struct pg *pg, int level)
{
    return err_set(pg_err(pg), ERR_CONFLICT,
                   "the attack ladder is at A%d: a ramp waits until it is below A%d", level, ATTACK_LEVEL);
}

/* What is in force, unless it is so for a time: a ramp over that would make it permanent. Nor while the ladder would stop
 * it: its first stage would be in force until then. */
static int read_before(struct pg *pg, struct str *document, int64_t *version)
{
    int rows = pg_query_n(pg,
                          "SELECT v.document::text, v.version, EXISTS (SELECT FROM policy_pending w WHERE "
                          "w.kind = 'revert' AND w.version = v.version), l.level FROM policy_current c JOIN "
                          "policy_versions v ON v.version = c.version, attack_ladder l",
                          0, NULL);
    if (rows < 0) {
        return rows;
    }
    if (pg_i64(pg, 0, 3) >= ATTACK_LEVEL) {
        return refuse_for_attack(pg, (int)pg_i64(pg, 0, 3));
    }
    if (pg_bool(pg, 0, 2)) {
        return err_set(pg_err(pg), ERR_CONFLICT, "what is in force is so for a time: end that first");
    }
    *document = pg_value(pg, 0, 0);
    *version = pg_i64(pg, 0, 1);
    return 0;
}

static void stages_print(const struct policy_ramp_plan *plan, char out[STAGES_TEXT])
{
    size_t n = 0;
    for (unsigned i = 0; i < plan->count; i++) {
        n += (size_t)snprintf(out + n, STAGES_TEXT - n, "%c%u", i > 0 ? ',' : '{', plan->stages[i]);
    }
    snprintf(out + n, STAGES_TEXT - n, "}");
}

static int start_row(struct pg *pg, const struct policy_change *c, const struct policy_ramp_plan *plan,
                     struct policy_ramp_started *out)
{
    struct policy *p = NULL;
    char stages[STAGES_TEXT];
    stages_print(plan, stages);
    int rc = policy_parse(c->document, 0, &p, pg_err(pg));
    if (rc == 0) {
        rc = pg_query(
            pg,
            "INSERT INTO policy_ramps (name, candidate, base, version, stages, every_ms, reverts, actor,"
            " reason, next_at) VALUES ($1, $2, $3, $4, $5::text::integer[], $6::bigint * 1000, $7, $8, $9,"
            " now() + $6::bigint * interval '1 s') RETURNING id",
            PG_CSTR(policy_name(p)), PG_STR(c->document), PG_I64(out->changed.previous),
            PG_I64(out->changed.version), PG_CSTR(stages), PG_I64(plan->every_s), PG_BOOL(plan->reverts),
            PG_CSTR(c->actor), PG_CSTR(c->reason));
        out->id = rc > 0 ? pg_i64(pg, 0, 0) : 0;
    }
    policy_unref(p);
    return rc < 0 ? rc : 0;
}

int policy_ramp_start(struct pg *pg, const struct policy_change *c, const struct policy_ramp_plan *plan,
                      struct policy_ramp_started *out)
{
    struct cause by = {c->actor, c->reason, c->request_id, "policy.ramp"};
    struct buf stage;
    struct str before = {0};
    int64_t version = 0;
    buf_init(&stage, POLICY_DOCUMENT_MAX);
    int rc = policy_ramp_plan_check(plan, pg_err(pg));
    rc = rc < 0 ? rc : none_runs(pg);
    rc = rc < 0 ? rc : read_before(pg, &before, &version);
    if (rc == 0) {
        version = c->if_version ? c->if_version : version;
        rc = policy_ramp_document(before, c->document, plan->stages[0], &stage, pg_err(pg));
        rc = rc < 0 ? rc : change_to(pg, buf_str(&stage), &by, version, &out->changed);
        rc = rc < 0 ? rc : start_row(pg, c, plan, out);
    }
    buf_clear(&stage);
    return rc;
}

/* --- by hand ----------------------------------------------------------------------------------------- */

static int pause(struct pg *pg, const struct ramp *r, const struct cause *by)
{
    if (!r->view.is_running) {
        return err_set(pg_err(pg), ERR_CONFLICT, "the ramp is " STR_FMT " already", STR_ARG(r->state));
    }
    int rc = keep_state(pg, r, "paused", by->reason, false, 0);
    return rc < 0 ? rc : audit(pg, r, by);
}

static int resume(struct pg *pg, const struct ramp *r, const struct cause *by)
{
    if (r->attack_level >= ATTACK_LEVEL) {
        return refuse_for_attack(pg, r->attack_level);
    }
    if (r->view.is_running || !r->view.is_ours) {
        return err_set(pg_err(pg), ERR_CONFLICT, "%s",
                       r->view.is_running ? "the ramp is running"
                                          : "another policy than the ramp's is in force");
    }
    int rows =
        pg_query(pg,
                 "UPDATE policy_ramps SET state = 'running', note = '', moved_at = now(), next_at = now() +"
                 " every_ms * interval '1 millisecond' WHERE id = $1",
                 PG_I64(r->id));
    return rows < 0 ? rows : audit(pg, r, by);
}

static int abort_ramp(struct pg *pg, const struct ramp *r, const struct cause *by)
{
    int64_t version = 0;
    int rc = go_back(pg, r, by, &version);
    return rc < 0 ? rc : keep_state(pg, r, "aborted", by->reason, true, version);
}

int policy_ramp_tell(struct pg *pg, enum policy_ramp_verb verb, const struct policy_change *c)
{
    static const char *const actions[] = {"policy.ramp_pause", "policy.ramp_resume", "policy.ramp_abort"};
    struct cause by = {c->actor, c->reason, c->request_id, actions[verb]};
    struct ramp r;
    int rows = pg_query_n(pg, "SELECT FROM policy_ramps WHERE ended_at IS NULL FOR UPDATE", 0, NULL);
    rows = rows > 0 ? ramp_read(pg, &r) : rows;
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "no ramp runs");
    }
    return verb == POLICY_RAMP_PAUSE    ? pause(pg, &r, &by)
           : verb == POLICY_RAMP_RESUME ? resume(pg, &r, &by)
                                        : abort_ramp(pg, &r, &by);
}

/* --- by itself --------------------------------------------------------------------------------------- */

static int step(struct pg *pg, const struct ramp *r, struct policy_ramp_ran *out)
{
    struct policy_changed changed;
    struct buf stage;
    int rows =
        pg_query(pg,
                 "SELECT b.document::text, r.candidate::text, r.stages[r.stage + 1] FROM policy_ramps r"
                 " JOIN policy_versions b ON b.version = r.base WHERE r.id = $1",
                 PG_I64(r->id));
    if (rows <= 0) {
        return rows < 0 ? rows : ERR_NOT_FOUND;
    }
    struct str before = pg_value(pg, 0, 0), candidate = pg_value(pg, 0, 1);
    out->share = (uint32_t)pg_i64(pg, 0, 2);
    snprintf(out->note, sizeof out->note, "%g %%", out->share / 100.0);
    struct arena *a = pg_arena(pg);
    struct str reason = arena_printf(a, STR_FMT " (ramp: %s)", STR_ARG(r->reason), out->note);
    struct cause by = {arena_cstr(a, r->actor), reason.p, "", "policy.ramp_step"};
    buf_init(&stage, POLICY_DOCUMENT_MAX);
    int rc = policy_ramp_document(before, candidate, out->share, &stage, pg_err(pg));
    rc = rc < 0 ? rc : change_to(pg, buf_str(&stage), &by, r->in_force, &changed);
    buf_clear(&stage);
    if (rc == 0) {
        rc = pg_query(
            pg,
            "UPDATE policy_ramps SET stage = stage + 1, version = $2, moved_at = now(), next_at = now() +"
            " every_ms * interval '1 millisecond' WHERE id = $1",
            PG_I64(r->id), PG_I64(changed.version));
    }
    return rc < 0 ? rc : 0;
}

static int stop(struct pg *pg, const struct ramp *r, const char *why)
{
    struct cause by = {"gateway", why, "", r->reverts ? "policy.ramp_revert" : "policy.ramp_hold"};
    int64_t version = 0;
    int rc = r->reverts ? go_back(pg, r, &by, &version) : audit(pg, r, &by);
    return rc < 0 ? rc : keep_state(pg, r, r->reverts ? "reverted" : "held", why, r->reverts, version);
}

/* The worst that is known, for people; "": nothing. */
static void find_trouble(const struct ramp *r, const struct policy_ramp_signals *s,
                         char out[POLICY_RAMP_TEXT_MAX + 1])
{
    out[0] = '\0';
    if (r->attack_level >= ATTACK_LEVEL) {
        snprintf(out, POLICY_RAMP_TEXT_MAX + 1, "attack level A%d", r->attack_level);
    } else if (r->view.is_covered) {
        snprintf(out, POLICY_RAMP_TEXT_MAX + 1, "another policy is in force for a time");
    } else if (r->blocked.n > 0) {
        snprintf(out, POLICY_RAMP_TEXT_MAX + 1, "codes are pumped: blocked " STR_FMT, STR_ARG(r->blocked));
    } else {
        snprintf(out, POLICY_RAMP_TEXT_MAX + 1, "%s", s->bad);
    }
}

static int turn(struct pg *pg, const struct ramp *r, enum policy_ramp_turn t, const char *trouble,
                struct policy_ramp_ran *out)
{
    out->did = t != POLICY_RAMP_STAY;
    switch (t) {
    case POLICY_RAMP_STEP:
        return step(pg, r, out);
    case POLICY_RAMP_STOP:
        snprintf(out->note, sizeof out->note, "%s", trouble);
        return stop(pg, r, trouble);
    case POLICY_RAMP_DONE:
        snprintf(out->note, sizeof out->note, "done");
        return end(pg, r, "done", "the last stage went well", "policy.ramp_done");
    case POLICY_RAMP_REPLACED:
        snprintf(out->note, sizeof out->note, "version %lld is in force instead", (long long)r->in_force);
        return end_replaced(pg, r);
    case POLICY_RAMP_STAY:
        break;
    }
    return 0;
}

int policy_ramp_run(struct pg *pg, const struct policy_ramp_signals *s, struct policy_ramp_ran *out)
{
    char trouble[POLICY_RAMP_TEXT_MAX + 1];
    struct ramp r;
    *out = (struct policy_ramp_ran){0};
    int rows = pg_query_n(pg, "SELECT FROM policy_ramps WHERE ended_at IS NULL", 0, NULL);
    if (rows <= 0) {
        return rows;
    }
    out->is_there = true;
    rows = pg_query_n(pg, "SELECT FROM policy_ramps WHERE ended_at IS NULL FOR UPDATE SKIP LOCKED", 0, NULL);
    rows = rows > 0 ? ramp_read(pg, &r) : rows;
    if (rows <= 0) {
        return rows; /* another gateway is at it, or it has just ended */
    }
    find_trouble(&r, s, trouble);
    r.view.is_bad = trouble[0] != '\0';
    r.view.is_known = s->is_known;
    out->share = r.share;
    out->is_standing = !r.view.is_running;
    if (r.is_adopted) { /* it came back after what lay over it for a time */
        rows = pg_query(pg, "UPDATE policy_ramps SET version = $2 WHERE id = $1", PG_I64(r.id),
                        PG_I64(r.in_force));
    }
    return rows < 0 ? rows : turn(pg, &r, policy_ramp_decide(&r.view), trouble, out);
}

/* --- what is told ------------------------------------------------------------------------------------ */

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

static void write_stages(struct json_writer *w, struct str list)
{
    struct str item;
    uint64_t share;
    json_open_at(w, "stages", '[');
    while (str_cut(&list, ',', &item)) {
        if (str_u64(item, &share)) {
            json_f64(w, (double)share / 100);
        }
    }
    json_close(w, ']');
}

int policy_ramp_write(struct pg *pg, struct json_writer *w)
{
    static const char *const texts[] = {"state",  "note",       "name",     "actor",   "reason",
                                        "on_bad", "started_at", "moved_at", "next_at", "ended_at"};
    static const char *const numbers[] = {"id", "version", "base", "stage", "every_s"};
    int rows =
        pg_query_n(pg,
                   "SELECT state, note, name, actor, reason, CASE WHEN reverts THEN 'revert' ELSE 'hold' "
                   "END, " ISO("started_at") ", " ISO("moved_at") ", CASE WHEN state = 'running' THEN " ISO(
                       "next_at") " END, " ISO("ended_at") ", id, version, base, stage, every_ms / 1000, "
                                                           "stages[stage],"
                                                           " array_to_string(stages, ',') FROM policy_ramps"
                                                           " ORDER BY id DESC LIMIT 1",
                   0, NULL);
    if (rows <= 0) {
        json_str_at(w, "state", STR("none"));
    }
    for (int i = 0; rows > 0 && i < 10; i++) {
        if (pg_is_null(pg, 0, i)) {
            json_null_at(w, texts[i]);
        } else {
            json_str_at(w, texts[i], pg_value(pg, 0, i));
        }
    }
    for (int i = 0; rows > 0 && i < 5; i++) {
        json_i64_at(w, numbers[i], pg_i64(pg, 0, 10 + i));
    }
    if (rows > 0) {
        json_f64_at(w, "percent", pg_f64(pg, 0, 15) / 100);
        write_stages(w, pg_value(pg, 0, 16));
    }
    return rows < 0 ? rows : 0;
}

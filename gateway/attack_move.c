/* One move of the attack ladder: the row, the policy, the audit record and the public notice together. */
#include <stdio.h>

#include "auth/policy.h"
#include "auth/policy_change.h"
#include "base/json.h"
#include "base/pg.h"
#include "gateway/attack.h"
#include "gateway/attack_conf.h"

struct standing {
    int level;
    int64_t in_force;  /* version of the policy now */
    struct str name;   /* that policy's */
    bool is_closed;    /* that policy */
    int64_t ours;      /* version by which the ladder's own policy came into force; 0: it has none */
    bool is_held;      /* ours: an emergency lies over it */
    bool is_base_open; /* everybody may sign up without the ladder, also when what is for a time is over */
};

/* The policy itself is not locked: who changes it names the version that was read here. */
static int read_standing(struct pg *pg, struct standing *s)
{
    int rows = pg_query_n(pg, "SELECT FROM attack_ladder FOR UPDATE", 0, NULL);
    if (rows == 1) {
        rows = pg_query_n(
            pg,
            "SELECT l.level, c.version, v.name, v.state = 'closed',"
            " CASE WHEN o.id IS NULL THEN 0 ELSE l.version END, coalesce(o.kind = 'held', false),"
            " CASE WHEN o.id IS NOT NULL THEN b.state = 'open'"
            " ELSE v.state = 'open' AND coalesce(t.state = 'open', true) END"
            " FROM attack_ladder l CROSS JOIN policy_current c JOIN policy_versions v ON v.version = "
            "c.version"
            " LEFT JOIN policy_pending w ON w.kind = 'revert' AND w.version = c.version"
            " LEFT JOIN policy_versions t ON t.version = w.back_to"
            " LEFT JOIN policy_pending o ON o.began = l.version AND (o.kind = 'held' OR o.id = w.id)"
            " LEFT JOIN policy_versions b ON b.version = o.back_to",
            0, NULL);
    }
    if (rows != 1) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "attack_ladder has no row");
    }
    *s = (struct standing){.level = (int)pg_i64(pg, 0, 0),
                           .in_force = pg_i64(pg, 0, 1),
                           .name = pg_value(pg, 0, 2),
                           .is_closed = pg_bool(pg, 0, 3),
                           .ours = pg_i64(pg, 0, 4),
                           .is_held = pg_bool(pg, 0, 5),
                           .is_base_open = pg_bool(pg, 0, 6)};
    return 0;
}

/* What the level wants of sign-up; NULL: what is there without the ladder. A policy that lets in only some may be the
 * stricter one, so that only closing is known not to loosen it. */
static const char *wanted_of(const struct attack_move *m, const struct standing *s)
{
    const char *wanted = m->level >= 3 ? "closed" : m->level == 2 ? m->preset : NULL;
    return wanted && !s->is_base_open && strcmp(wanted, "closed") != 0 ? NULL : wanted;
}

/* Somebody's own change stands: it is neither taken back nor loosened. ERR_CONFLICT: it came in between. */
static int change_policy(struct pg *pg, const struct attack_move *m, const struct standing *s,
                         int64_t *version)
{
    const char *wanted = wanted_of(m, s);
    struct policy_change c = {.actor = m->actor,
                              .reason = m->reason,
                              .request_id = m->request_id,
                              .action = "attack.policy",
                              .if_version = s->in_force};
    struct policy_changed changed = {0};
    bool is_ours = s->ours != 0;
    *version = s->ours;
    if (!wanted) {
        *version = 0;
        return !is_ours     ? 0
               : s->is_held ? policy_change_end_held(pg, s->ours)
                            : policy_change_end(pg, &c, &changed);
    }
    if (s->is_held || (is_ours ? str_is(s->name, wanted) : s->is_closed)) {
        return 0;
    }
    c.document = str_from(policy_preset(str_from(wanted)));
    c.for_ms = POLICY_CHANGE_UNTIL_ENDED;
    int rc = policy_change_make(pg, &c, &changed);
    *version = changed.version;
    return rc;
}

static int tell(struct pg *pg, const struct attack_move *m, int from)
{
    char notice[64];
    snprintf(notice, sizeof notice, "{\"level\":\"A%d\",\"before\":\"A%d\"}", m->level, from);
    int rows =
        pg_query(pg,
                 "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES ($1, $2,"
                 " 'attack/A' || $3::bigint, $4, coalesce($5, ''), jsonb_build_object('before', 'A' ||"
                 " $6::bigint, 'attempts_per_min', round($7::numeric)))",
                 PG_CSTR(m->actor), PG_CSTR(m->action), PG_I64(m->level), PG_CSTR(m->reason),
                 PG_CSTR(m->request_id), PG_I64(from), PG_F64(m->attempts));
    if (rows >= 0 && m->level != from) {
        rows = pg_query(pg, "SELECT status_publish_notice('attack_level', $1::jsonb, $2)", PG_CSTR(notice),
                        PG_CSTR(m->actor));
    }
    if (rows >= 0) {
        rows = pg_query(pg, "SELECT versions_bump('ladder')");
    }
    return rows < 0 ? rows : 0;
}

int attack_move_make(struct pg *pg, const struct attack_move *m)
{
    struct standing s = {0};
    int64_t version = 0;
    int rc = read_standing(pg, &s);
    if (rc == 0) {
        rc = change_policy(pg, m, &s, &version);
    }
    if (rc < 0) {
        return rc;
    }
    int rows =
        pg_query(pg,
                 "UPDATE attack_ladder SET level = $1, is_manual = $2, until = CASE WHEN $3::bigint > 0 THEN"
                 " now() + $3::bigint * interval '1 millisecond' END, reason = $4, actor = $5, since = now(),"
                 " version = $6, hot_s = 0, very_hot_s = 0, calm_s = 0, level_s = 0, rate_at_entry = $7,"
                 " moves = moves + CASE WHEN $2 THEN 0 ELSE 1 END",
                 PG_I64(m->level), PG_BOOL(m->is_manual), PG_I64(m->ttl_ms), PG_CSTR(m->reason),
                 PG_CSTR(m->actor), PG_I64(version), PG_F64(m->attempts));
    return rows < 0 ? rows : tell(pg, m, s.level);
}

/* --- after an emergency ------------------------------------------------------------------------------- */

/* The ladder before the policy, as in a move: two that wait for one another would be worse. */
int attack_hold(struct pg *pg, bool *has_moved)
{
    int rows =
        pg_query_n(pg,
                   "SELECT EXISTS (SELECT FROM policy_pending w WHERE w.is_emergency AND w.created_at <"
                   " l.since) FROM attack_ladder l FOR UPDATE OF l",
                   0, NULL);
    *has_moved = rows > 0 && pg_bool(pg, 0, 0);
    return rows < 0 ? rows : 0;
}

int attack_resume(struct pg *pg, const struct attack_move *m, int64_t *version, bool *is_closed)
{
    struct standing s = {0};
    struct attack_move again = *m;
    int64_t ours = 0;
    int rc = read_standing(pg, &s);
    if (rc < 0) {
        return rc;
    }
    again.level = s.level;
    rc = change_policy(pg, &again, &s, &ours);
    if (rc < 0 || ours == s.ours) {
        return rc;
    }
    *version = ours;
    *is_closed = s.level >= 3;
    int rows = pg_query(pg, "UPDATE attack_ladder SET version = $1", PG_I64(ours));
    return rows < 0 ? rows : 0;
}

/* --- looking ------------------------------------------------------------------------------------------ */

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static void write_texts(struct json_writer *w, const struct pg *pg, int row, int from,
                        const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        if (pg_is_null(pg, row, from + i)) {
            json_null_at(w, names[i]);
        } else {
            json_str_at(w, names[i], pg_value(pg, row, from + i));
        }
    }
}

int attack_write(struct pg *pg, const struct attack_conf *conf, struct buf *out)
{
    static const char *const texts[] = {"level", "mode", "until", "reason", "actor", "since", "policy"};
    static const char *const numbers[] = {"policy_version", "moves_lately", "baseline_per_min",
                                          "attempts_per_min"};
    enum { TEXTS = sizeof texts / sizeof *texts, NUMBERS = sizeof numbers / sizeof *numbers };
    int rows = pg_query(
        pg, "SELECT 'A' || level, CASE WHEN is_manual THEN 'manual' ELSE 'automatic' END, " ISO(
                "until") ", reason, actor, " ISO("since") ", (SELECT v.name FROM policy_current JOIN"
                                                          " policy_versions v USING (version)),"
                                                          " (SELECT version FROM policy_current),"
                                                          " round(moves), round(baseline), (SELECT"
                                                          " coalesce(round(sum(s.attempts)), 0) FROM"
                                                          " attack_signals s WHERE s.at > clock_timestamp()"
                                                          " - interval '10 s'), level FROM attack_ladder");
    if (rows < 0) {
        return rows;
    }
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    write_texts(&w, pg, 0, 0, texts, TEXTS);
    for (int i = 0; i < NUMBERS; i++) {
        json_i64_at(&w, numbers[i], pg_i64(pg, 0, TEXTS + i));
    }
    int level = (int)pg_i64(pg, 0, TEXTS + NUMBERS);
    json_i64_at(&w, "signup_sms_percent", attack_sms_percent(conf, level));
    json_i64_at(&w, "connections_percent", attack_connections_percent(conf, level));
    json_close(&w, '}');
    return 0;
}

int attack_history(struct pg *pg, int64_t limit, struct buf *out)
{
    static const char *const texts[] = {"at", "level", "before", "action", "actor", "reason"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    int rows =
        pg_query(pg,
                 "SELECT " ISO("at") ", substr(target, 8), detail->>'before', action, actor, reason, id,"
                                     " round((detail->>'attempts_per_min')::numeric) FROM audit WHERE"
                                     " action IN ('attack.set', 'attack.auto', 'attack.move')"
                                     " ORDER BY id DESC LIMIT $1",
                 PG_I64(limit));
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        json_open(&w, '{');
        json_i64_at(&w, "id", pg_i64(pg, i, TEXTS));
        write_texts(&w, pg, i, 0, texts, TEXTS);
        json_i64_at(&w, "attempts_per_min", pg_i64(pg, i, TEXTS + 1));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

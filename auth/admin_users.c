/* Verbs of admin.h that shut somebody out: a user's ban, and the end of everybody's sessions. What they do to tokens is the
 * database's (migrations 0025 and 0026), whoever writes there. */
#include "auth/admin_inner.h"

/* 1 when the user of the verb is there, and locked against another ban and against signing in. */
static int user_lock(struct pg *pg, const struct auth_admin *a, struct uuid *user)
{
    int rc = admin_wants_reason(pg, a);
    if (rc < 0) {
        return rc;
    }
    if (!a->user || !uuid_parse(str_from(a->user), user)) {
        return err_set(pg_err(pg), ERR_INVALID, "user: is not a UUID");
    }
    rc = pg_query(pg, "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", PG_UUID(*user));
    return rc == 0 ? err_set(pg_err(pg), ERR_NOT_FOUND, "there is no user of this id") : rc;
}

static int write_audit(struct pg *pg, const struct auth_admin *a, const char *action, const struct uuid *user,
                       int64_t sessions)
{
    int rc = pg_query(pg,
                      "INSERT INTO audit (actor, action, target, reason, request_id, detail)"
                      " SELECT $1, $2, 'user/' || u.id, $3, $4,"
                      "   jsonb_build_object('until', u.banned_until, 'sessions', $5::bigint)"
                      " FROM users u WHERE u.id = $6",
                      PG_CSTR(a->actor), PG_CSTR(action), PG_CSTR(a->reason),
                      PG_CSTR(a->request_id ? a->request_id : ""), PG_I64(sessions), PG_UUID(*user));
    return rc < 0 ? rc : 0;
}

int auth_admin_user_ban(struct pg *pg, struct auth_admin *a)
{
    struct uuid user;
    int rc = user_lock(pg, a, &user);
    if (rc < 0) {
        return rc;
    }
    int ended = pg_query(pg, "SELECT auth_end_sessions($1, NULL, 'global', 'banned')", PG_UUID(user));
    if (ended < 0) {
        return ended;
    }
    rc = pg_query(
        pg,
        "UPDATE users u SET banned_until = b.until, updated_at = now()"
        " FROM (SELECT CASE WHEN $2::bigint > 0 THEN to_timestamp($2 / 1000.0)"
        "   WHEN $3::bigint > 0 THEN clock_timestamp() + $3 * interval '1 ms' ELSE 'infinity' END AS until) b"
        " WHERE u.id = $1 AND b.until > clock_timestamp() RETURNING " ADMIN_ISO_OR_EVER("u.banned_until"),
        PG_UUID(user), PG_I64(a->at_ms), PG_I64(a->for_ms));
    if (rc <= 0) {
        return rc < 0 ? rc : err_set(pg_err(pg), ERR_INVALID, "until: is over already");
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_str_at(&w, "user", str_from(a->user));
    json_str_at(&w, "banned_until", pg_value(pg, 0, 0));
    json_i64_at(&w, "revoked", ended);
    json_close(&w, '}');
    return write_audit(pg, a, "user.ban", &user, ended);
}

int auth_admin_user_unban(struct pg *pg, struct auth_admin *a)
{
    struct uuid user;
    int rc = user_lock(pg, a, &user);
    rc = rc < 0 ? rc
                : pg_query(pg, "UPDATE users SET banned_until = NULL, updated_at = now() WHERE id = $1",
                           PG_UUID(user));
    if (rc < 0) {
        return rc;
    }
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_str_at(&w, "user", str_from(a->user));
    json_null_at(&w, "banned_until");
    json_close(&w, '}');
    return write_audit(pg, a, "user.unban", &user, 0);
}

int auth_admin_everybody_out(struct pg *pg, struct auth_admin *a)
{
    int rc = admin_wants_reason(pg, a);
    if (rc < 0) {
        return rc;
    }
    rc = pg_query(pg, "SELECT auth_end_everybody()");
    if (rc < 0) {
        return rc;
    }
    int64_t era = pg_i64(pg, 0, 0);
    rc = pg_query(pg,
                  "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES"
                  " ($1, 'sessions.revoke', 'everybody', $2, $3, jsonb_build_object('era', $4::bigint))",
                  PG_CSTR(a->actor), PG_CSTR(a->reason), PG_CSTR(a->request_id ? a->request_id : ""),
                  PG_I64(era));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "era", era);
    json_close(&w, '}');
    return rc < 0 ? rc : 0;
}

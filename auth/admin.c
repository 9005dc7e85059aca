/* See admin.h: one function a verb. Those of the policy are in admin_policy.c. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/account.h"
#include "auth/admin_inner.h"
#include "auth/otp.h"
#include "base/json.h"
#include "base/pg.h"

enum { ADMIN_OUT_MAX = POLICY_DOCUMENT_MAX + (2 << 20), ADMIN_LIMIT = 50, ADMIN_LIMIT_MAX = 1000 };

struct auth_admin *auth_admin_new(enum auth_admin_verb verb, struct secret_ring *secrets)
{
    struct auth_admin *a = calloc(1, sizeof *a);
    BUG_ON(!a);
    a->verb = verb;
    a->secrets = secrets ? secret_ring_ref(secrets) : NULL;
    buf_init(&a->out, ADMIN_OUT_MAX);
    return a;
}

void auth_admin_free(struct auth_admin *a)
{
    if (!a) {
        return;
    }
    if (a->secrets) {
        secret_ring_unref(a->secrets);
    }
    free(a->actor);
    free(a->reason);
    free(a->request_id);
    free(a->preset);
    free(a->document);
    free(a->base_document);
    free(a->phone);
    free(a->user);
    buf_clear(&a->out);
    free(a);
}

int64_t admin_limit(const struct auth_admin *a)
{
    return a->limit == 0 ? ADMIN_LIMIT : a->limit < ADMIN_LIMIT_MAX ? a->limit : ADMIN_LIMIT_MAX;
}

int admin_wants_reason(struct pg *pg, const struct auth_admin *a)
{
    if (!a->actor || !a->actor[0]) {
        return err_set(pg_err(pg), ERR_INVALID, "actor: is missing");
    }
    return a->reason && a->reason[0] ? 0 : err_set(pg_err(pg), ERR_INVALID, "reason: is missing");
}

void admin_write_columns(struct json_writer *w, const struct pg *pg, int row, const char *const *names)
{
    for (int column = 0; names[column]; column++) {
        if (pg_is_null(pg, row, column)) {
            json_null_at(w, names[column]);
        } else {
            json_str_at(w, names[column], pg_value(pg, row, column));
        }
    }
}

/* --- people ------------------------------------------------------------------------------------------ */

static int user_find(struct pg *pg, struct auth_admin *a, struct uuid *user)
{
    struct phone phone;
    struct subject subject;
    struct uuid identity;
    if (a->user) {
        bool is_id = uuid_parse(str_from(a->user), user);
        return is_id ? 1 : err_set(pg_err(pg), ERR_INVALID, "user: is not a UUID");
    }
    int rc = phone_read(str_from(a->phone), PHONE_MODE_SHAPE, &phone, pg_err(pg));
    if (rc < 0) {
        return rc;
    }
    subject_of_phone(a->secrets, &phone, &subject);
    return subject_find(pg, &subject, &identity, user);
}

static void write_user(struct json_writer *w, struct pg *pg, struct auth_admin *a, int row)
{
    static const char *const names[] = {"id",     "created_at", "last_sign_in_at", "banned_until",
                                        "method", "country",    "policy_rule",     NULL};
    struct uuid identity = pg_uuid(pg, row, 9);
    char e164[PHONE_E164_MAX + 1], masked[PHONE_E164_MAX + 1];
    json_open(w, '{');
    admin_write_columns(w, pg, row, names);
    json_i64_at(w, "policy_version", pg_i64(pg, row, 7));
    json_i64_at(w, "sessions", pg_i64(pg, row, 8));
    if (subject_open(a->secrets, "identities.subject", &identity, pg_bytea(pg, row, 10), e164, NULL) == 0) {
        phone_mask(e164, masked);
        json_str_at(w, "phone", str_from(masked));
    } else {
        json_null_at(w, "phone");
    }
    json_close(w, '}');
}

static int users_list(struct pg *pg, struct auth_admin *a)
{
    struct uuid user = {{0}};
    bool has_filter = a->user || a->phone;
    int found = has_filter ? user_find(pg, a, &user) : 1;
    if (found < 0) {
        return found;
    }
    int rows = pg_query(
        pg,
        "SELECT u.id, " ADMIN_ISO("u.created_at") ", " ADMIN_ISO("u.last_sign_in_at") ", " ADMIN_ISO_OR_EVER(
            "u.banned_until") ", u.signup_method, u.signup_country, u.policy_rule,"
                              " u.policy_version, (SELECT count(*) FROM sessions s WHERE s.user_id = u.id"
                              "   AND s.ended_at IS NULL AND s.era >= auth_era() AND s.expires_at > now()), "
                              "i.id, i.subject_enc"
                              " FROM users u JOIN identities i ON i.user_id = u.id WHERE (NOT $1 OR u.id = "
                              "$2)"
                              " AND (NOT $4 OR u.banned_until > now())"
                              " ORDER BY u.created_at DESC LIMIT $3",
        PG_BOOL(has_filter), PG_UUID(user), PG_I64(admin_limit(a)), PG_BOOL(a->is_banned));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        write_user(&w, pg, a, i);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

static int sessions_revoke(struct pg *pg, struct auth_admin *a)
{
    struct uuid user;
    int rc = admin_wants_reason(pg, a);
    if (rc < 0) {
        return rc;
    }
    if (!a->user || !uuid_parse(str_from(a->user), &user)) {
        return err_set(pg_err(pg), ERR_INVALID, "user: is not a UUID");
    }
    int rows = pg_query(pg, "SELECT FROM users WHERE id = $1", PG_UUID(user));
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "there is no user %s", a->user);
    }
    rows = pg_query(pg, "SELECT auth_end_sessions($1, NULL, 'global', 'admin')", PG_UUID(user));
    if (rows < 0) {
        return rows;
    }
    rc = pg_query(
        pg,
        "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES"
        " ($1, 'sessions.revoke', 'user/' || $2, $3, $4, jsonb_build_object('sessions', $5::bigint))",
        PG_CSTR(a->actor), PG_CSTR(a->user), PG_CSTR(a->reason), PG_CSTR(a->request_id ? a->request_id : ""),
        PG_I64(rows));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "revoked", rows);
    json_close(&w, '}');
    return rc < 0 ? rc : 0;
}

/* A number that too many wrong guesses have closed. The audit log has it masked. */
static int number_unlock(struct pg *pg, struct auth_admin *a)
{
    struct phone phone;
    struct subject subject;
    struct err err = {0};
    char masked[PHONE_E164_MAX + 1];
    int64_t failures = 0;
    int rc = admin_wants_reason(pg, a);
    if (rc < 0) {
        return rc;
    }
    if (phone_read(str_from(a->phone ? a->phone : ""), PHONE_MODE_SHAPE, &phone, &err) < 0) {
        return err_set(pg_err(pg), ERR_INVALID, "phone: %s", err.msg);
    }
    subject_of_phone(a->secrets, &phone, &subject);
    phone_mask(phone.e164, masked);
    rc = otp_forgive(pg, &subject, &failures);
    if (rc < 0) {
        return rc;
    }
    rc = pg_query(
        pg,
        "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES"
        " ($1, 'number.unlock', 'number/' || $2, $3, $4, jsonb_build_object('failures', $5::bigint))",
        PG_CSTR(a->actor), PG_CSTR(masked), PG_CSTR(a->reason), PG_CSTR(a->request_id ? a->request_id : ""),
        PG_I64(failures));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_i64_at(&w, "failures", failures);
    json_close(&w, '}');
    return rc < 0 ? rc : 0;
}

static int audit_list(struct pg *pg, struct auth_admin *a)
{
    static const char *const names[] = {"at", "actor", "action", "target", "reason", "request_id", NULL};
    int rows =
        pg_query(pg,
                 "SELECT " ADMIN_ISO("at") ", actor, action, target, reason, request_id, detail::text, id"
                                           " FROM audit ORDER BY id DESC LIMIT $1",
                 PG_I64(admin_limit(a)));
    struct json_writer w = {.out = &a->out};
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int i = 0; i < rows; i++) {
        json_open(&w, '{');
        json_i64_at(&w, "id", pg_i64(pg, i, 7));
        admin_write_columns(&w, pg, i, names);
        json_raw_at(&w, "detail", pg_value(pg, i, 6));
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    return rows < 0 ? rows : 0;
}

int auth_admin_job(struct pg *pg, void *admin)
{
    static int (*const verbs[])(struct pg *, struct auth_admin *) = {
        [AUTH_ADMIN_POLICY_GET] = auth_admin_policy_get,
        [AUTH_ADMIN_POLICY_SET] = auth_admin_policy_set,
        [AUTH_ADMIN_POLICY_HISTORY] = auth_admin_policy_history,
        [AUTH_ADMIN_POLICY_ROLLBACK] = auth_admin_policy_rollback,
        [AUTH_ADMIN_POLICY_DIFF] = auth_admin_policy_diff,
        [AUTH_ADMIN_POLICY_SCHEDULE] = auth_admin_policy_schedule,
        [AUTH_ADMIN_POLICY_SCHEDULED] = auth_admin_policy_scheduled,
        [AUTH_ADMIN_POLICY_CANCEL] = auth_admin_policy_cancel,
        [AUTH_ADMIN_RAMP_START] = auth_admin_ramp_start,
        [AUTH_ADMIN_RAMP_GET] = auth_admin_ramp_get,
        [AUTH_ADMIN_RAMP_PAUSE] = auth_admin_ramp_tell,
        [AUTH_ADMIN_RAMP_RESUME] = auth_admin_ramp_tell,
        [AUTH_ADMIN_RAMP_ABORT] = auth_admin_ramp_tell,
        [AUTH_ADMIN_USERS_LIST] = users_list,
        [AUTH_ADMIN_SESSIONS_REVOKE] = sessions_revoke,
        [AUTH_ADMIN_AUDIT_LIST] = audit_list,
        [AUTH_ADMIN_NUMBER_UNLOCK] = number_unlock,
        [AUTH_ADMIN_USER_BAN] = auth_admin_user_ban,
        [AUTH_ADMIN_USER_UNBAN] = auth_admin_user_unban,
        [AUTH_ADMIN_EVERYBODY_OUT] = auth_admin_everybody_out,
    };
    struct auth_admin *a = admin;
    buf_truncate(&a->out); /* a job may run again */
    int rc = verbs[a->verb](pg, a);
    if (rc == 0 && a->out.overflowed) {
        rc = err_set(pg_err(pg), ERR_LIMIT, "the answer is too long: ask for fewer rows");
    }
    if (rc < 0) {
        a->err = *pg_err(pg);
    }
    return rc;
}

/* See account.h. */
#include "auth/account.h"

#include <stdio.h>

#include "base/pg.h"

int account_create(struct pg *pg, const struct secret_ring *r, const struct policy_decision *decision,
                   const struct account_pass *pass, const struct phone *phone, const struct subject *s,
                   struct uuid *user)
{
    struct uuid identity = uuid_v7();
    struct buf sealed;
    *user = uuid_v7();
    buf_init(&sealed, SUBJECT_SEALED_MAX);
    int rc = subject_seal(r, "identities.subject", &identity, phone, &sealed, pg_err(pg));
    if (rc == 0) {
        rc = pg_query(pg, "SELECT auth_create_user($1, $2, 'phone', $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                      PG_I64(decision->version), PG_CSTR(decision->rule), PG_CSTR(phone->country),
                      PG_UUID(*user), PG_UUID(identity), PG_BYTES(s->hash[0], SECRET_HMAC_BYTES),
                      PG_CSTR(s->key_id), PG_BYTES(sealed.p, sealed.n),
                      pass->invite ? PG_UUID(*pass->invite) : PG_NULL,
                      pass->waitlist ? PG_UUID(*pass->waitlist) : PG_NULL, PG_BOOL(pass->is_released));
    }
    buf_clear(&sealed);
    return rc < 0 ? rc : 0;
}

int account_touch(struct pg *pg, const struct uuid *user)
{
    int rc =
        pg_query(pg, "UPDATE users SET last_sign_in_at = clock_timestamp() WHERE id = $1", PG_UUID(*user));
    if (rc >= 0) {
        rc = pg_query(pg, "UPDATE identities SET last_sign_in_at = clock_timestamp() WHERE user_id = $1",
                      PG_UUID(*user));
    }
    return rc < 0 ? rc : 0;
}

static void copy_time(const struct pg *pg, int column, char out[ACCOUNT_TIME_TEXT])
{
    struct str text = pg_value(pg, 0, column);
    snprintf(out, ACCOUNT_TIME_TEXT, STR_FMT, STR_ARG(text));
}

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

int account_load(struct pg *pg, const struct secret_ring *r, const struct uuid *user, struct account *out)
{
    int rows =
        pg_query(pg,
                 "SELECT " ISO("u.created_at") ", " ISO("u.updated_at") ", " ISO(
                     "u.last_sign_in_at") ","
                                          " coalesce(u.banned_until > clock_timestamp(), false), i.id, "
                                          "i.subject_enc, " ISO(
                                              "i.created_at") " FROM users u JOIN identities i ON i.user_id "
                                                              "= u.id WHERE u.id = $1 ORDER BY i.id LIMIT 1",
                 PG_UUID(*user));
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_NOT_FOUND, "no such user");
    }
    *out = (struct account){.user = *user, .identity = pg_uuid(pg, 0, 4), .is_banned = pg_bool(pg, 0, 3)};
    copy_time(pg, 0, out->created_at);
    copy_time(pg, 1, out->updated_at);
    copy_time(pg, 2, out->last_sign_in_at);
    copy_time(pg, 6, out->identity_created_at);
    return subject_open(r, "identities.subject", &out->identity, pg_bytea(pg, 0, 5), out->phone, pg_err(pg));
}

int account_policy(struct pg *pg, struct policy *known, struct policy **out)
{
    int rows = pg_query(pg,
                        "SELECT v.version, CASE WHEN v.version <> $1 THEN v.document::text END"
                        " FROM policy_current c JOIN policy_versions v ON v.version = c.version",
                        PG_I64(known ? policy_version(known) : 0));
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_INTERNAL, "no policy is in force");
    }
    if (pg_is_null(pg, 0, 1)) {
        *out = policy_ref(known);
        return 0;
    }
    return policy_parse(pg_value(pg, 0, 1), pg_i64(pg, 0, 0), out, pg_err(pg));
}

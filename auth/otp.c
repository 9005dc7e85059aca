/* See otp.h. The row of otp_numbers is locked first by every step, so steps for one number queue up. */
#include "auth/otp.h"

#include <stdio.h>

#define PURPOSE "login"

void otp_draw(const struct secret_ring *r, const char *e164, bool is_decoy, struct otp_new *out)
{
    *out = (struct otp_new){.id = uuid_v7()};
    snprintf(out->code, sizeof out->code, "%0*u", OTP_DIGITS, (unsigned)id_random_below(1000000));
    const struct secret_key *key = secret_active(r, SECRET_CODE_PEPPER);
    snprintf(out->key_id, sizeof out->key_id, "%s", key->id);
    if (is_decoy) {
        id_random(out->mac, sizeof out->mac);
        return;
    }
    const struct str texts[] = {
        STR_INIT(PURPOSE), str_from(e164), {(const char *)out->id.b, ID_UUID_BYTES}, str_from(out->code)};
    secret_hmac_of(key, texts, 4, out->mac);
}

bool otp_is_code(struct str text)
{
    bool is_code = text.n == OTP_DIGITS;
    for (size_t i = 0; is_code && i < text.n; i++) {
        is_code = text.p[i] >= '0' && text.p[i] <= '9';
    }
    return is_code;
}

/* Why otp_begin was refused: seconds until the number may have a code again. */
static int otp_wait(struct pg *pg, const struct auth_config *conf, const struct subject *s, int64_t *wait_s)
{
    int rows = pg_query(pg,
                        "SELECT ceil(extract(epoch FROM greatest("
                        "    CASE WHEN failures >= $3 THEN window_began + $4 * interval '1 ms' END,"
                        "    last_sent_at + $2 * interval '1 ms') - clock_timestamp()))::bigint"
                        " FROM otp_numbers WHERE phone_hash = $1 AND purpose = '" PURPOSE "'",
                        PG_BYTES(s->hash[0], SECRET_HMAC_BYTES), PG_I64((int64_t)conf->otp_resend_ms),
                        PG_I64((int64_t)conf->otp_failures), PG_I64((int64_t)conf->otp_failure_window_ms));
    *wait_s = rows > 0 && pg_i64(pg, 0, 0) > 0 ? pg_i64(pg, 0, 0) : 1;
    return rows < 0 ? rows : 0;
}

int otp_begin(struct pg *pg, const struct auth_config *conf, const struct subject *s,
              const struct otp_new *code, const struct otp_intent *intent, int64_t *wait_s)
{
    int rows = pg_query(
        pg,
        "INSERT INTO otp_numbers AS n (phone_hash, purpose, last_sent_at) VALUES ($1, '" PURPOSE
        "', clock_timestamp())"
        " ON CONFLICT (phone_hash, purpose) DO UPDATE SET last_sent_at = clock_timestamp()"
        " WHERE (n.last_sent_at IS NULL OR n.last_sent_at <= clock_timestamp() - $2 * interval '1 ms')"
        "   AND (n.failures < $3 OR n.window_began <= clock_timestamp() - $4 * interval '1 ms')"
        " RETURNING 1",
        PG_BYTES(s->hash[0], SECRET_HMAC_BYTES), PG_I64((int64_t)conf->otp_resend_ms),
        PG_I64((int64_t)conf->otp_failures), PG_I64((int64_t)conf->otp_failure_window_ms));
    if (rows < 0) {
        return rows;
    }
    if (rows == 0) {
        int rc = otp_wait(pg, conf, s, wait_s);
        return rc < 0 ? rc : ERR_LIMIT;
    }
    rows =
        pg_query(pg,
                 "INSERT INTO otp_codes (id, phone_hash, purpose, code_mac, code_key, may_create, "
                 "expires_at, invite_id)"
                 " VALUES ($1, $2, '" PURPOSE "', $3, $4, $5, clock_timestamp() + $6 * interval '1 ms', $7)",
                 PG_UUID(code->id), PG_BYTES(s->hash[0], SECRET_HMAC_BYTES),
                 PG_BYTES(code->mac, SECRET_HMAC_BYTES), PG_CSTR(code->key_id), PG_BOOL(intent->may_create),
                 PG_I64((int64_t)conf->otp_ttl_ms), intent->has_invite ? PG_UUID(intent->invite) : PG_NULL);
    return rows < 0 ? rows : 0;
}

static int otp_lock_number(struct pg *pg, const struct subject *s)
{
    return pg_query(pg,
                    "SELECT 1 FROM otp_numbers WHERE phone_hash = $1 AND purpose = '" PURPOSE "' FOR UPDATE",
                    PG_BYTES(s->hash[0], SECRET_HMAC_BYTES));
}

int otp_activate(struct pg *pg, const struct auth_config *conf, const struct subject *s,
                 const struct uuid *id)
{
    int rc = otp_lock_number(pg, s);
    if (rc >= 0) {
        rc = pg_query(pg,
                      "DELETE FROM otp_codes WHERE phone_hash = $1 AND purpose = '" PURPOSE "' AND is_live",
                      PG_BYTES(s->hash[0], SECRET_HMAC_BYTES));
    }
    if (rc >= 0) {
        rc = pg_query(
            pg,
            "UPDATE otp_codes SET is_live = true, expires_at = clock_timestamp() + $2 * interval '1 ms'"
            " WHERE id = $1 AND NOT is_live",
            PG_UUID(*id), PG_I64((int64_t)conf->otp_ttl_ms));
    }
    return rc < 0 ? rc : 0;
}

int otp_drop(struct pg *pg, const struct subject *s, const struct uuid *id, bool may_ask)
{
    int rc = 0;
    if (may_ask) {
        rc = pg_query(
            pg,
            "UPDATE otp_numbers SET last_sent_at = NULL WHERE phone_hash = $1 AND purpose = '" PURPOSE "'",
            PG_BYTES(s->hash[0], SECRET_HMAC_BYTES));
    }
    if (rc >= 0) {
        rc = pg_query(pg, "DELETE FROM otp_codes WHERE id = $1 AND NOT is_live", PG_UUID(*id));
    }
    return rc < 0 ? rc : 0;
}

/* Charges the number's budget: 1 charged, 0 spent. */
static int otp_charge_number(struct pg *pg, const struct auth_config *conf, const struct subject *s)
{
    return pg_query(
        pg,
        "UPDATE otp_numbers SET"
        " failures = CASE WHEN window_began <= clock_timestamp() - $3 * interval '1 ms' THEN 1 ELSE failures "
        "+ 1 END,"
        " window_began = CASE WHEN failures = 0 OR window_began <= clock_timestamp() - $3 * interval '1 ms'"
        "     THEN clock_timestamp() ELSE window_began END"
        " WHERE phone_hash = $1 AND purpose = '" PURPOSE "'"
        "   AND (failures < $2 OR window_began <= clock_timestamp() - $3 * interval '1 ms')"
        " RETURNING 1",
        PG_BYTES(s->hash[0], SECRET_HMAC_BYTES), PG_I64((int64_t)conf->otp_failures),
        PG_I64((int64_t)conf->otp_failure_window_ms));
}

static bool otp_opens(struct pg *pg, const struct secret_ring *r, const char *e164, struct str code)
{
    struct uuid id = pg_uuid(pg, 0, 0);
    const struct secret_key *key = secret_find(r, SECRET_CODE_PEPPER, pg_value(pg, 0, 2));
    struct str stored = pg_bytea(pg, 0, 1);
    uint8_t mac[SECRET_HMAC_BYTES];
    if (!key || stored.n != sizeof mac) {
        return false;
    }
    const struct str texts[] = {STR_INIT(PURPOSE), str_from(e164), {(const char *)id.b, ID_UUID_BYTES}, code};
    secret_hmac_of(key, texts, 4, mac);
    return secret_eq(mac, stored.p, sizeof mac);
}

int otp_check(struct pg *pg, const struct auth_config *conf, const struct secret_ring *r,
              const struct subject *s, const char *e164, struct str code, struct otp_checked *out)
{
    *out = (struct otp_checked){.verdict = OTP_WRONG};
    int rows = otp_lock_number(pg, s);
    if (rows <= 0) {
        return rows; /* no code was ever asked for */
    }
    rows = pg_query(
        pg,
        "UPDATE otp_codes SET attempts = attempts + 1 WHERE phone_hash = $1 AND purpose = '" PURPOSE "'"
        " AND is_live AND expires_at > clock_timestamp() AND attempts < $2"
        " RETURNING id, code_mac, code_key, may_create, invite_id",
        PG_BYTES(s->hash[0], SECRET_HMAC_BYTES), PG_I64((int64_t)conf->otp_tries));
    if (rows <= 0) {
        return rows;
    }
    out->id = pg_uuid(pg, 0, 0);
    out->intent = (struct otp_intent){.may_create = pg_bool(pg, 0, 3), .has_invite = !pg_is_null(pg, 0, 4)};
    if (out->intent.has_invite) {
        out->intent.invite = pg_uuid(pg, 0, 4);
    }
    bool is_right = otp_opens(pg, r, e164, code);
    rows = otp_charge_number(pg, conf, s);
    if (rows < 0) {
        return rows;
    }
    if (rows == 0) { /* the budget decides, whatever the guess was */
        out->verdict = OTP_TOO_MANY;
        return otp_wait(pg, conf, s, &out->wait_s);
    }
    out->verdict = is_right ? OTP_RIGHT : OTP_WRONG;
    return 0;
}

int otp_forgive(struct pg *pg, const struct subject *s, int64_t *failures)
{
    int rows =
        pg_query(pg,
                 "WITH was AS (SELECT phone_hash, purpose, failures FROM otp_numbers"
                 "             WHERE phone_hash = $1 AND purpose = '" PURPOSE "' FOR UPDATE)"
                 " UPDATE otp_numbers n SET failures = 0 FROM was"
                 " WHERE n.phone_hash = was.phone_hash AND n.purpose = was.purpose RETURNING was.failures",
                 PG_BYTES(s->hash[0], SECRET_HMAC_BYTES));
    *failures = rows > 0 ? pg_i64(pg, 0, 0) : 0;
    return rows < 0 ? rows : 0;
}

int otp_use(struct pg *pg, const struct subject *s, const struct uuid *id)
{
    int rc = pg_query(pg, "DELETE FROM otp_codes WHERE id = $1", PG_UUID(*id));
    if (rc >= 0) {
        rc = pg_query(pg,
                      "UPDATE otp_numbers SET failures = greatest(failures - 1, 0)"
                      " WHERE phone_hash = $1 AND purpose = '" PURPOSE "'",
                      PG_BYTES(s->hash[0], SECRET_HMAC_BYTES));
    }
    return rc < 0 ? rc : 0;
}

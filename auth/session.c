/* See session.h. What is decided about a refresh token is decided by the SQL function auth_refresh. */
#include "auth/session.h"

#include <stdio.h>

#include "base/clock.h"

static void copy_clean(struct str text, char *out, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < text.n && k + 1 < n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        out[k++] = c >= 0x20 && c < 0x7F ? (char)c : '?';
    }
    out[k] = 0;
}

void session_origin_of(const struct auth_call *call, struct session_origin *out)
{
    static const struct addr none;
    *out = (struct session_origin){0};
    copy_clean(call->device, out->device, sizeof out->device);
    copy_clean(http_field_get(call->ex, "user-agent"), out->user_agent, sizeof out->user_agent);
    if (!addr_eq(&call->client, &none)) {
        addr_format(&call->client, out->address);
    }
}

int session_create(struct pg *pg, const struct auth_config *conf, const struct uuid *user,
                   const struct session_origin *origin, struct session_begun *out)
{
    *out = (struct session_begun){.id = uuid_v7()};
    int rows = pg_query(pg,
                        "INSERT INTO sessions (id, user_id, expires_at, method, device, user_agent, address)"
                        " VALUES ($1, $2, now() + $3 * interval '1 ms', 'otp', $4, $5, nullif($6, '')::inet)"
                        " RETURNING extract(epoch FROM created_at)::bigint, era",
                        PG_UUID(out->id), PG_UUID(*user), PG_I64((int64_t)conf->session_max_ms),
                        PG_CSTR(origin->device), PG_CSTR(origin->user_agent), PG_CSTR(origin->address));
    if (rows < 0) {
        return rows;
    }
    out->began_s = pg_i64(pg, 0, 0);
    out->era = pg_i64(pg, 0, 1);
    rows = pg_query(pg, "INSERT INTO refresh_families (session_id) VALUES ($1)", PG_UUID(out->id));
    return rows < 0 ? rows : 0;
}

static enum session_outcome outcome_of(struct str text)
{
    static const char *const names[] = {"ok", "reused", "ended", "expired", "banned"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_is(text, names[i])) {
            return (enum session_outcome)i;
        }
    }
    return SESSION_UNKNOWN;
}

int session_refresh(struct pg *pg, const struct auth_config *conf, const struct uuid *session,
                    int64_t counter, struct session_refreshed *out)
{
    int rows = pg_query(pg,
                        "SELECT outcome, user_id, counter, method, began,"
                        " (SELECT s.era FROM sessions s WHERE s.id = $1) FROM"
                        " auth_refresh($1, $2, $3 * interval '1 ms', $4 * interval '1 ms')",
                        PG_UUID(*session), PG_I64(counter), PG_I64((int64_t)conf->refresh_grace_ms),
                        PG_I64((int64_t)conf->refresh_ttl_ms));
    if (rows < 0) {
        return rows;
    }
    *out = (struct session_refreshed){.outcome = outcome_of(pg_value(pg, 0, 0))};
    if (out->outcome != SESSION_UNKNOWN) {
        struct str method = pg_value(pg, 0, 3);
        out->user = pg_uuid(pg, 0, 1);
        out->counter = pg_i64(pg, 0, 2);
        out->began_s = pg_i64(pg, 0, 4);
        out->era = pg_i64(pg, 0, 5);
        snprintf(out->method, sizeof out->method, STR_FMT, STR_ARG(method));
    }
    return 0;
}

int session_confirm(struct pg *pg, const struct uuid *session, int64_t token_iat_s, bool *is_alive)
{
    int rows = pg_query(pg,
                        "SELECT 1 FROM sessions s, versions v"
                        " WHERE s.id = $1 AND s.ended_at IS NULL AND s.era >= v.everybody",
                        PG_UUID(*session));
    if (rows < 0) {
        return rows;
    }
    *is_alive = rows > 0;
    rows =
        pg_query(pg,
                 "UPDATE refresh_families SET is_confirmed = true WHERE session_id = $1 AND NOT is_confirmed"
                 " AND date_trunc('second', rotated_at) <= to_timestamp($2)",
                 PG_UUID(*session), PG_I64(token_iat_s));
    return rows < 0 ? rows : 0;
}

int session_end(struct pg *pg, const struct uuid *user, const struct uuid *session, const char *scope,
                const char *reason, struct auth_ended *ended, unsigned *count)
{
    int rows = pg_query(pg, "SELECT auth_end_sessions($1, $2, $3, $4)", PG_UUID(*user), PG_UUID(*session),
                        PG_CSTR(scope), PG_CSTR(reason));
    if (rows < 0) {
        return rows;
    }
    *count = (unsigned)(rows < SESSION_ENDED_MAX ? rows : SESSION_ENDED_MAX);
    for (unsigned i = 0; i < *count; i++) {
        ended[i] = (struct auth_ended){pg_uuid(pg, (int)i, 0), clock_wall_s()};
    }
    return 0;
}

/* What a job calls: statements, values, errors. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pg_conn.h"

enum { PARAMS_MAX = 64 };

/* --- errors ----------------------------------------------------------------------------------- */

static enum err_code code_of(const char *state)
{
    static const struct {
        const char *prefix;
        enum err_code code;
    } codes[] = {
        {"23505", ERR_CONFLICT},    {"23P01", ERR_CONFLICT}, {"TG", ERR_CONFLICT},   {"23", ERR_INVALID},
        {"22", ERR_INVALID},        {"40", ERR_AGAIN},       {"57014", ERR_TIMEOUT}, {"55P03", ERR_TIMEOUT},
        {"25P03", ERR_TIMEOUT},     {"57P", ERR_CLOSED},     {"08", ERR_CLOSED},     {"53", ERR_UNAVAILABLE},
        {"25006", ERR_UNAVAILABLE}, /* read-only: a standby after a failover */
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strncmp(state, codes[i].prefix, strlen(codes[i].prefix)) == 0) {
            return codes[i].code;
        }
    }
    return ERR_INTERNAL;
}

int pg_server_error(struct pg *pg, const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", state ? state : "08006");
    snprintf(pg->sqltext, sizeof(pg->sqltext), "%s", text ? text : PQresultErrorMessage(r));
    enum err_code code = code_of(pg->sqlstate);
    if (code == ERR_INTERNAL || code == ERR_UNAVAILABLE) {
        log_error("pg sqlstate=%s text=\"%s\"", pg->sqlstate, pg->sqltext);
    }
    err_set(&pg->err, code, "PostgreSQL: %s (%s)", pg->sqltext, pg->sqlstate);
    if (code == ERR_CLOSED) {
        pg_conn_drop(pg);
    }
    return code;
}

struct err *pg_err(struct pg *pg)
{
    return &pg->err;
}

const char *pg_sqlstate(const struct pg *pg)
{
    return pg->sqlstate;
}

const char *pg_sqltext(const struct pg *pg)
{
    return pg->sqltext;
}

struct arena *pg_arena(struct pg *pg)
{
    return &pg->arena;
}

/* --- statements ------------------------------------------------------------------------------- */

static void keep_result(struct pg *pg, PGresult *r)
{
    struct pg_results *all = &pg->results;
    if (all->n == all->cap) {
        all->cap = all->cap ? all->cap * 2 : 16;
        all->items = reallocarray(all->items, all->cap, sizeof(*all->items));
        BUG_ON(!all->items);
    }
    all->items[all->n++] = r;
}

static int finish(struct pg *pg)
{
    PGresult *r;
    int rc = pg_conn_finish(pg, &r);
    if (rc != 0) {
        return rc;
    }
    ExecStatusType status = PQresultStatus(r);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) {
        keep_result(pg, r);
        return PQntuples(r);
    }
    if (status == PGRES_FATAL_ERROR) {
        rc = pg_server_error(pg, r);
    } else {
        pg_conn_drop(pg);
        rc = err_set(&pg->err, ERR_PROTOCOL, "PostgreSQL: COPY is not for jobs");
    }
    PQclear(r);
    return rc;
}

/* Text form of what is not text: PostgreSQL infers the types of parameters from the statement. */
struct bound {
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX];
    int formats[PARAMS_MAX];
};

static const char *text_of(struct arena *a, const struct pg_param *p)
{
    char uuid[ID_UUID_TEXT + 1];
    switch (p->type) {
    case PG_PARAM_TEXT:
        return arena_cstr(a, p->text);
    case PG_PARAM_I64:
        return arena_printf(a, "%lld", (long long)p->i64).p;
    case PG_PARAM_F64:
        return arena_printf(a, "%.17g", p->f64).p;
    case PG_PARAM_BOOL:
        return p->i64 ? "t" : "f";
    case PG_PARAM_UUID:
        uuid_format(&p->uuid, uuid);
        return arena_cstr(a, str_from(uuid));
    case PG_PARAM_BYTES:
        return p->text.p;
    case PG_PARAM_NULL:
        break;
    }
    return NULL;
}

static int bind_params(struct pg *pg, size_t n, const struct pg_param *params, struct bound *out)
{
    for (size_t i = 0; i < n; i++) {
        if (params[i].type == PG_PARAM_TEXT && memchr(params[i].text.p, '\0', params[i].text.n)) {
            return err_set(&pg->err, ERR_INVALID, "PostgreSQL: parameter $%zu holds a NUL", i + 1);
        }
        if (params[i].text.n > INT32_MAX) {
            return err_set(&pg->err, ERR_LIMIT, "PostgreSQL: parameter $%zu is too long", i + 1);
        }
        out->values[i] = text_of(&pg->arena, &params[i]);
        out->formats[i] = params[i].type == PG_PARAM_BYTES;
        out->lengths[i] = (int)params[i].text.n;
    }
    return 0;
}

/* The slot of a statement, or PG_PREPARED_SLOTS when there is none left for it. */
static unsigned slot_of(const struct pg *pg, const char *sql)
{
    unsigned start = (unsigned)(((uintptr_t)sql * 0x9E3779B97F4A7C15U) >> 40) % PG_PREPARED_SLOTS;
    for (unsigned i = 0; i < 16; i++) {
        unsigned slot = (start + i) % PG_PREPARED_SLOTS;
        if (!pg->prepared[slot] || pg->prepared[slot] == sql) {
            return slot;
        }
    }
    return PG_PREPARED_SLOTS;
}

static int prepare(struct pg *pg, const char *sql, unsigned slot, const char *name)
{
    if (!PQsendPrepare(pg->conn, name, sql, 0, NULL)) {
        return pg_conn_failed(pg, "preparing");
    }
    int rc = finish(pg);
    if (rc < 0) {
        return rc;
    }
    pg->prepared[slot] = sql;
    return 0;
}

int pg_query_n(struct pg *pg, const char *sql, size_t n, const struct pg_param *params)
{
    struct bound b;
    char name[16];
    BUG_ON(n > PARAMS_MAX);
    int rc = pg->conn ? bind_params(pg, n, params, &b) : pg_conn_failed(pg, "query");
    if (rc != 0) {
        return rc;
    }
    unsigned slot = slot_of(pg, sql);
    snprintf(name, sizeof(name), "s%u", slot);
    if (slot < PG_PREPARED_SLOTS && !pg->prepared[slot]) {
        rc = prepare(pg, sql, slot, name);
        if (rc != 0) {
            return rc;
        }
    }
    int sent = slot < PG_PREPARED_SLOTS
                   ? PQsendQueryPrepared(pg->conn, name, (int)n, b.values, b.lengths, b.formats, 0)
                   : PQsendQueryParams(pg->conn, sql, (int)n, NULL, b.values, b.lengths, b.formats, 0);
    return sent ? finish(pg) : pg_conn_failed(pg, "query");
}

int pg_exec(struct pg *pg, const char *sql)
{
    if (!pg->conn || !PQsendQuery(pg->conn, sql)) {
        return pg_conn_failed(pg, "exec");
    }
    int rows = finish(pg);
    return rows < 0 ? rows : 0;
}

/* --- values ----------------------------------------------------------------------------------- */

static const PGresult *current(const struct pg *pg, int row, int column)
{
    BUG_ON(pg->results.n == 0);
    const PGresult *r = pg->results.items[pg->results.n - 1];
    BUG_ON(row < 0 || row >= PQntuples(r) || column < 0 || column >= PQnfields(r));
    return r;
}

bool pg_is_null(const struct pg *pg, int row, int column)
{
    return PQgetisnull(current(pg, row, column), row, column);
}

struct str pg_value(const struct pg *pg, int row, int column)
{
    const PGresult *r = current(pg, row, column);
    return str_of(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

int64_t pg_i64(const struct pg *pg, int row, int column)
{
    int64_t v = 0;
    struct str text = pg_value(pg, row, column);
    WARN_ON(text.n > 0 && !str_i64(text, &v));
    return v;
}

double pg_f64(const struct pg *pg, int row, int column)
{
    return strtod(pg_value(pg, row, column).p, NULL);
}

bool pg_bool(const struct pg *pg, int row, int column)
{
    return str_is(pg_value(pg, row, column), "t");
}

struct str pg_bytea(struct pg *pg, int row, int column)
{
    struct str text = pg_value(pg, row, column);
    if (!str_starts(text, STR("\\x"))) {
        WARN_ON(text.n > 0);
        return STR("");
    }
    text = str_skip(text, 2);
    uint8_t *p = arena_alloc(&pg->arena, text.n / 2 + 1);
    int n = str_hex_decode(text, p, text.n / 2);
    return n >= 0 ? str_of((char *)p, (size_t)n) : STR("");
}

struct uuid pg_uuid(const struct pg *pg, int row, int column)
{
    struct uuid u = {{0}};
    struct str text = pg_value(pg, row, column);
    WARN_ON(text.n > 0 && !uuid_parse(text, &u));
    return u;
}

int64_t pg_affected(const struct pg *pg)
{
    int64_t n = 0;
    BUG_ON(pg->results.n == 0);
    str_i64(str_from(PQcmdTuples(pg->results.items[pg->results.n - 1])), &n);
    return n;
}

/* --- a connection of one's own ---------------------------------------------------------------- */

struct pg *pg_open(const char *uri, uint64_t connect_ms, struct err *err)
{
    struct pg *pg = malloc(sizeof(*pg));
    BUG_ON(!pg);
    pg_conn_init(pg, uri);
    if (pg_conn_open(pg, clock_mono_ms() + connect_ms, err) != 0) {
        pg_close(pg);
        return NULL;
    }
    return pg;
}

void pg_close(struct pg *pg)
{
    if (pg) {
        pg_conn_clear(pg);
        free(pg);
    }
}

int pg_transaction(struct pg *pg, int (*run)(struct pg *pg, void *arg), void *arg, uint64_t timeout_ms,
                   struct err *err)
{
    pg->deadline_ms = clock_mono_ms() + timeout_ms;
    int rc = pg_conn_transaction(pg, run, arg);
    if (err) {
        *err = pg->err;
    }
    return rc;
}

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pg_conn.h"

/* How long a migration waits for a lock: while it does, those who come after it wait too. It fails, and is run again. */
#define LOCK_WAIT "5s"

enum {
    FILE_MAX_BYTES = 1024 * 1024,
    NUMBER_DIGITS = 4,
    STEP_MS = 600000, /* deadline of one migration, and of waiting for another who migrates */
};

struct migration {
    unsigned version;
    char name[100];  /* without number and suffix */
    char sha256[65]; /* of the file */
    struct buf sql;
};

struct plan {
    struct migration *items;
    unsigned n;
    unsigned at;      /* the one that is applied now */
    unsigned applied; /* the highest version in the database */
    bool is_trial;    /* nothing is applied */
};

/* --- the folder ------------------------------------------------------------------------------- */

/* "0001_accounts.sql" */
static bool read_name(struct str file, struct migration *m)
{
    uint64_t version;
    if (file.n <= NUMBER_DIGITS + 5 || file.p[NUMBER_DIGITS] != '_' || !str_ends(file, STR(".sql")) ||
        !str_u64(str_of(file.p, NUMBER_DIGITS), &version)) {
        return false;
    }
    m->version = (unsigned)version;
    struct str name = str_skip(file, NUMBER_DIGITS + 1);
    name.n -= 4;
    snprintf(m->name, sizeof(m->name), STR_FMT, STR_ARG(name));
    return true;
}

static int read_file(int folder, const char *name, struct buf *out, struct err *err)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    char *to = buf_reserve(out, FILE_MAX_BYTES);
    if (fd >= 0) {
        n = read(fd, to, FILE_MAX_BYTES); /* a regular file comes whole */
        close(fd);
    }
    if (n < 0) {
        return err_set(err, ERR_IO, "%s: %s", name, strerror(errno));
    }
    if (n == FILE_MAX_BYTES) {
        return err_set(err, ERR_LIMIT, "%s has more than 1 MiB", name);
    }
    buf_commit(out, (size_t)n);
    return 0;
}

static void set_sha256(struct migration *m)
{
    uint8_t hash[32];
    BUG_ON(EVP_Digest(m->sql.p, m->sql.n, hash, NULL, EVP_sha256(), NULL) != 1);
    str_hex_encode(hash, sizeof(hash), m->sha256);
}

static int is_sql(const struct dirent *e)
{
    return str_ends(str_from(e->d_name), STR(".sql"));
}

static int plan_add(struct plan *p, int folder, const char *file, struct err *err)
{
    struct migration *m = &p->items[p->n];
    *m = (struct migration){.version = 0};
    if (!read_name(str_from(file), m)) {
        return err_set(err, ERR_INVALID, "%s is not named NNNN_name.sql", file);
    }
    if (m->version != p->n + 1) {
        return err_set(err, ERR_INVALID, "%s: the migration before it should be %04u, it is %04u", file,
                       m->version - 1, p->n);
    }
    buf_init(&m->sql, FILE_MAX_BYTES);
    p->n++;
    int rc = read_file(folder, file, &m->sql, err);
    if (rc == 0) {
        set_sha256(m);
    }
    return rc;
}

static int plan_read(struct plan *p, const char *path, struct err *err)
{
    struct dirent **files;
    int rc = 0;
    int n = scandir(path, &files, is_sql, alphasort);
    int folder = n >= 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (folder < 0) {
        rc = err_set(err, ERR_IO, "cannot read the folder %s: %s", path, strerror(errno));
    }
    p->items = calloc((size_t)(n > 0 ? n : 1), sizeof(*p->items));
    BUG_ON(!p->items);
    for (int i = 0; i < n; i++) {
        if (rc == 0) {
            rc = plan_add(p, folder, files[i]->d_name, err);
        }
        free(files[i]);
    }
    if (n >= 0) {
        free(files);
    }
    if (folder >= 0) {
        close(folder);
    }
    return rc;
}

static void plan_clear(struct plan *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        buf_clear(&p->items[i].sql);
    }
    free(p->items);
}

/* --- the database ----------------------------------------------------------------------------- */

static int take_lock(struct pg *pg, void *arg)
{
    int rc = pg_query(pg, "SELECT pg_advisory_lock(8388338216846881893)::text");
    return rc < 0 ? rc : 0;
}

static int give_lock(struct pg *pg, void *arg)
{
    int rc = pg_query(pg, "SELECT pg_advisory_unlock(8388338216846881893)");
    return rc < 0 ? rc : 0;
}

static int check_row(struct pg *pg, const struct plan *p, int row)
{
    int64_t version = pg_i64(pg, row, 0);
    if (version > p->n) {
        return 0; /* a newer program migrated this database */
    }
    const struct migration *m = &p->items[version - 1];
    if (!str_is(pg_value(pg, row, 1), m->sha256)) {
        return err_set(pg_err(pg), ERR_CONFLICT, "%04u_%s.sql has changed since it was applied", m->version,
                       m->name);
    }
    return 0;
}

static int check_applied(struct pg *pg, void *arg)
{
    struct plan *p = arg;
    int rc = pg_exec(pg, "CREATE TABLE IF NOT EXISTS schema_migrations ("
                         "version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, "
                         "applied_at timestamptz NOT NULL DEFAULT now())");
    if (rc != 0) {
        return rc;
    }
    int rows = pg_query(pg, "SELECT version, sha256 FROM schema_migrations ORDER BY version");
    for (int i = 0; i < rows && rc == 0; i++) {
        rc = check_row(pg, p, i);
    }
    p->applied = rows > 0 ? (unsigned)pg_i64(pg, rows - 1, 0) : 0;
    return rows < 0 ? rows : rc;
}

static int apply(struct pg *pg, void *arg)
{
    const struct plan *p = arg;
    const struct migration *m = &p->items[p->at];
    int rc = pg_exec(pg, "SET LOCAL lock_timeout = '" LOCK_WAIT "'");
    if (rc == 0) {
        rc = pg_exec(pg, m->sql.p);
    }
    if (rc != 0) {
        return rc;
    }
    rc = pg_query(pg, "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                  PG_I64(m->version), PG_CSTR(m->name), PG_CSTR(m->sha256));
    return rc < 0 ? rc : 0;
}

static int apply_all(struct pg *pg, struct plan *p,
                     void (*on_applied)(void *arg, unsigned version, const char *name), void *arg,
                     struct err *err)
{
    for (p->at = p->applied; p->at < p->n; p->at++) {
        const struct migration *m = &p->items[p->at];
        struct err why;
        int rc = p->is_trial ? 0 : pg_transaction(pg, apply, p, STEP_MS, &why);
        if (rc != 0) {
            return err_set(err, (enum err_code)rc, "%04u_%s.sql: %s", m->version, m->name, why.msg);
        }
        if (on_applied) {
            on_applied(arg, m->version, m->name);
        }
    }
    return 0;
}

static int migrate(struct pg *pg, struct plan *p, const char *folder,
                   void (*on_applied)(void *arg, unsigned version, const char *name), void *arg,
                   struct err *err)
{
    int rc = plan_read(p, folder, err);
    if (rc == 0) {
        rc = pg_transaction(pg, take_lock, NULL, STEP_MS, err);
    }
    if (rc == 0) {
        rc = pg_transaction(pg, check_applied, p, STEP_MS, err);
        if (rc == 0) {
            rc = apply_all(pg, p, on_applied, arg, err);
        }
        if (pg_transaction(pg, give_lock, NULL, STEP_MS, NULL) != 0) {
            pg_conn_drop(pg); /* ends the session and its lock */
        }
    }
    plan_clear(p);
    return rc;
}

int pg_migrate(struct pg *pg, const char *folder,
               void (*on_applied)(void *arg, unsigned version, const char *name), void *arg, struct err *err)
{
    struct plan p = {.is_trial = false};
    return migrate(pg, &p, folder, on_applied, arg, err);
}

int pg_migrate_try(struct pg *pg, const char *folder,
                   void (*on_applied)(void *arg, unsigned version, const char *name), void *arg,
                   struct err *err)
{
    struct plan p = {.is_trial = true};
    return migrate(pg, &p, folder, on_applied, arg, err);
}

int pg_schema_version(struct pg *pg, unsigned *version)
{
    *version = 0;
    int rows = pg_query(pg, "SELECT to_regclass('schema_migrations') IS NOT NULL");
    if (rows < 1 || !pg_bool(pg, 0, 0)) {
        return rows < 0 ? rows : 0;
    }
    rows = pg_query(pg, "SELECT coalesce(max(version), 0) FROM schema_migrations");
    if (rows < 0) {
        return rows;
    }
    *version = (unsigned)pg_i64(pg, 0, 0);
    return 0;
}

int pg_schema_check(struct pg *pg)
{
    unsigned version;
    int rc = pg_schema_version(pg, &version);
    if (rc == 0 && version < TIDE_SCHEMA) {
        rc = err_set(pg_err(pg), ERR_CONFLICT, "the schema is version %u, %d is wanted: run tidectl migrate",
                     version, TIDE_SCHEMA);
    }
    return rc;
}

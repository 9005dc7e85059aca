/* A database of our own, with all migrations, on the server of tests/with-postgres, for one test program. Without
 * TIDE_TEST_PG there is none, and need_server skips the test, visibly. Included by tests that need one; everything is static. */
#ifndef TIDE_TESTS_PG_DATABASE_H
#define TIDE_TESTS_PG_DATABASE_H

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pg.h"

enum {
    PATIENCE_MS = 60000
}; /* how long a connection may take for all of its statements: a slow machine's time */

static const char *server_uri; /* superuser; NULL: no server */
static char owner_uri[512];    /* superuser, our database */
static char app_uri[512];      /* tidegate_app, our database */
static char status_uri[512];   /* tidegate_status, our database */

static inline void need_server(void)
{
    if (!server_uri) {
        print_message("skipped: TIDE_TEST_PG is not set (see tests/with-postgres)\n");
        skip();
    }
}

/* For a set-up: 0 where there is no server, too. */
static inline int pg_database_make(const char *name)
{
    struct err err = {0};
    char sql[128];
    server_uri = getenv("TIDE_TEST_PG");
    if (!server_uri) {
        return 0;
    }
    const char *db = strstr(server_uri, "///postgres?"), *user = strstr(server_uri, "&user=");
    struct pg *pg = db && user ? pg_open(server_uri, PATIENCE_MS, &err) : NULL;
    if (!pg) {
        print_message("%s\n", err.msg);
        return -1;
    }
    const char *rest = strchr(db, '?');
    int head = (int)(db - server_uri), host = (int)(user - rest);
    snprintf(owner_uri, sizeof owner_uri, "%.*s///%s%s", head, server_uri, name, rest);
    snprintf(app_uri, sizeof app_uri, "%.*s///%s%.*s&user=tidegate_app", head, server_uri, name, host, rest);
    snprintf(status_uri, sizeof status_uri, "%.*s///%s%.*s&user=tidegate_status", head, server_uri, name,
             host, rest);
    snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s", name);
    int rc = pg_exec(pg, sql);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    rc = rc < 0 ? rc : pg_exec(pg, sql);
    pg_close(pg);
    pg = rc < 0 ? NULL : pg_open(owner_uri, PATIENCE_MS, &err);
    rc = pg ? pg_migrate(pg, "migrations", NULL, NULL, &err) : -1;
    pg_close(pg);
    print_message("%s", err.msg);
    return rc < 0 ? -1 : 0;
}

/* --- small steps ------------------------------------------------------------------------------------- */

/* One transaction; its result. */
static inline int pg_run_as(const char *uri, int (*run)(struct pg *, void *), void *arg)
{
    struct pg *pg = pg_open(uri, PATIENCE_MS, NULL);
    assert_non_null(pg);
    int rc = pg_transaction(pg, run, arg, PATIENCE_MS, NULL);
    pg_close(pg);
    return rc;
}

static inline int pg_run_sql(struct pg *pg, void *sql)
{
    return pg_exec(pg, sql);
}

static inline int sql_as(const char *uri, const char *sql)
{
    return pg_run_as(uri, pg_run_sql, (void *)(uintptr_t)sql);
}

struct pg_number {
    const char *sql;
    int64_t value;
};

static inline int pg_run_number(struct pg *pg, void *arg)
{
    struct pg_number *n = arg;
    int rows = pg_query(pg, n->sql);
    n->value = rows > 0 ? pg_i64(pg, 0, 0) : -1;
    return rows < 0 ? rows : 0;
}

/* The number that the owner reads. */
static inline int64_t number_of(const char *sql)
{
    struct pg_number n = {sql, 0};
    assert_int_equal(pg_run_as(owner_uri, pg_run_number, &n), 0);
    return n.value;
}

#endif

#include "base/pg_conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

enum { TRIES = 4 }; /* one and three more */

void pg_conn_init(struct pg *pg, const char *uri)
{
    *pg = (struct pg){.uri = strdup(uri)};
    BUG_ON(!pg->uri);
    arena_init(&pg->arena);
}

static void clear_results(struct pg *pg)
{
    for (unsigned i = 0; i < pg->results.n; i++) {
        PQclear(pg->results.items[i]);
    }
    pg->results.n = 0;
}

void pg_conn_clear(struct pg *pg)
{
    pg_conn_drop(pg);
    clear_results(pg);
    free(pg->results.items);
    arena_clear(&pg->arena);
    free(pg->uri);
}

void pg_conn_drop(struct pg *pg)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
    memset(pg->prepared, 0, sizeof(pg->prepared));
}

bool pg_conn_is_open(const struct pg *pg)
{
    return pg->conn && PQstatus(pg->conn) == CONNECTION_OK;
}

/* libpq ends its texts with a newline and may write several lines. */
static void copy_line(char *to, size_t n, const char *from)
{
    snprintf(to, n, "%.*s", (int)strcspn(from, "\n"), from);
}

int pg_conn_failed(struct pg *pg, const char *what)
{
    char why[120] = "the connection is lost";
    if (pg->conn && *PQerrorMessage(pg->conn)) {
        copy_line(why, sizeof(why), PQerrorMessage(pg->conn));
    }
    pg_conn_drop(pg);
    return err_set(&pg->err, ERR_CLOSED, "PostgreSQL: %s: %s", what, why);
}

/* 0 when the socket is ready, ERR_TIMEOUT otherwise. */
static int wait_socket(PGconn *conn, short events, uint64_t deadline_ms)
{
    struct pollfd pfd = {.fd = PQsocket(conn), .events = events};
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= deadline_ms) {
            return ERR_TIMEOUT;
        }
        uint64_t left = deadline_ms - now;
        int n = poll(&pfd, 1, left < 60000 ? (int)left : 60000);
        if (n > 0 || (n < 0 && errno != EINTR)) {
            return 0; /* libpq will find out what is wrong */
        }
    }
}

static int timed_out(struct pg *pg, const char *what)
{
    pg_conn_drop(pg);
    return err_set(&pg->err, ERR_TIMEOUT, "PostgreSQL: %s: the deadline of the job has passed", what);
}

static int flush(struct pg *pg)
{
    for (;;) {
        int rc = PQflush(pg->conn);
        if (rc <= 0) {
            return rc == 0 ? 0 : pg_conn_failed(pg, "sending");
        }
        if (wait_socket(pg->conn, POLLIN | POLLOUT, pg->deadline_ms) != 0) {
            return timed_out(pg, "sending");
        }
        if (PQconsumeInput(pg->conn) == 0) { /* or the server's output could block its input */
            return pg_conn_failed(pg, "sending");
        }
    }
}

int pg_conn_finish(struct pg *pg, PGresult **out)
{
    PGresult *last = NULL;
    *out = NULL;
    int rc = flush(pg);
    while (rc == 0) {
        if (PQisBusy(pg->conn)) {
            if (wait_socket(pg->conn, POLLIN, pg->deadline_ms) != 0) {
                rc = timed_out(pg, "waiting");
            } else if (PQconsumeInput(pg->conn) == 0) {
                rc = pg_conn_failed(pg, "waiting");
            }
            continue;
        }
        PGresult *r = PQgetResult(pg->conn);
        if (!r) {
            break;
        }
        if (last && PQresultStatus(last) == PGRES_FATAL_ERROR) {
            PQclear(r); /* the first error is the cause */
            continue;
        }
        PQclear(last);
        last = r;
    }
    if (rc != 0 || !last) {
        PQclear(last);
        return rc != 0 ? rc : pg_conn_failed(pg, "no answer");
    }
    *out = last;
    return 0;
}

/* --- connecting ------------------------------------------------------------------------------- */

static int connect_failed(struct pg *pg, struct err *err, int code)
{
    char why[120] = "the deadline has passed";
    if (code != ERR_TIMEOUT) {
        copy_line(why, sizeof(why), pg->conn ? PQerrorMessage(pg->conn) : "out of memory");
    }
    pg_conn_drop(pg);
    return err_set(err, ERR_UNAVAILABLE, "PostgreSQL: cannot connect: %s", why);
}

/* The server ends by itself what a dropped connection left running. */
static int set_up(struct pg *pg, struct err *err)
{
    PGresult *r = NULL;
    bool sent = PQsetnonblocking(pg->conn, 1) == 0 &&
                PQsendQuery(pg->conn, "SET client_connection_check_interval = '2s'; "
                                      "SET idle_in_transaction_session_timeout = '10s'");
    int rc = sent ? pg_conn_finish(pg, &r) : pg_conn_failed(pg, "setting up");
    if (rc == 0 && PQresultStatus(r) != PGRES_COMMAND_OK) {
        rc = pg_conn_failed(pg, "setting up");
    }
    PQclear(r);
    return rc == 0 ? 0 : err_set(err, ERR_UNAVAILABLE, "%s", pg->err.msg);
}

static void ignore_notice(void *arg, const PGresult *r)
{
    log_debug("pg notice text=\"%s\"", PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
}

int pg_conn_open(struct pg *pg, uint64_t deadline_ms, struct err *err)
{
    const char *const keys[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
    const char *const values[] = {pg->uri, "tidegate", "UTF8", NULL};
    pg_conn_drop(pg);
    pg->deadline_ms = deadline_ms;
    pg->conn = PQconnectStartParams(keys, values, 1);
    if (!pg->conn || PQstatus(pg->conn) == CONNECTION_BAD) {
        return connect_failed(pg, err, ERR_UNAVAILABLE);
    }
    PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (next != PGRES_POLLING_OK) {
        if (next == PGRES_POLLING_FAILED) {
            return connect_failed(pg, err, ERR_UNAVAILABLE);
        }
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (wait_socket(pg->conn, events, deadline_ms) != 0) {
            return connect_failed(pg, err, ERR_TIMEOUT);
        }
        next = PQconnectPoll(pg->conn);
    }
    return set_up(pg, err);
}

/* --- transactions ----------------------------------------------------------------------------- */

/* BEGIN, COMMIT, ROLLBACK; *tag is the first letter of the server's command tag. */
static int command(struct pg *pg, const char *sql, char *tag)
{
    PGresult *r;
    if (!pg->conn) {
        return ERR_CLOSED;
    }
    if (!PQsendQuery(pg->conn, sql)) {
        return pg_conn_failed(pg, sql);
    }
    int rc = pg_conn_finish(pg, &r);
    if (rc != 0) {
        return rc;
    }
    if (PQresultStatus(r) != PGRES_COMMAND_OK) {
        rc = pg_server_error(pg, r);
    }
    *tag = *PQcmdStatus(r);
    PQclear(r);
    return rc;
}

/* Serialization failure, deadlock, and a prepared plan that a migration made stale. */
static bool worth_another_try(const struct pg *pg)
{
    return strcmp(pg->sqlstate, "40001") == 0 || strcmp(pg->sqlstate, "40P01") == 0 ||
           strcmp(pg->sqlstate, "0A000") == 0;
}

static void forget_job(struct pg *pg)
{
    clear_results(pg);
    arena_clear(&pg->arena);
    pg->sqlstate[0] = pg->sqltext[0] = '\0';
    pg->err = (struct err){.code = ERR_OK};
}

static int rollback(struct pg *pg, int rc)
{
    char tag;
    struct err why = pg->err;
    char state[6];
    memcpy(state, pg->sqlstate, sizeof(state));
    if (command(pg, "ROLLBACK", &tag) != 0) {
        pg_conn_drop(pg);
    }
    pg->err = why;
    memcpy(pg->sqlstate, state, sizeof(state));
    return rc;
}

/* After the deadline has passed the connection is gone and with it the transaction. A COMMIT of a transaction
 * that failed inside (a run that swallowed an error) answers ROLLBACK. */
static int once(struct pg *pg, int (*run)(struct pg *pg, void *arg), void *arg)
{
    char tag = '\0';
    forget_job(pg);
    pg->begun = false;
    pg->is_unknown = false;
    int rc = command(pg, "BEGIN", &tag);
    if (rc != 0) {
        return rc;
    }
    pg->begun = true;
    rc = run(pg, arg);
    if (rc < 0) {
        if (pg->err.code == ERR_OK) {
            err_set(&pg->err, (enum err_code)rc, "the job failed");
        }
        return rollback(pg, rc);
    }
    rc = command(pg, "COMMIT", &tag);
    if (rc == 0 && tag != 'C') {
        return err_set(&pg->err, ERR_INTERNAL, "PostgreSQL: rolled back: an error was ignored");
    }
    pg->is_unknown = rc == ERR_CLOSED || rc == ERR_TIMEOUT || (rc != 0 && !pg->conn);
    return rc == 0 ? 0 : rollback(pg, rc);
}

static int forget_prepared(struct pg *pg)
{
    char tag;
    memset(pg->prepared, 0, sizeof(pg->prepared));
    return command(pg, "DEALLOCATE ALL", &tag);
}

int pg_conn_transaction(struct pg *pg, int (*run)(struct pg *pg, void *arg), void *arg)
{
    int rc = ERR_INTERNAL;
    for (int i = 0; i < TRIES; i++) {
        rc = once(pg, run, arg);
        if (rc == 0 || !pg->conn || !worth_another_try(pg)) {
            break;
        }
        if (strcmp(pg->sqlstate, "0A000") == 0 && forget_prepared(pg) != 0) {
            break;
        }
    }
    return rc;
}

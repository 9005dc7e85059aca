/* One connection and the transaction that runs on it: what pg.h's queries and pg_pool.c share. For
 * base/pg*.c only.
 *
 *     pg_conn_init -> pg_conn_open -> pg_conn_transaction ... -> pg_conn_drop (may be opened again) -> pg_conn_clear
 *
 * All waits go through pg_conn_wait, which keeps to pg->deadline_ms. A connection whose state is unknown (a
 * wait that timed out, a broken protocol) is dropped, never used again.
 * Thread rule: one thread at a time. */
#ifndef TIDE_BASE_PG_CONN_H
#define TIDE_BASE_PG_CONN_H

#include <libpq-fe.h>

#include "base/pg.h"

enum { PG_PREPARED_SLOTS = 512 }; /* statements a connection keeps; more are sent whole each time */

struct pg_results {
    PGresult **items;
    unsigned n, cap;
};

struct pg {
    char *uri;                 /* owned */
    PGconn *conn;              /* NULL: not connected */
    uint64_t deadline_ms;      /* of the job that runs, monotonic */
    struct arena arena;        /* of the job */
    struct pg_results results; /* of the job; the last is the current one */
    struct err err;            /* why the job failed */
    char sqlstate[6];
    char sqltext[160];
    bool begun;      /* the server has answered BEGIN: effects are possible */
    bool is_unknown; /* the latest job failed in its COMMIT, which may have taken effect */
    const char *prepared[PG_PREPARED_SLOTS]; /* hashed by address; the slot is the name */
};

void pg_conn_init(struct pg *pg, const char *uri);
void pg_conn_clear(struct pg *pg);
int pg_conn_open(struct pg *pg, uint64_t deadline_ms, struct err *err) TIDE_CHECK;
void pg_conn_drop(struct pg *pg);
bool pg_conn_is_open(const struct pg *pg);

/* Waits for what was sent; *out is the last result (the caller clears it), an error of the server included. */
int pg_conn_finish(struct pg *pg, PGresult **out) TIDE_CHECK;
int pg_conn_failed(struct pg *pg, const char *what); /* the connection is gone: drops it, ERR_CLOSED */

/* Takes SQLSTATE and text from r into pg; returns the code for them. */
int pg_server_error(struct pg *pg, const PGresult *r);

/* BEGIN, run, COMMIT or ROLLBACK, repeated on serialization failures. */
int pg_conn_transaction(struct pg *pg, int (*run)(struct pg *pg, void *arg), void *arg) TIDE_CHECK;

#endif

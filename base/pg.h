/* PostgreSQL work as jobs: a function that runs one transaction on a thread of the pool. Not an ORM, and
 * nothing that a loop thread could wait for.
 *
 *     submit -> queue (bounded) -> a pool thread: BEGIN, run(pg, arg), COMMIT -> done(arg, rc, err) on the loop
 *                 \- full: ERR_AGAIN      \- run < 0: ROLLBACK    \- serialization failure, deadlock: again, 3 times
 *
 * run must be repeatable: it owns copies of all it reads, writes its results into *arg from scratch, and has
 * no effects but through pg. It runs to its end whether or not anybody still wants the answer.
 * Deadline: of the whole job, queue and connecting included. When it passes, the connection is dropped and rc
 * is ERR_TIMEOUT: whether a COMMIT under way took effect is then unknown (as with ERR_CLOSED), which job->is_unknown says.
 * Database away: after a failed connect, jobs fail at once with ERR_UNAVAILABLE for 250 ms; then one job
 * tries again while the others go on failing. Where only some threads have no connection, these rest as long and then try
 * again without a job, and the others do the jobs. A job whose connection died before BEGIN was answered moves to
 * a new one by itself.
 * Lanes: each has a queue of its own, and threads take from the first that has a job. Urgent are those by which the process
 * is governed, few and short; of people with a session, what keeps it; common all else, which anybody may cause. One thread
 * and connection beside the others takes urgent ones only. So neither a flood of common jobs nor a lock that all of these
 * wait for holds up what governs, and a flood costs nobody a session.
 * Errors of queries: ERR_CONFLICT (unique violation, or a SQLSTATE of our own, class TG), ERR_INVALID (other
 * constraint, data), ERR_TIMEOUT, ERR_CLOSED (connection lost), ERR_UNAVAILABLE, ERR_INTERNAL (all else).
 * Thread rule: pg_submit from any thread; done on the loop that submitted, or on the pool thread when the
 * submitter had no loop. A struct pg belongs to one thread. */
#ifndef TIDE_BASE_PG_H
#define TIDE_BASE_PG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"
#include "base/loop.h"
#include "base/str.h"

struct pg;
struct pg_pool;

struct pg_conf {
    const char *uri;       /* libpq URI or key=value text */
    uint32_t connections;  /* threads, one connection each, besides that of urgent jobs; 8 */
    uint32_t queue;        /* jobs waiting at most, of the common and of the session lane each; 256 */
    uint32_t urgent_queue; /* of the urgent lane; 64 */
    uint64_t connect_ms;   /* 2 s */
    uint64_t job_ms;       /* deadline of a job that names none; 5 s */
};
extern const struct conf_section pg_conf_section; /* pg_conf.c: names, ranges, help */

enum pg_lane {
    PG_LANE_COMMON = 0,
    PG_LANE_SESSION = 1, /* before the common */
    PG_LANE_URGENT = 2,  /* before all others, and by a thread of their own */
    PG_LANES = 3,
};

struct pg_job {
    int (*run)(struct pg *pg, void *arg);                   /* 0 commits; a negative code rolls back */
    void (*done)(void *arg, int rc, const struct err *err); /* err->msg is empty when rc is 0 */
    void *arg;
    uint64_t timeout_ms; /* 0: pg_conf.job_ms */
    enum pg_lane lane;
    /* the pool's own, from here on */
    struct loop_msg msg;
    struct pg_job *next;
    struct loop *loop;     /* the submitter's; NULL: done is called on the pool thread */
    uint64_t deadline_ms;  /* monotonic */
    uint64_t submitted_us; /* monotonic */
    int rc;
    bool is_unknown; /* for done to read: rc < 0, and yet it may have been committed */
    struct err err;
};

struct pg_pool *pg_pool_new(const struct pg_conf *conf,
                            struct err *err); /* starts threads, connects lazily */
void pg_pool_free(struct pg_pool *p); /* waiting jobs end with ERR_CANCELED, running ones end by themselves */
/* 0: done will be called, once. ERR_AGAIN (queue full) or ERR_UNAVAILABLE (also for NULL, a pool that is gone while its owner
 * ends): it will not. The job is the pool's until done; done may free it. A loop that goes away first calls done with ERR_CANCELED. */
int pg_submit(struct pg_pool *p, struct pg_job *job) TIDE_CHECK;
bool pg_pool_is_up(const struct pg_pool *p); /* the last connect or job reached the database */

/* --- inside run ------------------------------------------------------------------------------------- */

enum pg_param_type {
    PG_PARAM_NULL = 0,
    PG_PARAM_TEXT = 1,
    PG_PARAM_BYTES = 2,
    PG_PARAM_I64 = 3,
    PG_PARAM_BOOL = 4,
    PG_PARAM_UUID = 5,
    PG_PARAM_F64 = 6,
};
struct pg_param {
    enum pg_param_type type;
    struct str text; /* TEXT, BYTES */
    int64_t i64;     /* I64, BOOL */
    double f64;
    struct uuid uuid;
};
#define PG_NULL ((struct pg_param){.type = PG_PARAM_NULL})
#define PG_STR(s) ((struct pg_param){.type = PG_PARAM_TEXT, .text = (s)})
#define PG_CSTR(s) ((struct pg_param){.type = PG_PARAM_TEXT, .text = str_from(s)})
#define PG_BYTES(p, n) ((struct pg_param){.type = PG_PARAM_BYTES, .text = str_of((const char *)(p), (n))})
#define PG_I64(v) ((struct pg_param){.type = PG_PARAM_I64, .i64 = (v)})
#define PG_F64(v) ((struct pg_param){.type = PG_PARAM_F64, .f64 = (v)})
#define PG_BOOL(v) ((struct pg_param){.type = PG_PARAM_BOOL, .i64 = (v)})
#define PG_UUID(u) ((struct pg_param){.type = PG_PARAM_UUID, .uuid = (u)})

/* One statement with parameters $1, $2... sql is a string literal: each connection prepares it once, known by
 * its address. Returns the number of rows (0 for statements without) or an error, after which run returns.
 *     int rows = pg_query(pg, "SELECT id FROM users WHERE phone_hash = $1", PG_BYTES(hash, 32)); */
#define pg_query(pg, sql, ...)                                                                               \
    pg_query_n((pg), (sql), sizeof((struct pg_param[]){__VA_ARGS__}) / sizeof(struct pg_param),              \
               (struct pg_param[]){__VA_ARGS__})
int pg_query_n(struct pg *pg, const char *sql, size_t n, const struct pg_param *params) TIDE_CHECK;
int pg_exec(struct pg *pg, const char *sql) TIDE_CHECK; /* several statements, no parameters, no rows */

/* Of the latest result. Texts stay valid until run returns. NULL reads as empty, 0, false. */
bool pg_is_null(const struct pg *pg, int row, int column);
struct str pg_value(const struct pg *pg, int row, int column);
int64_t pg_i64(const struct pg *pg, int row, int column);
double pg_f64(const struct pg *pg, int row, int column);
bool pg_bool(const struct pg *pg, int row, int column);
struct str pg_bytea(struct pg *pg, int row, int column); /* decoded */
struct uuid pg_uuid(const struct pg *pg, int row, int column);
int64_t pg_affected(const struct pg *pg); /* rows changed by the latest statement */

struct err *pg_err(struct pg *pg);            /* for a run that fails by itself: err_set(pg_err(pg), ...) */
const char *pg_sqlstate(const struct pg *pg); /* five characters of the failed statement, "" otherwise */
const char *pg_sqltext(const struct pg *pg);  /* its primary message, as RAISE gave it, "" otherwise */
struct arena *pg_arena(struct pg *pg);        /* cleared when run returns */

/* --- tools and tests: a connection of one's own, blocking ------------------------------------------- */

struct pg *pg_open(const char *uri, uint64_t connect_ms, struct err *err);
void pg_close(struct pg *pg);
int pg_transaction(struct pg *pg, int (*run)(struct pg *pg, void *arg), void *arg, uint64_t timeout_ms,
                   struct err *err) TIDE_CHECK;

/* Applies the NNNN_name.sql of the folder that are not applied yet, in order, each in a transaction of its
 * own, under an advisory lock. Table schema_migrations(version, name, sha256, applied_at). Refuses gaps and
 * files that changed after they were applied. on_applied (NULL allowed) is told each one. */
int pg_migrate(struct pg *pg, const char *folder,
               void (*on_applied)(void *arg, unsigned version, const char *name), void *arg,
               struct err *err) TIDE_CHECK;
/* The same without doing it: on_applied is told those that would be applied. */
int pg_migrate_try(struct pg *pg, const char *folder,
                   void (*on_applied)(void *arg, unsigned version, const char *name), void *arg,
                   struct err *err) TIDE_CHECK;
/* Inside run or after pg_open: the highest version applied, 0 for an empty database. */
int pg_schema_version(struct pg *pg, unsigned *version) TIDE_CHECK;
/* Likewise: ERR_CONFLICT when the schema is older than the migrations this program was built with. A newer one is
 * fine: migrations expand before they contract. */
int pg_schema_check(struct pg *pg) TIDE_CHECK;

#endif

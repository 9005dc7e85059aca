/* Redis for one loop and one role: a single server, a primary behind Sentinels, or a Cluster. Not a pool, not a
 * synchronous client.
 *
 *     redis_new -> (connects by itself: AUTH, SELECT, SCRIPT LOAD) -> redis_send... -> redis_free
 *
 * Commands are appended to one output buffer a connection; all of a loop turn leave in one write. Answers come
 * in order, so pending commands are a ring of slots; an op that was canceled or has timed out
 * leaves its slot empty until its answer has passed. The time-out counts from the write, and one
 * timer watches the oldest slot.
 *
 * A dead Redis costs nothing: while a server is down or its breaker open, redis_send returns
 * ERR_UNAVAILABLE at once and never calls back. The breaker of a connection opens after breaker_failures in a row,
 * or more than half of the last 20, and a PING of ours every probe_ms, one at a time, closes it
 * again: no request ever waits for the probe.
 *
 * Sentinel: the Sentinels are asked in turn who the primary is, again upon its loss and every half second; it is used
 * once its ROLE says master. READONLY ends the connection.
 * Cluster: a command goes to the node that owns the slot of its first key (all its keys share a slot: hash tags).
 * One round trip while the map is right; MOVED and ASK send a script's command on, within its time-out, and MOVED has
 * the map fetched again.
 *
 * Scripts: known ones are loaded on every connect. An explicit NOSCRIPT (and nothing else) loads
 * the script again, once for all who wait, and replays the command; so it never reaches a caller.
 *
 * Ownership: struct redis_op is embedded in the caller's object and must live until its callback
 * has begun or redis_cancel returned; the same holds for the command's bytes when a script is named
 * (the replay needs them). A reply is borrowed until the callback returns.
 * Errors in the callback: 0 (reply is no error), ERR_TIMEOUT and ERR_CLOSED (outcome unknown),
 * ERR_UNAVAILABLE (Redis refused: loading, read-only, out of memory, busy, the slot is elsewhere), ERR_INVALID (any
 * other error reply; its text is in reply), ERR_CANCELED (redis_free).
 * Thread rule: used only on its loop's thread (redis_new also before the loop runs). */
#ifndef TIDE_BASE_REDIS_H
#define TIDE_BASE_REDIS_H

#include "base/conf.h"
#include "base/loop.h"

struct redis;
struct redis_conn;
struct redis_cluster;
struct redis_tls_conf; /* redis_socket.h */

/* All times in milliseconds. redis_conf_default holds the numbers named here; redis_conf.c their
 * names. */
struct redis_conf {
    /* Exactly one of the three: "10.0.0.5:6379", "redis.internal:6379", "unix:/path". Copied by redis_new. */
    const char *address;
    struct conf_strings sentinels; /* of the primary named `master` */
    struct conf_strings cluster;   /* some nodes; the others are learned */
    const char *master;
    const char *user;          /* NULL: the default user */
    const char *password_file; /* 0600; read by redis_new. NULL: no AUTH */
    const char *sentinel_user;
    const char *sentinel_password_file;
    struct redis_tls_conf *tls; /* NULL: plain; read by redis_new */
    uint32_t db;                /* for SELECT */
    uint32_t timeout_ms;        /* a command, from write to answer; 20 */
    uint32_t connect_ms;        /* connect to READY; 1000 */
    uint32_t stall_ms;          /* no answer at all for this long drops the connection; 500 */
    uint32_t backoff_max_ms;    /* between attempts to connect: from 10, doubling, to this; 250 */
    uint32_t breaker_failures;  /* in a row open the breaker; 5 */
    uint32_t probe_ms;          /* PING period while it is open; 250 */
    uint32_t max_pending;       /* commands without an answer; rounded up to a power of two; 4096 */
    uint32_t max_output_bytes;  /* waiting to be written; 1 MiB */
};
extern const struct redis_conf redis_conf_default;
struct conf_section;
extern const struct conf_section redis_conf_section;

enum redis_type {
    REDIS_TYPE_NIL = 0,
    REDIS_TYPE_INTEGER = 1,
    REDIS_TYPE_TEXT = 2, /* bulk string or status */
    REDIS_TYPE_ARRAY = 3,
    REDIS_TYPE_ERROR = 4,
};

/* At most 16384 nodes and 256 KiB of text a reply: a longer one is ERR_PROTOCOL for the connection. */
struct redis_reply {
    enum redis_type type;
    int64_t integer;
    struct str text;                 /* TEXT, ERROR */
    uint32_t count;                  /* items of an array */
    const struct redis_reply *items; /* first item; the others follow by redis_reply_next */
    const struct redis_reply *next;  /* in the same array; NULL at its end */
};

/* A script: a static object; redis_script_init (once, before threads) computes its name for
 * EVALSHA. */
struct redis_script {
    struct str source; /* Lua */
    char sha[41];      /* SHA-1 of source in hex */
};
void redis_script_init(struct redis_script *s);

typedef void (*redis_cb)(void *arg, int rc, const struct redis_reply *reply);

struct redis_op {
    struct redis_conn *conn; /* where it is pending; NULL: nowhere */
    uint64_t slot;           /* position in the ring, ever growing */
    redis_cb cb;
    void *arg;
    struct redis_script *script;   /* NULL: never replayed */
    struct str command;            /* RESP bytes to replay */
    uint32_t replays;              /* at most REDIS_REPLAYS_MAX */
    uint64_t began_us;             /* when it was first written; set once a Cluster sends it on */
    struct redis_cluster *waiting; /* its slot is being moved: it will be sent again; else NULL */
    struct redis_op *next;         /* while waiting */
};

enum { REDIS_SCRIPTS_MAX = 16, REDIS_REPLAYS_MAX = 4 };

/* role names it in metrics and logs ("limits", "ledger"): a literal. NULL: a file of the configuration cannot be
 * used. */
struct redis *redis_new(struct loop *loop, const struct redis_conf *conf, const char *role,
                        struct redis_script *const *scripts, unsigned script_count, struct err *err);
void redis_free(struct redis *r); /* pending ops are called with ERR_CANCELED */

/* 0: cb will be called, exactly once, later. Otherwise it never will be: ERR_UNAVAILABLE (down, breaker),
 * ERR_AGAIN (max_pending or max_output_bytes). op NULL: fire and forget, nothing is called or replayed. */
int redis_send(struct redis *r, struct redis_op *op, struct str resp, struct redis_script *script,
               redis_cb cb, void *arg) TIDE_CHECK;
int redis_command(struct redis *r, struct redis_op *op, unsigned argc, const struct str *argv, redis_cb cb,
                  void *arg) TIDE_CHECK; /* formats argv; never replayed */
/* Calls a script and asks for no answer; NOSCRIPT and moved slots are followed as for redis_send. argv: keys, then
 * arguments; all is copied. Errors as redis_send. */
int redis_post(struct redis *r, struct redis_script *script, unsigned keys, unsigned argc,
               const struct str *argv) TIDE_CHECK;
void redis_cancel(struct redis_op *op); /* the callback will not run; the command may still have its effect */

/* One command in RESP, appended to out; redis_format_script: EVALSHA of a script for keys and arguments. */
struct buf;
void redis_format(struct buf *out, unsigned argc, const struct str *argv);
void redis_format_script(struct buf *out, const struct redis_script *s, unsigned keys, unsigned argc,
                         const struct str *argv);

/* Any thread: */
bool redis_is_ready(const struct redis *r); /* some command could be sent */
bool redis_is_whole(
    const struct redis *r); /* any could: all nodes of a Cluster are ready and all slots owned */
bool redis_is_cluster(const struct redis *r); /* keys of one command must share a slot */

#endif

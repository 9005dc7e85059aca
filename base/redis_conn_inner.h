/* A connection to Redis from inside: redis_conn.c connects, greets and loses it, redis_pipeline.c carries commands
 * and answers. Nothing else includes this.
 *
 *     ring of slots:   head ........ expired ........ unsent ........ tail
 *                      late answers  | being waited   | in the output buffer, not yet written
 *                      still to come | for            |
 *
 * Thread rule: the loop's thread. */
#ifndef TIDE_BASE_REDIS_CONN_INNER_H
#define TIDE_BASE_REDIS_CONN_INNER_H

#include "base/redis_breaker.h"
#include "base/redis_conn.h"
#include "base/redis_reply.h"
#include "base/redis_socket.h"
#include "base/resolver.h"

enum redis_conn_state {
    REDIS_CONN_DOWN = 0,       /* waiting for the next attempt */
    REDIS_CONN_RESOLVING = 1,  /* the name servers are asked */
    REDIS_CONN_CONNECTING = 2, /* TCP, then TLS, are under way */
    REDIS_CONN_GREETING = 3,   /* AUTH and so on are under way */
    REDIS_CONN_READY = 4,
};

enum redis_slot_kind {
    REDIS_SLOT_OP = 0,       /* a caller's command; op is NULL once it was canceled or timed out */
    REDIS_SLOT_GREETING = 1, /* must succeed for READY */
    REDIS_SLOT_ROLE = 2,     /* likewise, and must be "master" */
    REDIS_SLOT_LOAD = 3,     /* SCRIPT LOAD after a NOSCRIPT */
    REDIS_SLOT_PROBE = 4,    /* PING while the breaker is open */
};

struct redis_slot {
    struct redis_op *op;
    uint64_t sent_us;
    enum redis_slot_kind kind;
    unsigned script; /* index, of REDIS_SLOT_LOAD */
};

struct redis_conn {
    struct redis *redis;
    struct loop *loop;
    enum redis_conn_use use;
    char target[REDIS_TARGET_MAX]; /* empty: none yet */
    struct endpoint endpoint;      /* of a literal target */
    struct resolver *resolver;     /* of a name; else NULL */

    enum redis_conn_state state;
    struct redis_socket socket;
    struct event read_event;
    struct event write_event;
    struct loop_task flush;  /* at the end of the turn */
    struct loop_timer timer; /* DOWN: next attempt; until READY: give up; READY: oldest slot */
    struct buf out;
    struct redis_reader *reader;
    uint32_t backoff_ms;
    unsigned greetings;              /* answers still wanted */
    bool told_down;                  /* the loss was logged */
    bool was_ready;                  /* as last told to redis_changed */
    bool loading[REDIS_SCRIPTS_MAX]; /* a SCRIPT LOAD is under way */

    struct redis_slot *ring;
    uint64_t head, expired, unsent, tail;

    struct redis_breaker breaker;
    bool probing;
    struct loop_timer probe_timer;
    struct redis_node_metrics node; /* of the target */
};

/* --- redis_conn.c --------------------------------------------------------------------------------- */
void redis_conn_tell(struct redis_conn *c); /* redis_changed, where readiness did */
/* false: the connection was dropped. */
bool redis_conn_greeted(struct redis_conn *c, const struct redis_slot *s, const struct redis_reply *reply);

/* --- redis_pipeline.c ----------------------------------------------------------------------------- */
/* ERR_AGAIN: no room for the command or its slot; nothing is half done. op: NULL when nobody waits. */
int redis_pipeline_push(struct redis_conn *c, enum redis_slot_kind kind, struct redis_op *op,
                        struct str resp) TIDE_CHECK;
int redis_pipeline_push_argv(struct redis_conn *c, enum redis_slot_kind kind, struct redis_op *op,
                             unsigned argc, const struct str *argv) TIDE_CHECK;
int redis_pipeline_push_load(struct redis_conn *c, enum redis_slot_kind kind, unsigned script) TIDE_CHECK;
void redis_pipeline_flush(void *arg); /* the connection */
void redis_pipeline_read(struct redis_conn *c);
void redis_pipeline_expire(struct redis_conn *c);       /* its timer is due */
void redis_pipeline_fail(struct redis_conn *c, int rc); /* ends what is pending */
void redis_pipeline_on_probe_due(void *arg);            /* the connection */
void redis_pipeline_close_breaker(struct redis_conn *c);

#endif

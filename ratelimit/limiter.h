/* Decides whether a request may pass: all its rules at once, all or nothing, in one script call on
 * Redis.
 *
 *     limiter_shared_new (process) -> limiter_new (each loop) -> limiter_check -> verdict
 *                                                            \-> limiter_settle (tokens used)
 *
 *     keys -> deny cache --------------------------------> denied, no Redis
 *          -> a lease, or a new source (newcomers.h) ----> these keys are decided, no Redis for them
 *          -> one EVALSHA a role (usually one; in a Redis
 *             Cluster one a subject, in parallel) -------> allowed / denied (fills the deny cache)
 *          -> Redis away, late or breaker open ----------> each rule's on_error
 *
 * When the ledger is another server than the limits, or Redis is a Cluster, several scripts run in parallel and a
 * denial by one gives back what the others took: over-denial is possible, over-admission is not.
 * Time: Redis TIME inside the script; the deny cache and the fallback use the monotonic clock.
 * Ownership: struct limit_check is embedded in the caller's object (usually on the request's arena) and lives
 * until limiter_forget. The rules must outlive it: the caller holds a reference to them (a request: through
 * its configuration).
 * Thread rule: a limiter belongs to its loop; the shared half to any thread. */
#ifndef TIDE_RATELIMIT_LIMITER_H
#define TIDE_RATELIMIT_LIMITER_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/redis.h"
#include "ratelimit/local.h"
#include "ratelimit/rules.h"

struct limiter;
struct limiter_shared;

struct limiter_conf {
    uint32_t local_entries;    /* of the fallback table; 262144 */
    uint32_t deny_entries;     /* of the deny cache; 262144 */
    uint32_t deny_max_ms;      /* longest stay in the deny cache; 1000 */
    uint32_t heartbeat_ms;     /* how often a gateway says that it lives, a third of its life; 3000 */
    uint32_t lease_entries;    /* keys watched for being busy; 65536 */
    uint32_t newcomer_entries; /* of the table of new sources; 1048576 */
    uint8_t hash_key[16];      /* the same on all gateways; a secret */
};
extern const struct limiter_conf limiter_conf_default;

struct limiter_shared *limiter_shared_new(const struct limiter_conf *conf, const char *instance);
void limiter_shared_free(struct limiter_shared *s);        /* after all limiters */
unsigned limiter_gateways(const struct limiter_shared *s); /* live gateways that share Redis, at least 1 */

/* The scripts that a connection given to limiter_new has to know (redis_new). */
struct redis_script *const *limiter_scripts(unsigned *count);
/* connections by role, borrowed; both roles may be the same one; NULL: that role is always away. beats: this
 * limiter sends the process's heartbeat (one does). */
struct limiter *limiter_new(struct loop *loop, struct limiter_shared *s,
                            struct redis *const roles[LIMIT_ROLES], bool beats);
void limiter_free(struct limiter *l); /* no check may be pending */

/* On which terms rules that many share (limit_rule.is_shared) are charged; all zero: like all others. What is reserved is
 * the last part of the burst: who may not have it leaves it to those who may, and they go first in using the rate. */
struct limit_terms {
    uint32_t reserved_percent;  /* of the burst, that is not for this one; 0 to 99 */
    uint32_t surcharge_percent; /* taken beyond the cost, at most the burst in all */
    bool only_asks;             /* there has to be room for the cost, but nothing is taken */
};

/* Who and what is counted. Empty texts and an all-zero address: no value. Read only during limiter_check. */
struct limit_subject {
    struct addr address;
    struct str by[LIMIT_DIMENSIONS]; /* of the others, by enum limit_dimension */
    uint64_t tokens;                 /* estimate for rules that count tokens; 0: such rules do not apply */
    uint64_t money;                  /* millionths, likewise for rules of money */
    struct limit_terms terms;
};

/* Where a key's request is charged. */
enum limit_charge {
    LIMIT_CHARGE_NONE = 0,
    LIMIT_CHARGE_REDIS = 1,
    LIMIT_CHARGE_FALLBACK = 2, /* in the table of this process, while Redis is away */
    LIMIT_CHARGE_LEASE = 3,    /* a unit of a lease: Redis debited it before */
    LIMIT_CHARGE_NEWCOMER = 4, /* held in this process until the source comes a third time */
    LIMIT_CHARGE_RUNNING = 5,  /* a place among what runs at once; until the check ends */
};

struct limit_key_state {
    const struct limit_rule *rule;
    struct limit_key key;
    uint16_t tag;        /* limiter_key_tag; 0: Redis is no Cluster */
    int64_t cost_us;     /* of the request by itself */
    int64_t inc_us;      /* what is taken for it; the same, but for the terms of shared rules */
    int64_t tau_us;      /* up to where it may go; that of the rule, but for these terms */
    int64_t distance_us; /* GCRA distance as Redis said; of what runs at once: how many with this one */
    int64_t retry_us;    /* > 0: this one denied; -1 never */
    enum limit_charge charge;
    bool is_reserved;    /* denied, and there is room left that is kept for others */
    bool noted;          /* LIMIT_CHARGE_RUNNING: Redis counts it */
    uint8_t held;        /* units of newcomers that inc_us pays for besides */
    uint64_t lease_want; /* units asked for in advance */
};

struct limit_check;
typedef void (*limit_cb)(void *arg, struct limit_check *c);

/* One script call: the keys of one role, in a Cluster also of one tag. */
struct limit_call {
    struct redis_op op;
    struct limit_check *check;
    struct redis *redis;        /* NULL: that role is always away */
    uint8_t keys[LIMIT_AT_MAX]; /* indexes of check->keys, enforced ones first */
    unsigned count;
    bool reserves; /* the longer script: something is leased, or counts what runs at once */
};

struct limit_check {
    struct limiter *limiter;      /* NULL when not in use */
    struct limit_key_state *keys; /* on the arena */
    unsigned count;
    struct addr address; /* of the subject, for the list of offenders */
    int64_t began_us;    /* monotonic */
    limit_cb cb;
    void *arg;
    struct limit_call *calls; /* scripts on their way; on the arena */
    unsigned call_count;
    unsigned waiting; /* of them without an answer */
    /* The verdict. */
    bool denied;
    bool closed;   /* denied because Redis is away and a rule says closed */
    bool reserved; /* denied only because what is left is kept for others */
    bool cached;   /* denied by the deny cache */
    bool fallback; /* decided without Redis, at least in part */
    /* The rule that denied, or the one with least left; NULL: no rule applied. */
    const struct limit_rule *binding;
    uint64_t remaining; /* units left under binding */
    int64_t retry_us;   /* denied: when it may pass; -1: never with this cost */
    int64_t reset_us;   /* until binding is full again */
};

/* true: decided, cb is not called. false: cb will be. arena holds the keys and the command until limiter_forget. */
bool limiter_check(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                   const struct limit_subject *subject, struct arena *arena, limit_cb cb,
                   void *arg) TIDE_CHECK;
/* Only the deny cache, only what the subject already says: true when denied (verdict filled);
 * when false, c may be left as it was. */
bool limiter_denied_locally(struct limiter *l, struct limit_check *c, const struct limit_set *set,
                            const struct limit_subject *subject, struct arena *arena);
/* Ends the check in whatever state: cb is not called any more, what was taken stays taken, but for places of what
 * runs at once: those are free again. Callable twice. */
void limiter_forget(struct limit_check *c);
/* After the work: rules that count tokens are corrected from the estimate to what was used. */
void limiter_settle(struct limit_check *c, uint64_t used_tokens);
void limiter_give_back(struct limit_check *c);        /* all that it took: the work was not done */
void limiter_give_back_shared(struct limit_check *c); /* likewise, of rules that many share alone */
/* What it took, but for places of what runs at once, is now to's, to give back; `to` waits for nothing. keys: room for
 * c->count of them. These, the limiter and the rules have to outlive `to`. */
void limiter_move(struct limit_check *c, struct limit_check *to, struct limit_key_state *keys);

/* Who was refused most, lately (offenders.h). Any thread. */
struct offenders *limiter_offenders(struct limiter_shared *s);

#endif

/* What the fleet knows of codes by SMS, in the Redis that keeps the ledger: per prefix how many were sent and how many
 * were used (the conversion guard), and per day what they cost. Not the budgets: those are rules (rules.h).
 *
 *     sms_ledger_ask       before a code goes out: is its prefix blocked? It is counted as sent
 *       -> sent, lately and long enough ago to be used: many, and few of them used -> the prefix is blocked for a while
 *     sms_ledger_undo      nothing went out after all
 *     sms_ledger_used      a code was typed in
 *     sms_ledger_account   a provider took one: its country, prefix, provider and price
 *     sms_ledger_unblock   an operator lifts a block before it ends
 *     sms_ledger_top       the day so far, by cost, and what is blocked
 *
 * A block is an entry with its end in one sorted set, the same for all gateways; past its end it counts no more. Counting
 * begins anew then. Counts are ten slots of a window in a hash a prefix, which expires by itself.
 * Keys carry one hash tag ({sms}): one slot in a Cluster. They name prefixes of numbers, never numbers.
 * While Redis is away nothing is blocked by the guard: the budgets stand closed then.
 * Ownership: struct sms_ask and struct sms_lift live until their callback, struct sms_top until its callback or its forget.
 * Thread rule: the loop of the connection. */
#ifndef TIDE_RATELIMIT_SMS_LEDGER_H
#define TIDE_RATELIMIT_SMS_LEDGER_H

#include "base/arena.h"
#include "base/redis.h"

/* When a prefix is taken for pumped. */
struct sms_guard_conf {
    uint64_t window_ms; /* that is looked at */
    uint64_t grace_ms;  /* a person's time to type a code: what was sent later does not count yet */
    uint32_t sends;     /* fewer say nothing; 0: the guard is off */
    uint32_t percent;   /* of them used at least, else the prefix is blocked */
    uint64_t block_ms;
};

struct sms_verdict {
    bool is_blocked;
    bool is_new;         /* blocked by this very question: to be audited */
    uint64_t retry_ms;   /* until the block ends */
    uint64_t sent, used; /* as they stood */
};

struct sms_ask {
    struct redis_op op;
    void (*done)(void *arg, const struct sms_verdict *v);
    void *arg;
};
/* done may be called before this returns. redis NULL: there is none. The arena outlives the question. */
void sms_ledger_ask(struct redis *redis, struct sms_ask *ask, const struct sms_guard_conf *conf,
                    struct str prefix, struct arena *arena,
                    void (*done)(void *arg, const struct sms_verdict *v), void *arg);

/* Nobody waits for these. */
void sms_ledger_undo(struct redis *redis, const struct sms_guard_conf *conf, struct str prefix);
void sms_ledger_used(struct redis *redis, const struct sms_guard_conf *conf, struct str prefix);
struct sms_sent {
    struct str country, prefix, provider;
    uint64_t price; /* millionths */
};
void sms_ledger_account(struct redis *redis, const struct sms_sent *s);

struct sms_lift {
    struct redis_op op;
    void (*done)(void *arg, int rc, int64_t blocks);
    void *arg;
};
/* Lifts the block of a prefix, or of all ("all"); of a trial says only how many there are. Fails at once (ERR_UNAVAILABLE)
 * without calling done. */
int sms_ledger_unblock(struct redis *redis, struct sms_lift *lift, struct str prefix, bool is_trial,
                       struct arena *arena, void (*done)(void *arg, int rc, int64_t blocks),
                       void *arg) TIDE_CHECK;

struct sms_top {
    struct redis_op op;
    void (*done)(void *arg, int rc, const struct redis_reply *reply);
    void *arg;
};
/* The reply: [now_ms, [blocked prefix, its end in ms, ...], and for country, prefix, provider each [name, millionths,
 * sent, ...]], at most `most` rows each. Fails at once (ERR_UNAVAILABLE) without calling done. */
int sms_ledger_top(struct redis *redis, struct sms_top *top, unsigned most, struct arena *arena,
                   void (*done)(void *arg, int rc, const struct redis_reply *reply), void *arg) TIDE_CHECK;

extern struct redis_script sms_script_ask, sms_script_count, sms_script_account, sms_script_top,
    sms_script_unblock;
void sms_scripts_init(void);

#endif

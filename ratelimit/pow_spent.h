/* A solved challenge counts once. Redis decides for all gateways (SET NX in the ledger, until the challenge expires);
 * a table of this process decides first, and alone while Redis is away: then a solution counts once a gateway.
 *
 *     pow_spend -> seen in this process: spent | SET pow:<nonce> NX PX -> nil: spent | OK, or no answer: good
 *
 * Memory: the table has a fixed size, 26 bytes an entry; only solved challenges come in, and when it is full the one
 * that expires first goes. Redis holds one key of about 100 bytes a solution, for the rest of the challenge's life.
 * Ownership: struct pow_spend lives until its callback or pow_spend_forget.
 * Thread rule: struct pow_spent any thread; a spend on the loop of its connection. */
#ifndef TIDE_RATELIMIT_POW_SPENT_H
#define TIDE_RATELIMIT_POW_SPENT_H

#include "base/redis.h"
#include "ratelimit/pow.h"

struct pow_spent;
struct pow_spent *pow_spent_new(uint32_t entries);
void pow_spent_free(struct pow_spent *s);

struct pow_spend {
    struct redis_op op;
    bool is_waiting;
    void (*done)(void *arg, bool is_good);
    void *arg;
};
/* done may be called before this returns. redis NULL: there is none. */
void pow_spend(struct pow_spent *s, struct redis *redis, struct pow_spend *spend,
               const struct pow_solved *solved, int64_t now_s, void (*done)(void *arg, bool is_good),
               void *arg);
void pow_spend_forget(struct pow_spend *spend); /* done is not called any more; callable twice */

#endif

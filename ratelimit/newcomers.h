/* Sources that nobody has seen: the first two requests of one are counted in this process only. Redis learns of a
 * source with its third, which then pays for all three. So a spray of random addresses, each used once or twice,
 * costs a table of fixed size here and nothing in Redis.
 *
 *     first, second -> held here -> third: [held + 1] units to Redis -> known: every request to Redis
 *          \-> no third within the window: forgotten          \-> its key in Redis has ended: new again
 *
 * The window is 10 s, or ten times as long as the rule needs for two units at each gateway: what is forgotten is at
 * most a tenth of the rate. In a window W a key lets pass at most burst + 1.1 * rate * W + 2 N, N gateways. As what is
 * held is charged with the third request and not when it came, up to 2 N units may be refused early.
 * Memory: entries * 16 bytes, touched as used; a full set of four loses the one that ends first.
 * Time: the caller's, monotonic microseconds.
 * Thread rule: any thread. */
#ifndef TIDE_RATELIMIT_NEWCOMERS_H
#define TIDE_RATELIMIT_NEWCOMERS_H

#include "ratelimit/local.h"

struct newcomers;

enum { NEWCOMER_FREE = 2, NEWCOMER_WINDOW_US = 10000000 };

struct newcomers *newcomers_new(uint32_t entries);
void newcomers_free(struct newcomers *t);

/* True: passes here; *held: how many units of the key this process holds now. False: Redis decides, and *held units
 * are to be charged besides the request's own (they are the caller's now: newcomers_put_back when they were not). */
bool newcomers_pass(struct newcomers *t, struct limit_key key, const struct gcra *g, unsigned gateways,
                    int64_t now_us, unsigned *held);
/* Redis knows the key for another for_us. */
void newcomers_known(struct newcomers *t, struct limit_key key, int64_t for_us, int64_t now_us);
/* Units that newcomers_pass handed out and Redis did not take. */
void newcomers_put_back(struct newcomers *t, struct limit_key key, unsigned held);
/* Another rule refused a request that passed here. */
void newcomers_return(struct newcomers *t, struct limit_key key);

#endif

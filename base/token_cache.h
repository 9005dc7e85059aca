/* Tokens that were verified lately, with what they say, and tokens that were found to be over: one cache a loop, a fixed
 * number of entries. Not the ending of sessions: who asks looks at that on each hit.
 *
 *     entries  good when they were verified. Keyed by SipHash of the last bytes, and all of them are compared: a hit means
 *              that these very bytes passed jws_verify. exp is checked on each hit. Eviction by the clock algorithm.
 *     over     a keyed hash and exp of tokens that had expired when they came, as many rows as entries, one place each: two
 *              that share it push each other out. So old tokens, however many, never push out a good one. A hash that two
 *              tokens share (1 in 2^64) would refuse one of them; nothing here lets in by a hash.
 *
 * Ownership: found claims are borrowed until the next call on the cache: copy them.
 * Thread rule: used only on the loop thread that created it. Metric: tidegate_token_cache_lookups_total. */
#ifndef TIDE_BASE_TOKEN_CACHE_H
#define TIDE_BASE_TOKEN_CACHE_H

#include "base/jws.h"

enum { TOKEN_CACHE_ENTRIES = 4096 };

struct token_cache;
struct token_cache *token_cache_new(unsigned entries); /* 1 or more */
void token_cache_free(struct token_cache *c);

enum token_cache_answer {
    TOKEN_CACHE_MISS = 0,
    TOKEN_CACHE_HIT = 1,
    TOKEN_CACHE_OVER =
        2, /* all is well with it, but it expired slack_s ago or more: as jws_verify would say */
};
/* *claims: of a hit. slack_s: leeway of clocks, and grace. An entry is dropped an hour after it expired. */
enum token_cache_answer token_cache_find(struct token_cache *c, struct str token, int64_t now_s,
                                         int64_t slack_s, const struct jws_claims **claims) TIDE_CHECK;
void token_cache_add(struct token_cache *c, struct str token, const struct jws_claims *claims);
/* One whose signature and claims are good, but for exp_s. */
void token_cache_add_over(struct token_cache *c, struct str token, int64_t exp_s);
void token_cache_drop_all(struct token_cache *c); /* keys or issuers changed; those that are over too */
unsigned token_cache_count(const struct token_cache *c); /* entries */

#endif

/* Tokens that were verified lately, with what they say: one cache a loop, a fixed number of entries.
 *
 * Keyed by SipHash of its last bytes, and all of them are compared: a hit means that these very bytes
 * passed jws_verify. exp is checked on each hit. Eviction by the clock algorithm.
 * Ownership: found claims are borrowed until the next call on the cache: copy them.
 * Thread rule: used only on the loop thread that created it. Metric: tidegate_token_cache_lookups_total. */
#ifndef TIDE_BASE_TOKEN_CACHE_H
#define TIDE_BASE_TOKEN_CACHE_H

#include "base/jws.h"

enum { TOKEN_CACHE_ENTRIES = 4096 };

struct token_cache;
struct token_cache *token_cache_new(unsigned entries); /* 1 or more */
void token_cache_free(struct token_cache *c);

/* NULL: not there, or expired grace_s ago or more (it is dropped then, if expired by more than an hour). */
const struct jws_claims *token_cache_find(struct token_cache *c, struct str token, int64_t now_s,
                                          int64_t grace_s);
void token_cache_add(struct token_cache *c, struct str token, const struct jws_claims *claims);
unsigned token_cache_drop_session(struct token_cache *c, const struct uuid *session); /* how many */
unsigned token_cache_drop_user(struct token_cache *c, const struct uuid *user);
void token_cache_drop_all(struct token_cache *c); /* keys or issuers changed */
unsigned token_cache_count(const struct token_cache *c);

#endif

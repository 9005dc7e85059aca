/* Entries: chained hashing over a fixed array. Links are indexes plus one; 0 is none. */
#include "base/token_cache.h"

#include <stdlib.h>

#include "base/metrics.h"

enum { STALE_S = 3600, HASHED_BYTES = 64 };

struct entry {
    uint64_t hash;
    char *token; /* owned; NULL: the entry is free */
    size_t token_n;
    uint32_t next;   /* in its chain */
    bool referenced; /* since the hand passed */
    struct jws_claims claims;
};

struct over_row {
    uint64_t hash; /* of a whole token */
    int64_t exp_s; /* 0: the row is free */
};

struct token_cache {
    struct entry *entries;
    struct over_row *over; /* chain_mask + 1 of them */
    uint32_t *chains;      /* heads, chain_mask + 1 of them */
    uint32_t chain_mask;
    unsigned size, count;
    unsigned hand;
    struct metric_child *hits, *misses, *expired;
};

static struct metric lookups =
    METRIC_COUNTER_L("tidegate_token_cache_lookups_total", "Look-ups of verified tokens.", "result");

struct token_cache *token_cache_new(unsigned entries)
{
    struct token_cache *c = calloc(1, sizeof(*c));
    uint32_t chains = 16;
    while (chains < entries) {
        chains *= 2;
    }
    BUG_ON(!c || entries == 0);
    c->entries = calloc(entries, sizeof(*c->entries));
    c->chains = calloc(chains, sizeof(*c->chains));
    c->over = calloc(chains, sizeof(*c->over));
    BUG_ON(!c->entries || !c->chains || !c->over);
    c->chain_mask = chains - 1;
    c->size = entries;
    c->hits = metric_child(&lookups, "hit");
    c->misses = metric_child(&lookups, "miss");
    c->expired = metric_child(&lookups, "expired");
    return c;
}

void token_cache_free(struct token_cache *c)
{
    if (c) {
        token_cache_drop_all(c);
        free(c->entries);
        free(c->chains);
        free(c->over);
        free(c);
    }
}

/* A token ends in its signature: the last bytes find it, all of it is compared. */
static uint64_t hash_of(struct str token)
{
    size_t n = token.n < HASHED_BYTES ? token.n : HASHED_BYTES;
    return id_siphash(token.p + token.n - n, n);
}

static void drop(struct token_cache *c, struct entry *e)
{
    uint32_t me = (uint32_t)(e - c->entries) + 1;
    uint32_t *at = &c->chains[e->hash & c->chain_mask];
    while (*at != me) {
        at = &c->entries[*at - 1].next;
    }
    *at = e->next;
    free(e->token);
    *e = (struct entry){.token = NULL};
    c->count--;
}

static struct entry *find(struct token_cache *c, struct str token, uint64_t hash)
{
    for (uint32_t i = c->chains[hash & c->chain_mask]; i; i = c->entries[i - 1].next) {
        struct entry *e = &c->entries[i - 1];
        if (e->hash == hash && str_eq(str_of(e->token, e->token_n), token)) {
            return e;
        }
    }
    return NULL;
}

static struct over_row *over_row_of(const struct token_cache *c, uint64_t hash)
{
    return &c->over[hash & c->chain_mask];
}

static bool is_known_over(const struct token_cache *c, struct str token, int64_t now_s, int64_t slack_s)
{
    uint64_t hash = id_siphash(token.p, token.n);
    const struct over_row *row = over_row_of(c, hash);
    return row->exp_s != 0 && row->hash == hash && now_s >= row->exp_s + slack_s;
}

void token_cache_add_over(struct token_cache *c, struct str token, int64_t exp_s)
{
    uint64_t hash = id_siphash(token.p, token.n);
    *over_row_of(c, hash) = (struct over_row){.hash = hash, .exp_s = exp_s};
}

enum token_cache_answer token_cache_find(struct token_cache *c, struct str token, int64_t now_s,
                                         int64_t slack_s, const struct jws_claims **claims)
{
    struct entry *e = find(c, token, hash_of(token));
    if (!e && !is_known_over(c, token, now_s, slack_s)) {
        metric_child_add(c->misses, 1);
        return TOKEN_CACHE_MISS;
    }
    if (!e || now_s >= e->claims.exp + slack_s) {
        metric_child_add(c->expired, 1);
        if (e && now_s >= e->claims.exp + STALE_S) {
            token_cache_add_over(c, token, e->claims.exp);
            drop(c, e);
        }
        return TOKEN_CACHE_OVER;
    }
    e->referenced = true;
    metric_child_add(c->hits, 1);
    *claims = &e->claims;
    return TOKEN_CACHE_HIT;
}

/* A free entry, made by the clock hand when there is none: it spares once what was used since it passed. */
static struct entry *take_entry(struct token_cache *c)
{
    for (;;) {
        struct entry *e = &c->entries[c->hand];
        c->hand = (c->hand + 1) % c->size;
        if (e->token && e->referenced) {
            e->referenced = false;
            continue;
        }
        if (e->token) {
            drop(c, e);
        }
        return e;
    }
}

void token_cache_add(struct token_cache *c, struct str token, const struct jws_claims *claims)
{
    uint64_t hash = hash_of(token);
    struct entry *e = find(c, token, hash);
    if (e) {
        e->claims = *claims;
        return;
    }
    e = take_entry(c);
    uint32_t *chain = &c->chains[hash & c->chain_mask];
    *e = (struct entry){.hash = hash, .token_n = token.n, .next = *chain, .claims = *claims};
    e->token = malloc(token.n + 1);
    BUG_ON(!e->token);
    memcpy(e->token, token.p, token.n);
    *chain = (uint32_t)(e - c->entries) + 1;
    c->count++;
}

void token_cache_drop_all(struct token_cache *c)
{
    for (unsigned i = 0; i < c->size; i++) {
        if (c->entries[i].token) {
            drop(c, &c->entries[i]);
        }
    }
    memset(c->over, 0, (c->chain_mask + 1) * sizeof(*c->over));
}

unsigned token_cache_count(const struct token_cache *c)
{
    return c->count;
}

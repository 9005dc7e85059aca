/* What this loop runs now, by key: the count behind rules with unit `concurrent`. Not the limit (the script knows the
 * other gateways), not the sending (limiter_beat.c).
 *
 *     concurrency_add (with the request that asks) -> running -> concurrency_drop (it ended, or was refused)
 *
 * Each loop of each gateway has its own field in the key's hash in Redis: its count and when it last said so. The
 * count is renewed every 3 s and believed for 9 s, so that a killed gateway's places are free within 9 s.
 * Memory: one entry a key that runs something here.
 * Thread rule: used only on the loop thread that created it. */
#ifndef TIDE_RATELIMIT_CONCURRENCY_H
#define TIDE_RATELIMIT_CONCURRENCY_H

#include "ratelimit/limiter_key.h"

enum { CONCURRENCY_RENEW_MS = 3000, CONCURRENCY_LIFE_MS = 9000 };

struct concurrency;

struct concurrency_key {
    struct limit_key key;
    char text[LIMIT_KEY_TEXT]; /* its name in Redis */
    size_t text_n;             /* bytes of it */
    enum limit_role role;
    unsigned count; /* running, or asked for */
};

struct concurrency *concurrency_new(void);
void concurrency_free(struct concurrency *t);
/* Both return the count afterwards. */
unsigned concurrency_add(struct concurrency *t, const struct limit_key_state *k);
unsigned concurrency_drop(struct concurrency *t, struct limit_key key);
unsigned concurrency_count(const struct concurrency *t, struct limit_key key);
/* The keys of one of so many parts of about the same size. */
void concurrency_each(const struct concurrency *t, unsigned part, unsigned parts,
                      void (*fn)(void *arg, const struct concurrency_key *k), void *arg);

#endif

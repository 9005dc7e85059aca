/* Looks at what keys have used without taking anything: for operators (tidectl limits explain).
 *
 * Ownership: struct limit_peek and the arena live until cb has been called, which happens exactly once, perhaps before
 * limiter_peek returns. rules and subject are read only during the call, but the rules must outlive the answers.
 * Thread rule: the limiter's loop. */
#ifndef TIDE_RATELIMIT_LIMITER_PEEK_H
#define TIDE_RATELIMIT_LIMITER_PEEK_H

#include "ratelimit/limiter.h"

struct limit_peek;

struct limit_peek_key {
    struct limit_key_state k;
    struct redis_op op;
    struct limit_peek *peek;
    bool is_known;           /* Redis answered */
    int64_t used;            /* us of the burst in use; of what runs at once: how many run */
    int64_t refused_here_us; /* > 0: the deny cache refuses it for so long */
};

struct limit_peek {
    struct limit_peek_key keys[LIMIT_RULES_MAX];
    unsigned count; /* rules that apply to the subject */
    unsigned waiting;
    void (*cb)(void *arg);
    void *arg;
};

void limiter_peek(struct limiter *l, struct limit_peek *p, const struct limit_rules *rules,
                  const struct limit_subject *subject, struct arena *arena, void (*cb)(void *arg), void *arg);

/* Units that are left on these terms; of rules that many share. */
uint64_t limit_peek_left(const struct limit_peek_key *k, const struct limit_terms *terms);

#endif

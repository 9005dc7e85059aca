#include "ratelimit/concurrency.h"

#include <stdlib.h>

enum { BUCKETS = 4096 };

struct node {
    struct node *next;
    struct concurrency_key k;
};

struct concurrency {
    struct node *buckets[BUCKETS];
};

struct concurrency *concurrency_new(void)
{
    struct concurrency *t = calloc(1, sizeof(*t));
    BUG_ON(!t);
    return t;
}

void concurrency_free(struct concurrency *t)
{
    for (int i = 0; t && i < BUCKETS; i++) {
        while (t->buckets[i]) {
            struct node *n = t->buckets[i];
            t->buckets[i] = n->next;
            free(n);
        }
    }
    free(t);
}

/* The link that points to the key's node, or the one at the end of its chain. */
static struct node **link_find(struct concurrency *t, struct limit_key key)
{
    struct node **link = &t->buckets[key.lo % BUCKETS];
    while (*link && ((*link)->k.key.lo != key.lo || (*link)->k.key.hi != key.hi)) {
        link = &(*link)->next;
    }
    return link;
}

unsigned concurrency_add(struct concurrency *t, const struct limit_key_state *k)
{
    struct node **link = link_find(t, k->key);
    if (!*link) {
        struct node *n = calloc(1, sizeof(*n));
        BUG_ON(!n);
        n->k = (struct concurrency_key){.key = k->key, .role = k->rule->role};
        n->k.text_n = limiter_key_text(k, n->k.text);
        *link = n;
    }
    return ++(*link)->k.count;
}

unsigned concurrency_drop(struct concurrency *t, struct limit_key key)
{
    struct node **link = link_find(t, key);
    struct node *n = *link;
    BUG_ON(!n || n->k.count == 0);
    unsigned left = --n->k.count;
    if (left == 0) {
        *link = n->next;
        free(n);
    }
    return left;
}

unsigned concurrency_count(const struct concurrency *t, struct limit_key key)
{
    for (const struct node *n = t->buckets[key.lo % BUCKETS]; n; n = n->next) {
        if (n->k.key.lo == key.lo && n->k.key.hi == key.hi) {
            return n->k.count;
        }
    }
    return 0;
}

void concurrency_each(const struct concurrency *t, unsigned part, unsigned parts,
                      void (*fn)(void *arg, const struct concurrency_key *k), void *arg)
{
    for (unsigned i = BUCKETS * part / parts; i < BUCKETS * (part + 1) / parts; i++) {
        for (const struct node *n = t->buckets[i]; n; n = n->next) {
            fn(arg, &n->k);
        }
    }
}

/* A set of e-mail domains that answers for subdomains too: "trash.example" holds "a.b.trash.example". Not a public
 * suffix list.
 *
 *     domain_set_new -> domain_set_add ... -> immutable -> domain_set_has(set, &key) -> domain_set_free
 *
 * A domain to look for is made into a domain_key once, and then asked of any number of sets: its hashes run from the
 * end, so that one walk gives those of all its parents.
 * Ownership: a key borrows the text that it was made from.
 * Thread rule: immutable once filled; any thread. */
#ifndef TIDE_AUTH_DOMAIN_SET_H
#define TIDE_AUTH_DOMAIN_SET_H

#include "base/str.h"

enum { DOMAIN_MAX = 253, DOMAIN_LABELS_MAX = 16 };

struct domain_key {
    struct str parents[DOMAIN_LABELS_MAX]; /* "example", "trash.example", "b.trash.example" ... */
    uint64_t hashes[DOMAIN_LABELS_MAX];
    unsigned count; /* 0: no domain */
};

struct domain_set;
struct domain_set *domain_set_new(unsigned domains, size_t bytes); /* room for so many, so long together */
void domain_set_free(struct domain_set *s);                        /* NULL allowed */
bool domain_set_add(struct domain_set *s, struct str domain);      /* false: it is there already */

bool domain_is_good(struct str domain); /* lower case ASCII labels with dots, at least two, at most 16 */
void domain_key_init(struct domain_key *k, struct str domain);
bool domain_set_has(const struct domain_set *s, const struct domain_key *k);
unsigned domain_set_count(const struct domain_set *s);
/* The next domain; *at begins as 0. False past the last one. */
bool domain_set_next(const struct domain_set *s, size_t *at, struct str *out);

#endif

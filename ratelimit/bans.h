/* Who is turned away, and who never is: one immutable, counted snapshot. Not where it comes from (bans_store.h) and
 * not the asking at accept, hello and request (gateway/bans.h).
 *
 *     bans_with(old, changes) -> a new snapshot -> loops take references -> the last bans_unref frees it
 *
 * An allowance wins over any ban: when one of the subject's properties is allowed, nothing is banned. Among bans, and
 * among phone prefixes, the longest is the one that counts the hit. What has ended is passed over, and left out of
 * the next snapshot.
 * Cost: an address is one search (prefix_table.h), any other property one probe of a hash table, a phone number nine.
 * Memory: about 150 bytes an entry.
 * Thread rule: any thread; only the counts of hits change. */
#ifndef TIDE_RATELIMIT_BANS_H
#define TIDE_RATELIMIT_BANS_H

#include <stdint.h>

#include "ratelimit/ban_target.h"

struct bans;

enum { BANS_FOREVER = 0 };

struct ban {
    int64_t id;
    enum ban_kind kind;
    bool is_allow;
    bool is_gone;              /* in changes: taken back */
    struct addr_prefix prefix; /* BAN_ADDRESS */
    const char *text;          /* of the others, as ban_target.text; NULL for addresses */
    uint64_t until_ms;         /* monotonic, or BANS_FOREVER */
};

/* What was in old (NULL: nothing), with the changes: an id that is there is replaced. changes are copied, and sorted
 * by id on the way. */
struct bans *bans_with(const struct bans *old, struct ban *changes, uint32_t n, uint64_t now_ms);
struct bans *bans_ref(struct bans *b);
void bans_unref(struct bans *b); /* NULL allowed */

/* What is known of who asks. */
struct ban_subject {
    const struct addr *address; /* NULL: none */
    uint32_t asn;               /* 0: none */
    struct str ja4, device;     /* may be empty */
    struct str phone;           /* E.164, or empty */
};
/* The ban that holds for it now, borrowed; NULL: none, or an allowance wins. */
const struct ban *bans_find(const struct bans *b, const struct ban_subject *s, uint64_t now_ms);
void bans_count_hit(struct bans *b, const struct ban *hit);

uint32_t bans_count(const struct bans *b);                   /* entries, bans and allowances */
const struct ban *bans_at(const struct bans *b, uint32_t i); /* by rising id */
/* Calls fn for each entry that was hit since the last time; those for which it says true are forgotten. */
void bans_take_hits(struct bans *b, bool (*fn)(void *arg, const struct ban *ban, uint32_t n), void *arg);

#endif

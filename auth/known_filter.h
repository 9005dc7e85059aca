/* A compact set of keyed hashes that answers "surely not" or "maybe": which numbers may have an account. Not the learning of
 * them (known_feed.h). Private to auth/, but for the reference that the gateway holds.
 *
 * A blocked Bloom filter: the hash chooses one cache line of 512 bits, and six of its bits. What is in it is always found; of
 * what is not, so many are "maybe" (tests/unit/known_filter_test.c measures it):
 *
 *     bits an entry        24        16        12         8 (full)
 *     wrongly "maybe"    0.02 %    0.12 %    0.44 %    2.3 %
 *
 * Entries only come. Adding one twice changes nothing.
 * Ownership: counted references. Thread rule: any thread, also adding while others look. */
#ifndef TIDE_AUTH_KNOWN_FILTER_H
#define TIDE_AUTH_KNOWN_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KNOWN_HASH_BYTES = 16, KNOWN_FILTER_MIN = 65536 }; /* KNOWN_HASH_BYTES: as many are looked at */

struct known_filter;
/* NULL: no memory. bytes: rounded down to cache lines, at least one. */
struct known_filter *known_filter_new(size_t bytes);
struct known_filter *known_filter_ref(struct known_filter *f);
void known_filter_unref(struct known_filter *f); /* NULL: nothing */

void known_filter_add(struct known_filter *f, const uint8_t hash[KNOWN_HASH_BYTES]);
bool known_filter_may_have(const struct known_filter *f, const uint8_t hash[KNOWN_HASH_BYTES]);

uint64_t known_filter_entries(
    const struct known_filter *f);                       /* different ones; a little fewer when it is full */
bool known_filter_is_full(const struct known_filter *f); /* under 8 bits an entry: wants a larger one */

#endif

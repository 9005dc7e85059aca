/* Which of many address prefixes holds an address, the longest first. Built once, then only asked. Not a list that
 * grows: a change makes a new table.
 *
 * The prefixes, nested as they may be, cut the line of all addresses into pieces; a piece knows the longest prefix
 * over it, a prefix the next longer one around it. A look-up is one search by halves: 18 steps for 100,000 prefixes
 * of any length, IPv4 (as ::ffff:0:0/96) and IPv6 alike. tests/bench/bans_bench measures it.
 *
 *     10.0.0.0/8 (0)  |-----------------------------|
 *     10.1.0.0/16 (1)         |-------|
 *     pieces          |   0   |   1   |      0      | none
 *
 * Memory: about 45 bytes a prefix.
 * Thread rule: immutable once built; any thread. */
#ifndef TIDE_RATELIMIT_PREFIX_TABLE_H
#define TIDE_RATELIMIT_PREFIX_TABLE_H

#include "base/addr.h"

struct prefix_table;

enum { PREFIX_NONE = UINT32_MAX };

/* A prefix is known by its place in the array, which is not kept. The same one twice: both are found. */
struct prefix_table *prefix_table_new(const struct addr_prefix *prefixes, uint32_t n);
void prefix_table_free(struct prefix_table *t); /* NULL allowed */

/* The longest prefix that holds the address, or PREFIX_NONE. */
uint32_t prefix_table_find(const struct prefix_table *t, const struct addr *a);
/* The next longest one that holds all of that prefix, or PREFIX_NONE. */
uint32_t prefix_table_outer(const struct prefix_table *t, uint32_t prefix);

#endif

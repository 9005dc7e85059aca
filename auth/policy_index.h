/* Which rules of a policy may match an attempt: found by its facts, instead of asking every rule. Not the decision
 * itself (policy_match.c), which takes the first of them.
 *
 *     kind with few values   method, device ...            a table: value -> the rules that it satisfies
 *     kind with many         country, ASN, prefix ...      one hash for all: kind and value -> rules that name it
 *
 * A set of rules is a row of bits. The sets of the facts, ANDed, are the rules that may match: all of them do but for
 * the conditions of policy_index_left, which are asked of each. Rules without a condition are in all of its sets;
 * with an unknown fact also those that do not allow (see policy_match.c).
 * Ownership: borrows the rules, which hold its texts.
 * Thread rule: immutable. */
#ifndef TIDE_AUTH_POLICY_INDEX_H
#define TIDE_AUTH_POLICY_INDEX_H

#include <stdint.h>

enum { POLICY_SET_WORDS = 16 }; /* 1,000 rules and a few */

struct policy_attempt;
struct policy_rule;

/* Bit i % 64 of words[i / 64]: rule i. */
struct policy_set {
    uint64_t words[POLICY_SET_WORDS];
};

/* The first rule of a set from `first` on; count, of all rules: none. */
unsigned policy_set_next(const struct policy_set *s, unsigned first, unsigned count);

struct policy_index;
struct policy_index *policy_index_new(const struct policy_rule *rules, unsigned count);
void policy_index_free(struct policy_index *x); /* NULL allowed */

/* Only so many words of out as there are rules are written. */
void policy_index_find(const struct policy_index *x, const struct policy_attempt *a, struct policy_set *out);
/* Bits of enum policy_condition: what is still to be asked of a rule that was found. */
uint32_t policy_index_left(const struct policy_attempt *a);

#endif

/* See policy_index.h. The hash is open addressing with one slot for each 64 rules that a value has: a look-up walks one
 * run of slots, up to the first free one, and takes all that are of its value. */
#include "auth/policy_index.h"

#include <stdlib.h>

#include "auth/policy_inner.h"
#include "base/id.h"

enum { WORD_BITS = 64, KIND_BITS = 3, WORD_NUMBER_BITS = 4, SLOTS_MIN = 8 };
_Static_assert(POLICY_RULES_MAX <= POLICY_SET_WORDS * WORD_BITS, "a bit for each rule");
_Static_assert(POLICY_SET_WORDS <= 1 << WORD_NUMBER_BITS, "the number of a word fits");

/* Conditions with many values; of the texts, whose hash is in the index, the condition is asked again. */
enum kind {
    KIND_PHONE_COUNTRY = 0,
    KIND_IP_COUNTRY,
    KIND_ASN,
    KIND_PREFIX,
    KIND_CAMPAIGN,
    KIND_DOMAIN,
    KINDS
};
_Static_assert(KINDS <= 1 << KIND_BITS, "the kind fits");

static const enum policy_condition conditions[KINDS] = {
    [KIND_PHONE_COUNTRY] = POLICY_IF_PHONE_COUNTRY,
    [KIND_IP_COUNTRY] = POLICY_IF_IP_COUNTRY,
    [KIND_ASN] = POLICY_IF_ASN,
    [KIND_PREFIX] = POLICY_IF_PHONE_PREFIX,
    [KIND_CAMPAIGN] = POLICY_IF_CAMPAIGN,
    [KIND_DOMAIN] = POLICY_IF_EMAIL_DOMAIN,
};
static const uint32_t asked_again = POLICY_BIT(POLICY_IF_APP_VERSION) | POLICY_BIT(POLICY_IF_RAMP) |
                                    POLICY_BIT(POLICY_IF_TIME) | POLICY_BIT(POLICY_IF_CAMPAIGN) |
                                    POLICY_BIT(POLICY_IF_EMAIL_DOMAIN);

struct slot {
    uint64_t key;  /* value, kind, number of the word */
    uint64_t bits; /* of that word; 0: free */
};

struct policy_index {
    unsigned words; /* of each set that are used */
    uint32_t has;   /* conditions that some rule has */
    struct policy_set few[POLICY_FEW_CONDITIONS][POLICY_FEW_VALUES];
    struct policy_set without[KINDS]; /* rules without that condition */
    struct policy_set unknown[KINDS]; /* rules that an unknown fact satisfies */
    struct slot *slots;
    uint64_t mask; /* slots - 1 */
};

unsigned policy_set_next(const struct policy_set *s, unsigned first, unsigned count)
{
    for (unsigned i = first; i < count; i = (i / WORD_BITS + 1) * WORD_BITS) {
        uint64_t bits = s->words[i / WORD_BITS] >> i % WORD_BITS;
        if (bits) {
            i += (unsigned)__builtin_ctzll(bits);
            return i < count ? i : count;
        }
    }
    return count;
}

/* --- the hash ---------------------------------------------------------------------------------------- */

static uint64_t key_of(enum kind kind, uint64_t value)
{
    return (value << KIND_BITS | kind) << WORD_NUMBER_BITS;
}

static uint64_t first_slot(const struct policy_index *x, uint64_t key)
{
    const uint64_t odd = 0x9e3779b97f4a7c15; /* 2^64 by the golden ratio: spreads neighbours */
    return ((key >> WORD_NUMBER_BITS) * odd >> 32) & x->mask;
}

static void add(struct policy_index *x, enum kind kind, uint64_t value, unsigned rule)
{
    uint64_t key = key_of(kind, value) | rule / WORD_BITS;
    uint64_t i = first_slot(x, key);
    while (x->slots[i].bits != 0 && x->slots[i].key != key) {
        i = (i + 1) & x->mask;
    }
    x->slots[i].key = key;
    x->slots[i].bits |= 1ull << rule % WORD_BITS;
}

static void find(const struct policy_index *x, enum kind kind, uint64_t value, struct policy_set *out)
{
    uint64_t key = key_of(kind, value);
    const struct slot *slot;
    for (uint64_t i = first_slot(x, key); (slot = &x->slots[i])->bits != 0; i = (i + 1) & x->mask) {
        if (slot->key >> WORD_NUMBER_BITS == key >> WORD_NUMBER_BITS) {
            out->words[slot->key % POLICY_SET_WORDS] |= slot->bits;
        }
    }
}

/* Texts are found by their hash: one that falls together with another is told apart by the rule itself. */
static uint64_t hash_value(uint64_t hash)
{
    return hash >> (KIND_BITS + WORD_NUMBER_BITS);
}

static uint64_t campaign_value(struct str campaign)
{
    return hash_value(id_siphash(campaign.p, campaign.n));
}

/* --- filling ----------------------------------------------------------------------------------------- */

static void set_add(struct policy_set *s, unsigned rule)
{
    s->words[rule / WORD_BITS] |= 1ull << rule % WORD_BITS;
}

static void add_few(struct policy_index *x, const struct policy_rule *r, unsigned i)
{
    for (enum policy_condition c = 0; c < POLICY_FEW_CONDITIONS; c++) {
        for (unsigned value = 0; value < POLICY_FEW_VALUES; value++) {
            if (!(r->has & POLICY_BIT(c)) || policy_few_match(r, c, value) >= policy_match_wanted(r)) {
                set_add(&x->few[c][value], i);
            }
        }
    }
}

static void add_countries(struct policy_index *x, enum kind kind, const struct policy_countries *set,
                          unsigned i)
{
    for (int country = 0; set && country < POLICY_COUNTRIES; country++) {
        if (policy_countries_has(set, country)) {
            add(x, kind, (uint64_t)country, i);
        }
    }
}

static void add_many(struct policy_index *x, const struct policy_rule *r, unsigned i)
{
    struct str domain;
    size_t at = 0;
    for (enum kind k = 0; k < KINDS; k++) {
        bool has = r->has & POLICY_BIT(conditions[k]);
        if (!has) {
            set_add(&x->without[k], i);
        }
        if (!has || policy_match_wanted(r) == POLICY_MATCH_UNKNOWN) {
            set_add(&x->unknown[k], i);
        }
    }
    add_countries(x, KIND_PHONE_COUNTRY, r->phone_country, i);
    add_countries(x, KIND_IP_COUNTRY, r->ip_country, i);
    for (unsigned n = 0; n < r->asn.count; n++) {
        add(x, KIND_ASN, r->asn.items[n], i);
    }
    for (unsigned n = 0; n < r->prefix.count; n++) {
        add(x, KIND_PREFIX, r->prefix.items[n], i);
    }
    for (unsigned n = 0; n < r->campaign.count; n++) {
        add(x, KIND_CAMPAIGN, campaign_value(str_from(r->campaign.items[n])), i);
    }
    while (r->email_domain && domain_set_next(r->email_domain, &at, &domain)) {
        struct domain_key key;
        domain_key_init(&key, domain);
        add(x, KIND_DOMAIN, hash_value(key.hashes[key.count - 1]), i);
    }
}

static unsigned countries_count(const struct policy_countries *set)
{
    unsigned count = 0;
    for (unsigned i = 0; set && i < sizeof set->bits / sizeof set->bits[0]; i++) {
        count += (unsigned)__builtin_popcount(set->bits[i]);
    }
    return count;
}

static size_t values_count(const struct policy_rule *r)
{
    return (size_t)countries_count(r->phone_country) + countries_count(r->ip_country) + r->asn.count +
           r->prefix.count + r->campaign.count + (r->email_domain ? domain_set_count(r->email_domain) : 0);
}

struct policy_index *policy_index_new(const struct policy_rule *rules, unsigned count)
{
    struct policy_index *x = calloc(1, sizeof *x);
    size_t values = 0, slots = SLOTS_MIN;
    BUG_ON(!x || count > POLICY_RULES_MAX);
    for (unsigned i = 0; i < count; i++) {
        x->has |= rules[i].has;
        values += values_count(&rules[i]);
    }
    while (slots < 2 * values) {
        slots *= 2;
    }
    x->words = (count + WORD_BITS - 1) / WORD_BITS;
    x->mask = slots - 1;
    x->slots = calloc(slots, sizeof *x->slots);
    BUG_ON(!x->slots);
    for (unsigned i = 0; i < count; i++) {
        add_few(x, &rules[i], i);
        add_many(x, &rules[i], i);
    }
    return x;
}

void policy_index_free(struct policy_index *x)
{
    if (x) {
        free(x->slots);
        free(x);
    }
}

/* --- finding ----------------------------------------------------------------------------------------- */

/* False: the fact is not known. */
static bool find_kind(const struct policy_index *x, enum kind kind, const struct policy_attempt *a,
                      struct policy_set *out)
{
    const struct policy_facts *f = a->facts;
    switch (kind) {
    case KIND_PHONE_COUNTRY:
        find(x, kind, (uint64_t)a->phone_country, out);
        return a->phone_country >= 0;
    case KIND_IP_COUNTRY:
        find(x, kind, (uint64_t)a->ip_country, out);
        return a->ip_country >= 0;
    case KIND_ASN:
        find(x, kind, f->asn, out);
        return f->asn != 0;
    case KIND_PREFIX:
        for (unsigned n = 1; n <= a->digits; n++) {
            find(x, kind, a->prefix_keys[n], out);
        }
        return a->digits > 0;
    case KIND_CAMPAIGN:
        find(x, kind, campaign_value(f->campaign), out);
        return f->campaign.n > 0 ||
               f->invite != POLICY_UNKNOWN; /* no invite: no campaign, and that is known */
    case KIND_DOMAIN:
        for (unsigned n = 1; n < a->domain.count; n++) { /* no top-level domain is in a list */
            find(x, kind, hash_value(a->domain.hashes[n]), out);
        }
        return a->domain.count > 0;
    case KINDS:
        break;
    }
    return false;
}

static void keep_common(const struct policy_index *x, struct policy_set *out, const struct policy_set *other)
{
    for (unsigned w = 0; w < x->words; w++) {
        out->words[w] &= other->words[w];
    }
}

uint32_t policy_index_left(const struct policy_attempt *a)
{
    /* A number of which only the beginning is known may go on as a longer prefix does. */
    return a->facts->phone_is_prefix ? asked_again | POLICY_BIT(POLICY_IF_PHONE_PREFIX) : asked_again;
}

void policy_index_find(const struct policy_index *x, const struct policy_attempt *a, struct policy_set *out)
{
    for (unsigned w = 0; w < x->words; w++) {
        out->words[w] = UINT64_MAX;
    }
    for (enum policy_condition c = 0; c < POLICY_FEW_CONDITIONS; c++) {
        if (x->has & POLICY_BIT(c)) {
            keep_common(x, out, &x->few[c][policy_few_value(c, a)]);
        }
    }
    for (enum kind k = 0; k < KINDS; k++) {
        if (!(x->has & POLICY_BIT(conditions[k])) || (k == KIND_PREFIX && a->facts->phone_is_prefix)) {
            continue;
        }
        struct policy_set some = x->without[k];
        bool is_known = find_kind(x, k, a, &some);
        keep_common(x, out, is_known ? &some : &x->unknown[k]);
    }
}

/* Open addressing over one block of text: a look-up touches one slot and one string, freeing frees three blocks. */
#include "auth/domain_set.h"

#include <stdlib.h>

#include "base/err.h"

struct slot {
    uint32_t hash; /* upper half: a first comparison without the text */
    uint32_t end;  /* where the domain ends in text; 0: free */
    uint32_t n;
};

struct domain_set {
    struct slot *slots;
    uint32_t mask; /* slots - 1 */
    unsigned count;
    char *text; /* domains, each with its NUL */
    size_t used, room;
};

/* FNV-1a, from the last byte to the first. */
enum { HASH_PRIME_HIGH = 0x100, HASH_PRIME_LOW = 0x1b3 };

static uint64_t hash_step(uint64_t hash, char c)
{
    const uint64_t prime = ((uint64_t)HASH_PRIME_HIGH << 32) | HASH_PRIME_LOW;
    return (hash ^ (unsigned char)c) * prime;
}

static const uint64_t hash_start = 0xcbf29ce484222325;

struct domain_set *domain_set_new(unsigned domains, size_t bytes)
{
    struct domain_set *s = calloc(1, sizeof *s);
    uint32_t slots = 8;
    while (slots < 2 * domains) {
        slots *= 2;
    }
    BUG_ON(!s || bytes + domains >= UINT32_MAX);
    s->slots = calloc(slots, sizeof *s->slots);
    s->mask = slots - 1;
    s->room = bytes + domains;
    s->text = malloc(s->room + 1);
    BUG_ON(!s->slots || !s->text);
    return s;
}

void domain_set_free(struct domain_set *s)
{
    if (s) {
        free(s->slots);
        free(s->text);
        free(s);
    }
}

static struct str slot_text(const struct domain_set *s, const struct slot *slot)
{
    return str_of(s->text + slot->end - slot->n, slot->n);
}

/* The slot of a domain, or the free one where it would stand. */
static struct slot *find_slot(const struct domain_set *s, uint64_t hash, struct str domain)
{
    for (uint32_t i = (uint32_t)hash & s->mask;; i = (i + 1) & s->mask) {
        struct slot *slot = &s->slots[i];
        if (slot->end == 0 || (slot->hash == (uint32_t)(hash >> 32) && str_eq(slot_text(s, slot), domain))) {
            return slot;
        }
    }
}

bool domain_set_add(struct domain_set *s, struct str domain)
{
    uint64_t hash = hash_start;
    for (size_t i = domain.n; i > 0; i--) {
        hash = hash_step(hash, domain.p[i - 1]);
    }
    struct slot *slot = find_slot(s, hash, domain);
    if (slot->end != 0) {
        return false;
    }
    BUG_ON(domain.n == 0 || s->used + domain.n + 1 > s->room + 1 || s->count >= s->mask);
    memcpy(s->text + s->used, domain.p, domain.n);
    s->used += domain.n;
    *slot = (struct slot){(uint32_t)(hash >> 32), (uint32_t)s->used, (uint32_t)domain.n};
    s->text[s->used++] = 0;
    s->count++;
    return true;
}

bool domain_is_good(struct str domain)
{
    size_t label = 0;
    unsigned labels = 1;
    for (size_t i = 0; i < domain.n; i++) {
        char c = domain.p[i];
        bool is_inner = label > 0 && i + 1 < domain.n && domain.p[i + 1] != '.';
        if (c == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
            labels++;
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && is_inner)) {
            label++;
        } else {
            return false;
        }
    }
    return label > 0 && labels >= 2 && labels <= DOMAIN_LABELS_MAX && domain.n <= DOMAIN_MAX;
}

void domain_key_init(struct domain_key *k, struct str domain)
{
    uint64_t hash = hash_start;
    k->count = 0;
    for (size_t i = domain.n; i > 0 && k->count < DOMAIN_LABELS_MAX; i--) {
        hash = hash_step(hash, domain.p[i - 1]);
        if (i == 1 || domain.p[i - 2] == '.') {
            k->parents[k->count] = str_skip(domain, i - 1);
            k->hashes[k->count++] = hash;
        }
    }
}

bool domain_set_has(const struct domain_set *s, const struct domain_key *k)
{
    for (unsigned i = 1; i < k->count; i++) { /* no top-level domain is in a set */
        if (find_slot(s, k->hashes[i], k->parents[i])->end != 0) {
            return true;
        }
    }
    return false;
}

unsigned domain_set_count(const struct domain_set *s)
{
    return s->count;
}

bool domain_set_next(const struct domain_set *s, size_t *at, struct str *out)
{
    if (*at >= s->used) {
        return false;
    }
    *out = str_from(s->text + *at);
    *at += out->n + 1;
    return true;
}

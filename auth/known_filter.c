/* See known_filter.h. */
#include "auth/known_filter.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64, BLOCK_WORDS = 8, PROBES = 6, PROBE_BITS = 9, BITS_AN_ENTRY_MIN = 8 };

struct known_filter {
    uint64_t (*blocks)[BLOCK_WORDS]; /* each a cache line; bits are set and read by atomics */
    uint64_t block_count;
    atomic_ullong entries;
    atomic_uint refs;
};

struct known_filter *known_filter_new(size_t bytes)
{
    size_t count = bytes < BLOCK_BYTES ? 1 : bytes / BLOCK_BYTES;
    struct known_filter *f = calloc(1, sizeof *f);
    void *blocks = aligned_alloc(BLOCK_BYTES, count * BLOCK_BYTES);
    if (!f || !blocks) {
        free(f);
        free(blocks);
        return NULL;
    }
    memset(blocks, 0, count * BLOCK_BYTES);
    f->blocks = blocks;
    f->block_count = count;
    atomic_init(&f->refs, 1);
    return f;
}

struct known_filter *known_filter_ref(struct known_filter *f)
{
    atomic_fetch_add(&f->refs, 1);
    return f;
}

void known_filter_unref(struct known_filter *f)
{
    if (f && atomic_fetch_sub(&f->refs, 1) == 1) {
        free(f->blocks);
        free(f);
    }
}

/* Where the bits of a hash are: a block, and what is to be set in each of its words. */
static uint64_t *place_of(const struct known_filter *f, const uint8_t *hash, uint64_t bits[BLOCK_WORDS])
{
    uint64_t where, which;
    memcpy(&where, hash, sizeof where);
    memcpy(&which, hash + sizeof where, sizeof which);
    memset(bits, 0, BLOCK_BYTES);
    for (unsigned i = 0; i < PROBES; i++, which >>= PROBE_BITS) {
        bits[which >> 6 & (BLOCK_WORDS - 1)] |= 1ULL << (which & 63);
    }
    return f->blocks[(uint64_t)((unsigned __int128)where * f->block_count >> 64)];
}

void known_filter_add(struct known_filter *f, const uint8_t hash[KNOWN_HASH_BYTES])
{
    uint64_t bits[BLOCK_WORDS];
    uint64_t *block = place_of(f, hash, bits);
    bool is_new = false;
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        if (bits[i] && (__atomic_fetch_or(&block[i], bits[i], __ATOMIC_RELAXED) & bits[i]) != bits[i]) {
            is_new = true;
        }
    }
    if (is_new) {
        atomic_fetch_add_explicit(&f->entries, 1, memory_order_relaxed);
    }
}

bool known_filter_may_have(const struct known_filter *f, const uint8_t hash[KNOWN_HASH_BYTES])
{
    uint64_t bits[BLOCK_WORDS];
    const uint64_t *block = place_of(f, hash, bits);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        if (bits[i] && (__atomic_load_n(&block[i], __ATOMIC_RELAXED) & bits[i]) != bits[i]) {
            return false;
        }
    }
    return true;
}

uint64_t known_filter_entries(const struct known_filter *f)
{
    return atomic_load_explicit(&f->entries, memory_order_relaxed);
}

bool known_filter_is_full(const struct known_filter *f)
{
    return known_filter_entries(f) * BITS_AN_ENTRY_MIN > f->block_count * BLOCK_BYTES * 8;
}

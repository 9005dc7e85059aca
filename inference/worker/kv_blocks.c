#include "inference/worker/kv_blocks.h"

#include <stdlib.h>
#include <string.h>

#include "base/id.h"

struct block {
    uint32_t references;
    bool known;       /* stands in a bucket */
    uint32_t next;    /* in its bucket */
    uint32_t older;   /* in the list of unreferenced blocks */
    uint32_t younger; /* likewise */
    uint64_t before;  /* hash of the chain before it */
    uint64_t hash;
    int32_t tokens[KV_BLOCK];
};

struct kv_blocks {
    struct block *block;
    uint32_t count;
    uint32_t *buckets; /* first known block of each; a power of two of them */
    uint32_t mask;
    uint32_t oldest; /* unreferenced: unknown ones stand before kept ones */
    uint32_t youngest;
    uint32_t available;
};

int kv_blocks_new(uint32_t blocks, struct kv_blocks **out, struct err *err)
{
    struct kv_blocks *kb = calloc(1, sizeof *kb);
    uint32_t buckets = 16;
    while (buckets < blocks && buckets < 1U << 31) {
        buckets *= 2;
    }
    if (kb) {
        kb->block = calloc(blocks, sizeof *kb->block);
        kb->buckets = malloc(buckets * sizeof *kb->buckets);
    }
    if (!kb || !kb->block || !kb->buckets) {
        kv_blocks_free(kb);
        return err_set(err, ERR_NOMEM, "KV cache: no memory for %u blocks", blocks);
    }
    memset(kb->buckets, 0xFF, buckets * sizeof *kb->buckets); /* KV_BLOCK_NONE */
    kb->count = blocks;
    kb->available = blocks;
    kb->mask = buckets - 1;
    for (uint32_t i = 0; i < blocks; i++) {
        kb->block[i].older = i ? i - 1 : KV_BLOCK_NONE;
        kb->block[i].younger = i + 1 < blocks ? i + 1 : KV_BLOCK_NONE;
    }
    kb->oldest = blocks ? 0 : KV_BLOCK_NONE;
    kb->youngest = blocks ? blocks - 1 : KV_BLOCK_NONE;
    *out = kb;
    return 0;
}

void kv_blocks_free(struct kv_blocks *kb)
{
    if (kb) {
        free(kb->block);
        free(kb->buckets);
        free(kb);
    }
}

uint32_t kv_blocks_available(const struct kv_blocks *kb)
{
    return kb->available;
}

/* --- the list of unreferenced blocks ----------------------------------------------------------------- */

static void leave_list(struct kv_blocks *kb, uint32_t i)
{
    struct block *b = &kb->block[i];
    *(b->older == KV_BLOCK_NONE ? &kb->oldest : &kb->block[b->older].younger) = b->younger;
    *(b->younger == KV_BLOCK_NONE ? &kb->youngest : &kb->block[b->younger].older) = b->older;
    kb->available--;
}

static void join_oldest(struct kv_blocks *kb, uint32_t i)
{
    struct block *b = &kb->block[i];
    b->older = KV_BLOCK_NONE;
    b->younger = kb->oldest;
    *(kb->oldest == KV_BLOCK_NONE ? &kb->youngest : &kb->block[kb->oldest].older) = i;
    kb->oldest = i;
    kb->available++;
}

static void join_youngest(struct kv_blocks *kb, uint32_t i)
{
    struct block *b = &kb->block[i];
    b->younger = KV_BLOCK_NONE;
    b->older = kb->youngest;
    *(kb->youngest == KV_BLOCK_NONE ? &kb->oldest : &kb->block[kb->youngest].younger) = i;
    kb->youngest = i;
    kb->available++;
}

/* --- known blocks ------------------------------------------------------------------------------------ */

static uint64_t hash_of(uint64_t before, const int32_t *tokens)
{
    struct {
        uint64_t before;
        int32_t tokens[KV_BLOCK];
    } chain = {.before = before};
    memcpy(chain.tokens, tokens, sizeof chain.tokens);
    return id_siphash(&chain, sizeof chain);
}

static bool holds(const struct block *b, uint64_t before, uint64_t hash, const int32_t *tokens)
{
    return b->hash == hash && b->before == before && memcmp(b->tokens, tokens, sizeof b->tokens) == 0;
}

static uint32_t look_up(const struct kv_blocks *kb, uint64_t before, uint64_t hash, const int32_t *tokens)
{
    uint32_t i = kb->buckets[hash & kb->mask];
    while (i != KV_BLOCK_NONE && !holds(&kb->block[i], before, hash, tokens)) {
        i = kb->block[i].next;
    }
    return i;
}

static void forget(struct kv_blocks *kb, uint32_t i)
{
    struct block *b = &kb->block[i];
    uint32_t *at = &kb->buckets[b->hash & kb->mask];
    while (*at != i) {
        at = &kb->block[*at].next;
    }
    *at = b->next;
    b->known = false;
}

uint64_t kv_blocks_root(uint64_t tenant)
{
    return id_siphash(&tenant, sizeof tenant);
}

uint64_t kv_blocks_seal(struct kv_blocks *kb, uint32_t block, uint64_t before, const int32_t *tokens)
{
    struct block *b = &kb->block[block];
    uint64_t hash = hash_of(before, tokens);
    BUG_ON(b->references == 0);
    if (b->known || look_up(kb, before, hash, tokens) != KV_BLOCK_NONE) {
        return hash; /* somebody computed the same at the same time: one of them is enough */
    }
    b->before = before;
    b->hash = hash;
    memcpy(b->tokens, tokens, sizeof b->tokens);
    b->next = kb->buckets[hash & kb->mask];
    kb->buckets[hash & kb->mask] = block;
    b->known = true;
    return hash;
}

bool kv_blocks_knows(const struct kv_blocks *kb, uint64_t before, const int32_t *tokens, uint64_t *hash)
{
    *hash = hash_of(before, tokens);
    return look_up(kb, before, *hash, tokens) != KV_BLOCK_NONE;
}

uint32_t kv_blocks_find(struct kv_blocks *kb, uint64_t before, const int32_t *tokens, uint64_t *hash)
{
    *hash = hash_of(before, tokens);
    uint32_t i = look_up(kb, before, *hash, tokens);
    if (i != KV_BLOCK_NONE && kb->block[i].references++ == 0) {
        leave_list(kb, i);
    }
    return i;
}

/* --- references -------------------------------------------------------------------------------------- */

uint32_t kv_blocks_take(struct kv_blocks *kb)
{
    uint32_t i = kb->oldest;
    if (i == KV_BLOCK_NONE) {
        return i;
    }
    leave_list(kb, i);
    if (kb->block[i].known) {
        forget(kb, i);
    }
    kb->block[i].references = 1;
    return i;
}

void kv_blocks_release(struct kv_blocks *kb, uint32_t block)
{
    struct block *b = &kb->block[block];
    BUG_ON(b->references == 0);
    if (--b->references > 0) {
        return;
    }
    if (b->known) {
        join_youngest(kb, block);
    } else {
        join_oldest(kb, block);
    }
}

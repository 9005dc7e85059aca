#include "inference/worker/kv_tables.h"

#include <stdlib.h>

struct slot {
    uint32_t blocks;       /* in its table of all layers */
    uint32_t window_first; /* in its table of the window: blocks [first, end) */
    uint32_t window_end;
    uint64_t chain; /* hash of its full blocks */
};

struct kv_tables {
    struct kv_tables_conf conf;
    struct kv_blocks *all;
    struct kv_blocks *window; /* NULL: there is none */
    struct slot *slots;
    uint32_t *all_table;
    uint32_t *window_table;
    uint32_t width;
};

/* An interval of n positions touches at most n / KV_BLOCK + 2 blocks; a sequence needs the window before its
 * next position and its share of the step. */
void kv_tables_plan(struct kv_tables_conf *conf, uint32_t kv_tokens, uint32_t step_tokens)
{
    uint64_t tokens = kv_tokens ? kv_tokens : (uint64_t)conf->slots * conf->context;
    uint64_t needed =
        (uint64_t)conf->slots * (conf->window / KV_BLOCK + 3) + (step_tokens + KV_BLOCK - 1) / KV_BLOCK;
    conf->blocks = (uint32_t)((tokens + KV_BLOCK - 1) / KV_BLOCK);
    conf->window_blocks = conf->window && 2 * needed < conf->blocks ? (uint32_t)(2 * needed) : 0;
}

int kv_tables_new(const struct kv_tables_conf *conf, struct kv_tables **out, struct err *err)
{
    struct kv_tables *kt = calloc(1, sizeof *kt);
    if (!kt) {
        return err_set(err, ERR_NOMEM, "KV cache: no memory");
    }
    kt->conf = *conf;
    kt->width = (conf->context + KV_BLOCK - 1) / KV_BLOCK;
    size_t entries = (size_t)conf->slots * kt->width;
    kt->slots = calloc(conf->slots, sizeof *kt->slots);
    kt->all_table = calloc(entries, sizeof *kt->all_table);
    kt->window_table = conf->window_blocks ? calloc(entries, sizeof *kt->window_table) : NULL;
    int rc = 0;
    if (!kt->slots || !kt->all_table || (conf->window_blocks && !kt->window_table)) {
        rc = err_set(err, ERR_NOMEM, "KV cache: no memory for %u tables", conf->slots);
    }
    if (!rc) {
        rc = kv_blocks_new(conf->blocks, &kt->all, err);
    }
    if (!rc && conf->window_blocks) {
        rc = kv_blocks_new(conf->window_blocks, &kt->window, err);
    }
    if (rc) {
        kv_tables_free(kt);
        return rc;
    }
    *out = kt;
    return 0;
}

void kv_tables_free(struct kv_tables *kt)
{
    if (kt) {
        kv_blocks_free(kt->all);
        kv_blocks_free(kt->window);
        free(kt->slots);
        free(kt->all_table);
        free(kt->window_table);
        free(kt);
    }
}

static uint32_t *all_of(const struct kv_tables *kt, uint32_t slot)
{
    return kt->all_table + (size_t)slot * kt->width;
}

static uint32_t *window_of(const struct kv_tables *kt, uint32_t slot)
{
    return kt->window_table + (size_t)slot * kt->width;
}

/* The first block that a query at `position` sees in the window. */
static uint32_t first_seen(const struct kv_tables *kt, uint32_t position)
{
    return position >= kt->conf.window ? (position - kt->conf.window + 1) / KV_BLOCK : 0;
}

/* --- begin and end ----------------------------------------------------------------------------------- */

/* How many blocks of the tokens, up to `most`, are known and can be gone on from. */
static uint32_t known_blocks(const struct kv_tables *kt, uint64_t tenant, const int32_t *tokens,
                             uint32_t most)
{
    uint64_t chain = kv_blocks_root(tenant);
    uint32_t in_window = 0; /* known ones of the window up to here, without a gap */
    uint32_t usable = 0;
    for (uint32_t i = 0; i < most; i++) {
        const int32_t *block = tokens + (size_t)i * KV_BLOCK;
        uint64_t hash;
        if (!kv_blocks_knows(kt->all, chain, block, &hash)) {
            break;
        }
        if (!kt->window) {
            usable = i + 1;
        } else {
            in_window = kv_blocks_knows(kt->window, chain, block, &hash) ? in_window + 1 : 0;
            usable = in_window + first_seen(kt, (i + 1) * KV_BLOCK) > i ? i + 1 : usable;
        }
        chain = hash;
    }
    return usable;
}

/* Refers to the first n blocks of the tokens, all of them known. */
static void refer(struct kv_tables *kt, uint32_t slot, uint64_t tenant, const int32_t *tokens, uint32_t n)
{
    struct slot *s = &kt->slots[slot];
    *s = (struct slot){.blocks = n, .chain = kv_blocks_root(tenant)};
    if (kt->window) {
        s->window_first = first_seen(kt, n * KV_BLOCK);
        s->window_end = n;
    }
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *block = tokens + (size_t)i * KV_BLOCK;
        uint64_t hash;
        all_of(kt, slot)[i] = kv_blocks_find(kt->all, s->chain, block, &hash);
        if (kt->window && i >= s->window_first) {
            window_of(kt, slot)[i] = kv_blocks_find(kt->window, s->chain, block, &hash);
        }
        s->chain = hash;
    }
}

bool kv_tables_begin(struct kv_tables *kt, uint32_t slot, uint64_t tenant, const int32_t *tokens, uint32_t n,
                     uint32_t spare, uint32_t *found)
{
    struct slot *s = &kt->slots[slot];
    uint32_t wanted = n / KV_BLOCK + 1; /* the next token has its place too */
    wanted = wanted < kt->width ? wanted : kt->width;
    BUG_ON(s->blocks > 0);
    refer(kt, slot, tenant, tokens, known_blocks(kt, tenant, tokens, (n - 1) / KV_BLOCK));
    if (kv_blocks_available(kt->all) < wanted - s->blocks + spare) {
        kv_tables_end(kt, slot);
        return false;
    }
    *found = s->blocks * KV_BLOCK;
    while (s->blocks < wanted) {
        all_of(kt, slot)[s->blocks++] = kv_blocks_take(kt->all);
    }
    return true;
}

void kv_tables_end(struct kv_tables *kt, uint32_t slot)
{
    struct slot *s = &kt->slots[slot];
    while (s->blocks > 0) {
        kv_blocks_release(kt->all, all_of(kt, slot)[--s->blocks]);
    }
    while (s->window_end > s->window_first) {
        kv_blocks_release(kt->window, window_of(kt, slot)[--s->window_end]);
    }
}

/* --- a step ------------------------------------------------------------------------------------------ */

bool kv_tables_extend(struct kv_tables *kt, uint32_t slot, uint32_t position)
{
    struct slot *s = &kt->slots[slot];
    if (position < s->blocks * KV_BLOCK) {
        return true;
    }
    uint32_t block = kv_blocks_take(kt->all);
    if (block == KV_BLOCK_NONE) {
        return false;
    }
    all_of(kt, slot)[s->blocks++] = block;
    return true;
}

void kv_tables_step(struct kv_tables *kt, uint32_t slot, uint32_t from, uint32_t n)
{
    struct slot *s = &kt->slots[slot];
    while (kt->window && s->window_end * KV_BLOCK < from + n) {
        uint32_t block = kv_blocks_take(kt->window);
        BUG_ON(block == KV_BLOCK_NONE); /* kv_tables_plan counted wrong */
        window_of(kt, slot)[s->window_end++] = block;
    }
}

void kv_tables_computed(struct kv_tables *kt, uint32_t slot, const int32_t *tokens, uint32_t computed)
{
    struct slot *s = &kt->slots[slot];
    if (computed % KV_BLOCK == 0) {
        uint32_t block = computed / KV_BLOCK - 1;
        const int32_t *full = tokens + (size_t)block * KV_BLOCK;
        if (kt->window) {
            kv_blocks_seal(kt->window, window_of(kt, slot)[block], s->chain, full);
        }
        s->chain = kv_blocks_seal(kt->all, all_of(kt, slot)[block], s->chain, full);
    }
    for (; kt->window && s->window_first < first_seen(kt, computed); s->window_first++) {
        kv_blocks_release(kt->window, window_of(kt, slot)[s->window_first]);
    }
}

/* --- to look at -------------------------------------------------------------------------------------- */

uint32_t kv_tables_width(const struct kv_tables *kt)
{
    return kt->width;
}

const uint32_t *kv_tables_all(const struct kv_tables *kt)
{
    return kt->all_table;
}

const uint32_t *kv_tables_window(const struct kv_tables *kt)
{
    return kt->window_table;
}

struct kv_tables_load kv_tables_load(const struct kv_tables *kt)
{
    struct kv_tables_load load = {.blocks = kt->conf.blocks, .window_blocks = kt->conf.window_blocks};
    load.used = load.blocks - kv_blocks_available(kt->all);
    load.window_used = kt->window ? load.window_blocks - kv_blocks_available(kt->window) : 0;
    return load;
}

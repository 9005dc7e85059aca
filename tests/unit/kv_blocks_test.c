/* Blocks of the KV cache: references, the hash chain, who is taken first, and a long random life. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "inference/worker/kv_blocks.h"

static struct kv_blocks *blocks_of(uint32_t n)
{
    struct kv_blocks *kb;
    struct err err;
    assert_int_equal(kv_blocks_new(n, &kb, &err), 0);
    return kb;
}

/* The k-th block of a prompt of one repeated letter. */
static void fill(int32_t tokens[KV_BLOCK], int32_t letter, unsigned k)
{
    for (unsigned i = 0; i < KV_BLOCK; i++) {
        tokens[i] = letter * 1000 + (int32_t)(k * KV_BLOCK + i);
    }
}

/* A prompt of n blocks: found or taken, all sealed. Returns how many were found. */
static unsigned hold(struct kv_blocks *kb, uint64_t tenant, int32_t letter, unsigned n, uint32_t *table)
{
    uint64_t chain = kv_blocks_root(tenant);
    unsigned found = 0;
    for (unsigned k = 0; k < n; k++) {
        int32_t tokens[KV_BLOCK];
        uint64_t hash;
        fill(tokens, letter, k);
        table[k] = found == k ? kv_blocks_find(kb, chain, tokens, &hash) : KV_BLOCK_NONE;
        if (table[k] == KV_BLOCK_NONE) {
            table[k] = kv_blocks_take(kb);
            hash = kv_blocks_seal(kb, table[k], chain, tokens);
        } else {
            found++;
        }
        chain = hash;
    }
    return found;
}

static void let_go(struct kv_blocks *kb, const uint32_t *table, unsigned n)
{
    while (n > 0) {
        kv_blocks_release(kb, table[--n]);
    }
}

static void a_prompt_is_found_again(void **state)
{
    struct kv_blocks *kb = blocks_of(8);
    uint32_t first[4];
    uint32_t second[4];
    assert_int_equal(hold(kb, 7, 'a', 4, first), 0);
    assert_int_equal(kv_blocks_available(kb), 4);
    assert_int_equal(hold(kb, 7, 'a', 4, second), 4); /* while the first runs */
    assert_memory_equal(first, second, sizeof first);
    assert_int_equal(kv_blocks_available(kb), 4);
    let_go(kb, first, 4);
    assert_int_equal(kv_blocks_available(kb), 4);
    let_go(kb, second, 4);
    assert_int_equal(kv_blocks_available(kb), 8);
    assert_int_equal(hold(kb, 7, 'a', 4, first), 4); /* and after both have ended */
    let_go(kb, first, 4);
    kv_blocks_free(kb);
}

static void tenants_share_nothing(void **state)
{
    struct kv_blocks *kb = blocks_of(8);
    uint32_t mine[4];
    uint32_t yours[4];
    hold(kb, 1, 'a', 4, mine);
    assert_int_equal(hold(kb, 2, 'a', 4, yours), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_not_equal(mine[i], yours[i]);
    }
    kv_blocks_free(kb);
}

static void a_block_counts_only_after_its_chain(void **state)
{
    struct kv_blocks *kb = blocks_of(4);
    uint32_t table[2];
    int32_t tokens[KV_BLOCK];
    uint64_t hash;
    hold(kb, 1, 'a', 2, table);
    fill(tokens, 'a', 1); /* the second block's tokens as a first block */
    assert_int_equal(kv_blocks_find(kb, kv_blocks_root(1), tokens, &hash), KV_BLOCK_NONE);
    kv_blocks_free(kb);
}

static void all_taken_is_told(void **state)
{
    struct kv_blocks *kb = blocks_of(2);
    uint32_t a = kv_blocks_take(kb);
    uint32_t b = kv_blocks_take(kb);
    assert_int_not_equal(a, b);
    assert_int_equal(kv_blocks_take(kb), KV_BLOCK_NONE);
    kv_blocks_release(kb, a);
    assert_int_equal(kv_blocks_take(kb), a);
    kv_blocks_free(kb);
}

static void the_longest_unused_goes_first_and_ends_before_beginnings(void **state)
{
    struct kv_blocks *kb = blocks_of(6);
    uint32_t old[3];
    uint32_t young[3];
    hold(kb, 1, 'o', 3, old);
    hold(kb, 1, 'y', 3, young);
    let_go(kb, old, 3);
    let_go(kb, young, 3);
    assert_int_equal(kv_blocks_take(kb), old[2]);
    assert_int_equal(kv_blocks_take(kb), old[1]);
    uint32_t again[3];
    assert_int_equal(hold(kb, 1, 'o', 2, again),
                     1); /* its beginning is still there; takes old[0], young[2] */
    assert_int_equal(again[0], old[0]);
    assert_int_equal(again[1], young[2]);
    assert_int_equal(hold(kb, 1, 'y', 2, again), 2);
    kv_blocks_free(kb);
}

static void what_two_computed_at_once_is_kept_once(void **state)
{
    struct kv_blocks *kb = blocks_of(3);
    int32_t tokens[KV_BLOCK];
    uint64_t root = kv_blocks_root(1);
    uint64_t hash;
    uint32_t a = kv_blocks_take(kb);
    uint32_t b = kv_blocks_take(kb);
    fill(tokens, 'a', 0);
    hash = kv_blocks_seal(kb, a, root, tokens);
    assert_int_equal(kv_blocks_seal(kb, b, root, tokens), hash);
    kv_blocks_release(kb, a);
    kv_blocks_release(kb, b);
    assert_int_equal(kv_blocks_find(kb, root, tokens, &hash), a);
    assert_int_equal(kv_blocks_take(kb), b); /* it holds nothing: taken first */
    kv_blocks_free(kb);
}

enum { LIFE_BLOCKS = 24, LIFE_PROMPTS = 6, LIFE_STEPS = 20000 };

/* References held by prompts add up to what is not available, through any order of holding and letting go. */
static void a_long_random_life(void **state)
{
    struct kv_blocks *kb = blocks_of(LIFE_BLOCKS);
    uint32_t tables[LIFE_PROMPTS][4];
    unsigned lengths[LIFE_PROMPTS] = {0};
    unsigned found = 0;
    srand(4);
    for (unsigned step = 0; step < LIFE_STEPS; step++) {
        unsigned p = (unsigned)rand() % LIFE_PROMPTS;
        if (lengths[p]) {
            let_go(kb, tables[p], lengths[p]);
            lengths[p] = 0;
        } else {
            lengths[p] = 1 + (unsigned)rand() % 4;
            found += hold(kb, (uint64_t)rand() % 2, (int32_t)(rand() % 5), lengths[p], tables[p]);
        }
        bool used[LIFE_BLOCKS] = {false};
        unsigned distinct = 0;
        for (unsigned i = 0; i < LIFE_PROMPTS; i++) {
            for (unsigned k = 0; k < lengths[i]; k++) {
                assert_true(tables[i][k] < LIFE_BLOCKS);
                distinct += !used[tables[i][k]];
                used[tables[i][k]] = true;
            }
        }
        assert_int_equal(kv_blocks_available(kb), LIFE_BLOCKS - distinct);
    }
    assert_true(found > LIFE_STEPS / 10);
    kv_blocks_free(kb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_found_again),
        cmocka_unit_test(tenants_share_nothing),
        cmocka_unit_test(a_block_counts_only_after_its_chain),
        cmocka_unit_test(all_taken_is_told),
        cmocka_unit_test(the_longest_unused_goes_first_and_ends_before_beginnings),
        cmocka_unit_test(what_two_computed_at_once_is_kept_once),
        cmocka_unit_test(a_long_random_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is in the filter is always found; how often it is wrong about the rest; that it can be added to while others look. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>

#include "auth/known_filter.h"
#include "base/err.h"

enum { BYTES = 1 << 20, BITS = BYTES * 8, STRANGERS = 1000000 };

/* Hashes as HMAC makes them, by number: splitmix64. */
static void hash_of(uint64_t n, uint8_t out[KNOWN_HASH_BYTES])
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t x = (2 * n + i + 1) * 0x9E3779B97F4A7C15U;
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9U;
        x = (x ^ x >> 27) * 0x94D049BB133111EBU;
        x ^= x >> 31;
        memcpy(out + 8 * i, &x, sizeof x);
    }
}

static void add(struct known_filter *f, uint64_t n)
{
    uint8_t hash[KNOWN_HASH_BYTES];
    hash_of(n, hash);
    known_filter_add(f, hash);
}

static bool may_have(const struct known_filter *f, uint64_t n)
{
    uint8_t hash[KNOWN_HASH_BYTES];
    hash_of(n, hash);
    return known_filter_may_have(f, hash);
}

static void knows_all_and_is_seldom_wrong(void **state)
{
    static const struct {
        unsigned bits;      /* an entry */
        double percent_max; /* wrongly "maybe" */
    } rows[] = {{24, 0.03}, {16, 0.2}, {12, 0.7}, {8, 3.2}};
    for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct known_filter *f = known_filter_new(BYTES);
        uint64_t entries = BITS / rows[r].bits, wrong = 0, missing = 0;
        for (uint64_t n = 0; n < entries; n++) {
            add(f, n);
        }
        for (uint64_t n = 0; n < entries; n++) {
            missing += !may_have(f, n);
        }
        for (uint64_t n = entries; n < entries + STRANGERS; n++) {
            wrong += may_have(f, n);
        }
        double percent = 100.0 * (double)wrong / STRANGERS;
        print_message("%u bits an entry: %.3f %% of strangers are \"maybe\"\n", rows[r].bits, percent);
        assert_int_equal(missing, 0);
        assert_true(percent < rows[r].percent_max);
        assert_true(known_filter_entries(f) <= entries && known_filter_entries(f) > entries * 98 / 100);
        known_filter_unref(f);
    }
}

static void counts_each_once_and_says_when_it_is_full(void **state)
{
    struct known_filter *f = known_filter_new(64 * 8); /* room for 512 */
    assert_false(may_have(f, 1));
    for (unsigned i = 0; i < 10000; i++) {
        add(f, 1);
    }
    assert_true(may_have(f, 1));
    assert_int_equal(known_filter_entries(f), 1);
    assert_false(known_filter_is_full(f));
    for (uint64_t n = 0; n < 400; n++) {
        add(f, n);
    }
    assert_false(known_filter_is_full(f));
    for (uint64_t n = 400; n < 1000; n++) {
        add(f, n);
    }
    assert_true(known_filter_is_full(f));
    known_filter_unref(f);
}

static void the_smallest_is_one_line(void **state)
{
    struct known_filter *f = known_filter_new(1);
    assert_non_null(f);
    add(f, 7);
    assert_true(may_have(f, 7));
    known_filter_unref(f);
    known_filter_unref(NULL);
}

struct adder {
    struct known_filter *f;
    uint64_t first;
};

enum { THREADS = 4, EACH = 20000 };

static void *add_some(void *arg)
{
    const struct adder *a = arg;
    for (uint64_t n = a->first; n < a->first + EACH; n++) {
        add(a->f, n);
        BUG_ON(!may_have(a->f, n));
    }
    return NULL;
}

static void many_threads_lose_nothing(void **state)
{
    struct known_filter *f = known_filter_new(BYTES);
    struct adder adders[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        adders[i] = (struct adder){f, (uint64_t)i * EACH};
        assert_int_equal(pthread_create(&threads[i], NULL, add_some, &adders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint64_t n = 0; n < THREADS * EACH; n++) {
        assert_true(may_have(f, n));
    }
    known_filter_unref(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_all_and_is_seldom_wrong),
        cmocka_unit_test(counts_each_once_and_says_when_it_is_full),
        cmocka_unit_test(the_smallest_is_one_line),
        cmocka_unit_test(many_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

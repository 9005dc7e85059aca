/* ratelimit/concurrency: counts by key, and every key is in exactly one part. */
#include "ratelimit/concurrency.h"

#include "tests/unit/unit.h"

enum { KEYS = 3000, PARTS = 30 };

static const struct limit_rule rule = {.name = "running", .unit = LIMIT_UNIT_CONCURRENT};

static struct limit_key_state state_of(uint64_t n)
{
    return (struct limit_key_state){.rule = &rule, .key = {.lo = n * 0x9e3779b97f4a7c15u, .hi = n}};
}

static void counts_go_up_and_down(void **state)
{
    struct concurrency *t = concurrency_new();
    struct limit_key_state a = state_of(1), b = state_of(2);
    assert_int_equal(concurrency_add(t, &a), 1);
    assert_int_equal(concurrency_add(t, &a), 2);
    assert_int_equal(concurrency_add(t, &b), 1);
    assert_int_equal(concurrency_drop(t, a.key), 1);
    assert_int_equal(concurrency_count(t, a.key), 1);
    assert_int_equal(concurrency_drop(t, a.key), 0);
    assert_int_equal(concurrency_count(t, a.key), 0);
    assert_int_equal(concurrency_count(t, b.key), 1);
    concurrency_free(t);
}

static void note(void *arg, const struct concurrency_key *k)
{
    unsigned *seen = arg;
    seen[k->key.hi]++;
}

static void every_key_is_in_one_part(void **state)
{
    static unsigned seen[KEYS], before[KEYS];
    struct concurrency *t = concurrency_new();
    unsigned largest = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        struct limit_key_state k = state_of(i);
        (void)concurrency_add(t, &k);
    }
    for (unsigned part = 0; part < PARTS; part++) {
        unsigned here = 0;
        concurrency_each(t, part, PARTS, note, seen);
        for (unsigned i = 0; i < KEYS; i++) {
            here += seen[i] - before[i];
            before[i] = seen[i];
        }
        largest = here > largest ? here : largest;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_in_range(largest, KEYS / PARTS, 2 * KEYS / PARTS);
    concurrency_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_go_up_and_down),
        cmocka_unit_test(every_key_is_in_one_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"

static void holds_what_it_is_given(void **state)
{
    struct arena a;
    char *blocks[200];
    arena_init(&a);
    assert_null(a.chunks);
    for (size_t i = 0; i < 200; i++) {
        size_t n = i * 37;
        blocks[i] = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i, n);
    }
    for (size_t i = 1; i < 200; i++) {
        assert_int_equal((unsigned char)blocks[i][0], i);
        assert_int_equal((unsigned char)blocks[i][i * 37 - 1], i);
    }
    assert_true(a.total_bytes >= 199 * 200 / 2 * 37);
    arena_clear(&a);
    assert_int_equal(a.total_bytes, 0);
}

static void large_blocks_do_not_waste_the_chunk(void **state)
{
    struct arena a;
    arena_init(&a);
    char *small = arena_alloc(&a, 16);
    char *large = arena_calloc(&a, 1 << 20);
    char *next = arena_alloc(&a, 16);
    assert_in_range(next - small, 16, 32); /* 32: with poison between */
    assert_int_equal(large[(1 << 20) - 1], 0);
    arena_clear(&a);
    large = arena_alloc(&a, 1 << 20); /* as the first block of all */
    memset(large, 1, 1 << 20);
    memset(arena_alloc(&a, 100), 2, 100);
    arena_clear(&a);
}

static void copies_are_terminated(void **state)
{
    struct arena a;
    arena_init(&a);
    struct str s = arena_dup(&a, str_of("abcdef", 3));
    assert_string_equal(s.p, "abc");
    assert_string_equal(arena_cstr(&a, STR("")), "");
    s = arena_printf(&a, "%d-%s", 42, "x");
    assert_true(str_is(s, "42-x"));
    assert_int_equal(ARENA_NEW(&a, struct str)->n, 0);
    arena_clear(&a);
}

static char order[8];
static size_t order_n;

static void note(void *arg)
{
    order[order_n++] = *(char *)arg;
}

static void destructors_run_newest_first(void **state)
{
    struct arena a;
    char one = '1', two = '2';
    arena_init(&a);
    arena_on_clear(&a, note, &one);
    arena_on_clear(&a, note, &two);
    arena_clear(&a);
    arena_clear(&a);
    assert_string_equal(order, "21");
}

static void *use_arenas(void *arg)
{
    struct arena many[64];
    for (int i = 0; i < 64; i++) {
        arena_init(&many[i]);
        arena_alloc(&many[i], 100);
    }
    for (int i = 0; i < 64; i++) {
        arena_clear(&many[i]);
    }
    return NULL;
}

static void cache_dies_with_its_thread(void **state) /* LeakSanitizer looks at the rest */
{
    pthread_t t;
    pthread_create(&t, NULL, use_arenas, NULL);
    pthread_join(t, NULL);
    use_arenas(NULL);
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>

static void the_sanitizer_sees_what_is_not_ours(void **state)
{
    struct arena a;
    arena_init(&a);
    char *p = arena_alloc(&a, 10);
    assert_false(__asan_address_is_poisoned(p + 9));
    assert_true(__asan_address_is_poisoned(p + 16));
    arena_alloc(&a, 10);
    assert_true(__asan_address_is_poisoned(p + 16));
    arena_clear(&a);
    assert_true(__asan_address_is_poisoned(p)); /* in the cache */
}
#else
static void the_sanitizer_sees_what_is_not_ours(void **state)
{
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_it_is_given),     cmocka_unit_test(large_blocks_do_not_waste_the_chunk),
        cmocka_unit_test(copies_are_terminated),      cmocka_unit_test(destructors_run_newest_first),
        cmocka_unit_test(cache_dies_with_its_thread), cmocka_unit_test(the_sanitizer_sees_what_is_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

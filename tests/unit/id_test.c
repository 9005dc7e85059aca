#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/id.h"

static void uuids(void **state)
{
    char text[ID_UUID_TEXT + 1];
    struct uuid u = uuid_v7(), back;
    uuid_format(&u, text);
    assert_int_equal(strlen(text), ID_UUID_TEXT);
    assert_int_equal(text[14], '7');
    assert_non_null(strchr("89ab", text[19]));
    assert_true(uuid_parse(str_from(text), &back) && uuid_eq(&u, &back));
    back = uuid_v7();
    assert_false(uuid_eq(&u, &back));
    assert_true(memcmp(u.b, back.b, 6) <= 0);
    assert_true(uuid_parse(STR("0192F3A4-0000-7000-8000-00000000000F"), &back));
    uuid_format(&back, text);
    assert_string_equal(text, "0192f3a4-0000-7000-8000-00000000000f");
    assert_false(uuid_parse(STR("0192f3a4-0000-7000-8000-00000000000"), &back));
    assert_false(uuid_parse(STR("0192f3a400000-7000-8000-00000000000f"), &back));
    assert_false(uuid_parse(STR("0192f3a4-0000-7000-8000-00000000000g"), &back));
    assert_false(uuid_parse(STR("{0192f3a4-0000-7000-8000-0000000000}"), &back));
}

enum { PER_THREAD = 2000, THREADS = 4 };
static char ids[THREADS * PER_THREAD][ID_REQUEST_TEXT + 1];

static void *make_ids(void *arg)
{
    char(*mine)[ID_REQUEST_TEXT + 1] = arg;
    for (int i = 0; i < PER_THREAD; i++) {
        id_request(mine[i]);
    }
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void request_ids_are_unique(void **state)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, make_ids, ids[i * PER_THREAD]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    qsort(ids, THREADS * PER_THREAD, sizeof(ids[0]), by_text);
    for (int i = 0; i < THREADS * PER_THREAD; i++) {
        assert_int_equal(strspn(ids[i], "0123456789abcdef"), ID_REQUEST_TEXT);
        assert_true(i == 0 || strcmp(ids[i - 1], ids[i]) != 0);
    }
}

static void random_numbers(void **state)
{
    unsigned seen[10] = {0};
    for (int i = 0; i < 1000; i++) {
        uint32_t v = id_random_below(10);
        assert_true(v < 10);
        seen[v]++;
    }
    for (int i = 0; i < 10; i++) {
        assert_true(seen[i] > 30);
    }
    assert_true(id_fast_random() != id_fast_random());
    assert_true(id_siphash("a", 1) == id_siphash("a", 1));
    assert_true(id_siphash("a", 1) != id_siphash("b", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuids),
        cmocka_unit_test(request_ids_are_unique),
        cmocka_unit_test(random_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

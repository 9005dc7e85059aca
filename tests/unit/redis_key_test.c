/* Slots as Redis computes them (CLUSTER KEYSLOT of a real server gave the numbers), and the key of a command. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/redis_key.h"

static void slots_are_those_of_redis(void **state)
{
    static const struct {
        const char *key;
        unsigned slot;
    } known[] = {
        {"123456789", 12739},
        {"foo", 12182},
        {"", 0},
        {"rl:device:{a3f0}00112233445566778899aabbccddeeff", 9292},
        {"{a3f0}", 9292},
        {"x{a3f0}{b}", 9292},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"foo{bar", 15278},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_int_equal(redis_key_slot(str_from(known[i].key)), known[i].slot);
    }
}

static void the_key_of_a_command(void **state)
{
    struct str key = STR("");
    assert_true(redis_key_of_command(STR("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), &key));
    assert_true(str_is(key, "k"));
    assert_true(redis_key_of_command(
        STR("*5\r\n$7\r\nEVALSHA\r\n$2\r\nab\r\n$1\r\n2\r\n$2\r\nk1\r\n$2\r\nk2\r\n"), &key));
    assert_true(str_is(key, "k1"));
    assert_true(
        redis_key_of_command(STR("*4\r\n$4\r\nEVAL\r\n$4\r\na\r\nb\r\n$1\r\n1\r\n$3\r\nk\r\n\r\n"), &key));
    assert_true(str_is(key, "k\r\n"));
    assert_false(redis_key_of_command(STR("*3\r\n$4\r\nEVAL\r\n$1\r\na\r\n$1\r\n0\r\n"), &key));
    assert_false(redis_key_of_command(STR("*1\r\n$4\r\nPING\r\n"), &key));
}

static void what_is_no_command_has_no_key(void **state)
{
    static const char *const bad[] = {"",
                                      "*",
                                      "*2\r\n",
                                      "*2\r\n$",
                                      "*2\r\n$3\r\nGET",
                                      "*2\r\n$3\r\nGET\r\n$9\r\nk\r\n",
                                      "*2\r\n$99999999999999999999\r\nGET\r\n",
                                      "*2\r\n$3\r\nGET\r\n$-1\r\nk\r\n",
                                      "*2\r\n$3\r\nGET\r\n:1\r\n",
                                      "*2\r\n$18446744073709551615\r\nGET\r\n",
                                      "*2\r\n$\n\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct str key;
        size_t n = strlen(bad[i]);
        char *exact = malloc(n + 1); /* so that a read past the end is seen */
        memcpy(exact, bad[i], n);
        assert_false(redis_key_of_command(str_of(exact, n), &key));
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_redis),
        cmocka_unit_test(the_key_of_a_command),
        cmocka_unit_test(what_is_no_command_has_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

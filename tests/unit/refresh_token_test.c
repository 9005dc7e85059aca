/* The refresh token's form: one spelling, forgeries and garbage refused without the database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "auth/refresh_token.h"

static struct secret_ring *ring(void)
{
    static int made;
    char path[64];
    struct secret_ring *r = NULL;
    struct err err = {0};
    snprintf(path, sizeof path, "/tmp/refresh_token_test.%d.%d", (int)getpid(), made++);
    assert_int_equal(secret_ring_generate(path, &err), 0);
    assert_int_equal(secret_ring_load(path, &r, &err), 0);
    unlink(path);
    return r;
}

static void reads_what_it_writes(void **state)
{
    static const int64_t counters[] = {1, 2, 127, 128, 300, 1 << 20, INT64_MAX};
    struct secret_ring *r = ring();
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        struct refresh_token t = {uuid_v7(), counters[i]}, back;
        char text[REFRESH_TOKEN_TEXT], again[REFRESH_TOKEN_TEXT];
        refresh_token_write(r, &t, text);
        assert_memory_equal(text, "rt_", 3);
        assert_true(refresh_token_read(r, str_from(text), &back));
        assert_true(uuid_eq(&t.session, &back.session));
        assert_true(t.counter == back.counter);
        refresh_token_write(r, &back, again); /* the same successor again */
        assert_string_equal(text, again);
    }
    secret_ring_unref(r);
}

static void refuses_every_changed_byte(void **state)
{
    struct secret_ring *r = ring(), *other = ring();
    struct refresh_token t = {uuid_v7(), 5}, back;
    char text[REFRESH_TOKEN_TEXT];
    refresh_token_write(r, &t, text);
    size_t n = strlen(text);
    assert_false(refresh_token_read(other, str_from(text), &back));
    for (size_t i = 0; i < n; i++) {
        char saved = text[i];
        text[i] = saved == 'A' ? 'B' : 'A';
        assert_false(refresh_token_read(r, str_from(text), &back));
        text[i] = saved;
        assert_false(refresh_token_read(r, str_of(text, i), &back)); /* and every truncation */
    }
    static const char *const garbage[] = {
        "",        "rt_",
        "rt_AAAA", "eyJhbGciOiJub25lIn0.e30.",
        "rt_====", "rt_AQAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        assert_false(refresh_token_read(r, str_from(garbage[i]), &back));
    }
    secret_ring_unref(r);
    secret_ring_unref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(refuses_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

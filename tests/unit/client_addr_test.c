#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/client_addr.h"

static struct addr_prefix trusted[3];

static struct client_addr_conf conf(void)
{
    assert_true(addr_prefix_parse(STR("10.0.0.0/8"), &trusted[0]));
    assert_true(addr_prefix_parse(STR("2001:db8:99::/48"), &trusted[1]));
    assert_true(addr_prefix_parse(STR("127.0.0.1"), &trusted[2]));
    return (struct client_addr_conf){.trusted = trusted, .trusted_count = 3};
}

/* Peer and up to two X-Forwarded-For fields; what the client is taken for. */
static void expect(const char *peer, const char *first, const char *second, const char *client)
{
    struct http_field fields[3];
    unsigned n = 0;
    fields[n++] = (struct http_field){STR("x-real-ip"), STR("203.0.113.250")}; /* nobody asks for it */
    if (first) {
        fields[n++] = (struct http_field){STR("x-forwarded-for"), str_from(first)};
    }
    if (second) {
        fields[n++] = (struct http_field){STR("x-forwarded-for"), str_from(second)};
    }
    struct http_exchange ex = {.fields = fields, .field_count = n};
    if (peer) {
        assert_true(addr_parse(str_from(peer), &ex.peer));
    }
    struct client_addr_conf c = conf();
    c.trust_unix = peer == NULL;
    struct addr found = client_addr_find(&ex, &c);
    char text[ADDR_TEXT];
    addr_format(&found, text);
    assert_string_equal(text, client);
}

static void untrusted_peers_are_themselves(void **state)
{
    expect("198.51.100.7", "203.0.113.9", NULL, "198.51.100.7");
    expect("198.51.100.7", "203.0.113.9, 10.0.0.1", "127.0.0.1", "198.51.100.7");
    expect("2001:db8::7", "203.0.113.9", NULL, "2001:db8::7");
}

static void lists_are_walked_from_the_right(void **state)
{
    expect("10.1.1.1", NULL, NULL, "10.1.1.1"); /* nothing said: the socket, never nobody */
    expect("10.1.1.1", "", NULL, "10.1.1.1");
    expect("10.1.1.1", "203.0.113.9", NULL, "203.0.113.9");
    expect("10.1.1.1", "1.1.1.1, 203.0.113.9", NULL, "203.0.113.9"); /* the left one is what a client wrote */
    expect("10.1.1.1", "1.1.1.1,203.0.113.9 ,10.2.2.2,\t127.0.0.1", NULL, "203.0.113.9");
    expect("10.1.1.1", "10.3.3.3, 10.2.2.2", NULL, "10.3.3.3"); /* all trusted: the farthest */
    expect("2001:db8:99::1", "2001:DB8:1::A", NULL, "2001:db8:1::a");
    expect(NULL, "203.0.113.9", NULL, "203.0.113.9"); /* a unix socket that is trusted */
}

static void two_fields_are_one_list(void **state)
{
    expect("10.1.1.1", "203.0.113.9", "10.2.2.2", "203.0.113.9");
    expect("10.1.1.1", "203.0.113.9", "198.51.100.1", "198.51.100.1");
    expect("10.1.1.1", "203.0.113.9", "", "203.0.113.9");
}

static void what_is_no_address_ends_the_walk(void **state)
{
    expect("10.1.1.1", "unknown", NULL, "10.1.1.1");
    expect("10.1.1.1", "203.0.113.9, unknown, 10.2.2.2", NULL, "10.2.2.2");
    expect("10.1.1.1", "203.0.113.9, _hidden", NULL, "10.1.1.1");
    expect("10.1.1.1", "203.0.113.9,,10.2.2.2", NULL, "10.2.2.2");
    expect("10.1.1.1", "203.0.113.9, 999.1.1.1", NULL, "10.1.1.1");
    expect("10.1.1.1", "203.0.113.9, fe80::1%eth0", NULL, "10.1.1.1");
}

static void one_address_has_one_form(void **state)
{
    expect("::ffff:10.1.1.1", "::ffff:203.0.113.9", NULL, "203.0.113.9");
    expect("10.1.1.1", "203.0.113.9:4711", NULL, "203.0.113.9");
    expect("10.1.1.1", "[2001:db8:0:0:0:0:0:1]:4711", NULL, "2001:db8::1");
    expect("10.1.1.1", "[2001:db8::1]", NULL, "2001:db8::1");
    expect("10.1.1.1", "203.0.113.9:99999", NULL, "10.1.1.1");
    expect("10.1.1.1", "203.0.113.9:", NULL, "10.1.1.1");
    expect("10.1.1.1", "[2001:db8::1", NULL, "10.1.1.1");
    expect("10.1.1.1", "[2001:db8::1]x", NULL, "10.1.1.1");
}

static void long_lists_are_cut(void **state)
{
    char *list = malloc(8192);
    size_t n = 0;
    while (n < 8000) {
        n += (size_t)snprintf(list + n, 8192 - n, "10.0.0.1,");
    }
    snprintf(list + n, 8192 - n, "10.0.0.2");
    expect("10.1.1.1", list, NULL, "10.0.0.1"); /* the 32nd from the right */
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(untrusted_peers_are_themselves), cmocka_unit_test(lists_are_walked_from_the_right),
        cmocka_unit_test(two_fields_are_one_list),        cmocka_unit_test(what_is_no_address_ends_the_walk),
        cmocka_unit_test(one_address_has_one_form),       cmocka_unit_test(long_lists_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

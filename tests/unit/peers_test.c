#include "tests/unit/unit.h"

#include "base/http/peers.h"

enum { MAX = 3, PER_S = 10 };

static struct addr addr_of(const char *text)
{
    struct addr a;
    assert_true(addr_parse(str_from(text), &a));
    return a;
}

static enum peer_verdict admit(const char *text, uint64_t now_ms, struct peer_slot **slot)
{
    struct addr a = addr_of(text);
    return peer_admit(&a, MAX, PER_S, now_ms, slot);
}

static void connections_are_counted(void **state)
{
    struct peer_slot *slots[MAX + 1];
    for (int i = 0; i < MAX; i++) {
        assert_int_equal(admit("192.0.2.1", 1000, &slots[i]), PEER_OK);
    }
    assert_int_equal(admit("192.0.2.1", 1000, &slots[MAX]), PEER_TOO_MANY);
    assert_int_equal(admit("192.0.2.2", 1000, &slots[MAX]), PEER_OK);
    peer_release(slots[MAX]);
    peer_release(slots[0]);
    assert_int_equal(admit("192.0.2.1", 1000, &slots[0]), PEER_OK);
    for (int i = 0; i < MAX; i++) {
        peer_release(slots[i]);
    }
}

static void new_connections_are_slowed(void **state)
{
    struct peer_slot *slot;
    for (int i = 0; i < 2 * PER_S; i++) {
        assert_int_equal(admit("198.51.100.1", 5000, &slot), PEER_OK);
        peer_release(slot);
    }
    assert_int_equal(admit("198.51.100.1", 5000, &slot), PEER_TOO_FAST);
    assert_int_equal(admit("198.51.100.1", 5099, &slot), PEER_TOO_FAST);
    assert_int_equal(admit("198.51.100.1", 5100, &slot), PEER_OK);
    peer_release(slot);
    assert_int_equal(admit("198.51.100.1", 5100, &slot), PEER_TOO_FAST);
}

/* Loops share the table, and each has the time at which its own turn began. */
static void a_loop_whose_turn_began_earlier_gets_no_more(void **state)
{
    struct peer_slot *slot;
    for (int i = 0; i < 2 * PER_S; i++) {
        assert_int_equal(admit("203.0.113.1", 5000, &slot), PEER_OK);
        peer_release(slot);
    }
    assert_int_equal(admit("203.0.113.1", 4990, &slot), PEER_TOO_FAST);
    assert_int_equal(admit("203.0.113.1", 5099, &slot), PEER_TOO_FAST);
    assert_int_equal(admit("203.0.113.1", 5100, &slot), PEER_OK);
    peer_release(slot);
}

static void an_ipv6_network_is_one_peer(void **state)
{
    struct peer_slot *slots[MAX + 2];
    assert_int_equal(admit("2001:db8:0:1::1", 1000, &slots[0]), PEER_OK);
    assert_int_equal(admit("2001:db8:0:1::2", 1000, &slots[1]), PEER_OK);
    assert_int_equal(admit("2001:db8:0:1:ffff::3", 1000, &slots[2]), PEER_OK);
    assert_int_equal(admit("2001:db8:0:1::4", 1000, &slots[3]), PEER_TOO_MANY);
    assert_int_equal(admit("2001:db8:0:2::1", 1000, &slots[3]), PEER_OK);
    for (int i = 0; i < 4; i++) {
        peer_release(slots[i]);
    }
}

/* More addresses than slots, none of them connected any more: the table serves them all. */
static void old_slots_are_reused(void **state)
{
    struct peer_slot *slot;
    for (uint32_t i = 0; i < 300000; i++) {
        struct addr a = addr_of("2001:db8::");
        memcpy(a.b + 4, &i, 4);
        assert_int_equal(peer_admit(&a, MAX, PER_S, 10000 + i, &slot), PEER_OK);
        peer_release(slot);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_counted),
        cmocka_unit_test(new_connections_are_slowed),
        cmocka_unit_test(a_loop_whose_turn_began_earlier_gets_no_more),
        cmocka_unit_test(an_ipv6_network_is_one_peer),
        cmocka_unit_test(old_slots_are_reused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

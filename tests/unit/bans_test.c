#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "ratelimit/bans.h"
#include "ratelimit/bans_store.h"

enum { NOW = 1000 };

static struct ban_target texts[16]; /* what struct ban.text of the rows below points into */

static struct ban row(int64_t id, const char *text, bool is_allow, uint64_t until_ms)
{
    struct ban_target *t = &texts[id];
    struct err err;
    if (ban_target_parse(str_from(text), t, &err) != 0) {
        fail_msg("%s", err.msg);
    }
    return (struct ban){.id = id,
                        .kind = t->kind,
                        .is_allow = is_allow,
                        .prefix = t->prefix,
                        .text = t->kind == BAN_ADDRESS ? NULL : t->text,
                        .until_ms = until_ms};
}

/* The id of the ban that holds; 0: none. */
static int64_t by_address(const struct bans *b, const char *text, uint64_t now_ms)
{
    struct addr a;
    assert_true(addr_parse(str_from(text), &a));
    struct ban_subject who = {.address = &a, .ja4 = STR(""), .device = STR(""), .phone = STR("")};
    const struct ban *ban = bans_find(b, &who, now_ms);
    return ban ? ban->id : 0;
}

static int64_t by_text(const struct bans *b, struct ban_subject who)
{
    who.ja4 = who.ja4.p ? who.ja4 : STR("");
    who.device = who.device.p ? who.device : STR("");
    who.phone = who.phone.p ? who.phone : STR("");
    const struct ban *ban = bans_find(b, &who, NOW);
    return ban ? ban->id : 0;
}

static void an_allowance_wins(void **state)
{
    struct addr partner;
    assert_true(addr_parse(STR("10.9.1.1"), &partner));
    struct ban rows[] = {
        row(1, "10.0.0.0/8", false, BANS_FOREVER), row(2, "10.9.0.0/16", true, BANS_FOREVER),
        row(3, "10.9.1.1", false, BANS_FOREVER),   row(4, "10.2.0.0/16", false, BANS_FOREVER),
        row(5, "AS64500", false, BANS_FOREVER),    row(6, "device:good", true, BANS_FOREVER)};
    struct bans *b = bans_with(NULL, rows, 6, NOW);
    assert_int_equal(by_address(b, "10.1.1.1", NOW), 1);
    assert_int_equal(by_address(b, "10.2.1.1", NOW), 4); /* the longest ban counts the hit */
    assert_int_equal(by_address(b, "10.9.7.7", NOW), 0);
    assert_int_equal(by_address(b, "10.9.1.1", NOW), 0); /* also over a longer ban, */
    assert_int_equal(by_text(b, (struct ban_subject){.address = &partner, .asn = 64500}),
                     0); /* and one of another kind */
    assert_int_equal(by_text(b, (struct ban_subject){.asn = 64500}), 5);
    assert_int_equal(by_text(b, (struct ban_subject){.asn = 64500, .device = STR("good")}), 0);
    assert_int_equal(by_address(b, "11.1.1.1", NOW), 0);
    bans_unref(b);
}

static void each_kind_is_found(void **state)
{
    static const char ja4[] = "ja4:t13d1516h2_8daaf6152771_02713d6af862";
    struct ban rows[] = {row(1, ja4, false, BANS_FOREVER),      row(2, "device:abc", false, BANS_FOREVER),
                         row(3, "+86170", false, BANS_FOREVER), row(4, "+861709", false, BANS_FOREVER),
                         row(5, "+86171", false, BANS_FOREVER), row(6, "+86171", true, BANS_FOREVER)};
    struct bans *b = bans_with(NULL, rows, 6, NOW);
    assert_int_equal(by_text(b, (struct ban_subject){.ja4 = str_from(ja4 + 4)}), 1);
    assert_int_equal(by_text(b, (struct ban_subject){.device = STR("abc")}), 2);
    assert_int_equal(by_text(b, (struct ban_subject){.device = STR("ab")}), 0);
    assert_int_equal(by_text(b, (struct ban_subject){.phone = STR("+8617012345678")}), 3);
    assert_int_equal(by_text(b, (struct ban_subject){.phone = STR("+8617092345678")}), 4);
    assert_int_equal(by_text(b, (struct ban_subject){.phone = STR("+8617192345678")}), 0);
    assert_int_equal(by_text(b, (struct ban_subject){.phone = STR("+8613812345678")}), 0);
    assert_int_equal(by_text(b, (struct ban_subject){.phone = STR("+86")}), 0);
    bans_unref(b);
}

/* Under a ban that has ended the wider one goes on, and an allowance that has ended allows nothing. */
static void what_has_ended_is_passed_over(void **state)
{
    struct ban rows[] = {row(1, "10.0.0.0/8", false, NOW + 5000), row(2, "10.1.0.0/16", false, NOW + 10),
                         row(3, "10.1.1.0/24", true, NOW + 20), row(4, "10.3.0.0/16", false, NOW)};
    struct bans *b = bans_with(NULL, rows, 4, NOW);
    assert_int_equal(bans_count(b), 3);
    assert_int_equal(by_address(b, "10.1.2.3", NOW + 9), 2);
    assert_int_equal(by_address(b, "10.1.2.3", NOW + 10), 1);
    assert_int_equal(by_address(b, "10.1.1.1", NOW + 19), 0);
    assert_int_equal(by_address(b, "10.1.1.1", NOW + 20), 1);
    assert_int_equal(by_address(b, "10.1.1.1", NOW + 5000), 0);
    bans_unref(b);
}

static void changes_replace_by_id(void **state)
{
    struct ban first[] = {row(3, "10.3.0.0/16", false, BANS_FOREVER),
                          row(1, "10.1.0.0/16", false, BANS_FOREVER)};
    struct bans *old = bans_with(NULL, first, 2, NOW);
    struct ban gone = row(1, "10.1.0.0/16", false, BANS_FOREVER);
    gone.is_gone = true;
    struct ban changes[] = {row(4, "device:x", false, BANS_FOREVER), gone,
                            row(3, "10.3.0.0/16", true, BANS_FOREVER),
                            row(2, "10.2.0.0/16", false, BANS_FOREVER)};
    struct bans *b = bans_with(old, changes, 4, NOW);
    bans_unref(old);
    assert_int_equal(bans_count(b), 3);
    assert_int_equal(bans_at(b, 0)->id, 2);
    assert_int_equal(by_address(b, "10.1.0.1", NOW), 0);
    assert_int_equal(by_address(b, "10.2.0.1", NOW), 2);
    assert_int_equal(by_address(b, "10.3.0.1", NOW), 0);
    assert_int_equal(by_text(b, (struct ban_subject){.device = STR("x")}), 4);
    bans_unref(b);
}

static bool take(void *arg, const struct ban *ban, uint32_t n)
{
    *(uint32_t *)arg += n;
    return ban->id == 1;
}

static void hits_are_told_once(void **state)
{
    struct ban rows[] = {row(1, "10.1.0.0/16", false, BANS_FOREVER),
                         row(2, "10.2.0.0/16", false, BANS_FOREVER)};
    struct bans *b = bans_with(NULL, rows, 2, NOW);
    uint32_t told = 0;
    bans_count_hit(b, bans_at(b, 0));
    bans_count_hit(b, bans_at(b, 0));
    bans_count_hit(b, bans_at(b, 1));
    bans_take_hits(b, take, &told);
    assert_int_equal(told, 3);
    told = 0;
    bans_take_hits(b, take, &told); /* that of 2 was not taken */
    assert_int_equal(told, 1);
    bans_unref(b);
}

static void bad_targets_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "10.0.0.0/33",
                                      "10.0.0",
                                      "AS0",
                                      "AS4294967296",
                                      "ja4:t13d",
                                      "device:",
                                      "device:a b",
                                      "+",
                                      "+86a",
                                      "+8613812345678",
                                      "fe80::1%eth0",
                                      "::/0",
                                      "10.0.0.1:80",
                                      "+0123",
                                      "ja4:t13d1516h2_8daaf6152771_02713d6af86X"};
    static const char *const countries[] = {"+1", "+86", "+852", "+861"};
    struct ban_target t;
    struct err err;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (ban_target_parse(str_from(bad[i]), &t, &err) == 0) {
            fail_msg("\"%s\" was taken as %s", bad[i], t.text);
        }
    }
    assert_int_equal(ban_target_parse(STR("10.1.2.3/8"), &t, &err), 0);
    assert_string_equal(t.text, "10.0.0.0/8");
    assert_false(ban_target_is_wide(&t));
    assert_int_equal(ban_target_parse(STR("10.0.0.0/7"), &t, &err), 0);
    assert_true(ban_target_is_wide(&t));
    assert_int_equal(ban_target_parse(STR("2000::/3"), &t, &err), 0);
    assert_true(ban_target_is_wide(&t));
    for (unsigned i = 0; i < sizeof countries / sizeof *countries; i++) {
        assert_int_equal(ban_target_parse(str_from(countries[i]), &t, &err), 0);
        assert_true(ban_target_is_wide(&t));
    }
    assert_int_equal(ban_target_parse(STR("+8617"), &t, &err), 0);
    assert_false(ban_target_is_wide(&t));
    assert_int_equal(ban_target_parse(STR("as064500"), &t, &err), 0);
    assert_string_equal(t.text, "AS64500");
    assert_int_equal(ban_target_parse(STR("2001:DB8:0::1"), &t, &err), 0);
    assert_string_equal(t.text, "2001:db8::1/128");
}

static void the_file_brings_back_what_holds(void **state)
{
    char path[] = "/tmp/bans_test.XXXXXX";
    struct err err;
    struct bans *b = NULL;
    close(mkstemp(path));
    uint64_t now = clock_mono_ms();
    struct ban rows[] = {row(1, "10.1.0.0/16", false, now + 60000), row(2, "device:x", true, BANS_FOREVER),
                         row(3, "10.2.0.0/16", false, now + 1500)};
    struct bans *saved = bans_with(NULL, rows, 3, now);
    assert_int_equal(bans_save(saved, path, &err), 0);
    bans_unref(saved);
    clock_test_advance_ms(3000);
    assert_int_equal(bans_load(path, &b, &err), 0);
    assert_int_equal(bans_count(b), 2);
    assert_int_equal(bans_at(b, 0)->id, 1);
    assert_true(bans_at(b, 0)->until_ms > clock_mono_ms() + 50000);
    assert_true(bans_at(b, 1)->is_allow);
    assert_string_equal(bans_at(b, 1)->text, "device:x");
    bans_unref(b);

    FILE *f = fopen(path, "a");
    fputs("4 ban 0 nonsense\n", f);
    fclose(f);
    assert_int_equal(bans_load(path, &b, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, ":5:"));
    unlink(path);
    assert_int_equal(bans_load(path, &b, &err), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allowance_wins),
        cmocka_unit_test(each_kind_is_found),
        cmocka_unit_test(what_has_ended_is_passed_over),
        cmocka_unit_test(changes_replace_by_id),
        cmocka_unit_test(hits_are_told_once),
        cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(the_file_brings_back_what_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "ratelimit/rules.h"

static void refused(struct limit_row row, const char *part)
{
    struct err err = {0};
    struct limit_rules *r = limit_rules_new(&row, 1, &err);
    assert_null(r);
    assert_int_equal(err.code, ERR_INVALID);
    if (!strstr(err.msg, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, err.msg);
    }
}

static void errors_name_rule_and_field(void **state)
{
    const struct limit_row good = {.name = "a", .by = "address", .limit = "5/1s"};
    struct limit_row row = good;
    row.name = "No Good";
    refused(row, "name: 1 to 32");
    row = good;
    row.name = NULL;
    refused(row, "name");
    row = good;
    row.by = "address+shoe";
    refused(row, "rule \"a\": by: ");
    row.by = "address+address";
    refused(row, "by: ");
    row.by = "";
    refused(row, "by: ");
    static const char *const bad_limits[] = {
        "5", "5/", "/1s", "0/1s", "5/1", "5/0", "5/1y", "-5/1s", "5/1s ", "5/401d", "99999999999999/1s"};
    for (size_t i = 0; i < sizeof(bad_limits) / sizeof(bad_limits[0]); i++) {
        row = good;
        row.limit = bad_limits[i];
        refused(row, "limit: ");
    }
    row = good;
    row.burst = "0";
    refused(row, "limit: ");
    row.burst = "many";
    refused(row, "limit: ");
    row = good;
    row.on_error = "panic";
    refused(row, "on_error: local, open or closed");
    row = good;
    row.role = "x";
    refused(row, "role: ");
    row = good;
    row.unit = "x";
    refused(row, "unit: ");
    row = good;
    row.address = "5";
    refused(row, "address: 4 or 6");
    row = good;
    row.by = "device";
    row.address = "4";
    refused(row, "address: only");
    row = good;
    row.at = "chat, B@d";
    refused(row, "at: ");
}

static void names_are_unique(void **state)
{
    struct limit_row rows[] = {{.name = "a", .by = "address", .limit = "5/1s"},
                               {.name = "a", .by = "device", .limit = "5/1s"}};
    struct err err = {0};
    assert_null(limit_rules_new(rows, 2, &err));
    assert_non_null(strstr(err.msg, "used twice"));
}

static void points_choose_rules(void **state)
{
    struct limit_row rows[] = {
        {.name = "dark", .by = "address", .limit = "5/1s", .shadow = true},
        {.name = "all", .by = "address", .limit = "5/1s"},
        {.name = "chat", .by = "account", .at = "chat,other", .limit = "60/1m", .burst = "20"},
        {.name = "sms", .by = "phone+device", .at = " sms chat", .limit = "1/60s"}};
    struct limit_rules *r = limit_rules_new(rows, 4, NULL);
    assert_non_null(r);
    const struct limit_set *chat = limit_rules_at(r, STR("chat"));
    assert_int_equal(chat->count, 4);
    assert_string_equal(chat->rules[0]->name, "all");
    assert_string_equal(chat->rules[3]->name, "dark"); /* shadow ones last */
    assert_int_equal(limit_rules_at(r, STR("other"))->count, 3);
    assert_int_equal(limit_rules_at(r, STR("unnamed"))->count, 2);
    const struct limit_set *sms = limit_rules_at_event(r, STR("sms"));
    assert_int_equal(sms->count, 1);
    assert_int_equal(sms->rules[0]->dimensions, 1u << LIMIT_BY_PHONE | 1u << LIMIT_BY_DEVICE);
    assert_int_equal(limit_rules_at_event(r, STR("unnamed"))->count, 0);
    assert_string_equal(chat->rules[1]->policy, "\"chat\";q=60;w=60");
    assert_int_equal(chat->rules[1]->gcra.burst, 20);
    assert_string_equal(limit_rules_point(r, 0), "chat");
    assert_null(limit_rules_point(r, 3));
    limit_rules_unref(limit_rules_ref(r));
    limit_rules_unref(r);
}

static void too_many_rules_at_one_point(void **state)
{
    static char names[LIMIT_AT_MAX + 1][16];
    struct limit_row rows[LIMIT_AT_MAX + 1];
    for (int i = 0; i <= LIMIT_AT_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "r%d", i);
        rows[i] = (struct limit_row){.name = names[i], .by = "address", .limit = "5/1s"};
    }
    struct err err = {0};
    assert_null(limit_rules_new(rows, LIMIT_AT_MAX + 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

/* Rules by address with three prefixes are three; one row more than fit is refused, and what was made is freed. */
static void the_most_rules(void **state)
{
    static char names[LIMIT_RULES_MAX + 1][16], points[LIMIT_RULES_MAX + 1][16];
    static struct limit_row rows[LIMIT_RULES_MAX + 1];
    struct err err = {0};
    for (int i = 0; i <= LIMIT_RULES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "r%d", i);
        snprintf(points[i], sizeof points[i], "p%d", i / LIMIT_AT_MAX);
        rows[i] = (struct limit_row){.name = names[i], .by = "account", .at = points[i], .limit = "5/1s"};
    }
    struct limit_rules *r = limit_rules_new(rows, LIMIT_RULES_MAX, &err);
    assert_non_null(r);
    assert_int_equal(limit_rules_count(r), 256);
    assert_string_equal(limit_rules_get(r, 255)->name, "r255");
    assert_ptr_equal(limit_rules_at(r, STR("p10"))->rules[15], limit_rules_get(r, 255));
    limit_rules_unref(r);
    assert_null(limit_rules_new(rows, LIMIT_RULES_MAX + 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "more than 256 rules"));
    rows[0].by = "address"; /* one row, two rules */
    rows[0].prefixes = "32 24x16";
    assert_null(limit_rules_new(rows, LIMIT_RULES_MAX, &err));
}

static const struct limit_rule *rule_named(const struct limit_rules *r, const char *name)
{
    for (unsigned i = 0; i < limit_rules_count(r); i++) {
        if (strcmp(limit_rules_get(r, i)->name, name) == 0) {
            return limit_rules_get(r, i);
        }
    }
    return NULL;
}

static void prefixes_become_rules(void **state)
{
    static const struct limit_row row = {
        .name = "a", .by = "address", .limit = "10/1s", .burst = "20", .prefixes = "32 24x16, 64 56x4 48x16"};
    struct err err = {0};
    struct limit_rules *r = limit_rules_new(&row, 1, &err);
    assert_non_null(r);
    assert_int_equal(limit_rules_count(r), 4);
    const struct limit_rule *base = rule_named(r, "a");
    assert_int_equal(base->family, 0);
    assert_int_equal(base->bits4, 32);
    assert_int_equal(base->bits6, 64);
    static const struct {
        const char *name;
        int family, bits, factor;
    } wider[] = {{"a_24", 4, 24, 16}, {"a_56", 6, 56, 4}, {"a_48", 6, 48, 16}};
    for (int i = 0; i < 3; i++) {
        const struct limit_rule *w = rule_named(r, wider[i].name);
        assert_non_null(w);
        assert_int_equal(w->family, wider[i].family);
        assert_int_equal(w->family == 4 ? w->bits4 : w->bits6, wider[i].bits);
        assert_int_equal(w->gcra.limit, 10 * wider[i].factor);
        assert_int_equal(w->gcra.burst, 20 * wider[i].factor);
    }
    assert_int_equal(limit_rules_at(r, STR("any"))->count, 4);
    limit_rules_unref(r);
    static const char *const bad[] = {
        "", "x", "0", "129", "23", "47", "64 60", "64 56x1", "64x4", "24x16x2", "64 56x99999999", "32 31 64"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct limit_row b = row;
        b.prefixes = bad[i];
        assert_null(limit_rules_new(&b, 1, &err));
        assert_non_null(strstr(err.msg, "prefixes"));
    }
}

static void leases_and_newcomers_only_where_they_may(void **state)
{
    static const struct limit_row rows[] = {
        {.name = "a", .by = "address", .limit = "10/1s"},
        {.name = "b", .by = "account", .limit = "10/1s"},
        {.name = "c", .by = "address", .limit = "7/1s"},
        {.name = "d", .by = "address", .limit = "10/1s", .role = "ledger"},
        {.name = "e", .by = "account", .limit = "10/1s", .unit = "tokens"},
        {.name = "f", .by = "address+route", .limit = "10/1s", .lease = "off", .newcomers = "exact"},
        {.name = "g", .by = "device+account", .limit = "10/1s"},
        {.name = "h", .by = "account+model", .limit = "4", .unit = "concurrent"},
        {.name = "i", .by = "address", .limit = "10/1s", .on_error = "closed"},
    };
    static const bool leases[] = {1, 1, 1, 0, 0, 0, 1, 0, 1}, newcomers[] = {1, 0, 0, 0, 0, 0, 0, 0, 0};
    struct limit_rules *r = limit_rules_new(rows, 9, NULL);
    assert_non_null(r);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(limit_rules_get(r, i)->leases, leases[i]);
        assert_int_equal(limit_rules_get(r, i)->newcomers, newcomers[i]);
    }
    assert_string_equal(limit_rules_get(r, 7)->policy, "\"h\";q=4;qu=\"concurrent-requests\"");
    limit_rules_unref(r);
}

static void shipped_rules_compile(void **state)
{
    struct err err = {0};
    struct limit_rules *r = limit_rules_new(limit_rows_default, limit_rows_default_count, &err);
    assert_non_null(r);
    const struct limit_set *otp = limit_rules_at_event(r, STR("sms"));
    assert_true(otp->count >= 7);
    for (unsigned i = 0; i < otp->count; i++) {
        assert_int_equal(otp->rules[i]->on_error, LIMIT_ON_ERROR_CLOSED);
        assert_int_equal(otp->rules[i]->role, LIMIT_ROLE_LEDGER);
    }
    const struct limit_set *chat = limit_rules_at(r, STR("chat"));
    assert_int_equal(chat->count, 5); /* address, address_56, address_48, chat_account, chat_running */
    for (unsigned i = 0; i < chat->count; i++) {
        assert_int_equal(chat->rules[i]->on_error, LIMIT_ON_ERROR_LOCAL);
    }
    limit_rules_unref(r);
}

static void names_that_are_given_up_leave_no_metrics(void **state)
{
    struct limit_rules *old = NULL;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 2000; i++) { /* a reload builds the new rules before it frees the old ones */
        char name[16];
        snprintf(name, sizeof(name), "new%d", i);
        const struct limit_row rows[] = {{.name = name, .by = "address", .limit = "5/1s"},
                                         {.name = "kept", .by = "address", .limit = "5/1s"},
                                         {.name = "kept", .by = "address", .limit = "5/1s"}};
        struct limit_rules *new = limit_rules_new(rows, 2, NULL);
        assert_null(limit_rules_new(rows, 3, NULL)); /* one that is refused holds nothing */
        metric_child_add(limit_rules_get(new, 1)->outcomes[LIMIT_ALLOWED], 1);
        limit_rules_unref(old);
        old = new;
    }
    metrics_write(&text);
    assert_non_null(strstr(text.p, "{rule=\"kept\",decision=\"allowed\"} 2000\n"));
    assert_non_null(strstr(text.p, "rule=\"new1999\""));
    assert_null(strstr(text.p, "rule=\"new1998\""));
    limit_rules_unref(old);
    text.n = 0;
    metrics_write(&text);
    assert_null(strstr(text.p, "rule=\""));
    buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_name_rule_and_field),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(prefixes_become_rules),
        cmocka_unit_test(leases_and_newcomers_only_where_they_may),
        cmocka_unit_test(points_choose_rules),
        cmocka_unit_test(too_many_rules_at_one_point),
        cmocka_unit_test(the_most_rules),
        cmocka_unit_test(shipped_rules_compile),
        cmocka_unit_test(names_that_are_given_up_leave_no_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

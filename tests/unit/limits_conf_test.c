#include "tests/unit/unit.h"

#include <string.h>

#include "gateway/limits_conf.h"
#include "gateway/routes.h"

static struct route_table *table(void)
{
    static const struct route rows[] = {
        {.name = "chat", .methods = ROUTE_POST, .path = STR_INIT("/v1/chat")}};
    struct route_table *t = route_table_new();
    assert_int_equal(route_table_add(t, rows, 1, NULL), 0);
    route_table_seal(t);
    return t;
}

/* The rules of a section's text, or NULL with *err. */
static struct limit_rules *rules_of(const char *text, struct err *err)
{
    struct conf *conf = NULL;
    struct route_table *routes = table();
    struct limit_rules *rules = NULL;
    if (conf_parse(str_from(text), "t.yaml", &limits_conf_section, &conf, err) == 0) {
        rules = limits_rules_build(conf_root(conf), routes, NULL, 0, err);
    }
    conf_unref(conf);
    route_table_free(routes);
    return rules;
}

static void refused(const char *text, const char *part)
{
    struct err err = {0};
    assert_null(rules_of(text, &err));
    if (!strstr(err.msg, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, err.msg);
    }
}

static unsigned shipped_count(void)
{
    struct limit_rules *r = limit_rules_new(limit_rows_default, limit_rows_default_count, NULL);
    unsigned n = limit_rules_count(r);
    limit_rules_unref(r);
    return n;
}

static void nothing_written_is_what_is_shipped(void **state)
{
    struct err err = {0};
    struct limit_rules *r = rules_of("{}", &err);
    assert_non_null(r);
    assert_int_equal(limit_rules_count(r), shipped_count());
    limit_rules_unref(r);
}

static void rows_are_added_and_replace(void **state)
{
    struct err err = {0};
    struct limit_rules *r = rules_of("rules:\n"
                                     "  - {name: address, by: address, limit: 7/1s}\n"
                                     "  - {name: mine, by: account+route, at: chat, limit: 9/1m, burst: 3}\n",
                                     &err);
    assert_non_null(r);
    assert_int_equal(limit_rules_count(r), shipped_count() - 2 + 1); /* "address" had two wider prefixes */
    unsigned seen = 0;
    for (unsigned i = 0; i < limit_rules_count(r); i++) {
        const struct limit_rule *rule = limit_rules_get(r, i);
        seen += strcmp(rule->name, "address") == 0 && rule->gcra.limit == 7;
        seen += strcmp(rule->name, "mine") == 0 && rule->gcra.burst == 3;
    }
    assert_int_equal(seen, 2);
    limit_rules_unref(r);
    r = rules_of("shipped_rules: false\n", &err);
    assert_non_null(r);
    assert_int_equal(limit_rules_count(r), 0);
    limit_rules_unref(r);
}

static void errors_name_what_is_wrong(void **state)
{
    refused("rules: [{name: a, by: address, limit: 7/1s, at: chta}]", "no route or event \"chta\"");
    refused("rules:\n  - name: a\n    by: shoe\n    limit: 7/1s\n", "t.yaml:2:5: rules[0]: rule \"a\": by: ");
    refused("rules: [{name: a, by: address, limit: 7/1s}, {name: a, by: device, limit: 7/1s}]", "used twice");
    refused("rules: [{name: a, by: address}]", "limit");
    refused("rules: [{name: a, by: address, limit: 7/1s, brust: 5}]", "brust");
    refused("rules: [{name: a, by: address, limit: 7/1s, prefixes: \"64 64x\"}]", "prefixes");
    refused("rules: [{name: a, by: account, limit: 7/1s, prefixes: \"64\"}]", "only for rules by address");
    refused("rules: [{name: a, by: account, limit: 7/1s, lease: on}]", "lease: auto or off");
    refused("rules: [{name: a, by: device, limit: 7/1s, newcomers: x}]", "newcomers: auto or exact");
    refused("rules: [{name: a, by: account, limit: 7/1s, unit: concurrent}]", "unit concurrent: a count");
    refused("redis: {timeout: 20ms}", "redis.address");
    refused("redis: {address: \"unix:/x\", timeout: 2h}", "redis.timeout");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_written_is_what_is_shipped),
        cmocka_unit_test(rows_are_added_and_replace),
        cmocka_unit_test(errors_name_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

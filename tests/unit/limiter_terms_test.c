/* Terms of rules that many share, against a real Redis: what is reserved, a surcharge, asking without taking. */
#include "tests/unit/unit.h"

#include "ratelimit/limiter.h"
#include "tests/unit/ledger_rig.h"

static const struct limit_terms anyone = {.reserved_percent = 20}, account = {0},
                                nobody = {.only_asks = true},
                                halved = {.reserved_percent = 20, .surcharge_percent = 100};
static const struct limit_row rows[] = {
    {.name = "all", .by = "all", .at = "sms", .limit = "10/1d", .on_error = "closed", .role = "ledger"},
    {.name = "phone", .by = "phone", .at = "sms", .limit = "3/1d", .on_error = "closed", .role = "ledger"},
    {.name = "device", .by = "device", .at = "sms", .limit = "1/1m", .on_error = "closed", .role = "ledger"},
    {.name = "money",
     .by = "phone_country",
     .at = "sms",
     .limit = "1/1d",
     .unit = "money",
     .on_error = "closed",
     .role = "ledger"},
};
static struct ledger_rig rig;
static struct arena arena;
static struct limit_rules *rules;
static struct limiter_shared *shared;
static struct limiter *limiter;
static struct str device; /* that asks; empty: none */

static void open_limiter(struct redis *redis)
{
    struct limiter_conf conf = limiter_conf_default;
    struct redis *const roles[LIMIT_ROLES] = {redis, redis};
    conf.deny_max_ms = 3600000; /* what is denied once stays known */
    shared = limiter_shared_new(&conf, "gateway-a");
    limiter = limiter_new(rig.loop, shared, roles, false);
}

static void close_limiter(void)
{
    limiter_free(limiter);
    limiter_shared_free(shared);
}

static int set_up(void **state)
{
    unsigned n = 0;
    struct redis_script *const *scripts = limiter_scripts(&n);
    arena_init(&arena);
    rules = limit_rules_new(rows, sizeof rows / sizeof *rows, NULL);
    assert_non_null(rules);
    limiter_shared_free(limiter_shared_new(&limiter_conf_default, "first")); /* hashes the scripts */
    rig_open(&rig, scripts, n);
    return 0;
}

static int tear_down(void **state)
{
    rig_close(&rig);
    limit_rules_unref(rules);
    arena_clear(&arena);
    return 0;
}

static int begin(void **state)
{
    RIG_COMMAND(&rig, "FLUSHALL");
    open_limiter(rig.redis);
    return 0;
}

static int end(void **state)
{
    close_limiter();
    return 0;
}

static void on_decided(void *arg, struct limit_check *c)
{
    rig.answers++;
}

/* A code to that number. */
static struct limit_check check(const char *phone, const struct limit_terms *terms, uint64_t money)
{
    struct limit_subject who = {.terms = *terms, .money = money};
    struct limit_check c;
    unsigned before = rig.answers;
    for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
        who.by[d] = STR("");
    }
    who.by[LIMIT_BY_ALL] = STR("all");
    who.by[LIMIT_BY_DEVICE] = device;
    who.by[LIMIT_BY_PHONE] = str_from(phone);
    who.by[LIMIT_BY_PHONE_COUNTRY] = STR("CN");
    const struct limit_set *set = limit_rules_at_event(rules, STR("sms"));
    if (!limiter_check(limiter, &c, set, &who, &arena, on_decided, NULL)) {
        rig_wait(&rig, before + 1);
    }
    return c;
}

/* How many of those pass, each to another number, one after the other, of at most 20. */
static unsigned passed(const struct limit_terms *terms, uint64_t money)
{
    static unsigned next;
    for (unsigned n = 0; n < 20; n++) {
        char phone[24];
        snprintf(phone, sizeof phone, "+86138%u", next++);
        if (check(phone, terms, money).denied) {
            return n;
        }
    }
    return 20;
}

static void a_flood_leaves_what_is_reserved_and_that_ends_too(void **state)
{
    assert_int_equal(passed(&anyone, 0), 8);
    struct limit_check c = check("+861", &anyone, 0);
    assert_true(c.denied && c.reserved && !c.closed);
    assert_string_equal(c.binding->name, "all");
    assert_int_equal(passed(&account, 0), 2);
    c = check("+862", &account, 0);
    assert_true(c.denied && !c.reserved);
    c = check("+863", &anyone, 0);
    assert_true(c.denied && !c.reserved); /* nobody would be let through */
}

static void accounts_have_all_of_it_and_go_first(void **state)
{
    assert_int_equal(passed(&account, 0), 10);
    close_limiter();
    assert_int_equal(begin(NULL), 0);
    for (int i = 0; i < 9; i++) {
        char phone[] = {'+', (char)('0' + i), '\0'};
        assert_false(check(phone, &account, 0).denied);
    }
    assert_true(check("+99", &anyone, 0).reserved);
    assert_false(check("+98", &account, 0).denied);
}

static void a_number_is_limited_on_all_terms(void **state)
{
    for (int i = 0; i < 3; i++) {
        assert_false(check("+864", &anyone, 0).denied);
    }
    struct limit_check c = check("+864", &anyone, 0);
    assert_true(c.denied && !c.reserved);
    assert_string_equal(c.binding->name, "phone");
}

static void who_only_asks_is_told_the_same_and_takes_nothing(void **state)
{
    assert_int_equal(passed(&anyone, 0), 8);
    assert_int_equal(passed(&nobody, 0), 20);
    for (int i = 0; i < 3; i++) {
        assert_false(check("+865", &nobody, 0).denied);
    }
    assert_true(check("+865", &nobody, 0).denied); /* the limit of the number counts */
    assert_int_equal(passed(&account, 0), 2);
    struct limit_check c = check("+866", &nobody, 0);
    assert_true(c.denied && !c.reserved);
}

static void a_surcharge_halves_a_budget_and_is_given_back_whole(void **state)
{
    struct limit_check c = check("+867", &halved, 0);
    assert_false(c.denied);
    limiter_give_back(&c);
    limiter_give_back(&c);
    assert_int_equal(passed(&halved, 0), 4);
    assert_true(check("+868", &anyone, 0).denied); /* what was counted twice is gone for all */
    assert_int_equal(passed(&account, 0), 2);
}

/* An account's code failed after its request was over: the limits of the number stay as an unknown number's would. */
static void what_was_taken_over_outlives_the_request(void **state)
{
    struct limit_key_state keys[LIMIT_AT_MAX];
    struct limit_check c = check("+880", &anyone, 0), kept;
    assert_false(c.denied);
    limiter_move(&c, &kept, keys);
    limiter_give_back(&c); /* has nothing any more */
    arena_clear(&arena);
    assert_int_equal(passed(&anyone, 0), 7);
    limiter_give_back_shared(&kept);
    limiter_give_back_shared(&kept);
    assert_int_equal(passed(&account, 0), 3);
    limiter_give_back(&kept); /* the number's */
}

static void what_is_reserved_keeps_nobody_waiting_for_it(void **state)
{
    device = STR("d");
    assert_false(check("+881", &anyone, 0).denied);
    device = STR("");
    assert_int_equal(passed(&anyone, 0), 7);
    close_limiter();
    open_limiter(rig.redis); /* it knows no denial yet */
    device = STR("d");
    struct limit_check c = check("+882", &anyone, 0);
    device = STR("");
    assert_true(c.denied && !c.reserved);
    assert_string_equal(c.binding->name, "device");
    assert_in_range(c.retry_us, 1, 60 * 1000000);
}

static void who_finds_the_reserve_used_up_waits_as_accounts_do(void **state)
{
    assert_int_equal(passed(&account, 0), 10);
    close_limiter();
    open_limiter(rig.redis);
    struct limit_check c = check("+883", &anyone, 0);
    assert_true(c.denied && !c.reserved);
    assert_in_range(c.retry_us, 1, 8640ll * 1000000); /* a tenth of the day, not three */
}

static void budgets_of_money_are_reserved_by_the_price(void **state)
{
    assert_int_equal(passed(&anyone, 250000), 3); /* 0.75 of 0.8 */
    assert_true(check("+869", &anyone, 250000).reserved);
    assert_int_equal(passed(&account, 250000), 1);
    assert_true(check("+870", &account, 2000000).denied); /* never */
}

/* The deny cache knows which of the two it was: no question to Redis, and accounts are not held up by it. */
static void what_is_reserved_is_remembered_apart(void **state)
{
    assert_int_equal(passed(&anyone, 0), 8);
    struct limit_check c = check("+871", &anyone, 0);
    assert_true(c.cached && c.reserved);
    assert_int_equal(passed(&nobody, 0), 20);
    assert_int_equal(passed(&account, 0), 2);
    c = check("+872", &account, 0);
    assert_true(c.cached && !c.reserved);
    c = check("+873", &anyone, 0);
    assert_true(c.cached && !c.reserved);
}

static void without_redis_nothing_is_kept_for_anybody(void **state)
{
    close_limiter();
    open_limiter(NULL);
    struct limit_check c = check("+874", &anyone, 0);
    assert_true(c.denied && c.closed && !c.reserved);
    assert_true(check("+875", &account, 0).closed);
    assert_true(check("+876", &nobody, 0).closed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_flood_leaves_what_is_reserved_and_that_ends_too),
        TEST(accounts_have_all_of_it_and_go_first),
        TEST(a_number_is_limited_on_all_terms),
        TEST(who_only_asks_is_told_the_same_and_takes_nothing),
        TEST(a_surcharge_halves_a_budget_and_is_given_back_whole),
        TEST(what_was_taken_over_outlives_the_request),
        TEST(what_is_reserved_keeps_nobody_waiting_for_it),
        TEST(who_finds_the_reserve_used_up_waits_as_accounts_do),
        TEST(budgets_of_money_are_reserved_by_the_price),
        TEST(what_is_reserved_is_remembered_apart),
        TEST(without_redis_nothing_is_kept_for_anybody),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

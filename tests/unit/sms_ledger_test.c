/* The conversion guard and the costs of codes, against a real Redis. Counts of before are put there by hand, in slots an hour
 * wide, so that no test waits or meets the end of one. */
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "ratelimit/sms_ledger.h"
#include "tests/unit/ledger_rig.h"

enum { HOUR_MS = 3600000 };

static const struct sms_guard_conf guard = {
    .window_ms = 10 * HOUR_MS, .grace_ms = 0, .sends = 20, .percent = 20, .block_ms = HOUR_MS};
static struct ledger_rig rig;
static struct arena arena;

static int set_up(void **state)
{
    static struct redis_script *scripts[] = {&sms_script_ask, &sms_script_count, &sms_script_account,
                                             &sms_script_top, &sms_script_unblock};
    sms_scripts_init();
    arena_init(&arena);
    rig_open(&rig, scripts, 5);
    return 0;
}

static int tear_down(void **state)
{
    rig_close(&rig);
    arena_clear(&arena);
    return 0;
}

static int empty(void **state)
{
    RIG_COMMAND(&rig, "FLUSHALL");
    return 0;
}

static void on_verdict(void *arg, const struct sms_verdict *v)
{
    *(struct sms_verdict *)arg = *v;
    rig.answers++;
}

static struct sms_verdict ask(const struct sms_guard_conf *conf, const char *prefix)
{
    struct sms_verdict v;
    struct sms_ask question;
    unsigned before = rig.answers;
    sms_ledger_ask(rig.redis, &question, conf, str_from(prefix), &arena, on_verdict, &v);
    rig_wait(&rig, before + 1);
    return v;
}

static void on_lifted(void *arg, int rc, int64_t blocks)
{
    assert_int_equal(rc, 0);
    *(int64_t *)arg = blocks;
    rig.answers++;
}

static int64_t unblock(const char *prefix, bool is_trial)
{
    struct sms_lift lift;
    int64_t blocks = -1;
    unsigned before = rig.answers;
    assert_int_equal(
        sms_ledger_unblock(rig.redis, &lift, str_from(prefix), is_trial, &arena, on_lifted, &blocks), 0);
    rig_wait(&rig, before + 1);
    return blocks;
}

static int64_t this_slot(void)
{
    return clock_wall_ms() / HOUR_MS;
}

static const char *counts_key(const char *prefix)
{
    static char key[64];
    snprintf(key, sizeof key, "{sms}:counts:%s", prefix);
    return key;
}

/* kind: 's'ent or 'u'sed, so many slots ago. */
static void put(const char *prefix, char kind, int64_t slots_ago, const char *count)
{
    char field[32];
    snprintf(field, sizeof field, "%c%lld", kind, (long long)(this_slot() - slots_ago));
    RIG_COMMAND(&rig, "HSET", counts_key(prefix), field, count);
}

/* Of all slots together. */
static int64_t counted(const char *prefix, const char *kind)
{
    RIG_COMMAND(&rig, "EVAL",
                "local n, f = 0, redis.call('HGETALL', KEYS[1])\n"
                "for i = 1, #f, 2 do if string.sub(f[i], 1, 1) == ARGV[1] then n = n + f[i + 1] end end\n"
                "return n",
                "1", counts_key(prefix), kind);
    return rig.integer;
}

static void a_prefix_whose_codes_nobody_uses_is_blocked_alone(void **state)
{
    put("+86138", 's', 2, "30");
    put("+86138", 'u', 2, "5"); /* of 30, one in five is 6 */
    put("+86139", 's', 2, "30");
    put("+86139", 'u', 1, "6");
    struct sms_verdict v = ask(&guard, "+86138");
    assert_true(v.is_blocked && v.is_new);
    assert_int_equal(v.sent, 30);
    assert_int_equal(v.used, 5);
    assert_int_equal(v.retry_ms, HOUR_MS);
    v = ask(&guard, "+86138");
    assert_true(v.is_blocked && !v.is_new);
    assert_true(v.retry_ms > 0 && v.retry_ms <= HOUR_MS);
    assert_int_equal(counted("+86138", "s"), 0); /* it begins anew, and what is refused is not counted */
    assert_false(ask(&guard, "+86139").is_blocked);
    assert_int_equal(counted("+86139", "s"), 31);
}

static void few_or_fresh_ones_say_nothing(void **state)
{
    struct sms_guard_conf patient = guard, off = guard;
    patient.grace_ms = 5 * HOUR_MS;
    off.sends = 0;
    put("+1", 's', 2, "19");
    assert_false(ask(&guard, "+1").is_blocked);
    put("+2", 's', 2, "500");
    struct sms_verdict v = ask(&patient, "+2");
    assert_false(v.is_blocked);
    assert_int_equal(v.sent, 0);
    assert_false(ask(&off, "+2").is_blocked);
    assert_true(ask(&guard, "+2").is_blocked);
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    put("+3", 's', 12, "500");
    put("+3", 'u', 12, "7");
    assert_false(ask(&guard, "+3").is_blocked);
    assert_int_equal(counted("+3", "s"), 1);
    assert_int_equal(counted("+3", "u"), 0);
    RIG_COMMAND(&rig, "PTTL", counts_key("+3"));
    assert_true(rig.integer > 10 * HOUR_MS && rig.integer <= 11 * HOUR_MS);
}

static void a_block_ends_or_is_lifted(void **state)
{
    RIG_COMMAND(&rig, "ZADD", "{sms}:blocked", "1000", "+4"); /* until 1970 */
    assert_false(ask(&guard, "+4").is_blocked);
    RIG_COMMAND(&rig, "ZCARD", "{sms}:blocked");
    assert_int_equal(rig.integer, 0);
    put("+4", 's', 2, "30");
    assert_true(ask(&guard, "+4").is_blocked);
    assert_int_equal(unblock("+4", true), 1);
    assert_true(ask(&guard, "+4").is_blocked);
    assert_int_equal(unblock("+4", false), 1);
    assert_false(ask(&guard, "+4").is_blocked); /* counting began anew */
    assert_int_equal(unblock("+4", false), 0);
    RIG_COMMAND(&rig, "ZADD", "{sms}:blocked", "9e15", "+41", "9e15", "+42");
    RIG_COMMAND(&rig, "ZADD", "{sms}:blocked", "1000", "+43");
    assert_int_equal(unblock("all", true), 2); /* the third has ended */
    assert_int_equal(unblock("all", false), 2);
    assert_int_equal(unblock("all", false), 0);
}

static void what_was_not_sent_or_was_used_is_counted(void **state)
{
    ask(&guard, "+5");
    ask(&guard, "+5");
    assert_int_equal(counted("+5", "s"), 2);
    sms_ledger_undo(rig.redis, &guard, STR("+5"));
    sms_ledger_used(rig.redis, &guard, STR("+5"));
    assert_int_equal(counted("+5", "s"), 1); /* commands keep their order */
    assert_int_equal(counted("+5", "u"), 1);
}

/* Rows of country, prefix and provider, separated by slashes. */
static void add_rows(struct buf *report, const struct redis_reply *rows)
{
    for (const struct redis_reply *item = rows->items; item; item = item->next) {
        buf_addf(report, STR_FMT " ", STR_ARG(item->text));
    }
    buf_add_char(report, '/');
}

static void on_top(void *arg, int rc, const struct redis_reply *reply)
{
    assert_int_equal(rc, 0);
    assert_int_equal(reply->count, 5);
    for (const struct redis_reply *part = reply->items->next->next; part; part = part->next) {
        add_rows(arg, part);
    }
    rig.answers++;
}

static void costs_of_the_day_are_added_up(void **state)
{
    static const struct sms_sent sent[] = {
        {STR_INIT("CN"), STR_INIT("+86138"), STR_INIT("first"), 50000},
        {STR_INIT("CN"), STR_INIT("+86139"), STR_INIT("second"), 50000},
        {STR_INIT("HK"), STR_INIT("+8525"), STR_INIT("first"), 300000},
        {STR_INIT(""), STR_INIT("+888"), STR_INIT("first"), 1},
    };
    struct buf report;
    struct sms_top top;
    int64_t day;
    buf_init(&report, 1024);
    do { /* once more when midnight came in between */
        day = clock_wall_s() / 86400;
        unsigned before = rig.answers;
        buf_truncate(&report);
        RIG_COMMAND(&rig, "FLUSHALL");
        for (unsigned i = 0; i < 4; i++) {
            sms_ledger_account(rig.redis, &sent[i]);
        }
        assert_int_equal(sms_ledger_top(rig.redis, &top, 2, &arena, on_top, &report), 0);
        rig_wait(&rig, before + 2);
    } while (day != clock_wall_s() / 86400);
    assert_string_equal(
        report.p, "HK 300000 1 CN 100000 2 /+8525 300000 1 +86139 50000 1 /first 350001 3 second 50000 1 /");
    buf_clear(&report);
}

static void without_redis_nothing_is_blocked(void **state)
{
    struct sms_verdict v = {.is_blocked = true};
    struct sms_ask question;
    struct sms_top top;
    struct sms_lift lift;
    unsigned before = rig.answers;
    sms_ledger_ask(NULL, &question, &guard, STR("+6"), &arena, on_verdict, &v);
    assert_int_equal(rig.answers, before + 1);
    assert_false(v.is_blocked);
    assert_int_equal(sms_ledger_top(NULL, &top, 2, &arena, on_top, NULL), ERR_UNAVAILABLE);
    assert_int_equal(sms_ledger_unblock(NULL, &lift, STR("all"), false, &arena, on_lifted, NULL),
                     ERR_UNAVAILABLE);
    sms_ledger_account(NULL, &(struct sms_sent){STR("CN"), STR("+86"), STR("p"), 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_prefix_whose_codes_nobody_uses_is_blocked_alone, empty),
        cmocka_unit_test_setup(few_or_fresh_ones_say_nothing, empty),
        cmocka_unit_test_setup(what_is_older_than_the_window_is_forgotten, empty),
        cmocka_unit_test_setup(a_block_ends_or_is_lifted, empty),
        cmocka_unit_test_setup(what_was_not_sent_or_was_used_is_counted, empty),
        cmocka_unit_test_setup(costs_of_the_day_are_added_up, empty),
        cmocka_unit_test_setup(without_redis_nothing_is_blocked, empty),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

#include "tests/unit/unit.h"

#include <stdlib.h>

#include "status/phrases.h"
#include "status/watch.h"

static struct board *b;
static struct watch w;
static uint64_t mono;
static struct component *login, *chat, *sms;
static bool login_fails, chat_fails;

static int64_t wall(void)
{
    return 1700000000000 + (int64_t)mono;
}

static int setup(void **state)
{
    (void)state;
    static const struct watch_conf conf = {.open_after_ms = 10000,
                                           .update_gap_ms = 20000,
                                           .update_every_ms = 1800000,
                                           .resolve_after_ms = 300000,
                                           .window_ms = 1800000};
    b = malloc(sizeof *b);
    mono = 1000;
    login_fails = chat_fails = false;
    board_init(b, "Test", "https://status.test", 30000, wall());
    login = board_component(b, COMPONENT_LOGIN, STR(""), wall());
    sms = board_component(b, COMPONENT_SMS, STR(""), wall());
    chat = board_component(b, COMPONENT_CHAT, STR(""), wall());
    watch_init(&w, &conf);
    watch_resume(&w, b, mono);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    board_clear(b);
    free(b);
    return 0;
}

/* Two-second probes for that long. */
static void run_s(unsigned seconds)
{
    for (unsigned s = 0; s < seconds; s += 2) {
        mono += 2000;
        component_observe(login, login_fails ? PROBE_FAIL : PROBE_OK, wall(), mono);
        component_observe(chat, chat_fails ? PROBE_FAIL : PROBE_OK, wall(), mono);
        component_observe(sms, PROBE_OK, wall(), mono);
        board_refresh(b, wall(), mono);
        watch_tick(&w, b, wall(), mono);
        board_refresh(b, wall(), mono);
    }
}

static struct incident *only(void)
{
    assert_int_equal(b->book.count, 1);
    return b->book.items[0];
}

static const char *last_body(const struct incident *i)
{
    return i->updates[i->update_count - 1].body.of[PROBLEM_LANG_EN];
}

static void a_short_blip_changes_the_component_but_opens_nothing(void **state)
{
    (void)state;
    run_s(20);
    login_fails = true;
    run_s(6);
    assert_int_equal(login->shown, COMPONENT_MAJOR_OUTAGE);
    login_fails = false;
    run_s(600);
    assert_int_equal(b->book.count, 0);
    assert_int_equal(b->state, LADDER_OPERATIONAL);
}

static void a_fault_opens_recovers_and_resolves_by_itself(void **state)
{
    (void)state;
    run_s(20);
    login_fails = true;
    run_s(30); /* fault to public incident within 30 s */
    struct incident *i = only();
    assert_int_equal(i->status, INCIDENT_INVESTIGATING);
    assert_int_equal(i->impact, IMPACT_MAJOR);
    assert_string_equal(i->name.of[PROBLEM_LANG_EN], "Service interruption: Log-in");
    assert_string_equal(i->name.of[PROBLEM_LANG_ZH_HANS], "服务中断：登录");
    assert_non_null(strstr(last_body(i), "automatically"));
    assert_int_equal(i->component_count, 1);
    assert_string_equal(i->components[0], login->code);
    assert_int_equal(i->updates[0].changes[0].before, COMPONENT_OPERATIONAL);
    assert_int_equal(i->updates[0].changes[0].after, COMPONENT_MAJOR_OUTAGE);

    login_fails = false;
    run_s(6);
    assert_int_equal(i->status, INCIDENT_MONITORING);
    assert_non_null(strstr(last_body(i), "Log-in"));
    assert_string_equal(ladder_indicator(b->state), "major"); /* never below an unresolved incident */
    run_s(280);
    assert_int_equal(i->status, INCIDENT_MONITORING);
    run_s(30);
    assert_int_equal(i->status, INCIDENT_RESOLVED);
    assert_non_null(strstr(last_body(i), "5 min"));
    assert_true(i->resolved_ms > i->monitoring_ms);
    assert_string_equal(ladder_indicator(b->state), "none");
    assert_int_equal(i->update_count, 3);
}

static void failures_in_a_row_are_one_incident_that_grows(void **state)
{
    (void)state;
    run_s(20);
    login_fails = true;
    run_s(20);
    chat_fails = true;
    run_s(40);
    struct incident *i = only();
    assert_int_equal(i->update_count, 2);
    assert_string_equal(i->name.of[PROBLEM_LANG_EN], "Service interruption: Log-in, Chat API");
    assert_int_equal(i->component_count, 2);
    login_fails = false;
    run_s(20);
    assert_int_equal(i->status, INCIDENT_INVESTIGATING); /* chat is still down */
}

static void within_the_window_the_same_incident_reopens(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        login_fails = true;
        run_s(40);
        login_fails = false;
        run_s(400);
        assert_int_equal(only()->status, INCIDENT_RESOLVED);
    }
    assert_int_equal(only()->update_count, 9);
    run_s(1800);
    login_fails = true;
    run_s(40);
    assert_int_equal(b->book.count, 2);
}

static void silence_is_broken_every_half_hour(void **state)
{
    (void)state;
    login_fails = true;
    run_s(1800 + 40);
    assert_int_equal(only()->update_count, 2);
    assert_non_null(strstr(last_body(only()), "Still affected: Log-in"));
}

static void being_blind_neither_opens_nor_resolves(void **state)
{
    (void)state;
    login_fails = true;
    run_s(40);
    login_fails = false;
    run_s(10);
    struct incident *i = only();
    assert_int_equal(i->status, INCIDENT_MONITORING);
    for (int s = 0; s < 3600; s++) {
        mono += 1000;
        board_refresh(b, wall(), mono);
        watch_tick(&w, b, wall(), mono);
    }
    assert_int_equal(i->status, INCIDENT_MONITORING);
    assert_int_equal(i->update_count, 2);
    run_s(320);
    assert_int_equal(i->status, INCIDENT_RESOLVED);
}

static void goes_on_after_a_restart(void **state)
{
    (void)state;
    login_fails = true;
    run_s(40);
    login->told = COMPONENT_OPERATIONAL; /* not kept across restarts */
    watch_resume(&w, b, mono);
    assert_int_equal(login->told, COMPONENT_MAJOR_OUTAGE);
    login_fails = false;
    run_s(6);
    assert_int_equal(only()->status, INCIDENT_MONITORING);
    assert_non_null(strstr(last_body(only()), "Log-in"));
}

/* Nothing works again: it is not there any more. */
static void what_is_taken_away_did_not_recover(void **state)
{
    (void)state;
    struct component *signup = board_component(b, COMPONENT_SIGNUP, STR(""), wall());
    for (int s = 0; s < 20; s += 2) {
        component_observe(signup, PROBE_FAIL, wall(), mono);
        run_s(2);
    }
    struct incident *i = only();
    assert_string_equal(i->name.of[PROBLEM_LANG_EN], "Service interruption: Sign-up");
    board_drop_component(b, signup);
    run_s(6);
    assert_int_equal(i->status, INCIDENT_MONITORING);
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        const char *said = i->updates[i->update_count - 1].body.of[lang];
        assert_string_equal(said, phrase(PHRASE_WITHDRAWN, (enum problem_lang)lang));
        assert_null(strchr(said, '{'));
    }
    run_s(320);
    assert_int_equal(i->status, INCIDENT_RESOLVED);
}

/* As a reader's, told while it was alone, that yields to what the writer wrote. */
static void what_was_told_goes_with_the_incident(void **state)
{
    (void)state;
    login_fails = true;
    run_s(40);
    assert_int_equal(login->told, COMPONENT_MAJOR_OUTAGE);
    incident_free(only());
    b->book.count = 0;
    watch_resume(&w, b, mono);
    assert_int_equal(login->told, COMPONENT_OPERATIONAL);
}

/* The writer's incident stays open, and knows only of the log-in. */
static void what_only_a_reader_told_goes(void **state)
{
    (void)state;
    login_fails = true;
    run_s(40);
    struct incident *written = incident_copy(only());
    chat_fails = true;
    run_s(60);
    assert_int_equal(chat->told, COMPONENT_MAJOR_OUTAGE);
    incident_free(only());
    b->book.items[0] = written;
    watch_resume(&w, b, mono);
    assert_int_equal(login->told, COMPONENT_MAJOR_OUTAGE);
    assert_int_equal(chat->told, COMPONENT_OPERATIONAL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_short_blip_changes_the_component_but_opens_nothing),
        TEST(a_fault_opens_recovers_and_resolves_by_itself),
        TEST(failures_in_a_row_are_one_incident_that_grows),
        TEST(within_the_window_the_same_incident_reopens),
        TEST(silence_is_broken_every_half_hour),
        TEST(being_blind_neither_opens_nor_resolves),
        TEST(goes_on_after_a_restart),
        TEST(what_is_taken_away_did_not_recover),
        TEST(what_was_told_goes_with_the_incident),
        TEST(what_only_a_reader_told_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

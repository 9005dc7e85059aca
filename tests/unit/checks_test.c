#include "tests/unit/unit.h"

#include <stdlib.h>

#include "status/checks.h"

static struct loop *loop;
static struct board *board;

static int setup(void **state)
{
    loop = loop_new("checks", 0);
    board = malloc(sizeof *board);
    board_init(board, "T", "https://status.test", 30000, 1000);
    return 0;
}

static int teardown(void **state)
{
    board_clear(board);
    free(board);
    loop_free(loop);
    return 0;
}

/* As the snapshot of a configuration that probed everything would leave the board. */
static void remember(void)
{
    static const enum component_kind kinds[] = {COMPONENT_SIGNUP, COMPONENT_LOGIN, COMPONENT_SMS,
                                                COMPONENT_CHAT};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        board_component(board, kinds[k], STR(""), 1000);
    }
    board_component(board, COMPONENT_MODEL, STR("old"), 1000)->measured = COMPONENT_MAJOR_OUTAGE;
    board_component(board, COMPONENT_MODEL, STR("kept"), 1000);
}

static bool has(enum component_kind kind, const char *label)
{
    for (unsigned k = 0; k < board->component_count; k++) {
        const struct component *c = &board->components[k];
        if (c->kind == kind && str_is(str_from(label), c->label)) {
            return true;
        }
    }
    return false;
}

static void open_with(const struct status_probe_conf *conf)
{
    struct err err;
    struct checks *c = checks_new(loop, NULL, board, conf, &err);
    assert_non_null(c);
    checks_free(c);
}

static void models_that_are_not_configured_any_more_go(void **state)
{
    const char *models[] = {"kept", "new"};
    struct status_probe_conf conf = {
        .chat = true, .models = {.items = models, .n = 2}, .metrics_url = "http://127.0.0.1:1/metrics"};
    remember();
    open_with(&conf);
    assert_false(has(COMPONENT_MODEL, "old"));
    assert_true(has(COMPONENT_MODEL, "kept") && has(COMPONENT_MODEL, "new"));
    assert_true(has(COMPONENT_SMS, "") && has(COMPONENT_CHAT, ""));
    assert_int_equal(board->component_count, 6);
    assert_int_equal(board_chat_of_models(board), COMPONENT_OPERATIONAL);
}

static void without_chat_and_sms_only_the_accounts_stay(void **state)
{
    struct status_probe_conf conf = {.chat = false};
    remember();
    open_with(&conf);
    assert_int_equal(board->component_count, 2);
    assert_true(has(COMPONENT_SIGNUP, "") && has(COMPONENT_LOGIN, ""));
}

static void models_found_by_listing_stay(void **state)
{
    struct status_probe_conf conf = {.chat = true, .sms_health_url = "http://127.0.0.1:1/health"};
    remember();
    open_with(&conf);
    assert_int_equal(board->component_count, 6);
    assert_true(has(COMPONENT_MODEL, "old") && has(COMPONENT_MODEL, "kept"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(models_that_are_not_configured_any_more_go),
        TEST(without_chat_and_sms_only_the_accounts_stay),
        TEST(models_found_by_listing_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

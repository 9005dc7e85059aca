#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/json.h"
#include "status/ops/ops_page.h"

static const int64_t now_ms = 1700000000123; /* 2023-11-14T22:13:20.123Z */

static struct board *b;
static struct ops_history *h;
static struct ops_answer answers[OPS_SOURCES];
static struct ops_view view;
static struct ops_verdict verdict;
static struct buf page;

static int setup(void **state)
{
    b = malloc(sizeof *b);
    h = malloc(sizeof *h);
    board_init(b, "T&T <Chat>", "https://status.test", 30000, now_ms);
    struct component *c = board_component(b, COMPONENT_LOGIN, STR(""), now_ms);
    component_observe(c, PROBE_OK, now_ms, 1000);
    board_refresh(b, now_ms, 1000);
    ops_history_init(h);
    memset(answers, 0, sizeof answers);
    answers[OPS_METRICS].at_ms = now_ms;
    view = (struct ops_view){.board = b, .history = h, .answers = answers, .now_ms = now_ms};
    buf_init(&page, OPS_PAGE_MAX);
    return 0;
}

static int teardown(void **state)
{
    for (int s = 0; s < OPS_SOURCES; s++) {
        cJSON_Delete(answers[s].json);
    }
    buf_clear(&page);
    board_clear(b);
    free(b);
    free(h);
    return 0;
}

static void metrics(uint64_t at_ms, const char *text)
{
    assert_true(ops_history_read(h, str_from(text), at_ms));
}

static void answer(enum ops_source s, const char *json)
{
    static const struct json_limits limits = {
        .max_depth = 16, .max_members = 10000, .max_items = 10000, .max_string = 4096};
    struct err err;
    cJSON_Delete(answers[s].json);
    assert_int_equal(json_parse(str_from(json), &limits, &answers[s].json, &err), 0);
    answers[s].at_ms = now_ms;
}

static void judge(void)
{
    ops_judge(&view, &verdict);
}

static const char *first(void)
{
    judge();
    return verdict.count > 0 ? verdict.findings[0].text : "";
}

static void draw(void)
{
    buf_truncate(&page);
    ops_page(&view, &page);
    assert_false(page.overflowed);
}

static bool shows(const char *text)
{
    return strstr(page.p, text) != NULL;
}

/* --- the verdict ------------------------------------------------------------------------------- */

static void calm_when_all_is_well(void **state)
{
    metrics(1000, "tidegate_requests_total{code=\"2xx\"} 0\ntidegate_database_up 1\n"
                  "tidegate_attack_level 0\ntidegate_redis_connections{role=\"limits\"} 2\n");
    metrics(2000, "tidegate_requests_total{code=\"2xx\"} 100\ntidegate_database_up 1\n"
                  "tidegate_attack_level 0\ntidegate_redis_connections{role=\"limits\"} 2\n");
    answer(OPS_WORKERS, "{\"items\":[{\"name\":\"w1\",\"state\":\"ready\",\"breaker\":\"closed\"}]}");
    answer(OPS_POLICY,
           "{\"items\":[{\"version\":1,\"in_force\":true,\"name\":\"open\",\"state\":\"open\"}]}");
    judge();
    assert_int_equal(verdict.worst, OPS_CALM);
    assert_int_equal(verdict.count, 0);
    draw();
    assert_true(shows("<h1 data-colour=\"2fb344\">All calm</h1>") && shows("as of 22:13:20 UTC"));
}

static void errors_burn_by_their_share(void **state)
{
    metrics(1000, "tidegate_requests_total{code=\"2xx\"} 0\n");
    metrics(2000, "tidegate_requests_total{code=\"2xx\"} 18\ntidegate_requests_total{code=\"5xx\"} 1\n");
    judge();
    assert_int_equal(verdict.worst, OPS_CALM); /* too few to say */
    metrics(3000, "tidegate_requests_total{code=\"2xx\"} 980\ntidegate_requests_total{code=\"5xx\"} 20\n");
    assert_string_equal(first(), "2.0 % of requests fail (5xx)");
    assert_int_equal(verdict.worst, OPS_LOOK);
    metrics(4000, "tidegate_requests_total{code=\"2xx\"} 980\ntidegate_requests_total{code=\"5xx\"} 120\n");
    judge();
    assert_int_equal(verdict.worst, OPS_BURNS);
    assert_int_equal(verdict.of[OPS_PANEL_PULSE], OPS_BURNS);
    assert_int_equal(verdict.of[OPS_PANEL_SMS], OPS_CALM);
}

static void stores_that_are_away(void **state)
{
    metrics(1000, "tidegate_database_up 0\ntidegate_redis_connections{role=\"ledger\"} 0\n"
                  "tidegate_redis_connections{role=\"limits\"} 0\n");
    judge();
    assert_int_equal(verdict.count, 3);
    assert_string_equal(verdict.findings[0].text, "PostgreSQL is away: no sign-up, no log-in");
    assert_int_equal(verdict.findings[2].level, OPS_LOOK); /* limits go on by themselves */
    metrics(1500, "tidegate_redis_connections{role=\"limits\"} 0\n");
    assert_string_equal(first(), "Redis is away: no codes are sent, each gateway limits alone");
    assert_int_equal(verdict.worst, OPS_BURNS);
    metrics(2000, "tidegate_requests_total 1\n"); /* a gateway that has neither */
    judge();
    assert_int_equal(verdict.count, 0);
}

static void workers_by_how_many(void **state)
{
    answer(OPS_WORKERS,
           "{\"items\":[{\"name\":\"w1\",\"state\":\"ready\"},{\"name\":\"w2\",\"state\":\"down\"}]}");
    assert_string_equal(first(), "Worker w2 is not ready");
    assert_int_equal(verdict.worst, OPS_LOOK);
    answer(OPS_WORKERS,
           "{\"items\":[{\"name\":\"w1\",\"state\":\"ready\"},{\"name\":\"w2\",\"state\":\"draining\"}]}");
    assert_string_equal(first(), "");
    answer(OPS_WORKERS,
           "{\"items\":[{\"name\":\"w1\",\"state\":\"suspect\"},{\"name\":\"w2\",\"state\":\"down\"}]}");
    assert_string_equal(first(), "No worker is ready");
    assert_int_equal(verdict.worst, OPS_BURNS);
    answer(OPS_WORKERS, "{\"items\":[]}");
    assert_string_equal(first(), "");
}

static void budgets_by_what_is_left(void **state)
{
    answer(OPS_SMS,
           "{\"budgets\":[{\"rule\":\"day\",\"limit\":1000,\"remaining\":100}],\"health\":[{\"name\":"
           "\"a\",\"breaker\":\"closed\"}],\"blocked\":[]}");
    assert_string_equal(first(), "");
    answer(OPS_SMS, "{\"budgets\":[{\"rule\":\"day\",\"limit\":1000,\"remaining\":99}],\"health\":[{\"name\":"
                    "\"a\",\"breaker\":\"open\"}],\"blocked\":[{\"prefix\":\"+8525123\"}]}");
    judge();
    assert_int_equal(verdict.count, 3);
    assert_string_equal(verdict.findings[0].text, "SMS budget day: 10 % left");
    assert_string_equal(verdict.findings[1].text, "SMS provider a fails");
    assert_string_equal(verdict.findings[2].text, "1 phone prefix blocked as pumped");
    answer(OPS_SMS, "{\"budgets\":[{\"rule\":\"day\",\"limit\":1000,\"remaining\":0}]}");
    assert_string_equal(first(), "SMS budget day is used up");
    assert_int_equal(verdict.worst, OPS_BURNS);
    answer(OPS_SMS,
           "{\"budgets\":[{\"rule\":\"day\",\"limit\":1000,\"remaining\":200,\"signup_remaining\":0}]}");
    assert_string_equal(first(), "SMS budget day has only what is kept for accounts");
    assert_int_equal(verdict.worst, OPS_LOOK);
}

static void a_budget_with_a_burst_of_its_own(void **state)
{
    answer(OPS_SMS,
           "{\"budgets\":[{\"rule\":\"day\",\"limit\":1000,\"burst\":50,\"known\":true,\"remaining\":50,"
           "\"signup_remaining\":25}]}");
    assert_string_equal(first(), ""); /* 5 % of the limit, and all there can be */
    draw();
    assert_true(shows("100 %</td><td class=\"r\">50 %</td>"));
    answer(OPS_SMS,
           "{\"budgets\":[{\"rule\":\"day\",\"limit\":10,\"burst\":1000,\"known\":true,\"remaining\":90,"
           "\"signup_remaining\":90}]}");
    assert_string_equal(first(), "SMS budget day: 9 % left");
}

static void people_with_accounts_come_first(void **state)
{
    metrics(1000, "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"ok\"} 0\n");
    metrics(2000, "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"ok\"} 995\n"
                  "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"wrong\"} 300\n"
                  "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"refused\"} 5\n");
    assert_string_equal(first(), "0.5 % of log-ins of who has an account fail");
    assert_int_equal(verdict.worst, OPS_LOOK);
    metrics(3000, "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"ok\"} 995\n"
                  "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"refused\"} 5\n"
                  "tidegate_auth_logins_total{level=\"A1\",step=\"code\",result=\"failed\"} 100\n");
    judge();
    assert_int_equal(verdict.worst, OPS_BURNS);
}

static void the_worst_is_said_first(void **state)
{
    metrics(1000, "tidegate_attack_level 2\ntidegate_attack_frozen 1\ntidegate_policy_emergency 1\n");
    answer(OPS_POLICY, "{\"items\":[{\"in_force\":true,\"name\":\"closed\",\"state\":\"closed\"}]}");
    judge();
    assert_int_equal(verdict.count, 4);
    for (unsigned k = 1; k < verdict.count; k++) {
        assert_true(verdict.findings[k - 1].level >= verdict.findings[k].level);
    }
    assert_string_equal(verdict.findings[1].text, "Attack ladder at A2");
    assert_int_equal(verdict.findings[3].level, OPS_NOTE);
}

static void more_findings_than_places(void **state)
{
    struct buf json;
    buf_init(&json, 64 << 10);
    buf_add_cstr(&json, "{\"health\":[");
    for (int k = 0; k < OPS_FINDINGS + 9; k++) {
        buf_addf(&json, "%s{\"name\":\"%0300d\",\"breaker\":\"open\"}", k ? "," : "", k);
    }
    buf_add_cstr(&json, "]}");
    answer(OPS_SMS, json.p);
    buf_clear(&json);
    judge();
    assert_int_equal(verdict.count, OPS_FINDINGS);
    assert_int_equal(strlen(verdict.findings[0].text), OPS_FINDING_TEXT - 1);
}

static void a_silent_gateway_is_not_judged_by_old_numbers(void **state)
{
    metrics(1000, "tidegate_attack_level 4\ntidegate_database_up 0\n");
    view.is_silent = true;
    view.silent_ms = 42000;
    assert_string_equal(first(), "The gateway is silent for 42 s");
    assert_int_equal(verdict.count, 1);
    assert_int_equal(verdict.worst, OPS_BURNS);
    answers[OPS_METRICS].at_ms = 0;
    view.silent_ms = 1000;
    assert_string_equal(first(), "The gateway has not been heard yet");
    assert_int_equal(verdict.worst, OPS_LOOK); /* tide-status has just begun */
    view.silent_ms = 60000;
    judge();
    assert_int_equal(verdict.worst, OPS_BURNS);
}

/* --- the page ---------------------------------------------------------------------------------- */

#define EVIL "<script>alert(1)</script>\\n\\u0007\\\"'&"
#define TAME "&lt;script&gt;alert(1)&lt;/script&gt;  &quot;&#39;&amp;"

static void foreign_words_are_only_words(void **state)
{
    metrics(1000,
            "tidegate_suspicion_signals_total{signal=\"<b>\"} 0\ntidegate_suspicion_verdicts_total{verdict="
            "\"deny\"} 0\n");
    metrics(2000,
            "tidegate_suspicion_signals_total{signal=\"<b>\"} 5\ntidegate_suspicion_verdicts_total{verdict="
            "\"deny\"} 5\n");
    answer(OPS_WORKERS,
           "{\"items\":[{\"name\":\"w" EVIL "\",\"state\":\"s" EVIL "\",\"breaker\":\"b" EVIL "\"}]}");
    answer(OPS_TOP, "{\"items\":[{\"rule\":\"r" EVIL "\",\"source\":\"o" EVIL "\",\"refused\":1}]}");
    answer(OPS_SMS, "{\"budgets\":[{\"rule\":\"u" EVIL
                    "\",\"limit\":1,\"remaining\":0}],\"health\":[{\"name\":\"h" EVIL
                    "\",\"breaker\":\"open\"}],\"blocked\":[{\"prefix\":\"x" EVIL "\"}]}");
    answer(OPS_ATTACK, "{\"mode\":\"m" EVIL "\",\"reason\":\"y" EVIL "\",\"since\":\"z" EVIL
                       "\",\"until\":\"q" EVIL "\"}");
    answer(OPS_MOVES, "{\"items\":[{\"before\":\"c" EVIL "\",\"level\":\"d" EVIL "\",\"reason\":\"e" EVIL
                      "\",\"actor\":\"f" EVIL "\"}]}");
    answer(OPS_POLICY, "{\"items\":[{\"in_force\":true,\"name\":\"g" EVIL "\",\"state\":\"i" EVIL
                       "\",\"actor\":\"j" EVIL "\",\"reason\":\"k" EVIL "\"},{\"name\":\"l" EVIL
                       "\",\"reason\":\"n" EVIL "\",\"actor\":\"p" EVIL "\"}]}");
    memcpy(answers[OPS_METRICS].trouble, "<i>broken", 10);
    draw();
    for (const char *k = "wsbrouhxmycdefgijklnp"; *k; k++) {
        char tame[128];
        snprintf(tame, sizeof tame, "%c" TAME, *k);
        if (!shows(tame)) {
            fail_msg("%s", tame);
        }
    }
    assert_false(shows("<script>alert") || shows("<b>0") || shows("<i>broken"));
    assert_true(shows("&lt;b&gt;") && shows("&lt;i&gt;broken") && shows("T&amp;T &lt;Chat&gt;"));
    assert_int_equal(strcspn(page.p, "\a\r"), page.n);
}

static void parts_are_one_line_each(void **state)
{
    struct buf part;
    judge();
    buf_init(&part, OPS_PAGE_MAX);
    for (unsigned k = 0; k < OPS_PARTS; k++) {
        buf_truncate(&part);
        ops_part(&view, &verdict, k, &part);
        assert_true(part.n > 0 && strcspn(part.p, "\r\n") == part.n);
        draw();
        assert_true(shows(part.p)); /* the page and the stream show the same */
    }
    buf_clear(&part);
}

static void wrong_types_read_as_nothing(void **state)
{
    static const char *const odd[] = {
        "[]",
        "{}",
        "{\"items\":{}}",
        "{\"items\":[1,null,\"x\",[]]}",
        "{\"items\":[{\"name\":5,\"state\":null}]}",
        "{\"budgets\":[{\"limit\":\"x\"}],\"health\":5,\"blocked\":[7]}",
        "3",
    };
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
        for (int s = OPS_WORKERS; s < OPS_SOURCES; s++) {
            answer((enum ops_source)s, odd[k]);
        }
        draw();
        assert_true(shows("</html>"));
    }
}

/* A stream holds at most 256 KiB for its viewer: what is larger cuts it, and the next one too. */
static void more_workers_than_a_stream_holds(void **state)
{
    struct buf json, part;
    buf_init(&json, 1 << 20);
    buf_init(&part, OPS_PAGE_MAX);
    buf_add_cstr(&json, "{\"items\":[");
    for (int k = 0; k < 600; k++) {
        buf_addf(
            &json,
            "%s{\"name\":\"w%062d\",\"state\":\"%s\",\"breaker\":\"half_open\",\"running\":7,\"slots\":8,"
            "\"tokens\":123456789,\"first_token_ms\":81,\"failures\":12345}",
            k ? "," : "", k, k == 599 ? "suspect" : "ready");
    }
    buf_add_cstr(&json, "]}");
    answer(OPS_WORKERS, json.p);
    judge();
    for (unsigned k = 0; k < OPS_PARTS; k++) {
        ops_part(&view, &verdict, k, &part);
    }
    assert_false(json.overflowed || part.overflowed);
    assert_in_range(part.n, 64 << 10, 192 << 10); /* room for what is not sent yet */
    draw();
    const char *bad = strstr(page.p, "0599</th>"), *well = strstr(page.p, "0000</th>");
    assert_true(bad && well && bad < well);
    assert_true(shows("0198</th>") && !shows("0199</th>") && shows("and 400 more"));
    buf_clear(&json);
    buf_clear(&part);
}

static void old_answers_say_how_old(void **state)
{
    draw();
    assert_true(shows("Not known"));
    answer(OPS_ATTACK, "{\"reason\":\"because\",\"since\":\"2023-11-13T04:05:06Z\"}");
    draw();
    assert_true(shows("because") && shows("11-13 04:05 UTC") && !shows("Data as of 22:13:20 UTC: away"));
    memcpy(answers[OPS_ATTACK].trouble, "away", 5);
    draw();
    assert_true(shows("because") && shows("Data as of 22:13:20 UTC: away"));
    answers[OPS_ATTACK].trouble[0] = 0;
    answers[OPS_ATTACK].at_ms = now_ms - 61000;
    draw();
    assert_true(shows("Data as of 22:12:19 UTC</p>"));
}

static void open_incidents_link_to_the_page(void **state)
{
    struct incident_text name = {{"Broken <b>", NULL, NULL}}, body = {{"It is broken.", NULL, NULL}};
    struct incident *i = incident_new("abc123abc123", INCIDENT_FROM_PROBES, &name, now_ms - 7 * 60000);
    incident_post(i, "upd000000001", INCIDENT_INVESTIGATING, &body, NULL, 0, now_ms - 3 * 60000);
    i->impact = IMPACT_CRITICAL;
    incident_book_add(&b->book, i);
    board_refresh(b, now_ms, 1000);
    draw();
    assert_true(shows("<a href=\"https://status.test/en/incidents/abc123abc123\" rel=\"noreferrer\">Broken "
                      "&lt;b&gt;</a> investigating, open for 7 min, last word 3 min ago"));
    assert_true(shows("The public is told: ") && !shows("No incident is open"));
    incident_post(i, "upd000000002", INCIDENT_RESOLVED, &body, NULL, 0, now_ms);
    draw();
    assert_true(shows("No incident is open") && !shows("abc123abc123"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(calm_when_all_is_well, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_burn_by_their_share, setup, teardown),
        cmocka_unit_test_setup_teardown(stores_that_are_away, setup, teardown),
        cmocka_unit_test_setup_teardown(workers_by_how_many, setup, teardown),
        cmocka_unit_test_setup_teardown(budgets_by_what_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_budget_with_a_burst_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(people_with_accounts_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(the_worst_is_said_first, setup, teardown),
        cmocka_unit_test_setup_teardown(more_findings_than_places, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_gateway_is_not_judged_by_old_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_words_are_only_words, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_are_one_line_each, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_types_read_as_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(more_workers_than_a_stream_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(old_answers_say_how_old, setup, teardown),
        cmocka_unit_test_setup_teardown(open_incidents_link_to_the_page, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

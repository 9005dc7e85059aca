#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "status/negotiate.h"
#include "status/notice.h"
#include "status/watch.h"

enum { NOW = 1700000000 };
static const int64_t now_ms = NOW * 1000LL + 123;

static struct board *b;
static struct site *site;

static int setup(void **state)
{
    b = malloc(sizeof *b);
    board_init(b, "T&T <Chat>", "https://status.test/", 30000, now_ms);
    board_component(b, COMPONENT_SIGNUP, STR(""), now_ms);
    board_component(b, COMPONENT_LOGIN, STR(""), now_ms);
    board_component(b, COMPONENT_MODEL, STR("a<b"), now_ms);
    for (unsigned i = 0; i < b->component_count; i++) {
        component_observe(&b->components[i], PROBE_OK, now_ms, 1000);
    }
    board_refresh(b, now_ms, 1000);
    site = site_render(b, NULL, now_ms);
    return 0;
}

static int teardown(void **state)
{
    site_unref(site);
    board_clear(b);
    free(b);
    return 0;
}

static void render_again(int64_t at_ms)
{
    struct site *old = site;
    board_refresh(b, at_ms, 1000);
    site = site_render(b, old, at_ms);
    site_unref(old);
}

static struct str text_at(const char *path)
{
    const struct site_document *d = site_find(site, str_from(path));
    assert_non_null(d);
    return str_of(d->plain.p, d->plain.n);
}

static void open_incident(void)
{
    struct incident_text name = {{"Broken <b>", NULL, NULL}},
                         body = {{"It is \"broken\" & <i>bad</i>.", "坏了", NULL}};
    struct incident_change change = {
        .name = "a<b", .before = COMPONENT_OPERATIONAL, .after = COMPONENT_MAJOR_OUTAGE};
    memcpy(change.code, b->components[2].code, sizeof change.code);
    struct incident *i = incident_new("abc123abc123", INCIDENT_FROM_PROBES, &name, now_ms);
    incident_post(i, "upd000000001", INCIDENT_INVESTIGATING, &body, &change, 1, now_ms);
    i->impact = IMPACT_MAJOR;
    incident_book_add(&b->book, i);
}

static void json_has_every_key_in_order(void **state)
{
    open_incident();
    render_again(now_ms);
    struct str s = text_at("/api/v2/summary.json");
    char expected[2048];
    snprintf(
        expected, sizeof expected,
        "{\"page\":{\"id\":\"%s\",\"name\":\"T&T "
        "<Chat>\",\"url\":\"https://status.test\",\"time_zone\":\"Etc/UTC\","
        "\"updated_at\":\"2023-11-14T22:13:20.123Z\"},\"components\":[{\"id\":\"%s\",\"name\":\"Sign-up\","
        "\"status\":\"operational\",\"created_at\":\"2023-11-14T22:13:20.123Z\","
        "\"updated_at\":\"2023-11-14T22:13:20.123Z\",\"position\":1,\"description\":\"Making a new account\","
        "\"showcase\":true,\"start_date\":\"2023-11-14\",\"group_id\":null,\"page_id\":\"%s\",\"group\":"
        "false,"
        "\"only_show_if_degraded\":false},",
        b->page.code, b->components[0].code, b->page.code);
    assert_true(str_starts(s, str_from(expected)));
    snprintf(expected, sizeof expected,
             "\"group\":true,\"only_show_if_degraded\":false,\"components\":[\"%s\"]}",
             b->components[2].code);
    assert_non_null(strstr(s.p, expected));
    assert_non_null(strstr(s.p, "\"position\":3,\"description\":null,\"showcase\":false")); /* the group */
    snprintf(
        expected, sizeof expected,
        "\"incidents\":[{\"id\":\"abc123abc123\",\"name\":\"Broken <b>\",\"status\":\"investigating\","
        "\"created_at\":\"2023-11-14T22:13:20.123Z\",\"updated_at\":\"2023-11-14T22:13:20.123Z\","
        "\"monitoring_at\":null,\"resolved_at\":null,\"impact\":\"major\","
        "\"shortlink\":\"https://status.test/incidents/abc123abc123\","
        "\"started_at\":\"2023-11-14T22:13:20.123Z\",\"page_id\":\"%s\",\"incident_updates\":[{"
        "\"id\":\"upd000000001\",\"status\":\"investigating\",\"body\":\"It is \\\"broken\\\" & "
        "<i>bad</i>.\","
        "\"incident_id\":\"abc123abc123\",\"created_at\":\"2023-11-14T22:13:20.123Z\","
        "\"updated_at\":\"2023-11-14T22:13:20.123Z\",\"display_at\":\"2023-11-14T22:13:20.123Z\","
        "\"affected_components\":[{\"code\":\"%s\",\"name\":\"Models - a<b\",\"old_status\":\"operational\","
        "\"new_status\":\"major_outage\"}],\"deliver_notifications\":true,\"custom_tweet\":null,"
        "\"tweet_id\":null}],\"components\":[{\"id\":\"%s\"",
        b->page.code, b->components[2].code, b->components[2].code);
    assert_non_null(strstr(s.p, expected));
    assert_true(str_ends(s, STR("\"reminder_intervals\":null}],\"scheduled_maintenances\":[],\"status\":{"
                                "\"indicator\":\"major\",\"description\":\"Partial System Outage\"}}")));
}

static void text_from_outside_is_escaped(void **state)
{
    open_incident();
    render_again(now_ms);
    assert_null(strstr(text_at("/en").p, "<Chat>"));
    assert_non_null(strstr(text_at("/en").p, "T&amp;T &lt;Chat&gt;"));
    assert_null(strstr(text_at("/en").p, "<i>bad"));
    assert_null(strstr(text_at("/history.atom").p, "<i>bad"));
    assert_non_null(strstr(text_at("/zh").p, "坏了"));
    assert_non_null(strstr(text_at("/zh-hant").p, "&quot;broken&quot;")); /* falls back to English */
}

static void the_feed_is_statuspages_to_the_byte(void **state)
{
    open_incident();
    render_again(now_ms);
    struct str s = text_at("/history.atom");
    assert_non_null(strstr(s.p, "<id>tag:status.test,2005:/history</id>"));
    assert_non_null(strstr(s.p, "<id>tag:status.test,2005:Incident/abc123abc123</id>"));
    assert_non_null(strstr(s.p,
                           "&lt;p&gt;&lt;small&gt;Nov &lt;var data-var=&#39;date&#39;&gt;14&lt;/var&gt;, "
                           "&lt;var data-var=&#39;time&#39;&gt;22:13&lt;/var&gt; UTC&lt;/small&gt;&lt;br&gt;"
                           "&lt;strong&gt;Investigating&lt;/strong&gt; - It is "));
}

static void what_did_not_change_keeps_its_tag_and_date(void **state)
{
    const struct site_document *unresolved = site_find(site, STR("/api/v2/incidents/unresolved.json"));
    char modified[CLOCK_HTTP_LEN + 1], etag[SITE_ETAG_LEN + 1];
    const struct site_document *status = site_find(site, STR("/api/v2/status.json"));
    memcpy(modified, status->modified, sizeof modified);
    memcpy(etag, status->plain.etag, sizeof etag);
    render_again(now_ms + 60000);
    assert_ptr_equal(site_find(site, STR("/api/v2/incidents/unresolved.json")), unresolved);
    open_incident();
    render_again(now_ms + 60000);
    status = site_find(site, STR("/api/v2/status.json"));
    assert_string_not_equal(status->modified, modified);
    assert_string_not_equal(status->plain.etag, etag);
    assert_non_null(site_find(site, STR("/en/incidents/abc123abc123")));
    assert_non_null(site_find(site, STR("/incidents/abc123abc123.json")));
}

static void the_compressed_form_is_the_same_document(void **state)
{
    const struct site_document *d = site_find(site, STR("/en"));
    assert_true(d->gzip.n > 0 && d->gzip.n < 14 * 1024);
    char *text = malloc(d->plain.n + 1);
    z_stream z = {.next_in = (unsigned char *)d->gzip.p, .avail_in = (unsigned)d->gzip.n};
    z.next_out = (unsigned char *)text;
    z.avail_out = (unsigned)d->plain.n + 1;
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, d->plain.n);
    assert_memory_equal(text, d->plain.p, d->plain.n);
    inflateEnd(&z);
    free(text);
    assert_string_not_equal(d->plain.etag, d->gzip.etag);
}

static void a_full_page_fits_one_window(void **state)
{
    char label[32];
    for (int n = 0; n < 16; n++) {
        struct component *c = board_component(
            b, COMPONENT_MODEL, str_of(label, (size_t)snprintf(label, sizeof(label), "model-%d", n)), now_ms);
        for (int64_t day = 0; day < 90; day++) {
            enum component_status s =
                (n * 7 + day * 5) % 13 == 0 ? COMPONENT_MAJOR_OUTAGE : COMPONENT_OPERATIONAL;
            int64_t from = now_ms - day * UPTIME_DAY_MS;
            uptime_add(&c->uptime, s, from, from + 60000 * (1 + (n * day) % 90));
        }
    }
    render_again(now_ms);
    assert_true(site_find(site, STR("/en"))->gzip.n < 14 * 1024);
    assert_true(site_find(site, STR("/zh-hant"))->gzip.n < 14 * 1024);
}

static void blind_is_never_green(void **state)
{
    assert_non_null(strstr(text_at("/api/v2/status.json").p, "\"indicator\":\"none\""));
    assert_null(strstr(text_at("/en").p, "class=\"stale\""));
    board_refresh(b, now_ms, 40000);
    struct site *old = site;
    site = site_render(b, old, now_ms);
    site_unref(old);
    assert_non_null(strstr(text_at("/api/v2/status.json").p, "\"indicator\":\"minor\""));
    assert_non_null(strstr(text_at("/en").p, "class=\"stale\""));
    assert_non_null(
        strstr(text_at("/en").p, "Data as of <time datetime=\"2023-11-14T22:13:20.123Z\">2023-11-14 22:13"));
    assert_null(strstr(text_at("/api/v2/components.json").p, "\"status\":\"operational\""));
}

static void accept_encoding_is_read_with_its_weights(void **state)
{
    assert_true(negotiate_takes_gzip(STR("gzip")));
    assert_true(negotiate_takes_gzip(STR("br, GZIP;q=0.1")));
    assert_true(negotiate_takes_gzip(STR("deflate, *")));
    assert_false(negotiate_takes_gzip(STR("")));
    assert_false(negotiate_takes_gzip(STR("identity")));
    assert_false(negotiate_takes_gzip(STR("gzip;q=0")));
    assert_false(negotiate_takes_gzip(STR("*, gzip; q=0.000")));
    assert_false(negotiate_takes_gzip(STR("*;q=0")));
}

static void if_none_match_is_a_list_of_tags(void **state)
{
    const struct site_document *d = site_find(site, STR("/en"));
    char list[200];
    assert_true(negotiate_is_known(str_from(d->plain.etag), d));
    assert_true(negotiate_is_known(str_from(d->gzip.etag), d));
    snprintf(list, sizeof list, "\"x\", W/%s", d->gzip.etag);
    assert_true(negotiate_is_known(str_from(list), d));
    assert_true(negotiate_is_known(STR(" * "), d));
    assert_false(negotiate_is_known(STR("\"x\""), d));
    assert_false(negotiate_is_known(STR(""), d));
    assert_false(negotiate_is_known(str_from(site_find(site, STR("/zh"))->plain.etag), d));
}

static void paths_find_their_language(void **state)
{
    bool varies;
    assert_string_equal(negotiate_find(site, STR("/"), STR("zh-TW,zh;q=0.9"), &varies)->path, "/zh-hant");
    assert_true(varies);
    assert_string_equal(negotiate_find(site, STR("/"), STR("fr"), &varies)->path, "/en");
    assert_string_equal(negotiate_find(site, STR("/zh/"), STR("en"), &varies)->path, "/zh");
    assert_false(varies);
    assert_string_equal(negotiate_find(site, STR("/history"), STR("zh"), &varies)->path, "/zh/history");
    assert_string_equal(negotiate_find(site, STR("/history.atom"), STR("zh"), &varies)->path,
                        "/history.atom");
    assert_null(negotiate_find(site, STR("/nothing"), STR(""), &varies));
    assert_null(negotiate_find(site, STR("!404/en"), STR(""), &varies));
    assert_null(negotiate_find(site, STR("/api/v2/none.json"), STR(""), &varies));
    assert_int_equal(negotiate_lang(STR("/zh-hant/none"), STR("en")), PROBLEM_LANG_ZH_HANT);
    assert_int_equal(negotiate_lang(STR("/zhx"), STR("en")), PROBLEM_LANG_EN);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(json_has_every_key_in_order),
        TEST(text_from_outside_is_escaped),
        TEST(the_feed_is_statuspages_to_the_byte),
        TEST(what_did_not_change_keeps_its_tag_and_date),
        TEST(the_compressed_form_is_the_same_document),
        TEST(a_full_page_fits_one_window),
        TEST(blind_is_never_green),
        TEST(accept_encoding_is_read_with_its_weights),
        TEST(if_none_match_is_a_list_of_tags),
        TEST(paths_find_their_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

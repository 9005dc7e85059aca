#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "status/snapshot.h"

static struct board *a, *b;
static char path[64];

static int setup(void **state)
{
    snprintf(path, sizeof path, "/tmp/tide_snapshot_XXXXXX");
    close(mkstemp(path));
    a = malloc(sizeof *a);
    b = malloc(sizeof *b);
    board_init(a, "T", "https://status.test", 30000, 1000);
    board_init(b, "T", "https://status.test", 30000, 9000);
    struct component *c = board_component(a, COMPONENT_MODEL, STR("m-1"), 5000);
    for (int k = 0; k < 3; k++) {
        component_observe(c, PROBE_FAIL, 7000, 7000);
    }
    uptime_add(&c->uptime, COMPONENT_MAJOR_OUTAGE, 0, 61500);
    struct incident_text name = {{"N", "名", NULL}}, body = {{"B \"x\"", NULL, NULL}};
    struct incident_change change = {.name = "m-1", .after = COMPONENT_MAJOR_OUTAGE};
    memcpy(change.code, c->code, sizeof change.code);
    struct incident *i = incident_new(NULL, INCIDENT_FROM_PROBES, &name, 6000);
    i->impact = IMPACT_CRITICAL;
    incident_post(i, NULL, INCIDENT_INVESTIGATING, &body, &change, 1, 6500);
    incident_post(i, NULL, INCIDENT_MONITORING, &body, NULL, 0, 6600);
    incident_book_add(&a->book, i);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    board_clear(a);
    board_clear(b);
    free(a);
    free(b);
    return 0;
}

static void save(void)
{
    struct buf text;
    struct err err;
    buf_init(&text, 1 << 20);
    snapshot_render(a, 8000, &text);
    assert_int_equal(snapshot_write(path, buf_str(&text), &err), 0);
    buf_clear(&text);
}

static void everything_comes_back(void **state)
{
    struct err err;
    save();
    assert_int_equal(snapshot_load(path, b, &err), 0);
    assert_int_equal(b->component_count, 1);
    const struct component *c = &b->components[0];
    assert_string_equal(c->key, "model:m-1");
    assert_int_equal(c->measured, COMPONENT_MAJOR_OUTAGE);
    assert_int_equal(c->seen_ms, 7000);
    assert_int_equal(c->created_ms, 5000);
    assert_true(uptime_find_day(&c->uptime, 0)->major == 61.5);
    const struct incident *was = a->book.items[0], *i = b->book.items[0];
    assert_string_equal(i->code, was->code);
    assert_int_equal(i->status, INCIDENT_MONITORING);
    assert_int_equal(i->impact, IMPACT_CRITICAL);
    assert_int_equal(i->started_ms, 6000);
    assert_int_equal(i->monitoring_ms, 6600);
    assert_int_equal(i->resolved_ms, 0);
    assert_int_equal(i->update_count, 2);
    assert_string_equal(i->updates[0].id, was->updates[0].id);
    assert_string_equal(i->updates[0].body.of[PROBLEM_LANG_EN], "B \"x\"");
    assert_string_equal(i->name.of[PROBLEM_LANG_ZH_HANS], "名");
    assert_int_equal(i->updates[0].changes[0].after, COMPONENT_MAJOR_OUTAGE);
    assert_string_equal(i->components[0], c->code);
    assert_true(i->saved_version != i->version); /* PostgreSQL has not heard of it yet */
}

static void what_is_loaded_is_stale_until_seen_again(void **state)
{
    struct err err;
    a->components[0].measured = COMPONENT_OPERATIONAL;
    save();
    assert_int_equal(snapshot_load(path, b, &err), 0);
    board_refresh(b, 9000, 9000);
    assert_true(b->is_stale);
    assert_int_not_equal(b->components[0].shown, COMPONENT_OPERATIONAL);
    assert_int_equal(b->as_of_ms, 7000);
}

static void damaged_files_are_refused_whole(void **state)
{
    struct err err;
    struct buf text;
    buf_init(&text, 1 << 20);
    snapshot_render(a, 8000, &text);
    for (size_t n = 0; n < text.n; n += 7) {
        assert_int_equal(snapshot_write(path, str_of(text.p, n), &err), 0);
        assert_int_not_equal(snapshot_load(path, b, &err), 0);
        assert_int_equal(b->component_count, 0);
        assert_int_equal(b->book.count, 0);
    }
    char *at = strstr(text.p, "major_outage");
    memcpy(at, "minor_outage", 12);
    assert_int_equal(snapshot_write(path, buf_str(&text), &err), 0);
    assert_int_equal(snapshot_load(path, b, &err), ERR_INVALID);
    buf_clear(&text);
    unlink(path);
    assert_int_equal(snapshot_load(path, b, &err), ERR_NOT_FOUND);
}

static void a_full_disk_keeps_the_old_file(void **state)
{
    struct err err;
    save();
    assert_int_equal(snapshot_write("/dev/full/x", STR("{}"), &err), ERR_IO);
    assert_int_equal(snapshot_load(path, b, &err), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(everything_comes_back),
        TEST(what_is_loaded_is_stale_until_seen_again),
        TEST(damaged_files_are_refused_whole),
        TEST(a_full_disk_keeps_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Two tide-status over one real database: tests/with-postgres build/dev/tests/store_test. Without TIDE_TEST_PG all of it
 * is skipped, visibly. */
#include "tests/unit/pg_database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "status/store.h"

enum { TICK_MS = 5, SECOND_MS = 1000 };

struct page {
    struct board board;
    struct store *store;
};

static struct loop *loop;
static struct page *writer, *reader;
static const struct incident_text text = {{"N", NULL, NULL}};

/* --- two stores on one loop -------------------------------------------------------------------------- */

static void on_change(void *arg)
{
}

static void on_notice(void *arg, const struct notice *n)
{
}

static void on_attack(void *arg, const struct attack_notice *n)
{
}

struct wait {
    struct loop_timer timer;
    bool (*is_over)(void);
    uint64_t began_ms;
    bool came;
};

static void on_tick(void *arg)
{
    static uint64_t now_ms; /* as the stores are told: a second a tick */
    struct wait *w = arg;
    now_ms += SECOND_MS;
    store_tick(writer->store, now_ms);
    if (reader->store) {
        store_tick(reader->store, now_ms);
    }
    w->came = w->is_over();
    if (w->came || clock_mono_ms() - w->began_ms > PATIENCE_MS) {
        loop_stop(loop);
    } else {
        loop_timer_arm(&w->timer, TICK_MS);
    }
}

static void wait_until(bool (*is_over)(void))
{
    struct wait w = {.is_over = is_over, .began_ms = clock_mono_ms()};
    loop_timer_init(loop, &w.timer, on_tick, &w);
    loop_timer_arm(&w.timer, 0);
    loop_run(loop);
    loop_timer_disarm(&w.timer);
    assert_true(w.came);
}

static struct page *page_new(void)
{
    struct page *p = calloc(1, sizeof *p);
    assert_non_null(p);
    board_init(&p->board, "T", "https://status.test", 30000, 1000);
    return p;
}

static void page_open(struct page *p)
{
    struct pg_conf database = {.uri = owner_uri,
                               .connections = 1,
                               .queue = 8,
                               .urgent_queue = 8,
                               .connect_ms = 20000,
                               .job_ms = 20000};
    struct store_conf conf = {
        .database = &database, .on_change = on_change, .on_notice = on_notice, .on_attack = on_attack};
    struct err err;
    p->store = store_new(&p->board, &conf, &err);
    assert_non_null(p->store);
}

static void page_free(struct page *p)
{
    store_free(p->store);
    board_clear(&p->board);
    free(p);
}

static bool has_writer(void)
{
    return store_is_writer(writer->store);
}

static struct incident *post(struct page *p, const char *code, enum incident_status status, int64_t now_ms)
{
    struct incident *i = incident_book_find(&p->board.book, str_from(code));
    if (!i) {
        i = incident_new(code, INCIDENT_FROM_PROBES, &text, now_ms);
        incident_book_add(&p->board.book, i);
    }
    incident_post(i, NULL, status, &text, NULL, 0, now_ms);
    return i;
}

static int setup(void **state)
{
    struct pg *pg = server_uri ? pg_open(owner_uri, PATIENCE_MS, NULL) : NULL;
    if (!pg) {
        return server_uri ? -1 : 0;
    }
    int rc = pg_exec(pg, "DELETE FROM status_incidents");
    pg_close(pg);
    loop = loop_new("store", 0);
    writer = page_new();
    reader = page_new();
    page_open(writer);
    wait_until(has_writer);
    page_open(reader);
    return rc < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    if (server_uri) {
        page_free(reader);
        page_free(writer);
        loop_free(loop);
    }
    return 0;
}

/* --- a reader that was alone ------------------------------------------------------------------------- */

#define SHARED "aaaaaaaaaaaa"
#define OWN "bbbbbbbbbbbb"

static bool reader_has_the_shared_one(void)
{
    const struct incident *i = incident_book_find(&reader->board.book, STR(SHARED));
    return i && i->status == INCIDENT_MONITORING && i->update_count == 2 && i->saved_version == i->version;
}

static bool reader_has_nothing_of_its_own(void)
{
    return reader_has_the_shared_one() && reader->board.book.count == 1;
}

/* The writer says nothing new meanwhile: what PostgreSQL holds is as the reader last read it. */
static void what_a_reader_told_alone_goes(void **state)
{
    need_server();
    post(writer, SHARED, INCIDENT_INVESTIGATING, 1000);
    post(writer, SHARED, INCIDENT_MONITORING, 2000);
    wait_until(reader_has_the_shared_one);
    post(reader, OWN, INCIDENT_INVESTIGATING, 3000);
    post(reader, SHARED, INCIDENT_INVESTIGATING, 3000);
    wait_until(reader_has_nothing_of_its_own);
    assert_false(store_is_writer(reader->store));
}

/* --- an incident with all that it may have ----------------------------------------------------------- */

static bool the_writer_has_written(void)
{
    const struct incident *i = writer->board.book.items[0];
    return i->saved_version == i->version;
}

static bool the_reader_has_read(void)
{
    return reader->board.book.count == 1;
}

static void the_largest_incident_is_written_whole(void **state)
{
    need_server();
    struct incident_change changes[STATUS_COMPONENTS_MAX] = {{.after = COMPONENT_MAJOR_OUTAGE}};
    for (unsigned k = 0; k < STATUS_COMPONENTS_MAX; k++) {
        snprintf(changes[k].code, sizeof changes[k].code, "component%03u", k);
        snprintf(changes[k].name, sizeof changes[k].name, "model %u", k);
    }
    struct incident *i = incident_new(SHARED, INCIDENT_FROM_PROBES, &text, 1000);
    for (int64_t n = 0; n < INCIDENT_UPDATES_MAX; n++) {
        incident_post(i, NULL, INCIDENT_INVESTIGATING, &text, changes, STATUS_COMPONENTS_MAX, 1000 + n);
    }
    i->impact = IMPACT_CRITICAL;
    incident_book_add(&writer->board.book, i);
    wait_until(the_writer_has_written);
    wait_until(the_reader_has_read);
    const struct incident *read = reader->board.book.items[0];
    assert_int_equal(read->impact, IMPACT_CRITICAL);
    assert_int_equal(read->started_ms, 1000);
    assert_int_equal(read->updated_ms, i->updated_ms);
    assert_int_equal(read->component_count, STATUS_COMPONENTS_MAX);
    assert_int_equal(read->update_count, INCIDENT_UPDATES_MAX);
    for (unsigned k = 0; k < INCIDENT_UPDATES_MAX; k++) {
        assert_string_equal(read->updates[k].id, i->updates[k].id);
        assert_int_equal(read->updates[k].change_count, STATUS_COMPONENTS_MAX);
    }
}

/* --- the program ------------------------------------------------------------------------------------- */

static int make_database(void **state)
{
    return pg_database_make("tide_store_test");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_a_reader_told_alone_goes),
        TEST(the_largest_incident_is_written_whole),
    };
    return cmocka_run_group_tests(tests, make_database, NULL);
}

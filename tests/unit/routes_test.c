/* gateway/routes: exact before prefix, longer prefixes first, methods, conflicts. */
#include "gateway/routes.h"

#include "tests/unit/unit.h"

static const struct route rows[] = {
    {.name = "all", .methods = ROUTE_GET, .path = STR_INIT("/"), .is_prefix = true},
    {.name = "files", .methods = ROUTE_GET | ROUTE_POST, .path = STR_INIT("/files/"), .is_prefix = true},
    {.name = "deep", .methods = ROUTE_GET, .path = STR_INIT("/files/deep/"), .is_prefix = true},
    {.name = "one", .methods = ROUTE_POST, .path = STR_INIT("/files/one")},
};

static const char *found(const struct route_table *t, enum http_method m, const char *path, uint32_t *allowed)
{
    const struct route_entry *e = route_find(t, m, str_from(path), allowed);
    return e != NULL ? e->route.name : "-";
}

static void test_find(void **state)
{
    struct route_table *t = route_table_new();
    uint32_t allowed = 0;
    assert_int_equal(route_table_add(t, rows, 4, NULL), 0);
    route_table_seal(t);
    assert_string_equal(found(t, HTTP_GET, "/x", &allowed), "all");
    assert_string_equal(found(t, HTTP_GET, "/files/x", &allowed), "files");
    assert_string_equal(found(t, HTTP_GET, "/files/deep/x", &allowed), "deep");
    assert_string_equal(found(t, HTTP_POST, "/files/deep/x", &allowed), "files");
    assert_string_equal(found(t, HTTP_POST, "/files/one", &allowed), "one");
    assert_string_equal(found(t, HTTP_HEAD, "/files", &allowed), "all");
    assert_string_equal(found(t, HTTP_DELETE, "/files/one", &allowed), "-");
    assert_int_equal(allowed, ROUTE_GET | ROUTE_POST);
    assert_null(route_at(t, 4));
    route_table_free(t);
}

static void test_unknown_path(void **state)
{
    struct route_table *t = route_table_new();
    uint32_t allowed = 7;
    assert_int_equal(route_table_add(t, &rows[3], 1, NULL), 0);
    route_table_seal(t);
    assert_string_equal(found(t, HTTP_POST, "/files/on", &allowed), "-");
    assert_int_equal(allowed, 0);
    assert_string_equal(found(t, HTTP_POST, "/files/one/", &allowed), "-");
    route_table_free(t);
}

static void test_less_is_shown_nowhere_for_another_method(void **state)
{
    static const struct route guarded[] = {
        {.name = "open", .methods = ROUTE_GET | ROUTE_POST, .path = STR_INIT("/api/"), .is_prefix = true},
        {.name = "admin",
         .methods = ROUTE_GET,
         .path = STR_INIT("/api/admin/"),
         .is_prefix = true,
         .auth = ROUTE_AUTH_USER},
        {.name = "both",
         .methods = ROUTE_DELETE,
         .path = STR_INIT("/api/admin/x"),
         .auth = ROUTE_AUTH_APIKEY_USER},
    };
    struct route_table *t = route_table_new();
    uint32_t allowed = 0;
    assert_int_equal(route_table_add(t, guarded, 3, NULL), 0);
    route_table_seal(t);
    assert_string_equal(found(t, HTTP_GET, "/api/admin/y", &allowed), "admin");
    assert_string_equal(found(t, HTTP_POST, "/api/admin/y", &allowed), "-");
    assert_int_equal(allowed, ROUTE_GET);
    assert_string_equal(found(t, HTTP_GET, "/api/admin/x", &allowed), "-"); /* an apikey is missing there */
    assert_string_equal(found(t, HTTP_DELETE, "/api/admin/x", &allowed), "both");
    assert_string_equal(found(t, HTTP_POST, "/api/x", &allowed), "open");
    route_table_free(t);
}

static void test_the_methods_of_a_path_ask_each_for_its_own(void **state)
{
    static const struct route rows_of_two_paths[] = {
        {.name = "write",
         .methods = ROUTE_POST,
         .path = STR_INIT("/api/"),
         .is_prefix = true,
         .auth = ROUTE_AUTH_APIKEY_USER},
        {.name = "read",
         .methods = ROUTE_GET,
         .path = STR_INIT("/api/"),
         .is_prefix = true,
         .auth = ROUTE_AUTH_APIKEY},
        {.name = "drop",
         .methods = ROUTE_DELETE,
         .path = STR_INIT("/"),
         .is_prefix = true,
         .auth = ROUTE_AUTH_APIKEY},
    };
    static const unsigned orders[][3] = {{0, 1, 2}, {1, 0, 2}};
    for (unsigned o = 0; o < 2; o++) {
        struct route_table *t = route_table_new();
        uint32_t allowed = 0;
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(route_table_add(t, &rows_of_two_paths[orders[o][i]], 1, NULL), 0);
        }
        route_table_seal(t);
        assert_string_equal(found(t, HTTP_POST, "/api/x", &allowed), "write");
        assert_string_equal(found(t, HTTP_GET, "/api/x", &allowed), "read");
        assert_string_equal(found(t, HTTP_DELETE, "/api/x", &allowed), "-"); /* a user is missing there */
        assert_int_equal(allowed, ROUTE_GET | ROUTE_POST);
        assert_string_equal(found(t, HTTP_DELETE, "/x", &allowed), "drop");
        route_table_free(t);
    }
}

static void test_a_path_is_one_rows_for_every_reader(void **state)
{
    static const struct route nested[] = {
        {.name = "open", .methods = ROUTE_GET, .path = STR_INIT("/api/"), .is_prefix = true},
        {.name = "admin", .methods = ROUTE_GET, .path = STR_INIT("/api/admin/"), .is_prefix = true},
        {.name = "one", .methods = ROUTE_GET, .path = STR_INIT("/api/one")},
        {.name = "spaced", .methods = ROUTE_GET, .path = STR_INIT("/api/a%20b/"), .is_prefix = true},
    };
    static const char *const clear[] = {"/api/x",       "/api/a%2Fb",     "/api/x;y=1/z",
                                        "/api//x",      "/api/admin/%61", "/api/admin//x;y",
                                        "/api/a%20b/c", "/api/admin",     "/api/100%25"};
    static const char *const odd[] = {"/api/%61dmin/x",   "/api/admi%6E/x", "/api//admin/x", "/api/admin%2fx",
                                      "/api/admin%5Cx",   "/api/admin;/x",  "/api/;/admin/", "/api/%2Fadmin/",
                                      "/api/admin%3Ba/x", "/api/on%65",     "/api//one",     "/api/one;v=1",
                                      "/api/%61%20b/c"};
    struct route_table *t = route_table_new();
    struct arena a;
    arena_init(&a);
    assert_int_equal(route_table_add(t, nested, 4, NULL), 0);
    route_table_seal(t);
    for (unsigned i = 0; i < sizeof clear / sizeof *clear; i++) {
        assert_true(route_is_clear(t, HTTP_GET, str_from(clear[i]), &a));
    }
    for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
        assert_false(route_is_clear(t, HTTP_GET, str_from(odd[i]), &a));
    }
    assert_true(str_is(route_path_read(&a, STR("//x;y/%5c/a%2541")), "/x/a%41"));
    arena_clear(&a);
    route_table_free(t);
}

static void test_conflict_names_both(void **state)
{
    struct route_table *t = route_table_new();
    struct route twin = {.name = "twin", .methods = ROUTE_POST, .path = STR_INIT("/files/one")};
    struct err err = {0};
    assert_int_equal(route_table_add(t, rows, 4, NULL), 0);
    assert_int_equal(route_table_add(t, &twin, 1, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "one and twin"));
    twin.methods = ROUTE_GET; /* another method is no conflict */
    assert_int_equal(route_table_add(t, &twin, 1, &err), 0);
    route_table_free(t);
}

static void test_words(void **state)
{
    struct arena a;
    arena_init(&a);
    assert_true(str_is(route_methods_text(&a, ROUTE_GET | ROUTE_POST), "GET, HEAD, POST"));
    assert_true(str_is(route_methods_text(&a, 0), ""));
    arena_clear(&a);
    assert_int_equal(route_dialect_of(STR("/v1/models")), HTTP_DIALECT_OPENAI);
    assert_int_equal(route_dialect_of(STR("/auth/v1/otp")), HTTP_DIALECT_GOTRUE);
    assert_int_equal(route_dialect_of(STR("/v1x")), HTTP_DIALECT_PROBLEM);
}

static void test_names_that_are_given_up_leave_no_metrics(void **state)
{
    struct route_table *old = NULL;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 2000; i++) { /* a reload builds the new table before it frees the old one */
        char name[16];
        snprintf(name, sizeof name, "r%d", i);
        struct route_table *new = route_table_new();
        struct route row = {.name = name, .methods = ROUTE_GET, .path = STR_INIT("/x")};
        assert_int_equal(route_table_add(new, &row, 1, NULL), 0);
        assert_int_equal(route_table_add(new, rows, 4, NULL), 0);
        metric_child_add(route_at(new, 1)->by_code[2], 1); /* "all", which every table has */
        route_table_free(old);
        old = new;
    }
    metrics_write(&text);
    assert_non_null(strstr(text.p, "{route=\"all\",code=\"2xx\"} 2000\n"));
    assert_non_null(strstr(text.p, "route=\"r1999\""));
    assert_null(strstr(text.p, "route=\"r1998\""));
    assert_null(strstr(text.p, "route=\"other\""));
    route_table_free(old);
    buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_unknown_path),
        cmocka_unit_test(test_less_is_shown_nowhere_for_another_method),
        cmocka_unit_test(test_the_methods_of_a_path_ask_each_for_its_own),
        cmocka_unit_test(test_a_path_is_one_rows_for_every_reader),
        cmocka_unit_test(test_conflict_names_both),
        cmocka_unit_test(test_names_that_are_given_up_leave_no_metrics),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

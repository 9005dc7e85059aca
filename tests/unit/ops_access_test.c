#include "tests/unit/unit.h"

#include "base/base64.h"
#include "status/ops/ops_access.h"
#include "tests/unit/temp.h"

static const char password[] = "correct horse: battery";
static struct ops_access a;

static int load(const char *content, mode_t mode)
{
    struct err err;
    return ops_access_load(&a, temp_write("password", content, mode), &err);
}

static bool allows(const char *scheme, const char *user_and_password)
{
    char code[1024], text[1100];
    base64_encode(user_and_password, strlen(user_and_password), code);
    snprintf(text, sizeof text, "%s%s", scheme, code);
    return ops_access_allows(&a, str_from(text));
}

static void the_password_and_nothing_near_it(void **state)
{
    assert_int_equal(load("correct horse: battery\n", 0600), 0);
    assert_int_equal(a.n, strlen(password));
    assert_true(allows("Basic ", "anna:correct horse: battery"));
    assert_true(allows("bAsIc  ", ":correct horse: battery"));
    assert_false(allows("Basic ", "anna:correct horse: batterz"));
    assert_false(allows("Basic ", "anna:correct horse: batter"));
    assert_false(allows("Basic ", "anna:correct horse: battery\n"));
    assert_false(allows("Basic ", "anna:"));
    assert_false(allows("Basic ", "correct horse"));
    assert_false(allows("Basic ", ""));
    assert_false(allows("Bearer ", "anna:correct horse: battery"));
    assert_false(allows("Basic", "anna:correct horse: battery"));
    assert_false(ops_access_allows(&a, STR("")));
    assert_false(ops_access_allows(&a, STR("Basic")));
    assert_false(ops_access_allows(&a, STR("Basic !!!!")));
}

static void longer_than_any_password(void **state)
{
    char text[700];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    text[3] = ':';
    assert_int_equal(load("correct horse: battery\n", 0600), 0);
    assert_false(allows("Basic ", text));
}

static void bad_files_leave_the_old_one(void **state)
{
    assert_int_equal(load("correct horse: battery\n", 0600), 0);
    assert_int_equal(load("correct horse: batterx\n", 0644), ERR_DENIED);
    assert_int_equal(load("short\n", 0600), ERR_INVALID);
    assert_int_equal(load("", 0600), ERR_INVALID);
    assert_int_equal(load("two lines of sixteen\ncharacters and more\n", 0600), ERR_INVALID);
    struct err err;
    assert_int_equal(ops_access_load(&a, temp_path("none"), &err), ERR_IO);
    assert_true(allows("Basic ", "anna:correct horse: battery"));
    assert_int_equal(load("without a line end", 0600), 0);
    assert_true(allows("Basic ", "anna:without a line end"));
}

static void without_a_file_everybody_may(void **state)
{
    struct err err;
    assert_int_equal(ops_access_load(&a, NULL, &err), 0);
    assert_true(ops_access_allows(&a, STR("")));
}

static void without_a_password_only_to_names_of_this_machine(void **state)
{
    static const char *const fine[] = {
        "localhost",  "localhost:8445",          "127.0.0.1:8445", "ops",       "",
        "[::1]:8445", "[::ffff:127.0.0.1]:8445", "127.1",          "LOCALHOST", "tide-status:8445",
        "10.0.0.1"};
    static const char *const refused[] = {"evil.example", "evil.example:8445", "127.0.0.1.evil.example",
                                          "a.b",          "localhost.",        "xn--e1awd7f.1",
                                          "1.2.3.4x:80",  "\xc3\xa9.1"};
    struct err err;
    assert_int_equal(ops_access_load(&a, NULL, &err), 0);
    for (size_t k = 0; k < sizeof fine / sizeof *fine; k++) {
        assert_true(ops_access_allows_host(&a, str_from(fine[k])));
    }
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        assert_false(ops_access_allows_host(&a, str_from(refused[k])));
    }
    assert_int_equal(load("correct horse: battery\n", 0600), 0);
    assert_true(ops_access_allows_host(&a, STR("ops.example.com"))); /* a stranger's page has no password */
}

static void a_new_password_is_another(void **state)
{
    struct ops_access before;
    struct err err;
    assert_int_equal(load("correct horse: battery\n", 0600), 0);
    before = a;
    assert_int_equal(load("correct horse: battery\n", 0600), 0);
    assert_true(ops_access_is_same(&before, &a));
    assert_int_equal(load("correct horse: batterx\n", 0600), 0);
    assert_false(ops_access_is_same(&before, &a));
    assert_int_equal(load("correct horse: battery2\n", 0600), 0);
    assert_false(ops_access_is_same(&before, &a));
    assert_int_equal(ops_access_load(&a, NULL, &err), 0);
    assert_false(ops_access_is_same(&before, &a));
    assert_true(ops_access_is_same(&a, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_password_and_nothing_near_it),
        cmocka_unit_test(longer_than_any_password),
        cmocka_unit_test(bad_files_leave_the_old_one),
        cmocka_unit_test(without_a_file_everybody_may),
        cmocka_unit_test(without_a_password_only_to_names_of_this_machine),
        cmocka_unit_test(a_new_password_is_another),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}

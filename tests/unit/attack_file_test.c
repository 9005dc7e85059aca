#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/attack_file.h"

static char folder[] = "/tmp/tide-attack-XXXXXX";
static char path[64];

static int setup(void **state)
{
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/attack", folder);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    return rmdir(folder);
}

static void what_is_saved_is_read(void **state)
{
    struct err err;
    int level = -1;
    assert_int_equal(attack_file_load(path, &level, &err), ERR_NOT_FOUND);
    for (int l = 0; l <= 4; l++) {
        assert_int_equal(attack_file_save(l, path, &err), 0);
        assert_int_equal(attack_file_load(path, &level, &err), 0);
        assert_int_equal(level, l);
    }
}

static void something_else_is_refused(void **state)
{
    static const char *const texts[] = {
        "",   "tidegate attack A\n",   "tidegate attack A5\n", "tidegate attack A2",
        "A2", "tidegate attack A22\n", "tidegate attack a2\n"};
    struct err err;
    int level = 3;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
        assert_int_equal(attack_file_load(path, &level, &err), ERR_INVALID);
    }
    assert_int_equal(level, 3);
}

static void a_disk_that_refuses_is_said(void **state)
{
    struct err err;
    assert_int_equal(attack_file_save(2, "/nowhere/at/all/attack", &err), ERR_IO);
    assert_non_null(strstr(err.msg, "/nowhere/at/all/attack"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_read),
        cmocka_unit_test(something_else_is_refused),
        cmocka_unit_test(a_disk_that_refuses_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

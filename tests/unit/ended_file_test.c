/* The file of ended sessions: written anew, appended to, and read after a crash in between. */
#include "tests/unit/temp.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/ended_file.h"

static struct auth_ended all[4];

static void assert_holds(const char *path, unsigned n, int64_t era)
{
    struct auth_ended *found;
    unsigned found_n;
    int64_t found_era;
    assert_int_equal(ended_load(path, &found, &found_n, &found_era, NULL), 0);
    assert_int_equal(found_n, n);
    assert_int_equal(found_era, era);
    for (unsigned i = 0; i < n; i++) {
        assert_true(uuid_eq(&found[i].session, &all[i].session));
        assert_int_equal(found[i].ended_s, all[i].ended_s);
    }
    free(found);
}

static void holds_what_was_saved_and_appended(void **state)
{
    const char *path = temp_path("ended");
    struct auth_ended *found;
    unsigned n;
    int64_t era;
    for (unsigned i = 0; i < 4; i++) {
        all[i] = (struct auth_ended){uuid_v7(), 1000 + i};
    }
    assert_int_equal(ended_load(path, &found, &n, &era, NULL), ERR_NOT_FOUND);
    assert_int_equal(ended_save(all, 1, 1764182400123, path, NULL), 0);
    assert_holds(path, 1, 1764182400123);
    assert_int_equal(ended_append(all + 1, 2, path, NULL), 0);
    assert_int_equal(ended_append(all + 3, 1, path, NULL), 0);
    assert_holds(path, 4, 1764182400123);
    FILE *f = fopen(path, "a"); /* the machine went down in the middle of a line */
    assert_true(f && fputs("018f0000-0000-7000", f) >= 0 && fclose(f) == 0);
    assert_holds(path, 4, 1764182400123);
    assert_int_equal(ended_save(all, 2, 0, path, NULL), 0);
    assert_holds(path, 2, 0);
    FILE *old = fopen(path, "w"); /* of a program that knows no era */
    assert_true(old && fclose(old) == 0);
    assert_int_equal(ended_append(all, 2, path, NULL), 0);
    assert_holds(path, 2, 0);
    assert_int_equal(ended_append(all, 1, temp_path("none/ended"), NULL), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(holds_what_was_saved_and_appended)};
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}

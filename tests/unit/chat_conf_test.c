/* What is wrong with a list of workers as a whole. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "gateway/chat_conf.h"
#include "inference/router/worker_conf.h"

static void no_two_workers_have_one_name(void **state)
{
    enum { MANY = 100 };
    static char names[MANY][8];
    static struct worker_conf workers[MANY];
    struct chat_conf conf = {.workers = {workers, MANY}};
    struct err err;
    const char *field = NULL;
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "w%u", (i * 37 + 11) % MANY);
        workers[i].name = names[i];
    }
    assert_int_equal(chat_conf_section.check(&conf, &field, &err), 0);
    assert_null(field);
    memcpy(names[93], names[5], sizeof names[5]);
    assert_int_equal(chat_conf_section.check(&conf, &field, &err), ERR_INVALID);
    assert_string_equal(field, "workers");
    assert_non_null(strstr(err.msg, names[5]));
    conf.workers.n = 0;
    assert_int_equal(chat_conf_section.check(&conf, &field, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_two_workers_have_one_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/unit.h"

#include "base/conf.h"
#include "base/http/server.h"

/* Two tables of the same numbers: the struct for programs without a file, the entries for those with one. */
static void presets_are_the_defaults(void **state)
{
    struct http_limits preset;
    memset(&preset, 0, sizeof(preset));
    conf_preset(&http_limits_conf_section, &preset);
    assert_memory_equal(&preset, &http_limits_default, sizeof(preset));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(presets_are_the_defaults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

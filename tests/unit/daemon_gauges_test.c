#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/metrics.h"
#include "status/daemon_inner.h"

static bool shows(const char *line)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    metrics_write(&text);
    bool found = strstr(text.p, line) != NULL;
    buf_clear(&text);
    return found;
}

static void the_gauge_of_a_forgotten_model_goes(void **state)
{
    struct daemon *d = calloc(1, sizeof *d);
    assert_non_null(d);
    board_init(&d->board, "T", "https://status.test", 30000, 1000);
    board_component(&d->board, COMPONENT_LOGIN, STR(""), 1000)->shown = COMPONENT_OPERATIONAL;
    struct component *old = board_component(&d->board, COMPONENT_MODEL, STR("old"), 1000);
    old->shown = COMPONENT_MAJOR_OUTAGE;
    daemon_metrics_update(d);
    daemon_metrics_update(d);
    assert_true(shows("tidestatus_component_status{component=\"model:old\"} 4\n"));
    board_drop_component(&d->board, old);
    daemon_metrics_update(d);
    assert_false(shows("model:old"));
    assert_true(shows("tidestatus_component_status{component=\"login\"} 0\n"));
    daemon_metrics_close(d);
    assert_false(shows("component=\"login\""));
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_gauge_of_a_forgotten_model_goes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

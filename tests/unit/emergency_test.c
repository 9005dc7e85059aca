#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/accounts_inner.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/emergency.h"
#include "gateway/gateway.h"

/* A gateway without loops and without a database: what is written, and what the fleet has, the tests say. */
struct rig {
    char folder[32];
    struct gateway_settings set;
    struct gateway_config conf;
    struct gateway gateway;
    struct accounts accounts;
};

static int setup(void **state)
{
    static struct rig rig;
    struct rig *r = &rig;
    *r = (struct rig){.folder = "/tmp/tide-emergency-XXXXXX"};
    assert_non_null(mkdtemp(r->folder));
    r->set.process.state_dir = r->folder;
    r->conf.set = &r->set;
    r->gateway.conf = &r->conf;
    r->gateway.control = control_new(&r->gateway);
    r->accounts.gateway = &r->gateway;
    r->accounts.emergency = emergency_open(&r->accounts);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    char path[64];
    emergency_free(r->accounts.emergency);
    control_end(r->gateway.control);
    control_free(r->gateway.control);
    snprintf(path, sizeof path, "%s/emergency", r->folder);
    unlink(path);
    return rmdir(r->folder);
}

static struct policy_emergency close_now(struct rig *r)
{
    const struct policy_emergency wanted = {.actor = "me", .reason = "a flood"};
    struct policy_emergency record = {.actor = ""};
    struct err err = {0};
    assert_int_equal(emergency_begin(&r->accounts, &wanted, &record, &err), 0);
    assert_non_null(emergency_now(&r->accounts));
    return record;
}

static void it_goes_when_the_fleet_has_it(void **state)
{
    struct rig *r = *state;
    struct policy_emergency first = close_now(r), again = close_now(r);
    assert_true(uuid_eq(&first.id, &again.id)); /* not written yet: the same one */
    emergency_on_policy(&r->accounts, 7);
    assert_non_null(emergency_now(&r->accounts));
    emergency_is_written(&r->accounts, &first, 8);
    emergency_on_policy(&r->accounts, 7);
    assert_non_null(emergency_now(&r->accounts));
    emergency_on_policy(&r->accounts, 8);
    assert_null(emergency_now(&r->accounts));
}

/* Written, not known here yet, and the fleet may have opened it since: this one is to be written as well. */
static void a_written_one_does_not_stand_for_the_next(void **state)
{
    struct rig *r = *state;
    struct policy_emergency first = close_now(r);
    emergency_is_written(&r->accounts, &first, 8);
    struct policy_emergency second = close_now(r);
    assert_false(uuid_eq(&first.id, &second.id));
    emergency_on_policy(&r->accounts, 9);
    assert_non_null(emergency_now(&r->accounts));
    emergency_is_written(&r->accounts, &first, 8); /* told late */
    emergency_on_policy(&r->accounts, 9);
    assert_non_null(emergency_now(&r->accounts));
    emergency_is_written(&r->accounts, &second, 10);
    emergency_on_policy(&r->accounts, 10);
    assert_null(emergency_now(&r->accounts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_goes_when_the_fleet_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_written_one_does_not_stand_for_the_next, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

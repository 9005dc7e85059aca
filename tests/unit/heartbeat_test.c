#include "tests/unit/unit.h"

#include "gateway/heartbeat.h"

struct rig {
    struct loop *loop;
    struct heartbeat beat;
};

static int rig_open(void **state)
{
    static struct rig rig;
    rig = (struct rig){.loop = loop_new("test", 0)};
    *state = &rig;
    return 0;
}

static int rig_close(void **state)
{
    loop_free(((struct rig *)*state)->loop);
    return 0;
}

static void stop(void *loop)
{
    loop_stop(loop);
}

/* The loop goes on, and takes what was posted. */
static void loop_takes_its_messages(struct rig *r)
{
    loop_call(r->loop, stop, r->loop);
    loop_run(r->loop);
}

static void one_that_answers_is_never_silent(void **state)
{
    struct rig *r = *state;
    for (uint64_t now_ms = 1000; now_ms < 10000; now_ms += 1000) {
        assert_int_equal(heartbeat_ask(&r->beat, r->loop, now_ms), 0);
        loop_takes_its_messages(r);
    }
}

static void one_that_hangs_is_silent_until_it_goes_on(void **state)
{
    struct rig *r = *state;
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 1000), 0);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 2000), 1000);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 61000), 60000);
    loop_takes_its_messages(r);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 62000), 0);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 63000), 1000);
    loop_takes_its_messages(r);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 64000), 0);
}

static void a_pause_of_all_is_no_silence(void **state)
{
    struct rig *r = *state;
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 1000), 0);
    loop_takes_its_messages(r);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 900000), 0);
    loop_takes_its_messages(r);
    assert_int_equal(heartbeat_ask(&r->beat, r->loop, 901000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_answers_is_never_silent, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(one_that_hangs_is_silent_until_it_goes_on, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(a_pause_of_all_is_no_silence, rig_open, rig_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The workers of a process: what a change of their settings keeps, and how often their news are published. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "inference/router/router_impl.h"

enum { WORKERS = 64, TICK_MS = 50, GUARD_MS = 60000 };

struct rig;
struct peer { /* one connection of a probe */
    struct rig *rig;
    int fd; /* -1: none */
    struct event ev;
};

struct rig {
    struct loop *loop;
    struct router *router;
    unsigned published;
    struct loop_timer guard;
    /* the server of all workers */
    int fd;
    struct event ev;
    char target[32];
    struct peer peers[WORKERS];
    unsigned peer_count;
};

static void on_table(void *arg, struct worker_table *t)
{
    ((struct rig *)arg)->published++;
}

static void on_guard(void *arg)
{
    fail_msg("the test took too long");
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->loop = loop_new("test", 0);
    r->fd = -1;
    r->router = router_new(r->loop, on_table, r);
    loop_timer_init(r->loop, &r->guard, on_guard, r);
    loop_timer_arm(&r->guard, GUARD_MS);
    *state = r;
    return 0;
}

static void close_peer(struct peer *p)
{
    if (p->fd >= 0) {
        event_del(&p->ev);
        close(p->fd);
        p->fd = -1;
    }
}

static int teardown(void **state)
{
    struct rig *r = *state;
    loop_timer_disarm(&r->guard);
    router_free(r->router);
    for (unsigned i = 0; i < r->peer_count; i++) {
        close_peer(&r->peers[i]);
    }
    if (r->fd >= 0) {
        event_del(&r->ev);
        close(r->fd);
    }
    loop_free(r->loop);
    free(r);
    return 0;
}

static void configure(struct rig *r, const struct worker_conf *workers, unsigned n)
{
    struct err err;
    struct router_conf conf = {.workers = workers, .worker_count = n, .probe_ms = 60000};
    assert_int_equal(router_configure(r->router, &conf, &err), 0);
}

/* --- changed settings --------------------------------------------------------------------------------- */

static const char *models[] = {"m"};

static struct worker_conf settings(const char *target)
{
    return (struct worker_conf){
        .name = "w", .target = target, .models = {models, 1}, .weight = 100, .slots = 2};
}

static enum choose_result choose(struct rig *r, struct worker_grant *g)
{
    struct worker_table *t = router_table(r->router);
    enum choose_result res = worker_choose(worker_table_model(t, STR("m")), NULL, 10, 1000, g);
    worker_table_unref(t);
    return res;
}

static struct worker_load *load_now(struct rig *r)
{
    struct worker_table *t = router_table(r->router);
    struct worker_load *load = t->workers[0]->load; /* as long as the router has it */
    worker_table_unref(t);
    return load;
}

static void changed_settings_keep_what_runs_in_its_places(void **state)
{
    struct rig *r = *state;
    struct worker_grant old[2], g;
    struct worker_conf conf = settings("127.0.0.1:1");
    configure(r, &conf, 1);
    atomic_store(&load_now(r)->health, (uint8_t)WORKER_READY);
    assert_int_equal(choose(r, &old[0]), CHOOSE_OK);
    assert_int_equal(choose(r, &old[1]), CHOOSE_OK);
    conf.weight = 50;
    configure(r, &conf, 1);
    assert_int_equal(choose(r, &g), CHOOSE_BUSY);
    assert_int_equal(atomic_load(&load_now(r)->tokens), 20);
    worker_grant_end(&old[0], 1000);
    assert_int_equal(choose(r, &g), CHOOSE_OK);
    assert_int_equal(g.worker->weight, 50);
    assert_ptr_not_equal(g.worker, old[1].worker);
    conf.slots = 3;
    configure(r, &conf, 1);
    worker_grant_end(&old[1], 1000);
    assert_int_equal(atomic_load(&load_now(r)->in_flight), 1);
    worker_grant_end(&g, 1000);
    assert_int_equal(atomic_load(&load_now(r)->in_flight), 0);
}

static void another_server_begins_with_nothing_but_the_operators_wish(void **state)
{
    struct rig *r = *state;
    struct worker_grant old;
    struct worker_conf conf = settings("127.0.0.1:1");
    configure(r, &conf, 1);
    atomic_store(&load_now(r)->health, (uint8_t)WORKER_READY);
    assert_int_equal(choose(r, &old), CHOOSE_OK);
    assert_true(router_drain(r->router, STR("w"), true));
    conf.target = "127.0.0.1:2";
    configure(r, &conf, 1);
    assert_int_equal(atomic_load(&load_now(r)->in_flight), 0);
    assert_int_equal(atomic_load(&load_now(r)->health), WORKER_PENDING);
    assert_true(atomic_load(&load_now(r)->draining));
    worker_grant_end(&old, 1000);
    assert_int_equal(atomic_load(&load_now(r)->in_flight), 0);
}

static void a_reload_keeps_makes_and_drops_by_name(void **state)
{
    struct rig *r = *state;
    struct err err;
    struct worker_conf conf[] = {settings("127.0.0.1:1"), settings("127.0.0.1:2"), settings("127.0.0.1:3"),
                                 settings("127.0.0.1:4")};
    static const char *const first[] = {"d", "b", "a", "c"}, *const second[] = {"a", "e", "c", "b"};
    for (unsigned i = 0; i < 4; i++) {
        conf[i].name = first[i];
    }
    configure(r, conf, 4);
    struct worker_table *before = router_table(r->router);
    struct worker_conf next[] = {conf[2], settings("127.0.0.1:5"), conf[3], conf[1]};
    for (unsigned i = 0; i < 4; i++) {
        next[i].name = second[i];
    }
    next[1].api_key_file = "/nonexistent/key";
    struct router_conf bad = {.workers = next, .worker_count = 4, .probe_ms = 60000};
    assert_int_equal(router_configure(r->router, &bad, &err), ERR_INVALID);
    struct worker_table *after = router_table(r->router);
    assert_ptr_equal(after, before); /* nothing happened */
    worker_table_unref(after);
    next[1].api_key_file = NULL;
    next[3].weight = 50;
    configure(r, next, 4);
    after = router_table(r->router);
    assert_int_equal(after->worker_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(after->workers[i]->name, second[i]);
    }
    assert_ptr_equal(after->workers[0], before->workers[2]);
    assert_ptr_equal(after->workers[2], before->workers[3]);
    assert_ptr_not_equal(after->workers[3],
                         before->workers[1]); /* made anew, and what runs there is its own */
    assert_ptr_equal(after->workers[3]->load, before->workers[1]->load);
    assert_false(router_has(r->router, STR("d")));
    worker_table_unref(before);
    worker_table_unref(after);
}

static void each_model_has_a_queue_of_its_own_for_good(void **state)
{
    struct rig *r = *state;
    static const char *names[] = {"n", "m", "z", "a"};
    struct worker_conf conf = settings("127.0.0.1:1");
    struct model_queue *queues[4];
    conf.models = (struct conf_strings){names, 4};
    configure(r, &conf, 1);
    for (unsigned round = 0; round < 2; round++) {
        struct worker_table *t = router_table(r->router);
        assert_int_equal(t->model_count, 4 - round);
        for (unsigned i = round; i < 4; i++) {
            struct table_model *m = worker_table_model(t, str_from(names[i]));
            assert_non_null(m);
            assert_string_equal(model_queue_name(m->queue), names[i]);
            assert_true(round == 0 || m->queue == queues[i]);
            queues[i] = m->queue;
        }
        worker_table_unref(t);
        conf.models = (struct conf_strings){names + 1, 3};
        configure(r, &conf, 1);
    }
}

/* --- our key ------------------------------------------------------------------------------------------ */

static void the_key_is_asked_for_though_health_is_due_always(void **state)
{
    struct rig *r = *state;
    struct worker_conf conf = settings("127.0.0.1:1");
    configure(r, &conf, 1);
    struct member *m = r->router->members;
    uint64_t now = clock_mono_ms();
    m->next_ms = now;
    atomic_store(&m->worker->refuses_key, true);
    member_probe_if_due(m, now);
    assert_int_equal(m->phase, MEMBER_ASKING_CHAT);
    member_probe_stop(m);
    member_probe_if_due(m, now + 1); /* it has just been asked */
    assert_int_equal(m->phase, MEMBER_ASKING_HEALTH);
}

static void a_trial_ends_with_the_first_request(void **state)
{
    struct rig *r = *state;
    struct worker_grant g;
    struct worker_conf conf = settings("127.0.0.1:1");
    configure(r, &conf, 1);
    atomic_store(&load_now(r)->health, (uint8_t)WORKER_READY);
    assert_int_equal(choose(r, &g), CHOOSE_OK);
    assert_false(worker_note_refusal(g.worker)); /* in doubt: the router will ask */
    assert_int_equal(worker_state(g.worker), WORKER_READY);

    atomic_store(&g.worker->refuses_key, true);
    atomic_store(&g.worker->is_on_trial, true);
    assert_true(worker_note_refusal(g.worker));
    assert_int_equal(worker_state(g.worker), WORKER_SUSPECT);
    assert_false(atomic_load(&g.worker->is_on_trial));

    atomic_store(&g.worker->is_on_trial, true);
    assert_true(worker_note_answer(g.worker));
    assert_false(atomic_load(&g.worker->refuses_key));
    assert_true(atomic_load(&g.worker->answered));
    assert_false(worker_note_answer(g.worker)); /* nothing new */
    assert_false(worker_note_refusal(g.worker));
    worker_grant_end(&g, 1000);
}

/* --- news --------------------------------------------------------------------------------------------- */

static void on_peer(evutil_socket_t fd, short what, void *arg)
{
    static const char health[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    static const char list[] = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"data\":[{\"id\":\"m\"}]}";
    struct peer *p = arg;
    char got[4096];
    ssize_t n = recv(fd, got, sizeof got, 0); /* a request is one segment */
    if (n <= 0) {
        close_peer(p);
        return;
    }
    const char *answer = memmem(got, (size_t)n, "/v1/models", 10) ? list : health;
    assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct rig *r = arg;
    assert_in_range(r->peer_count, 0, WORKERS - 1);
    struct peer *p = &r->peers[r->peer_count++];
    p->rig = r;
    p->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(p->fd >= 0);
    event_assign(&p->ev, loop_event_base(r->loop), p->fd, EV_READ | EV_PERSIST, on_peer, p);
    event_add(&p->ev, NULL);
}

static void serve(struct rig *r)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->fd, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(listen(r->fd, WORKERS), 0);
    assert_int_equal(getsockname(r->fd, (struct sockaddr *)&sa, &n), 0);
    snprintf(r->target, sizeof r->target, "127.0.0.1:%u", ntohs(sa.sin_port));
    event_assign(&r->ev, loop_event_base(r->loop), r->fd, EV_READ | EV_PERSIST, on_accept, r);
    event_add(&r->ev, NULL);
}

static void stop_when_all_serve(void *arg, struct worker_table *t)
{
    struct rig *r = arg;
    const struct table_model *m = worker_table_model(t, STR("m"));
    r->published++;
    if (m && m->worker_count == WORKERS) {
        loop_stop(r->loop);
    }
}

static void assert_all_serve(struct rig *r, uint32_t weight)
{
    struct worker_table *t = router_table(r->router);
    const struct table_model *m = worker_table_model(t, STR("m"));
    assert_non_null(m);
    assert_int_equal(m->worker_count, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(worker_state(t->workers[i]), WORKER_READY);
        assert_int_equal(t->workers[i]->weight, weight);
    }
    worker_table_unref(t);
}

static void the_news_of_a_tick_are_one_table(void **state)
{
    struct rig *r = *state;
    struct worker_conf workers[WORKERS];
    char names[WORKERS][8];
    serve(r);
    router_free(r->router);
    r->router = router_new(r->loop, stop_when_all_serve, r);
    for (unsigned i = 0; i < WORKERS; i++) {
        snprintf(names[i], sizeof names[i], "w%u", i);
        workers[i] = (struct worker_conf){.name = names[i], .target = r->target, .weight = 100};
    }
    uint64_t began = clock_mono_ms();
    configure(r, workers, WORKERS);
    assert_int_equal(r->published, 1);
    loop_run(r->loop);
    assert_in_range(r->published, 2, 3 + (clock_mono_ms() - began) / TICK_MS); /* the first at once */
    assert_all_serve(r, 100);

    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].weight = 50;
    }
    configure(r, workers, WORKERS); /* takes no worker away until it has told its models again */
    assert_all_serve(r, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changed_settings_keep_what_runs_in_its_places, setup, teardown),
        cmocka_unit_test_setup_teardown(another_server_begins_with_nothing_but_the_operators_wish, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_reload_keeps_makes_and_drops_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(each_model_has_a_queue_of_its_own_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(the_key_is_asked_for_though_health_is_due_always, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trial_ends_with_the_first_request, setup, teardown),
        cmocka_unit_test_setup_teardown(the_news_of_a_tick_are_one_table, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

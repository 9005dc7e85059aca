/* The choice among workers, and the queue of those who find none free. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "inference/router/queue.h"
#include "inference/router/table.h"

enum { WORKERS = 64 };

struct fleet {
    struct worker *workers[WORKERS];
    struct worker_table *table;
    struct table_model *model;
    unsigned n;
};

static void fleet_init(struct fleet *f, unsigned n, uint32_t slots)
{
    static char names[WORKERS][16];
    static char models[WORKERS][1][MODEL_NAME];
    char(*lists[WORKERS])[MODEL_NAME];
    unsigned counts[WORKERS];
    f->n = n;
    for (unsigned i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "w%u", i);
        struct worker_conf conf = {.name = names[i],
                                   .target = "127.0.0.1:1",
                                   .weight = 100,
                                   .slots = slots,
                                   .load_report = true,
                                   .report_fresh_ms = 500};
        f->workers[i] = worker_new(&conf, STR(""), i);
        atomic_store(&f->workers[i]->load->health, (uint8_t)WORKER_READY);
        memcpy(models[i][0], "m", 2);
        lists[i] = models[i];
        counts[i] = 1;
    }
    f->table = worker_table_new(f->workers, n, lists, counts);
    f->model = worker_table_model(f->table, STR("m"));
    assert_non_null(f->model);
    f->model->queue = model_queue_new("m");
}

static void fleet_clear(struct fleet *f)
{
    model_queue_free(f->model->queue);
    worker_table_unref(f->table);
    for (unsigned i = 0; i < f->n; i++) {
        assert_int_equal(atomic_load(&f->workers[i]->load->in_flight), 0);
        assert_int_equal(atomic_load(&f->workers[i]->load->tokens), 0);
        assert_int_equal(atomic_load(&f->workers[i]->refs), 1);
        worker_unref(f->workers[i]);
    }
}

static struct worker *choose(struct fleet *f, const struct worker *exclude, struct worker_grant *g)
{
    *g = (struct worker_grant){0};
    return worker_choose(f->model, exclude, 100, 1000, g) == CHOOSE_OK ? g->worker : NULL;
}

static void the_less_loaded_of_two_wins(void **state)
{
    struct fleet f;
    struct worker_grant g;
    fleet_init(&f, 2, 0);
    atomic_store(&f.workers[0]->load->tokens, 5000);
    for (unsigned i = 0; i < 20; i++) {
        assert_ptr_equal(choose(&f, NULL, &g), f.workers[1]);
        worker_grant_end(&g, 1000);
    }
    atomic_store(&f.workers[1]->load->tokens, 6000);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[0]);
    worker_grant_end(&g, 1000);
    f.workers[1]->weight = 200; /* twice as strong: 6000 weigh less than 5000 */
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[1]);
    worker_grant_end(&g, 1000);
    atomic_store(&f.workers[0]->load->tokens, 0);
    atomic_store(&f.workers[1]->load->tokens, 0);
    fleet_clear(&f);
}

static void tell(struct worker *w, int32_t running, int32_t waiting, uint8_t kv_used, uint64_t now_ms)
{
    worker_note_report(w, &(struct worker_report){.running = running, .waiting = waiting, .kv_used = kv_used},
                       now_ms);
}

/* So few that all are looked at, and so many that two are drawn. */
static const unsigned sizes[] = {8, WORKERS};

static void two_random_choices_balance_a_fleet(void **state)
{
    struct fleet f;
    static struct worker_grant held[WORKERS * 100];
    for (unsigned k = 0; k < 2; k++) {
        unsigned n = sizes[k];
        fleet_init(&f, n, 0);
        for (unsigned i = 0; i < n * 100; i++) {
            assert_non_null(choose(&f, NULL, &held[i]));
        }
        for (unsigned i = 0; i < n; i++) {
            assert_in_range(atomic_load(&f.workers[i]->load->in_flight), 90, 110);
        }
        for (unsigned i = 0; i < n * 100; i++) {
            worker_grant_end(&held[i], 1000);
        }
        fleet_clear(&f);
    }
}

static void the_last_free_one_of_a_fleet_is_found(void **state)
{
    struct fleet f;
    static struct worker_grant held[WORKERS];
    struct worker_grant g;
    for (unsigned k = 0; k < 2; k++) {
        unsigned n = sizes[k];
        fleet_init(&f, n, 1);
        for (unsigned i = 0; i < n; i++) {
            assert_non_null(choose(&f, NULL, &held[i])); /* one after another, none twice: a slot each */
        }
        assert_int_equal(worker_choose(f.model, NULL, 1, 1000, &g), CHOOSE_BUSY);
        struct worker *last = held[n / 2].worker;
        worker_grant_end(&held[n / 2], 1000);
        assert_int_equal(worker_choose(f.model, last, 1, 1000, &g), CHOOSE_BUSY);
        assert_ptr_equal(choose(&f, NULL, &held[n / 2]), last);
        for (unsigned i = 0; i < n; i++) {
            worker_grant_end(&held[i], 1000);
        }
        fleet_clear(&f);
    }
}

static void a_fleet_gives_nothing_to_those_who_may_not(void **state)
{
    struct fleet f;
    struct worker_grant g;
    fleet_init(&f, WORKERS, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = f.workers[i];
        switch (i % 4) {
        case 0:
            atomic_store(&w->load->health, (uint8_t)WORKER_SUSPECT);
            break;
        case 1:
            atomic_store(&w->load->draining, true);
            break;
        case 2:
            for (unsigned n = 0; n < 3; n++) {
                breaker_note(&w->breaker, 1000, BREAKER_CONNECT_FAIL, false);
            }
            break;
        default: /* it may */
            break;
        }
    }
    bool was_given[WORKERS] = {false};
    for (unsigned i = 0; i < 100 * WORKERS; i++) {
        struct worker *w = choose(&f, f.workers[3], &g);
        assert_non_null(w);
        was_given[w->id] = true;
        worker_grant_end(&g, 1000);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(was_given[i], i % 4 == 3 && i != 3);
    }
    fleet_clear(&f);
}

static void of_many_some_tell_what_a_request_of_others_weighs(void **state)
{
    struct fleet f;
    struct worker_grant g, small, big;
    fleet_init(&f, WORKERS, 0);
    for (unsigned i = 0; i < WORKERS; i++) { /* a request each, and only the first two take more */
        atomic_store(&f.workers[i]->load->tokens, i < 2 ? 100 : 1000);
        atomic_store(&f.workers[i]->load->in_flight, 1);
        atomic_store(&f.workers[i]->load->draining, i >= 2);
        tell(f.workers[i], 1 + (i == 1), 0, 0, 1000);
    }
    assert_int_equal(worker_choose(f.model, f.workers[1], 400, 1000, &small), CHOOSE_OK);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[0]); /* 500 against 100 and one of almost 1,000 */
    worker_grant_end(&g, 1000);
    assert_int_equal(worker_choose(f.model, f.workers[1], 1000, 1000, &big), CHOOSE_OK);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[1]); /* 1,500 */
    worker_grant_end(&g, 1000);
    worker_grant_end(&big, 1000);
    worker_grant_end(&small, 1000);
    for (unsigned i = 0; i < WORKERS; i++) {
        atomic_store(&f.workers[i]->load->tokens, 0);
        atomic_store(&f.workers[i]->load->in_flight, 0);
    }
    fleet_clear(&f);
}

static void work_of_others_counts_as_our_own(void **state)
{
    struct fleet f;
    struct worker_grant g[12];
    unsigned of_first = 0;
    fleet_init(&f, 2, 0);
    tell(f.workers[0], 3, 1, 0, 1000);
    tell(f.workers[1], 0, 0, 0, 1000);
    for (unsigned i = 0; i < 4; i++) { /* without a new report: ours since then are added */
        assert_ptr_equal(choose(&f, NULL, &g[i]), f.workers[1]);
    }
    for (unsigned i = 4; i < 12; i++) { /* level now */
        of_first += choose(&f, NULL, &g[i]) == f.workers[0];
    }
    assert_int_equal(of_first, 4);
    tell(f.workers[0], 6, 2, 0, 1000); /* it knows of our four now: the same four of others */
    assert_int_equal(atomic_load(&f.workers[0]->load->others), 4);
    tell(f.workers[0], 1, 0, 0, 1000); /* ours that it has not seen yet are no debt */
    assert_int_equal(atomic_load(&f.workers[0]->load->others), 0);
    for (unsigned i = 0; i < 12; i++) {
        worker_grant_end(&g[i], 1000);
    }
    fleet_clear(&f);
}

static void others_weigh_what_ours_weigh_in_the_mean(void **state)
{
    struct fleet f;
    struct worker_grant big, g;
    fleet_init(&f, 2, 0);
    tell(f.workers[1], 40, 0, 0, 1000);
    tell(f.workers[0], 0, 0, 0, 1000);
    assert_int_equal(worker_choose(f.model, NULL, 9900, 1000, &big), CHOOSE_OK);
    assert_ptr_equal(big.worker, f.workers[0]);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[0]); /* 9,900 against 40 of 5,000 */
    worker_grant_end(&g, 1000);
    tell(f.workers[1], 1, 0, 0, 1000);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[1]); /* 9,900 against one of 5,000 */
    worker_grant_end(&g, 1000);
    worker_grant_end(&big, 1000);
    fleet_clear(&f);
}

static void a_full_cache_counts_against_a_worker(void **state)
{
    struct fleet f;
    struct worker_grant g;
    fleet_init(&f, 2, 0);
    for (uint8_t used = 50; used <= 100; used = (uint8_t)(used + 25)) {
        tell(f.workers[0], 2, 0, used, 1000);
        tell(f.workers[1], 3, 0, 10, 1000);
        assert_ptr_equal(choose(&f, NULL, &g), f.workers[1]);
        worker_grant_end(&g, 1000);
    }
    tell(f.workers[0], 2, 0, 10, 1000);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[0]);
    worker_grant_end(&g, 1000);
    fleet_clear(&f);
}

/* How many of 200 choices fall on the first worker, each ended at once. */
static unsigned share_of_first(struct fleet *f, uint64_t now_ms)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 200; i++) {
        struct worker_grant g = {0};
        assert_int_equal(worker_choose(f->model, NULL, 100, now_ms, &g), CHOOSE_OK);
        n += g.worker == f->workers[0];
        worker_grant_end(&g, now_ms);
    }
    return n;
}

static void who_falls_silent_does_not_look_idle(void **state)
{
    struct fleet f;
    struct worker_grant ours;
    fleet_init(&f, 2, 0);
    tell(f.workers[0], 6, 0, 0, 1000);
    tell(f.workers[1], 5, 0, 0, 1000);
    assert_int_equal(share_of_first(&f, 1500), 0);
    tell(f.workers[1], 50, 0, 0, 1600);
    assert_int_equal(share_of_first(&f, 1600), 200); /* the older report still counts, by half */
    tell(f.workers[1], 50, 0, 0, 2100);
    assert_in_range(share_of_first(&f, 2100), 50, 150); /* then neither: only what is ours */
    assert_int_equal(worker_choose(f.model, f.workers[1], 100, 2100, &ours), CHOOSE_OK);
    assert_int_equal(share_of_first(&f, 2100), 0);
    worker_grant_end(&ours, 2100);
    fleet_clear(&f);
}

static void a_report_ages_by_halves(void **state)
{
    struct fleet f;
    fleet_init(&f, 1, 0);
    assert_int_equal(worker_report_halves(f.workers[0], 10), 0);
    tell(f.workers[0], 1, 0, 0, 1000);
    assert_int_equal(worker_report_halves(f.workers[0], 990), 2); /* a loop whose time is behind */
    assert_int_equal(worker_report_halves(f.workers[0], 1500), 2);
    assert_int_equal(worker_report_halves(f.workers[0], 1501), 1);
    assert_int_equal(worker_report_halves(f.workers[0], 2000), 1);
    assert_int_equal(worker_report_halves(f.workers[0], 2001), 0);
    fleet_clear(&f);
}

static void one_that_says_it_drains_is_suspect(void **state)
{
    struct fleet f;
    fleet_init(&f, 1, 0);
    worker_note_report(f.workers[0], &(struct worker_report){.is_draining = true}, 1000);
    assert_int_equal(worker_state(f.workers[0]), WORKER_SUSPECT);
    fleet_clear(&f);
}

static void the_excluded_one_is_never_taken(void **state)
{
    struct fleet f;
    struct worker_grant g;
    fleet_init(&f, 2, 0);
    atomic_store(&f.workers[1]->load->tokens, 100000);
    assert_ptr_equal(choose(&f, f.workers[0], &g), f.workers[1]);
    worker_grant_end(&g, 1000);
    atomic_store(&f.workers[1]->load->health, (uint8_t)WORKER_DOWN);
    assert_null(choose(&f, f.workers[0], &g));
    atomic_store(&f.workers[1]->load->tokens, 0);
    fleet_clear(&f);
}

static void suspects_serve_only_when_nobody_is_ready(void **state)
{
    struct fleet f;
    struct worker_grant g;
    fleet_init(&f, 3, 0);
    atomic_store(&f.workers[0]->load->health, (uint8_t)WORKER_SUSPECT);
    atomic_store(&f.workers[1]->load->health, (uint8_t)WORKER_PENDING);
    atomic_store(&f.workers[2]->load->tokens, 100000);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[2]);
    worker_grant_end(&g, 1000);
    atomic_store(&f.workers[2]->load->draining, true);
    assert_ptr_equal(choose(&f, NULL, &g), f.workers[0]);
    worker_grant_end(&g, 1000);
    atomic_store(&f.workers[0]->load->health, (uint8_t)WORKER_DOWN);
    assert_int_equal(worker_choose(f.model, NULL, 1, 1000, &g), CHOOSE_NONE);
    atomic_store(&f.workers[2]->load->tokens, 0);
    fleet_clear(&f);
}

static void taken_slots_are_busy_not_gone(void **state)
{
    struct fleet f;
    struct worker_grant a, b, c;
    fleet_init(&f, 2, 1);
    assert_non_null(choose(&f, NULL, &a));
    assert_non_null(choose(&f, NULL, &b));
    assert_ptr_not_equal(a.worker, b.worker);
    assert_int_equal(worker_choose(f.model, NULL, 1, 1000, &c), CHOOSE_BUSY);
    worker_grant_end(&a, 1000);
    assert_non_null(choose(&f, NULL, &c));
    worker_grant_end(&b, 1000);
    worker_grant_end(&c, 1000);
    fleet_clear(&f);
}

static void an_open_breaker_hides_a_worker_until_its_probe(void **state)
{
    struct fleet f;
    struct worker_grant g, h;
    fleet_init(&f, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        breaker_note(&f.workers[0]->breaker, 1000, BREAKER_CONNECT_FAIL, false);
    }
    assert_int_equal(worker_state(f.workers[0]), WORKER_SUSPECT);
    assert_int_equal(worker_choose(f.model, NULL, 1, 5999, &g), CHOOSE_NONE);
    assert_int_equal(worker_choose(f.model, NULL, 1, 6000, &g), CHOOSE_OK);
    assert_true(g.is_probe);
    assert_int_equal(worker_choose(f.model, NULL, 1, 6000, &h), CHOOSE_NONE);
    worker_grant_end(&g, 6000); /* canceled: the next one probes */
    assert_int_equal(worker_choose(f.model, NULL, 1, 6000, &h), CHOOSE_OK);
    worker_grant_note(&h, 6000, BREAKER_OK);
    assert_int_equal(worker_state(f.workers[0]), WORKER_READY);
    worker_grant_end(&h, 6000);
    fleet_clear(&f);
}

static void models_are_found_by_their_whole_name(void **state)
{
    struct worker_conf conf = {.name = "w", .target = "x:1"};
    struct worker *w = worker_new(&conf, STR("key"), 0);
    static char names[3][MODEL_NAME] = {"deepseek-chat", "a", "deepseek"};
    char(*lists[1])[MODEL_NAME] = {names};
    unsigned counts[1] = {3};
    struct worker_table *t = worker_table_new(&w, 1, lists, counts);
    assert_string_equal(w->authorization, "Bearer key");
    assert_string_equal(worker_table_model(t, STR("deepseek"))->name, "deepseek");
    assert_string_equal(worker_table_model(t, STR("deepseek-chat"))->name, "deepseek-chat");
    assert_string_equal(worker_table_model(t, STR("a"))->name, "a");
    assert_null(worker_table_model(t, STR("deepsee")));
    assert_null(worker_table_model(t, STR("deepseek-chat2")));
    assert_null(worker_table_model(t, STR("")));
    worker_table_unref(t);
    worker_unref(w);
}

static void a_worker_that_names_a_model_again_is_there_once(void **state)
{
    struct worker_conf conf = {.name = "w", .target = "x:1"};
    struct worker *w = worker_new(&conf, STR(""), 0);
    static char names[WORKER_MODELS][MODEL_NAME];
    char(*lists[1])[MODEL_NAME] = {names};
    unsigned counts[1] = {WORKER_MODELS};
    for (unsigned i = 0; i < WORKER_MODELS; i++) {
        snprintf(names[i], MODEL_NAME, "%s", i == 3 ? "other" : "m");
    }
    struct worker_table *t = worker_table_new(&w, 1, lists, counts);
    assert_int_equal(worker_table_model(t, STR("m"))->worker_count, 1);
    assert_int_equal(worker_table_model(t, STR("other"))->worker_count, 1);
    worker_table_unref(t);
    worker_unref(w);
}

/* --- queue -------------------------------------------------------------------------------------------- */

struct waiting {
    struct loop *loop;
    char order[32];
    size_t n;
    struct worker_grant last;
    unsigned stop_after;
};
struct one {
    struct waiting *w;
    char name;
};

static void on_grant(void *arg, struct worker_grant g)
{
    struct one *o = arg;
    o->w->order[o->w->n++] = o->name;
    o->w->last = g;
    if (o->w->n == o->w->stop_after) {
        loop_stop(o->w->loop);
    }
}

static struct queue_waiter *enter(struct fleet *f, struct one *o, uint64_t user, enum queue_refusal *why)
{
    struct queue_limits limits = {.length = 5, .per_user = 3};
    struct queue_request req = {
        .loop = o->w->loop, .user = user, .tokens = 1, .on_grant = on_grant, .arg = o};
    return queue_enter(f->model->queue, &limits, &req, why);
}

static void the_queue_is_bounded_and_fair(void **state)
{
    struct fleet f;
    struct worker_grant g;
    enum queue_refusal why;
    struct waiting w = {.loop = loop_new("test", 0), .stop_after = 1};
    struct one a1 = {&w, 'a'}, a2 = {&w, 'A'}, a3 = {&w, '@'}, b1 = {&w, 'b'}, c1 = {&w, 'c'}, d1 = {&w, 'd'};
    fleet_init(&f, 1, 1);
    assert_non_null(choose(&f, NULL, &g));
    assert_non_null(enter(&f, &a1, 1, &why));
    assert_non_null(enter(&f, &a2, 1, &why));
    assert_non_null(enter(&f, &a3, 1, &why));
    assert_null(enter(&f, &d1, 1, &why));
    assert_int_equal(why, QUEUE_USER_FULL);
    assert_non_null(enter(&f, &b1, 2, &why));
    struct queue_waiter *gone = enter(&f, &c1, 3, &why);
    assert_non_null(gone);
    assert_null(enter(&f, &d1, 4, &why));
    assert_int_equal(why, QUEUE_FULL);
    queue_leave(gone);
    queue_pump_all(f.table, 1000);
    assert_int_equal(model_queue_length(f.model->queue), 4); /* no slot: nobody moves */
    for (unsigned i = 0; i < 4; i++) {
        worker_grant_end(&g, 1000);
        queue_pump_all(f.table, 1000);
        queue_pump_all(f.table, 1000);
        w.stop_after = i + 1;
        loop_run(w.loop);
        g = w.last;
    }
    assert_string_equal(w.order, "abA@"); /* b came after three of a's, and is second */
    worker_grant_end(&g, 1000);
    loop_free(w.loop);
    fleet_clear(&f);
}

static void whom_the_head_may_not_have_serves_the_next(void **state)
{
    struct fleet f;
    struct worker_grant g[2];
    enum queue_refusal why;
    struct waiting w = {.loop = loop_new("test", 0), .stop_after = 1};
    struct one retry = {&w, 'r'}, other = {&w, 'o'};
    const struct queue_limits limits = {.length = 5, .per_user = 3};
    fleet_init(&f, 2, 1);
    assert_non_null(choose(&f, NULL, &g[0]));
    assert_non_null(choose(&f, NULL, &g[1]));
    struct queue_request req = {
        .loop = w.loop, .user = 1, .tokens = 1, .exclude = g[0].worker, .on_grant = on_grant, .arg = &retry};
    assert_non_null(queue_enter(f.model->queue, &limits, &req, &why));
    assert_non_null(enter(&f, &other, 2, &why));
    const struct worker *its = g[1].worker;
    worker_grant_end(&g[0], 1000);
    queue_pump_all(f.table, 1000);
    assert_int_equal(model_queue_length(f.model->queue), 1);
    loop_run(w.loop);
    assert_string_equal(w.order, "o");
    worker_grant_end(&w.last, 1000);
    worker_grant_end(&g[1], 1000);
    queue_pump_all(f.table, 1000);
    w.stop_after = 2;
    loop_run(w.loop);
    assert_string_equal(w.order, "or");
    assert_ptr_equal(w.last.worker, its);
    worker_grant_end(&w.last, 1000);
    loop_free(w.loop);
    fleet_clear(&f);
}

static void a_place_given_back_goes_to_who_waits(void **state)
{
    struct fleet f;
    enum queue_refusal why;
    static struct worker_grant held[WORKERS];
    struct waiting w = {.loop = loop_new("test", 0), .stop_after = 1};
    struct one a = {&w, 'a'}, b = {&w, 'b'};
    fleet_init(&f, WORKERS, 1);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_non_null(choose(&f, NULL, &held[i]));
    }
    assert_non_null(enter(&f, &a, 1, &why));
    assert_non_null(enter(&f, &b, 2, &why));
    struct worker *freed = held[0].worker;
    worker_grant_end(&held[0], 1000);
    queue_pump_freed(f.table, held[1].worker, 1000); /* not that one */
    assert_int_equal(model_queue_length(f.model->queue), 2);
    queue_pump_freed(f.table, freed, 1000);
    assert_int_equal(model_queue_length(f.model->queue), 1);
    loop_run(w.loop);
    assert_string_equal(w.order, "a");
    assert_ptr_equal(w.last.worker, freed);
    held[0] = w.last;
    worker_grant_end(&held[2], 1000);
    queue_pump_freed(f.table, (struct worker *)(void *)&f,
                     1000); /* one of an older table: its successor is found */
    w.stop_after = 2;
    loop_run(w.loop);
    assert_string_equal(w.order, "ab");
    held[2] = w.last;
    for (unsigned i = 0; i < WORKERS; i++) {
        worker_grant_end(&held[i], 1000);
    }
    loop_free(w.loop);
    fleet_clear(&f);
}

static void stop(void *arg)
{
    loop_stop(arg);
}

static void a_grant_for_one_who_left_comes_back(void **state)
{
    struct fleet f;
    enum queue_refusal why;
    struct waiting w = {.loop = loop_new("test", 0), .stop_after = 2};
    struct one a = {&w, 'a'}, b = {&w, 'b'};
    fleet_init(&f, 1, 1);
    struct queue_waiter *q = enter(&f, &a, 1, &why);
    queue_pump_all(f.table, 1000); /* granted, not yet told */
    assert_int_equal(atomic_load(&f.workers[0]->load->in_flight), 1);
    queue_leave(q);
    loop_call(w.loop, stop, w.loop);
    loop_run(w.loop);
    assert_int_equal(w.n, 0);
    assert_int_equal(atomic_load(&f.workers[0]->load->in_flight), 0);
    assert_non_null(enter(&f, &b, 1, &why));
    queue_pump_all(f.table, 1000);
    loop_free(w.loop); /* a loop that goes away gives its grants back */
    fleet_clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_less_loaded_of_two_wins),
        cmocka_unit_test(two_random_choices_balance_a_fleet),
        cmocka_unit_test(the_last_free_one_of_a_fleet_is_found),
        cmocka_unit_test(a_fleet_gives_nothing_to_those_who_may_not),
        cmocka_unit_test(of_many_some_tell_what_a_request_of_others_weighs),
        cmocka_unit_test(work_of_others_counts_as_our_own),
        cmocka_unit_test(others_weigh_what_ours_weigh_in_the_mean),
        cmocka_unit_test(a_full_cache_counts_against_a_worker),
        cmocka_unit_test(who_falls_silent_does_not_look_idle),
        cmocka_unit_test(a_report_ages_by_halves),
        cmocka_unit_test(one_that_says_it_drains_is_suspect),
        cmocka_unit_test(a_worker_that_names_a_model_again_is_there_once),
        cmocka_unit_test(whom_the_head_may_not_have_serves_the_next),
        cmocka_unit_test(the_excluded_one_is_never_taken),
        cmocka_unit_test(suspects_serve_only_when_nobody_is_ready),
        cmocka_unit_test(taken_slots_are_busy_not_gone),
        cmocka_unit_test(an_open_breaker_hides_a_worker_until_its_probe),
        cmocka_unit_test(models_are_found_by_their_whole_name),
        cmocka_unit_test(the_queue_is_bounded_and_fair),
        cmocka_unit_test(a_place_given_back_goes_to_who_waits),
        cmocka_unit_test(a_grant_for_one_who_left_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

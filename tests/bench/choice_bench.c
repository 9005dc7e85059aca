/* What the choice of a worker costs, and a reload of all of them.
 *
 *     build/release/tests/choice_bench [WORKERS]        1000 by default, 4096 at most
 *
 * A choice: the median of single ones, each with its end; "cold" after 16 MiB of other memory, as between the requests of
 * a busy gateway. A reload: the least of five. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/loop.h"
#include "inference/router/router.h"

enum { WORKERS_MAX = 4096, CHOICES = 400, ROUNDS = 5, OTHER_BYTES = 16 << 20, SLOTS = 8, NOW_MS = 1000 };

static unsigned char other[OTHER_BYTES];
static char names[WORKERS_MAX][24], targets[WORKERS_MAX][32];
static const char *own_model[WORKERS_MAX], *shared_model[] = {"m"};
static struct worker_conf workers[WORKERS_MAX];

static void ignore_table(void *arg, struct worker_table *t)
{
}

static void fill(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "worker-%u", i);
        snprintf(targets[i], sizeof targets[i], "127.0.0.1:%u", 10000 + i);
        own_model[i] = names[i];
        workers[i] = (struct worker_conf){.name = names[i],
                                          .target = targets[i],
                                          .models = {shared_model, 1},
                                          .weight = 100,
                                          .slots = SLOTS};
    }
}

/* --- choice ------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void forget(void)
{
    for (size_t i = 0; i < sizeof other; i += 64) {
        other[i]++;
    }
}

static uint64_t median_ns(const struct table_model *m, const struct worker *freed, bool cold)
{
    static uint64_t took[CHOICES];
    for (unsigned i = 0; i < CHOICES; i++) {
        struct worker_grant g = {0};
        if (cold) {
            forget();
        }
        uint64_t began = clock_mono_ns();
        (void)worker_choose_freed(freed, m, NULL, 500, NOW_MS, &g);
        worker_grant_end(&g, NOW_MS);
        took[i] = clock_mono_ns() - began;
    }
    qsort(took, CHOICES, sizeof *took, by_value);
    return took[CHOICES / 2];
}

static void show_choice(const char *what, const struct table_model *m, const struct worker *freed)
{
    printf("choice, %-32s %8.2f us, cold %8.2f us\n", what, (double)median_ns(m, freed, false) / 1e3,
           (double)median_ns(m, freed, true) / 1e3);
}

static void measure_choice(struct router *r, const char *what, unsigned free_percent)
{
    struct worker_table *t = router_table(r);
    const struct table_model *m = worker_table_model(t, STR("m"));
    BUG_ON(!m);
    for (unsigned i = 0; i < t->worker_count; i++) {
        struct worker_load *l = t->workers[i]->load;
        atomic_store(&l->health, (uint8_t)WORKER_READY);
        atomic_store(&l->in_flight, i % 100 < free_percent ? 0 : SLOTS);
    }
    show_choice(what, m, NULL);
    if (free_percent == 0) {
        struct worker *freed = t->workers[t->worker_count / 2];
        atomic_store(&freed->load->in_flight, SLOTS - 1);
        show_choice("the one known to be free", m, freed);
    }
    for (unsigned i = 0; i < t->worker_count; i++) {
        atomic_store(&t->workers[i]->load->in_flight, 0);
    }
    worker_table_unref(t);
}

/* --- reload ------------------------------------------------------------------------------------------- */

static uint64_t configure_ns(struct router *r, unsigned n)
{
    struct err err;
    struct router_conf conf = {.workers = workers, .worker_count = n, .probe_ms = 60000};
    uint64_t began = clock_mono_ns();
    int rc = router_configure(r, &conf, &err);
    BUG_ON(rc != 0);
    return clock_mono_ns() - began;
}

static void measure_reload(struct router *r, const char *what, unsigned n, bool changed)
{
    uint64_t least = UINT64_MAX;
    for (unsigned k = 0; k < ROUNDS; k++) {
        for (unsigned i = 0; i < n && changed; i++) {
            workers[i].weight++;
        }
        uint64_t ns = configure_ns(r, n);
        least = ns < least ? ns : least;
    }
    printf("reload, %-32s %8.2f ms\n", what, (double)least / 1e6);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    if (n < 1 || n > WORKERS_MAX) {
        fprintf(stderr, "usage: choice_bench [WORKERS], 1 to %d\n", WORKERS_MAX);
        return 2;
    }
    struct loop *loop = loop_new("bench", 0);
    struct router *r = router_new(loop, ignore_table, NULL);
    fill(n);
    printf("%u workers\n", n);
    (void)configure_ns(r, n);
    measure_choice(r, "all free", 100);
    measure_choice(r, "one in two free", 50);
    measure_choice(r, "one in a hundred free", 1);
    measure_choice(r, "none free", 0);
    measure_reload(r, "nothing changed", n, false);
    measure_reload(r, "every worker changed", n, true);
    for (unsigned i = 0; i < n; i++) {
        workers[i].models = (struct conf_strings){&own_model[i], 1};
    }
    (void)configure_ns(r, n);
    measure_reload(r, "nothing changed, a model each", n, false);
    router_free(r);
    loop_free(loop);
    return 0;
}

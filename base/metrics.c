/* Every child owns a run of slots; every thread owns a table with a number for each slot, which
 * only that thread writes (a plain load and store, relaxed). A scrape sums over the tables.
 *
 *     table of a thread:  pages[slot / 1024] -> [ int64, 1024 of them ]     pages come on first use
 *
 * A table outlives its thread with its numbers and goes to the next thread that comes. Threads past
 * the 64th share one table and pay for an atomic add. */
#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"

enum {
    TABLES = 65, /* the last is the shared one */
    SHARED = TABLES - 1,
    PAGE_SLOTS = 1024,
    PAGES = 512,      /* room for as many histograms */
    CHILDREN = 16384, /* two configurations of 1024 routes, 64 rules and as many workers */
    BUCKETS = 4096,   /* of children, by name */
    HISTOGRAM_SLOTS = METRIC_BUCKETS + 1, /* the sum in microseconds is the last */
    LABELS = 8,
};

struct table {
    _Atomic(_Atomic int64_t *) pages[PAGES];
    bool taken; /* by a thread that lives; under lock */
};

struct metric_child {
    struct metric *metric;
    struct metric_child *prev, *next; /* of the metric */
    struct metric_child *next_in_bucket;
    char *labels;        /* values, comma-separated; NULL for none */
    uint64_t holds;      /* of metric_child, less those released; under lock */
    bool counts;         /* among the CHILDREN */
    uint32_t slot;       /* the first */
    _Atomic double base; /* gauges: what metric_set gave, less the adds until then */
};

static const uint64_t bucket_us[METRIC_BUCKETS - 1] = {
    100,    250,    500,     1000,    2500,    5000,     10000,    25000,    50000,     100000,
    250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 120000000,
};

static struct {
    pthread_mutex_t lock;
    pthread_key_t key; /* returns a thread's table */
    struct metric *first, **last;
    uint32_t children; /* that count */
    struct metric_child *buckets[BUCKETS];
    uint32_t next_slot;
    uint32_t free_single[CHILDREN], free_histogram[CHILDREN];
    uint32_t free_single_n, free_histogram_n;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &all.first};
static struct metric unnamed =
    METRIC_COUNTER("tidegate_metrics_unnamed_total",
                   "Children of metrics that were counted as \"other\": there were too many.");
static struct table tables[TABLES];
static _Thread_local struct table *mine;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* --- slots ------------------------------------------------------------------------------------ */

static void table_return(void *arg)
{
    pthread_mutex_lock(&all.lock);
    ((struct table *)arg)->taken = false;
    pthread_mutex_unlock(&all.lock);
    mine = NULL;
}

static void start(void)
{
    BUG_ON(pthread_key_create(&all.key, table_return) != 0);
}

static struct table *table_take(void)
{
    struct table *t = tables;
    pthread_once(&once, start);
    pthread_mutex_lock(&all.lock);
    while (t < &tables[SHARED] && t->taken) {
        t++;
    }
    t->taken = true;
    pthread_mutex_unlock(&all.lock);
    if (t != &tables[SHARED]) {
        BUG_ON(pthread_setspecific(all.key, t) != 0);
    }
    return t;
}

static _Atomic int64_t *page_add(struct table *t, uint32_t page)
{
    _Atomic int64_t *p = aligned_alloc(64, PAGE_SLOTS * sizeof(*p));
    BUG_ON(!p);
    memset((void *)p, 0, PAGE_SLOTS * sizeof(*p));
    _Atomic int64_t *there = NULL;
    if (!atomic_compare_exchange_strong(&t->pages[page], &there, p)) {
        free((void *)p); /* another thread of the shared table was first */
        return there;
    }
    return p;
}

static _Atomic int64_t *page_of(struct table *t, uint32_t slot)
{
    return atomic_load_explicit(&t->pages[slot / PAGE_SLOTS], memory_order_acquire);
}

/* The thread's or the page's first time, and threads that share a table. Apart, since slot_add runs twenty times a request. */
static __attribute__((noinline)) void slot_add_slowly(uint32_t slot, int64_t n)
{
    if (!mine) {
        mine = table_take();
    }
    _Atomic int64_t *page = page_of(mine, slot);
    if (!page) {
        page = page_add(mine, slot / PAGE_SLOTS);
    }
    atomic_fetch_add_explicit(&page[slot % PAGE_SLOTS], n, memory_order_relaxed);
}

static inline void slot_add(uint32_t slot, int64_t n)
{
    struct table *t = mine;
    _Atomic int64_t *page = t && t != &tables[SHARED] ? page_of(t, slot) : NULL;
    if (!page) {
        slot_add_slowly(slot, n);
        return;
    }
    _Atomic int64_t *at = &page[slot % PAGE_SLOTS];
    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

static int64_t slot_sum(uint32_t slot)
{
    int64_t sum = 0;
    for (int i = 0; i < TABLES; i++) {
        _Atomic int64_t *page =
            atomic_load_explicit(&tables[i].pages[slot / PAGE_SLOTS], memory_order_acquire);
        if (page) {
            sum += atomic_load_explicit(&page[slot % PAGE_SLOTS], memory_order_relaxed);
        }
    }
    return sum;
}

static void slot_zero(uint32_t slot)
{
    for (int i = 0; i < TABLES; i++) {
        _Atomic int64_t *page = atomic_load(&tables[i].pages[slot / PAGE_SLOTS]);
        if (page) {
            atomic_store_explicit(&page[slot % PAGE_SLOTS], 0, memory_order_relaxed);
        }
    }
}

static uint32_t slots_of(const struct metric *m)
{
    return m->type == METRIC_TYPE_HISTOGRAM ? HISTOGRAM_SLOTS : 1;
}

static uint32_t slots_take(const struct metric *m)
{
    uint32_t n = slots_of(m);
    if (n == 1 && all.free_single_n > 0) {
        return all.free_single[--all.free_single_n];
    }
    if (n > 1 && all.free_histogram_n > 0) {
        return all.free_histogram[--all.free_histogram_n];
    }
    uint32_t slot = all.next_slot;
    if (slot / PAGE_SLOTS != (slot + n - 1) / PAGE_SLOTS) {
        slot += PAGE_SLOTS - slot % PAGE_SLOTS; /* a run does not cross pages */
    }
    all.next_slot = slot + n;
    BUG_ON(all.next_slot > PAGES * PAGE_SLOTS);
    return slot;
}

static void slots_give_back(const struct metric *m, uint32_t slot)
{
    for (uint32_t i = 0; i < slots_of(m); i++) {
        slot_zero(slot + i);
    }
    if (slots_of(m) == 1) {
        all.free_single[all.free_single_n++] = slot;
    } else {
        all.free_histogram[all.free_histogram_n++] = slot;
    }
}

/* --- registry --------------------------------------------------------------------------------- */

static bool is_registered(const struct metric *m)
{
    return m->next != NULL || all.last == &((struct metric *)(uintptr_t)m)->next;
}

/* The last metric's next is NULL as an unregistered one's is: the tail pointer tells them apart. */
static void register_locked(struct metric *m)
{
    if (is_registered(m)) {
        return;
    }
    bool counter = m->type == METRIC_TYPE_COUNTER;
    BUG_ON(counter != str_ends(str_from(m->name), STR("_total")));
    *all.last = m;
    all.last = &m->next;
}

static size_t count_values(const char *s)
{
    size_t n = 1;
    for (; *s; s++) {
        n += *s == ',';
    }
    return n;
}

/* FNV-1a of the names; labels are the configuration's, not clients'. */
static struct metric_child **bucket_of(const struct metric *m, const char *labels)
{
    uint32_t h = 2166136261U;
    for (const char *s = m->name; *s; s++) {
        h = (h ^ (unsigned char)*s) * 16777619U;
    }
    for (const char *s = labels ? labels : ""; *s; s++) {
        h = (h ^ (unsigned char)*s) * 16777619U;
    }
    return &all.buckets[h % BUCKETS];
}

static struct metric_child *child_find(const struct metric *m, const char *labels)
{
    struct metric_child *c = *bucket_of(m, labels);
    while (c && (c->metric != m || (labels && strcmp(c->labels, labels) != 0))) {
        c = c->next_in_bucket;
    }
    return c;
}

static void child_link(struct metric_child *c)
{
    struct metric *m = c->metric;
    struct metric_child **bucket = bucket_of(m, c->labels);
    c->next_in_bucket = *bucket;
    *bucket = c;
    c->prev = m->last_child;
    *(c->prev ? &c->prev->next : &m->children) = c;
    m->last_child = c;
}

static void child_unlink(struct metric_child *c)
{
    struct metric *m = c->metric;
    struct metric_child **at = bucket_of(m, c->labels);
    while (*at != c) {
        BUG_ON(!*at);
        at = &(*at)->next_in_bucket;
    }
    *at = c->next_in_bucket;
    *(c->prev ? &c->prev->next : &m->children) = c->next;
    *(c->next ? &c->next->prev : &m->last_child) = c->prev;
}

static struct metric_child *child_new(struct metric *m, const char *labels, bool counts)
{
    BUG_ON((labels != NULL) != (m->labels != NULL));
    BUG_ON(labels && count_values(labels) != count_values(m->labels));
    struct metric_child *c = calloc(1, sizeof(*c));
    BUG_ON(!c);
    c->metric = m;
    c->labels = labels ? strdup(labels) : NULL;
    c->slot = slots_take(m);
    c->counts = counts;
    all.children += counts;
    child_link(c);
    return c;
}

/* Full: the names that come now share one child a metric. It stays, so that what it counted does. */
static struct metric_child *child_other(struct metric *m)
{
    char labels[LABELS * sizeof("other,")];
    size_t n = 0;
    for (size_t i = count_values(m->labels); i > 0; i--) {
        n += (size_t)snprintf(labels + n, sizeof(labels) - n, "other%s", i > 1 ? "," : "");
    }
    struct metric_child *c = child_find(m, labels);
    if (!c) {
        c = child_new(m, labels, false);
        c->holds = 1;
    }
    return c;
}

void metric_register(struct metric *m)
{
    pthread_mutex_lock(&all.lock);
    register_locked(m);
    pthread_mutex_unlock(&all.lock);
    if (!m->labels) {
        metric_add(m, 0);
    }
}

struct metric_child *metric_child(struct metric *m, const char *label_values)
{
    bool is_full = false;
    pthread_mutex_lock(&all.lock);
    register_locked(m);
    struct metric_child *c = child_find(m, label_values);
    if (!c) {
        is_full = label_values && all.children == CHILDREN;
        c = is_full ? child_other(m) : child_new(m, label_values, label_values != NULL);
    }
    c->holds++;
    pthread_mutex_unlock(&all.lock);
    if (is_full) {
        metric_add(&unnamed, 1);
    }
    return c;
}

static void child_remove(struct metric_child *c)
{
    child_unlink(c);
    slots_give_back(c->metric, c->slot);
    all.children -= c->counts;
    free(c->labels);
    free(c);
}

void metric_child_release(struct metric_child *c)
{
    if (!c) {
        return;
    }
    pthread_mutex_lock(&all.lock);
    BUG_ON(c->holds == 0);
    if (--c->holds == 0) {
        child_remove(c);
    }
    pthread_mutex_unlock(&all.lock);
}

/* --- changing --------------------------------------------------------------------------------- */

static struct metric_child *single(struct metric *m)
{
    struct metric_child *c = __atomic_load_n(&m->single, __ATOMIC_ACQUIRE);
    if (__builtin_expect(!c, 0)) {
        c = metric_child(m, NULL);
        __atomic_store_n(&m->single, c, __ATOMIC_RELEASE);
    }
    return c;
}

void metric_child_add(struct metric_child *c, int64_t n)
{
    slot_add(c->slot, n);
}

void metric_child_set(struct metric_child *c, double v)
{
    atomic_store_explicit(&c->base, v - (double)slot_sum(c->slot), memory_order_relaxed);
}

void metric_child_observe_us(struct metric_child *c, uint64_t us)
{
    uint32_t bucket = 0;
    while (bucket < METRIC_BUCKETS - 1 && us > bucket_us[bucket]) {
        bucket++;
    }
    slot_add(c->slot + bucket, 1);
    slot_add(c->slot + METRIC_BUCKETS, (int64_t)us);
}

void metric_add(struct metric *m, int64_t n)
{
    metric_child_add(single(m), n);
}

void metric_set(struct metric *m, double v)
{
    metric_child_set(single(m), v);
}

void metric_observe_us(struct metric *m, uint64_t us)
{
    metric_child_observe_us(single(m), us);
}

double metric_child_value(const struct metric_child *c)
{
    if (c->metric->type != METRIC_TYPE_HISTOGRAM) {
        return (double)slot_sum(c->slot) + atomic_load_explicit(&c->base, memory_order_relaxed);
    }
    int64_t count = 0;
    for (uint32_t i = 0; i < METRIC_BUCKETS; i++) {
        count += slot_sum(c->slot + i);
    }
    return (double)count;
}

/* --- text ------------------------------------------------------------------------------------- */

static void write_escaped(struct buf *out, struct str s, bool quotes)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' || (quotes && s.p[i] == '"')) {
            buf_add_char(out, '\\');
            buf_add_char(out, s.p[i]);
        } else if (s.p[i] == '\n') {
            buf_add_cstr(out, "\\n");
        } else {
            buf_add_char(out, s.p[i]);
        }
    }
}

static void write_labels(struct buf *out, const struct metric_child *c, const char *le)
{
    struct str names = str_from(c->metric->labels), values = str_from(c->labels), name, value;
    if (!c->labels && !le) {
        return;
    }
    char open = '{';
    while (str_cut(&names, ',', &name)) {
        if (!str_cut(&values, ',', &value)) {
            value = STR("");
        }
        buf_addf(out, "%c" STR_FMT "=\"", open, STR_ARG(name));
        write_escaped(out, value, true);
        buf_add_char(out, '"');
        open = ',';
    }
    if (le) {
        buf_addf(out, "%cle=\"%s\"", open, le);
    }
    buf_add_char(out, '}');
}

static void write_number(struct buf *out, double v)
{
    struct json_writer w = {.out = out};
    buf_add_char(out, ' ');
    json_f64(&w, v);
    buf_add_char(out, '\n');
}

static void write_sample(struct buf *out, const struct metric_child *c, const char *suffix, const char *le,
                         double v)
{
    buf_add_cstr(out, c->metric->name);
    buf_add_cstr(out, suffix);
    write_labels(out, c, le);
    write_number(out, v);
}

static void write_histogram(struct buf *out, const struct metric_child *c)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < METRIC_BUCKETS; i++) {
        char le[32] = "+Inf";
        if (i < METRIC_BUCKETS - 1) {
            snprintf(le, sizeof(le), "%g", (double)bucket_us[i] / 1e6);
        }
        count += slot_sum(c->slot + i);
        write_sample(out, c, "_bucket", le, (double)count);
    }
    write_sample(out, c, "_sum", NULL, (double)slot_sum(c->slot + METRIC_BUCKETS) / 1e6);
    write_sample(out, c, "_count", NULL, (double)count);
}

static void write_metric(struct buf *out, const struct metric *m)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    buf_addf(out, "# HELP %s ", m->name);
    write_escaped(out, str_from(m->help), false);
    buf_addf(out, "\n# TYPE %s %s\n", m->name, types[m->type]);
    for (const struct metric_child *c = m->children; c; c = c->next) {
        if (m->type == METRIC_TYPE_HISTOGRAM) {
            write_histogram(out, c);
        } else {
            write_sample(out, c, "", NULL, metric_child_value(c));
        }
    }
}

void metrics_write(struct buf *out)
{
    pthread_mutex_lock(&all.lock);
    for (const struct metric *m = all.first; m; m = m->next) {
        write_metric(out, m);
    }
    pthread_mutex_unlock(&all.lock);
}

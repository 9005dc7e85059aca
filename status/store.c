#include "status/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "status/store_jobs.h"

enum { POLL_MS = 1000, UPTIME_MS = 60000, JOB_MS = 3000 };

static struct metric is_up = METRIC_GAUGE("tidestatus_database_up", "1 while PostgreSQL answers.");
static struct metric is_writer = METRIC_GAUGE("tidestatus_writer", "1 while this process writes incidents.");

struct store {
    struct board *board;
    struct store_conf conf;
    struct pg_pool *pool;
    struct store_poll poll;
    struct store_write write;
    bool polling, writing;
    bool is_closed; /* store_free was called: the last job frees */
    bool writer;
    bool was_up;
    bool was_tried;        /* so that a failure at the start is told too */
    bool knows_components; /* uptime was read for component_count components */
    unsigned known_components;
    int64_t notice_ids[STORE_NOTICES]; /* newest ones told */
    int64_t stamp;                     /* of the incidents as last read */
    uint64_t polled_mono_ms;           /* last start of a poll */
    uint64_t read_mono_ms;             /* last success; at first the start of the program */
    uint64_t uptime_mono_ms;           /* last time that components and uptime were written */
};

/* True when the store is closing: the caller returns at once. */
static bool close_if_last(struct store *s)
{
    if (!s->is_closed || s->polling || s->writing) {
        return s->is_closed;
    }
    store_poll_clear(&s->poll);
    store_write_clear(&s->write);
    free(s);
    return true;
}

/* --- merging what was read --------------------------------------------------------------------- */

/* Ours stands while it is unsaved and we write; otherwise what PostgreSQL holds stands when it is newer. */
static bool merge_incident(struct store *s, struct incident *theirs)
{
    const struct incident *ours = incident_book_find(&s->board->book, str_from(theirs->code));
    bool ours_stands = ours && (ours->updated_ms >= theirs->updated_ms ||
                                (s->writer && ours->saved_version != ours->version));
    if (ours_stands) {
        incident_free(theirs);
        return false;
    }
    incident_book_put(&s->board->book, theirs);
    return true;
}

/* Made up, or gone on with, by this process, and not in PostgreSQL yet. */
static bool is_own(const struct incident *i)
{
    return i->origin == INCIDENT_FROM_PROBES && i->saved_version != i->version;
}

/* A reader has something to drop: what it told while it was alone. */
static bool has_own(const struct store *s)
{
    for (unsigned k = 0; !s->writer && k < s->board->book.count; k++) {
        if (is_own(s->board->book.items[k])) {
            return true;
        }
    }
    return false;
}

/* What a reader thought up while it was alone yields to what the writer wrote. */
static bool drop_own(struct store *s)
{
    struct incident_book *book = &s->board->book;
    bool changed = false;
    for (unsigned k = book->count; k > 0; k--) {
        struct incident *i = book->items[k - 1];
        if (is_own(i)) {
            incident_free(i);
            memmove(&book->items[k - 1], &book->items[k], (book->count - k) * sizeof book->items[0]);
            book->count--;
            changed = true;
        }
    }
    return changed;
}

static bool merge_incidents(struct store *s, struct store_poll *p)
{
    bool changed = !s->writer && drop_own(s);
    for (unsigned k = 0; k < p->book.count; k++) {
        changed |= merge_incident(s, p->book.items[k]);
    }
    p->book.count = 0; /* all moved or freed */
    return changed;
}

static void merge_uptime(struct store *s, const struct store_poll *p)
{
    for (int k = 0; k < p->uptime_count; k++) {
        struct component *c = board_find_component(s->board, str_from(p->uptime[k].component));
        if (c) {
            uptime_merge_day(&c->uptime, &p->uptime[k].day);
        }
    }
}

static void tell_signup(struct store *s, const struct store_notice *read)
{
    struct notice n;
    struct err err;
    if (notice_parse(read->id, read->at_ms, str_from(read->body), &n, &err) == 0) {
        s->conf.on_notice(s->conf.arg, &n);
    } else {
        log_error("notice refused: %s", err.msg);
    }
    notice_clear(&n);
}

static void tell_attack(struct store *s, const struct store_notice *read)
{
    struct attack_notice n;
    struct err err;
    if (attack_notice_parse(read->id, read->at_ms, str_from(read->body), &n, &err) == 0) {
        s->conf.on_attack(s->conf.arg, &n);
    } else {
        log_error("notice refused: %s", err.msg);
    }
}

static void merge_notices(struct store *s, const struct store_poll *p)
{
    static void (*const tell[STORE_NOTICES])(struct store *, const struct store_notice *) = {
        [STORE_NOTICE_SIGNUP] = tell_signup, [STORE_NOTICE_ATTACK] = tell_attack};
    for (int kind = 0; kind < STORE_NOTICES; kind++) {
        const struct store_notice *read = &p->notices[kind];
        if (read->id != 0 && read->body) {
            s->notice_ids[kind] = read->id;
            tell[kind](s, read);
        }
    }
}

static void note_up(struct store *s, bool up, const char *why)
{
    if (up != s->was_up || !s->was_tried) {
        log_info("database %s%s%s", up ? "reached" : "out of reach", why[0] ? ": " : "", why);
    }
    s->was_up = up;
    s->was_tried = true;
    metric_set(&is_up, up);
}

static void on_polled(void *arg, int rc, const struct err *err)
{
    struct store_poll *p = arg;
    struct store *s = p->store;
    s->polling = false;
    if (close_if_last(s)) {
        return;
    }
    note_up(s, rc == 0, rc == 0 ? "" : err->msg);
    if (rc == 0) {
        if (s->writer != p->is_writer) {
            log_info("incidents are written by %s", p->is_writer ? "this process" : "another process");
        }
        s->writer = p->is_writer;
        s->read_mono_ms = clock_mono_ms();
        bool changed = p->stamp != p->known_stamp && merge_incidents(s, p);
        s->stamp = p->stamp;
        if (p->wants_uptime) {
            merge_uptime(s, p);
            s->known_components = s->board->component_count;
            changed = true;
        }
        merge_notices(s, p);
        if (changed) {
            s->conf.on_change(s->conf.arg);
        }
    }
    metric_set(&is_writer, s->writer);
    store_poll_clear(p);
}

/* --- writing ----------------------------------------------------------------------------------- */

static void collect_incidents(const struct store *s, struct store_write *w)
{
    const struct incident_book *book = &s->board->book;
    for (unsigned k = book->count; k > 0 && w->incident_count < STORE_WRITE_INCIDENTS; k--) {
        const struct incident *i = book->items[k - 1];
        if (i->version != i->saved_version) {
            w->versions[w->incident_count] = i->version;
            w->incidents[w->incident_count++] = incident_copy(i);
        }
    }
}

static void collect_components(const struct store *s, struct store_write *w)
{
    for (unsigned k = 0; k < s->board->component_count; k++) {
        const struct component *c = &s->board->components[k];
        struct store_component *out = &w->components[w->component_count++];
        *out = (struct store_component){.status = c->shown, .updated_ms = c->updated_ms};
        memcpy(out->code, c->code, sizeof out->code);
        memcpy(out->key, c->key, sizeof out->key);
        for (unsigned d = c->uptime.count < 2 ? 0 : c->uptime.count - 2; d < c->uptime.count; d++) {
            out->days[out->day_count++] = c->uptime.days[d];
        }
    }
}

static void on_written(void *arg, int rc, const struct err *err)
{
    struct store_write *w = arg;
    struct store *s = w->store;
    s->writing = false;
    if (close_if_last(s)) {
        return;
    }
    for (unsigned k = 0; rc == 0 && k < w->incident_count; k++) {
        struct incident *i = incident_book_find(&s->board->book, str_from(w->incidents[k]->code));
        if (i) {
            i->saved_version = w->versions[k];
        }
    }
    if (rc < 0 && rc != ERR_UNAVAILABLE) {
        log_warn("incidents not written: %s", err->msg);
    }
    store_write_clear(w);
}

static void write_unsaved(struct store *s, uint64_t mono_ms)
{
    struct store_write *w = &s->write;
    bool with_components = mono_ms - s->uptime_mono_ms >= UPTIME_MS;
    w->component_count = 0;
    collect_incidents(s, w);
    if (with_components) {
        collect_components(s, w);
    }
    if (w->incident_count + w->component_count == 0) {
        return;
    }
    w->store = s;
    w->job = (struct pg_job){.run = store_write_run, .done = on_written, .arg = w, .timeout_ms = JOB_MS};
    if (pg_submit(s->pool, &w->job) < 0) {
        store_write_clear(w);
        return;
    }
    s->writing = true;
    if (with_components) {
        s->uptime_mono_ms = mono_ms;
    }
}

/* --- life -------------------------------------------------------------------------------------- */

void store_tick(struct store *s, uint64_t mono_ms)
{
    if (!s->polling && mono_ms - s->polled_mono_ms >= POLL_MS) {
        struct store_poll *p = &s->poll;
        p->store = s;
        memcpy(p->known_notice, s->notice_ids, sizeof p->known_notice);
        p->known_stamp = has_own(s) ? -1 : s->stamp; /* read again what is to be dropped */
        p->wants_uptime = s->known_components != s->board->component_count;
        p->job = (struct pg_job){.run = store_poll_run, .done = on_polled, .arg = p, .timeout_ms = JOB_MS};
        s->polled_mono_ms = mono_ms;
        s->polling = pg_submit(s->pool, &p->job) == 0;
        if (!s->polling) {
            note_up(s, false, "");
        }
    }
    /* Uptime is read before it is written: a restart must not shorten the day. */
    if (!s->writing && s->was_up && s->writer && s->known_components == s->board->component_count) {
        write_unsaved(s, mono_ms);
    }
}

struct store *store_new(struct board *board, const struct store_conf *conf, struct err *err)
{
    struct pg_conf database = *conf->database;
    struct store *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    database.connections = 1; /* the writer's lock belongs to it */
    s->board = board;
    s->conf = *conf;
    s->stamp = -1;
    s->read_mono_ms = clock_mono_ms();
    metric_register(&is_up);
    metric_register(&is_writer);
    s->pool = pg_pool_new(&database, err);
    if (!s->pool) {
        free(s);
        return NULL;
    }
    return s;
}

void store_free(struct store *s)
{
    if (!s) {
        return;
    }
    pg_pool_free(s->pool);
    s->is_closed = true;
    close_if_last(s);
}

bool store_is_writer(const struct store *s)
{
    return s->writer;
}

bool store_is_stale(const struct store *s, uint64_t after_ms, uint64_t mono_ms)
{
    return mono_ms - s->read_mono_ms > after_ms;
}

#include "status/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status/phrases.h"

enum { NAMES_SPELLED_OUT = 3 };

void watch_init(struct watch *w, const struct watch_conf *conf)
{
    memset(w, 0, sizeof *w);
    w->conf = *conf;
}

/* The automatic incident that is open, or the newest one. */
static struct incident *newest_automatic(const struct board *b)
{
    struct incident *newest = NULL;
    for (unsigned k = 0; k < b->book.count; k++) {
        struct incident *i = b->book.items[k];
        if (i->origin == INCIDENT_FROM_PROBES && incident_is_open(i)) {
            return i;
        }
        if (i->origin == INCIDENT_FROM_PROBES && !newest) {
            newest = i;
        }
    }
    return newest;
}

static bool is_named(const struct incident *i, const struct component *c)
{
    for (unsigned k = 0; k < i->component_count; k++) {
        if (strcmp(i->components[k], c->code) == 0) {
            return true;
        }
    }
    return false;
}

void watch_resume(struct watch *w, struct board *b, uint64_t mono_ms)
{
    const struct incident *newest = newest_automatic(b);
    const struct incident *i = newest && incident_is_open(newest) ? newest : NULL;
    w->clean_since_mono_ms = w->posted_mono_ms = mono_ms;
    for (unsigned k = 0; k < b->component_count; k++) {
        struct component *c = &b->components[k];
        c->told = i && is_named(i, c) ? c->told : COMPONENT_OPERATIONAL;
    }
    for (unsigned k = 0; i && k < i->update_count; k++) {
        for (unsigned n = 0; n < i->updates[k].change_count; n++) {
            const struct incident_change *change = &i->updates[k].changes[n];
            struct component *c = board_find_component(b, str_from(change->code));
            if (c) {
                c->told = change->after;
            }
        }
    }
}

/* --- what is bad -------------------------------------------------------------------------------
 */

static void note_faults(struct board *b, uint64_t mono_ms)
{
    for (unsigned k = 0; k < b->component_count; k++) {
        struct component *c = &b->components[k];
        if (c->is_stale) {
            continue;
        }
        if (component_fault(c) < COMPONENT_DEGRADED) {
            c->bad_since_mono_ms = 0;
        } else if (c->bad_since_mono_ms == 0) {
            c->bad_since_mono_ms = mono_ms;
        }
    }
}

static bool is_bad(const struct component *c)
{
    return c->is_stale ? c->told >= COMPONENT_DEGRADED : component_fault(c) >= COMPONENT_DEGRADED;
}

static bool is_confirmed(const struct watch *w, const struct component *c, uint64_t mono_ms)
{
    return !c->is_stale && c->bad_since_mono_ms != 0 &&
           mono_ms - c->bad_since_mono_ms >= w->conf.open_after_ms;
}

typedef bool (*component_test)(const struct component *c);

static bool any_is(const struct board *b, component_test wanted)
{
    for (unsigned k = 0; k < b->component_count; k++) {
        if (wanted(&b->components[k])) {
            return true;
        }
    }
    return false;
}

static bool any_confirmed(const struct watch *w, const struct board *b, uint64_t mono_ms)
{
    for (unsigned k = 0; k < b->component_count; k++) {
        if (is_confirmed(w, &b->components[k], mono_ms)) {
            return true;
        }
    }
    return false;
}

static bool has_grown(const struct watch *w, const struct board *b, uint64_t mono_ms)
{
    for (unsigned k = 0; k < b->component_count; k++) {
        const struct component *c = &b->components[k];
        if (is_confirmed(w, c, mono_ms) && component_fault(c) > c->told) {
            return true;
        }
    }
    return false;
}

/* --- telling it --------------------------------------------------------------------------------
 */

/* Writes down each component whose state differs from what was told last, and takes it as told. */
static unsigned collect_changes(struct board *b, struct incident_change *out)
{
    unsigned n = 0;
    for (unsigned k = 0; k < b->component_count; k++) {
        struct component *c = &b->components[k];
        enum component_status now = is_bad(c) ? component_fault(c) : COMPONENT_OPERATIONAL;
        if (c->is_stale || now == c->told) {
            continue;
        }
        struct incident_change *change = &out[n++];
        memcpy(change->code, c->code, sizeof change->code);
        snprintf(change->name, sizeof change->name, "%s", component_name(c, PROBLEM_LANG_EN));
        change->before = c->told;
        change->after = now;
        c->told = now;
    }
    return n;
}

static bool is_told_bad(const struct component *c)
{
    return c->told >= COMPONENT_DEGRADED;
}

static bool is_told_down(const struct component *c)
{
    return c->told >= COMPONENT_PARTIAL_OUTAGE;
}

/* "Log-in, Chat API and 2 more", in one language. */
static char *list_names(const struct board *b, component_test wanted, enum problem_lang lang)
{
    struct buf text;
    buf_init(&text, INCIDENT_TEXT_MAX);
    unsigned n = 0;
    for (unsigned k = 0; k < b->component_count; k++) {
        if (!wanted(&b->components[k])) {
            continue;
        }
        if (n > 0 && n < NAMES_SPELLED_OUT) {
            buf_add_cstr(&text, phrase(PHRASE_LIST_JOIN, lang));
        }
        if (n < NAMES_SPELLED_OUT) {
            buf_add_cstr(&text, component_name(&b->components[k], lang));
        }
        n++;
    }
    if (n > NAMES_SPELLED_OUT) {
        phrase_add(&text, PHRASE_LIST_MORE, lang, NULL, n - NAMES_SPELLED_OUT);
    }
    return buf_take(&text, NULL);
}

static void fill_with_names(struct incident_text *out, enum phrase p, const struct board *b,
                            component_test wanted, uint64_t ms)
{
    char *lists[STATUS_LANGS];
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        lists[lang] = list_names(b, wanted, (enum problem_lang)lang);
    }
    phrase_fill(out, p, (const char *const *)lists, (unsigned)((ms + 59999) / 60000));
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        free(lists[lang]);
    }
}

static void post(struct watch *w, struct board *b, struct incident *i, enum incident_status status,
                 enum phrase p, int64_t now_ms, uint64_t mono_ms)
{
    struct incident_change changes[STATUS_COMPONENTS_MAX];
    struct incident_text body = {{0}};
    /* A recovery names what was bad until now, everything else what is bad from now on. */
    uint64_t minutes_ms = status == INCIDENT_RESOLVED ? w->conf.resolve_after_ms : w->conf.update_every_ms;
    unsigned n = 0;
    if (status == INCIDENT_MONITORING) {
        fill_with_names(&body, p, b, is_told_bad, minutes_ms);
        n = collect_changes(b, changes);
    } else {
        n = collect_changes(b, changes);
        fill_with_names(&body, p, b, is_told_bad, minutes_ms);
    }
    incident_post(i, NULL, status, &body, changes, n, now_ms);
    enum incident_impact impact = board_impact_of(b, i);
    i->impact = impact > i->impact ? impact : i->impact;
    incident_text_clear(&body);
    w->posted_mono_ms = mono_ms;
}

static void rename_for_told(struct board *b, struct incident *i)
{
    struct incident_text name = {{0}};
    bool outage = any_is(b, is_told_down);
    fill_with_names(&name, outage ? PHRASE_NAME_OUTAGE : PHRASE_NAME_SLOW, b,
                    outage ? is_told_down : is_told_bad, 0);
    incident_rename(i, &name);
    incident_text_clear(&name);
}

static void open_new(struct watch *w, struct board *b, int64_t now_ms, uint64_t mono_ms)
{
    struct incident_text name = {{0}};
    struct incident *i = incident_new(NULL, INCIDENT_FROM_PROBES, &name, now_ms);
    bool outage = false;
    for (unsigned k = 0; k < b->component_count; k++) {
        outage |= component_fault(&b->components[k]) >= COMPONENT_PARTIAL_OUTAGE;
        b->components[k].told = COMPONENT_OPERATIONAL;
    }
    post(w, b, i, INCIDENT_INVESTIGATING, outage ? PHRASE_OPENED_OUTAGE : PHRASE_OPENED_SLOW, now_ms,
         mono_ms);
    rename_for_told(b, i);
    incident_book_add(&b->book, i);
}

/* --- the state machine -------------------------------------------------------------------------
 */

static bool tick_without_open(struct watch *w, struct board *b, struct incident *last, int64_t now_ms,
                              uint64_t mono_ms)
{
    if (!any_confirmed(w, b, mono_ms)) {
        return false;
    }
    if (last && now_ms - last->resolved_ms < (int64_t)w->conf.window_ms) {
        post(w, b, last, INCIDENT_INVESTIGATING, PHRASE_AGAIN, now_ms, mono_ms);
    } else {
        open_new(w, b, now_ms, mono_ms);
    }
    return true;
}

static bool tick_investigating(struct watch *w, struct board *b, struct incident *i, int64_t now_ms,
                               uint64_t mono_ms)
{
    if (!any_is(b, is_bad)) {
        enum phrase said = any_is(b, is_told_bad) ? PHRASE_RECOVERED : PHRASE_WITHDRAWN;
        w->clean_since_mono_ms = mono_ms;
        post(w, b, i, INCIDENT_MONITORING, said, now_ms, mono_ms);
        return true;
    }
    uint64_t silent_ms = mono_ms - w->posted_mono_ms;
    if (has_grown(w, b, mono_ms) && silent_ms >= w->conf.update_gap_ms) {
        post(w, b, i, INCIDENT_INVESTIGATING, PHRASE_ALSO_AFFECTED, now_ms, mono_ms);
        rename_for_told(b, i);
        return true;
    }
    if (silent_ms >= w->conf.update_every_ms) {
        post(w, b, i, i->status, PHRASE_STILL, now_ms, mono_ms);
        return true;
    }
    return false;
}

static bool tick_monitoring(struct watch *w, struct board *b, struct incident *i, int64_t now_ms,
                            uint64_t mono_ms)
{
    if (any_confirmed(w, b, mono_ms)) {
        post(w, b, i, INCIDENT_INVESTIGATING, PHRASE_AGAIN, now_ms, mono_ms);
        return true;
    }
    if (any_is(b, is_bad) || b->is_stale) {
        w->clean_since_mono_ms = mono_ms;
        return false;
    }
    if (mono_ms - w->clean_since_mono_ms < w->conf.resolve_after_ms) {
        return false;
    }
    post(w, b, i, INCIDENT_RESOLVED, PHRASE_RESOLVED, now_ms, mono_ms);
    return true;
}

bool watch_tick(struct watch *w, struct board *b, int64_t now_ms, uint64_t mono_ms)
{
    note_faults(b, mono_ms);
    struct incident *i = newest_automatic(b);
    if (!i || !incident_is_open(i)) {
        return tick_without_open(w, b, i, now_ms, mono_ms);
    }
    if (i->status == INCIDENT_MONITORING) {
        return tick_monitoring(w, b, i, now_ms, mono_ms);
    }
    return tick_investigating(w, b, i, now_ms, mono_ms);
}

#include "status/incident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static const char *const status_words[] = {
    [INCIDENT_INVESTIGATING] = "investigating", [INCIDENT_IDENTIFIED] = "identified",
    [INCIDENT_MONITORING] = "monitoring",       [INCIDENT_RESOLVED] = "resolved",
    [INCIDENT_POSTMORTEM] = "postmortem",
};
static const char *const impact_words[] = {
    [IMPACT_NONE] = "none",
    [IMPACT_MINOR] = "minor",
    [IMPACT_MAJOR] = "major",
    [IMPACT_CRITICAL] = "critical",
};

const char *incident_status_word(enum incident_status s)
{
    return status_words[s];
}

const char *incident_impact_word(enum incident_impact i)
{
    return impact_words[i];
}

static int find_word(struct str word, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (str_is(word, words[i])) {
            return i;
        }
    }
    return -1;
}

bool incident_status_parse(struct str word, enum incident_status *out)
{
    int found = find_word(word, status_words, INCIDENT_POSTMORTEM + 1);
    *out = found < 0 ? *out : (enum incident_status)found;
    return found >= 0;
}

bool incident_impact_parse(struct str word, enum incident_impact *out)
{
    int found = find_word(word, impact_words, IMPACT_CRITICAL + 1);
    *out = found < 0 ? *out : (enum incident_impact)found;
    return found >= 0;
}

/* --- texts -------------------------------------------------------------------------------------
 */

static void *must(void *p)
{
    BUG_ON(p == NULL);
    return p;
}

void incident_text_set(struct incident_text *t, enum problem_lang lang, struct str s)
{
    if (s.n > INCIDENT_TEXT_MAX) {
        s.n = str_utf8_safe_len(str_of(s.p, INCIDENT_TEXT_MAX));
    }
    char *copy = must(strndup(s.p, s.n));
    free(t->of[lang]);
    t->of[lang] = copy;
}

void incident_text_copy(struct incident_text *to, const struct incident_text *from)
{
    const char *english = from->of[PROBLEM_LANG_EN] ? from->of[PROBLEM_LANG_EN] : "";
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        const char *text = from->of[lang] && from->of[lang][0] ? from->of[lang] : english;
        incident_text_set(to, (enum problem_lang)lang, str_from(text));
    }
}

void incident_text_clear(struct incident_text *t)
{
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        free(t->of[lang]);
        t->of[lang] = NULL;
    }
}

/* --- one incident ------------------------------------------------------------------------------
 */

struct incident *incident_new(const char *code, enum incident_origin origin, const struct incident_text *name,
                              int64_t now_ms)
{
    struct incident *i = must(calloc(1, sizeof *i));
    if (code) {
        snprintf(i->code, sizeof i->code, "%s", code);
    } else {
        short_code_draw(i->code);
    }
    i->origin = origin;
    i->started_ms = i->updated_ms = now_ms;
    incident_text_copy(&i->name, name);
    i->version = 1;
    return i;
}

static void update_clear(struct incident_update *u)
{
    incident_text_clear(&u->body);
    free(u->changes);
}

void incident_free(struct incident *i)
{
    if (!i) {
        return;
    }
    for (unsigned k = 0; k < i->update_count; k++) {
        update_clear(&i->updates[k]);
    }
    incident_text_clear(&i->name);
    free(i->updates);
    free(i->components);
    free(i);
}

void incident_rename(struct incident *i, const struct incident_text *name)
{
    incident_text_copy(&i->name, name);
    i->version++;
}

static bool has_update(const struct incident *i, const char *id)
{
    for (unsigned k = 0; k < i->update_count; k++) {
        if (strcmp(i->updates[k].id, id) == 0) {
            return true;
        }
    }
    return false;
}

static struct incident_update *append_update(struct incident *i)
{
    if (i->update_count == INCIDENT_UPDATES_MAX) {
        update_clear(&i->updates[1]);
        memmove(&i->updates[1], &i->updates[2], (INCIDENT_UPDATES_MAX - 2) * sizeof i->updates[0]);
        i->update_count--;
    } else {
        i->updates = must(realloc(i->updates, (i->update_count + 1) * sizeof i->updates[0]));
    }
    struct incident_update *u = &i->updates[i->update_count++];
    memset(u, 0, sizeof *u);
    return u;
}

static void move_to(struct incident *i, enum incident_status status, int64_t now_ms)
{
    i->status = status;
    if (status == INCIDENT_MONITORING) {
        i->monitoring_ms = now_ms;
    }
    i->resolved_ms = status < INCIDENT_RESOLVED ? 0 : i->resolved_ms ? i->resolved_ms : now_ms;
    i->updated_ms = now_ms;
    i->version++;
}

void incident_post(struct incident *i, const char *id, enum incident_status status,
                   const struct incident_text *body, const struct incident_change *changes,
                   unsigned change_count, int64_t now_ms)
{
    if (id && has_update(i, id)) {
        return;
    }
    struct incident_update *u = append_update(i);
    if (id) {
        snprintf(u->id, sizeof u->id, "%s", id);
    } else {
        short_code_draw(u->id);
    }
    u->status = status;
    u->at_ms = now_ms;
    incident_text_copy(&u->body, body);
    if (change_count) {
        u->changes = must(calloc(change_count, sizeof *changes));
        memcpy(u->changes, changes, change_count * sizeof *changes);
        u->change_count = change_count;
    }
    for (unsigned k = 0; k < change_count; k++) {
        incident_touch_component(i, changes[k].code);
    }
    move_to(i, status, now_ms);
}

void incident_touch_component(struct incident *i, const char *code)
{
    for (unsigned k = 0; k < i->component_count; k++) {
        if (strcmp(i->components[k], code) == 0) {
            return;
        }
    }
    if (i->component_count == STATUS_COMPONENTS_MAX) {
        return;
    }
    i->components = must(realloc(i->components, (i->component_count + 1) * sizeof i->components[0]));
    snprintf(i->components[i->component_count++], SHORT_CODE_LEN + 1, "%s", code);
    i->version++;
}

struct incident *incident_copy(const struct incident *i)
{
    struct incident *copy = incident_new(i->code, i->origin, &i->name, i->started_ms);
    for (unsigned k = 0; k < i->update_count; k++) {
        const struct incident_update *u = &i->updates[k];
        incident_post(copy, u->id, u->status, &u->body, u->changes, u->change_count, u->at_ms);
    }
    for (unsigned k = 0; k < i->component_count; k++) {
        incident_touch_component(copy, i->components[k]);
    }
    copy->status = i->status;
    copy->impact = i->impact;
    copy->updated_ms = i->updated_ms;
    copy->monitoring_ms = i->monitoring_ms;
    copy->resolved_ms = i->resolved_ms;
    return copy;
}

bool incident_is_open(const struct incident *i)
{
    return i->status < INCIDENT_RESOLVED;
}

/* --- the book ----------------------------------------------------------------------------------
 */

static void remove_at(struct incident_book *b, unsigned at)
{
    memmove(&b->items[at], &b->items[at + 1], (b->count - at - 1) * sizeof b->items[0]);
    b->count--;
}

/* Frees the oldest resolved incident, or the oldest of all. */
static void make_room(struct incident_book *b)
{
    unsigned victim = b->count - 1;
    for (unsigned k = b->count; k > 0; k--) {
        if (!incident_is_open(b->items[k - 1])) {
            victim = k - 1;
            break;
        }
    }
    incident_free(b->items[victim]);
    remove_at(b, victim);
}

void incident_book_add(struct incident_book *b, struct incident *i)
{
    if (b->count == INCIDENT_BOOK_MAX) {
        make_room(b);
    }
    unsigned at = 0;
    while (at < b->count && b->items[at]->started_ms > i->started_ms) {
        at++;
    }
    memmove(&b->items[at + 1], &b->items[at], (b->count - at) * sizeof b->items[0]);
    b->items[at] = i;
    b->count++;
}

void incident_book_put(struct incident_book *b, struct incident *i)
{
    for (unsigned k = 0; k < b->count; k++) {
        if (strcmp(b->items[k]->code, i->code) == 0) {
            incident_free(b->items[k]);
            remove_at(b, k);
            break;
        }
    }
    incident_book_add(b, i);
}

struct incident *incident_book_find(const struct incident_book *b, struct str code)
{
    for (unsigned k = 0; k < b->count; k++) {
        if (str_is(code, b->items[k]->code)) {
            return b->items[k];
        }
    }
    return NULL;
}

unsigned incident_book_open_count(const struct incident_book *b)
{
    unsigned open = 0;
    for (unsigned k = 0; k < b->count; k++) {
        open += incident_is_open(b->items[k]);
    }
    return open;
}

void incident_book_clear(struct incident_book *b)
{
    for (unsigned k = 0; k < b->count; k++) {
        incident_free(b->items[k]);
    }
    b->count = 0;
}

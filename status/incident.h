/* Incidents as the public sees them: a name, a status, a timeline of updates in three languages.
 * Not when one is opened or closed: watch.c decides that for faults, notice.c for the sign-up
 * policy, attack_notice.c for the attack ladder.
 *
 *     investigating -> identified -> monitoring -> resolved        (back to investigating when it
 * returns)
 *
 * The book keeps the newest INCIDENT_BOOK_MAX incidents, newest first by start; resolved ones leave
 * first. Updates are newest last; past INCIDENT_UPDATES_MAX the second oldest goes (how it began is
 * kept).
 *
 * Ownership: the book owns its incidents, an incident its texts and components. Pointers stay valid
 * until the incident leaves the book. `version` grows with every change: the store and the pages
 * compare it. Units: wall clock milliseconds. Thread rule: used by one thread at a time. */
#ifndef TIDE_STATUS_INCIDENT_H
#define TIDE_STATUS_INCIDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/http/problem.h"
#include "base/str.h"
#include "status/component_status.h"
#include "status/short_code.h"

enum incident_status {
    INCIDENT_INVESTIGATING = 0,
    INCIDENT_IDENTIFIED = 1,
    INCIDENT_MONITORING = 2,
    INCIDENT_RESOLVED = 3,
    INCIDENT_POSTMORTEM = 4,
};

enum incident_impact {
    IMPACT_NONE = 0,
    IMPACT_MINOR = 1,
    IMPACT_MAJOR = 2,
    IMPACT_CRITICAL = 3,
};

enum incident_origin {
    INCIDENT_FROM_PROBES = 0, /* opened and resolved by tide-status itself */
    INCIDENT_FROM_POLICY = 1, /* the public notice of a sign-up policy */
    INCIDENT_FROM_ATTACK = 2, /* the public notice of the attack ladder */
    INCIDENT_ORIGINS = 3,
};

enum {
    STATUS_LANGS = 3, /* by enum problem_lang */
    STATUS_COMPONENTS_MAX = 64,
    INCIDENT_BOOK_MAX = 60,
    INCIDENT_UPDATES_MAX = 40,
    INCIDENT_TEXT_MAX = 2000, /* bytes of a body; longer ones are cut between characters */
};

struct incident_text {
    char *of[STATUS_LANGS]; /* heap, never NULL once set */
};

struct incident_change {
    char code[SHORT_CODE_LEN + 1]; /* of the component */
    char name[104];                /* in English, as it was */
    enum component_status before;
    enum component_status after;
};

struct incident_update {
    char id[SHORT_CODE_LEN + 1];
    enum incident_status status;
    int64_t at_ms;
    struct incident_text body;
    struct incident_change *changes; /* heap; NULL when none */
    unsigned change_count;
};

struct incident {
    char code[SHORT_CODE_LEN + 1];
    enum incident_origin origin;
    enum incident_status status;
    enum incident_impact impact; /* the worst it was */
    struct incident_text name;
    int64_t started_ms;
    int64_t updated_ms;
    int64_t monitoring_ms;           /* 0 = never */
    int64_t resolved_ms;             /* 0 = not resolved */
    struct incident_update *updates; /* heap, oldest first */
    unsigned update_count;
    char (*components)[SHORT_CODE_LEN + 1]; /* heap: codes of all components it ever touched */
    unsigned component_count;
    uint64_t version;       /* grows with each change */
    uint64_t saved_version; /* of it, what PostgreSQL holds; kept by the store */
};

struct incident_book {
    struct incident *items[INCIDENT_BOOK_MAX]; /* newest first */
    unsigned count;
};

const char *incident_status_word(enum incident_status s); /* "investigating", ... */
bool incident_status_parse(struct str word, enum incident_status *out);
const char *incident_impact_word(enum incident_impact i); /* "none", "minor", "major", "critical" */
bool incident_impact_parse(struct str word, enum incident_impact *out);

/* Texts are copied. code NULL: drawn. */
struct incident *incident_new(const char *code, enum incident_origin origin, const struct incident_text *name,
                              int64_t now_ms);
struct incident *incident_copy(const struct incident *i); /* its versions are its own */
void incident_free(struct incident *i);
void incident_rename(struct incident *i, const struct incident_text *name);
/* Appends an update and moves the incident to its status. id NULL: drawn. Texts and changes are
 * copied; a known id changes nothing. */
void incident_post(struct incident *i, const char *id, enum incident_status status,
                   const struct incident_text *body, const struct incident_change *changes,
                   unsigned change_count, int64_t now_ms);
void incident_touch_component(struct incident *i, const char *code);
bool incident_is_open(const struct incident *i); /* not resolved, not postmortem */

void incident_text_set(struct incident_text *t, enum problem_lang lang, struct str s);
void incident_text_copy(struct incident_text *to, const struct incident_text *from);
void incident_text_clear(struct incident_text *t);

void incident_book_add(struct incident_book *b,
                       struct incident *i); /* takes i; may drop the oldest resolved one */
/* Replaces the incident of the same code, or adds it. Takes i. */
void incident_book_put(struct incident_book *b, struct incident *i);
struct incident *incident_book_find(const struct incident_book *b, struct str code);
unsigned incident_book_open_count(const struct incident_book *b);
void incident_book_clear(struct incident_book *b);

#endif

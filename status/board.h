/* Everything the page says, in one place: components, incidents, and how fresh the knowledge is.
 * Not how it looks (page_*.c) and not where it comes from (checks.c, store.c, snapshot.c).
 *
 * The control thread changes the board, calls board_refresh, and renders when it returned true.
 *
 * Ownership: one board a process; components and incidents live in it.
 * Units: *_ms wall clock, *_mono_ms monotonic.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_BOARD_H
#define TIDE_STATUS_BOARD_H

#include "status/component.h"
#include "status/incident.h"
#include "status/ladder.h"

struct board_page {
    char name[80];                  /* "Tidegate" */
    char url[200];                  /* where the public finds the page, without a slash at the end */
    char code[SHORT_CODE_LEN + 1];  /* page id: of the url */
    char group[SHORT_CODE_LEN + 1]; /* of the component group of all models */
    uint64_t stale_after_ms;        /* results older than this are not trusted; 30 s */
};

struct board {
    struct board_page page;
    struct component components[STATUS_COMPONENTS_MAX];
    unsigned component_count;
    struct incident_book book;
    enum ladder_state state; /* set by board_refresh */
    bool is_stale;           /* likewise: some component has no fresh result */
    bool is_store_stale;     /* PostgreSQL was not read for stale_after_ms: notices may be missing */
    int64_t as_of_ms;        /* the oldest of the components' newest results; 0 = nothing was ever seen */
    int64_t created_ms;
    int64_t updated_ms; /* anything the page says changed */
    int64_t counted_ms; /* uptime is counted up to here; 0 = not yet */
};

void board_init(struct board *b, const char *name, const char *url, uint64_t stale_after_ms, int64_t now_ms);
void board_clear(struct board *b);

/* The component of that kind and label, made when missing; NULL when the board is full. */
struct component *board_component(struct board *b, enum component_kind kind, struct str label,
                                  int64_t now_ms);
struct component *board_find_component(const struct board *b, struct str code);
void board_drop_component(struct board *b, struct component *c); /* a model that is gone; pointers shift */
/* Chat as a whole follows its models: all down, some down, some slow. Its own probe counts besides.
 */
enum component_status board_chat_of_models(const struct board *b);

/* Brings `shown`, staleness and the ladder up to date; true when the page has to be rendered anew.
 */
bool board_refresh(struct board *b, int64_t now_ms, uint64_t mono_ms);
/* Adds the time since the last call to each component's day. Time that was not watched is not
 * added. */
void board_count_uptime(struct board *b, int64_t now_ms);
/* Impact of an incident: the ladder over all components, those it does not touch taken as
 * operational. So one broken part of many is never critical. */
enum incident_impact board_impact_of(const struct board *b, const struct incident *i);
enum component_status board_models_status(const struct board *b); /* of the group: the worst of its models */

#endif

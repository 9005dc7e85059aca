/* The pieces that HTML pages share: frame, escaping, times, one incident. Not a template language.
 *
 * Thread rule: pure functions that append to a buf. */
#ifndef TIDE_STATUS_PAGE_PARTS_H
#define TIDE_STATUS_PAGE_PARTS_H

#include "status/page.h"
#include "status/phrases.h"

/* Everything up to <main>; path is the page's own below the language prefix ("", "/history"). */
void page_begin(struct buf *out, const struct board *b, enum problem_lang lang, const char *title,
                const char *path);
void page_end(struct buf *out, const struct board *b, enum problem_lang lang);

void page_add_time(struct buf *out, int64_t ms); /* <time datetime=...>2026-11-22 04:12 UTC</time> */
/* "operational" and so on as a class: s0..s4, su for unknown. */
char page_state_class(enum component_status s, bool is_stale);
void page_add_glyph(struct buf *out, char state_class); /* a 16x16 SVG, hidden from screen readers */

/* level: of the heading that holds the name (1 on the incident's own page, 3 in lists). */
void page_add_incident(struct buf *out, const struct board *b, const struct incident *i,
                       enum problem_lang lang, int level);

#endif

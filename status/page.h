/* The board as text: Statuspage v2 JSON, Atom, RSS, and HTML pages. Each function appends one whole document.
 *
 * The JSON has every key of the contract, in Statuspage's order; times are UTC with milliseconds; texts English.
 * HTML needs no script, font, image or other request; front pages stay under 14 KB when compressed.
 * Ownership: the board is borrowed; nothing is kept.
 * Errors: a document that does not fit its buffer leaves out->overflowed set; site.c drops it then.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_PAGE_H
#define TIDE_STATUS_PAGE_H

#include "base/buf.h"
#include "status/board.h"

void page_json_summary(const struct board *b, struct buf *out);
void page_json_status(const struct board *b, struct buf *out);
void page_json_components(const struct board *b, struct buf *out);
void page_json_incidents(const struct board *b, struct buf *out);
void page_json_unresolved(const struct board *b, struct buf *out);
void page_json_maintenances(const struct board *b, struct buf *out); /* none is planned by this program: [] */
void page_json_incident(const struct board *b, const struct incident *i, struct buf *out);
void page_json_uptime(const struct board *b, struct buf *out); /* ours: 90 days of each component */

void page_atom(const struct board *b, struct buf *out);
void page_rss(const struct board *b, struct buf *out);

void page_html_front(const struct board *b, enum problem_lang lang, int64_t now_ms, struct buf *out);
void page_html_history(const struct board *b, enum problem_lang lang, struct buf *out);
void page_html_incident(const struct board *b, const struct incident *i, enum problem_lang lang,
                        struct buf *out);
void page_html_not_found(const struct board *b, enum problem_lang lang, struct buf *out);

/* First part of a page's path in that language: "/en", "/zh", "/zh-hant". */
const char *page_lang_prefix(enum problem_lang lang);

/* The style sheet that every page holds, and its hash for Content-Security-Policy ("sha256-..."). */
extern const char page_style[];
void page_style_hash(char out[64]);
void page_hash(struct str text, char out[64]); /* of any style sheet or script */

/* For HTML and XML: & < > " ', and a space for what XML cannot say. */
void page_escape(struct buf *out, struct str s);

#endif

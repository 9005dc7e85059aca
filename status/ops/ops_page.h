/* The dashboard as a whole page, and as the parts that the stream of events replaces: the same HTML.
 *
 *     part 0           the top: what is wrong, and how old the data are
 *     part 1 + panel   one panel each (enum ops_panel)
 *
 * Thread rule: pure functions that append to a buf. */
#ifndef TIDE_STATUS_OPS_PAGE_H
#define TIDE_STATUS_OPS_PAGE_H

#include "status/ops/ops_verdict.h"

enum { OPS_PARTS = OPS_PANELS + 1, OPS_PAGE_MAX = 1 << 20 };

const char *ops_part_id(unsigned part); /* of its element */
void ops_part(const struct ops_view *v, const struct ops_verdict *r, unsigned part, struct buf *out);
void ops_page(const struct ops_view *v, struct buf *out);

/* Of its style sheet, for Content-Security-Policy ("sha256-..."). */
void ops_page_style_hash(char out[64]);
struct str ops_page_script(void); /* served at /ops.js */

#endif

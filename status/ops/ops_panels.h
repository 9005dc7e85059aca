/* The panels of the dashboard: each appends its content as HTML on one line, complete in itself, so that the page and the
 * stream of events show the same.
 *
 *     panels_pulse.c    requests, errors, times          panels_signup.c   sign-up, SMS, policy
 *     panels_defence.c  ladder, limits, bans             panels_service.c  workers, stores, what the public is told
 *
 * Thread rule: pure functions that append to a buf. */
#ifndef TIDE_STATUS_OPS_PANELS_H
#define TIDE_STATUS_OPS_PANELS_H

#include "status/ops/ops_spark.h"
#include "status/ops/ops_view.h"

void ops_panel_pulse(const struct ops_view *v, struct buf *out);
void ops_panel_signup(const struct ops_view *v, struct buf *out);
void ops_panel_sms(const struct ops_view *v, struct buf *out);
void ops_panel_policy(const struct ops_view *v, struct buf *out);
void ops_panel_attack(const struct ops_view *v, struct buf *out);
void ops_panel_limits(const struct ops_view *v, struct buf *out);
void ops_panel_guard(const struct ops_view *v, struct buf *out);
void ops_panel_workers(const struct ops_view *v, struct buf *out);
void ops_panel_stores(const struct ops_view *v, struct buf *out);
void ops_panel_public(const struct ops_view *v, struct buf *out);

/* panel_parts.c: what they share. */
/* The newest good answer of that source; when it is old, or there is none, that is said first. */
const cJSON *ops_panel_answer(const struct ops_view *v, enum ops_source s, struct buf *out);
void ops_panel_empty(struct buf *out, const char *text);    /* "nobody", "none": instead of a table */
void ops_panel_cause(const cJSON *change, struct buf *out); /* its reason, and who gave it */
/* Opens a table. NULL ends the columns; a name that begins with > is over numbers. */
void ops_panel_head(struct buf *out, const char *const *columns);
void ops_panel_end(struct buf *out);
void ops_panel_cell_text(struct buf *out, const char *text);
void ops_panel_cell_number(struct buf *out, double v);
void ops_panel_row(struct buf *out, const char *name); /* <tr><th>name */
/* part of 0 to 1 of a bar as wide as its place; kind: 'a' calm, 'w' worth a look, 'b' burns. */
void ops_panel_bar(struct buf *out, double part, char kind);
void ops_panel_fact(struct buf *out, const char *name, const char *text); /* a line of a <dl> */
struct ops_marks ops_panel_marks(
    const struct ops_view *v); /* moves of the ladder and changes of the policy */

#endif

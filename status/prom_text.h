/* Reads single numbers out of another program's /metrics (Prometheus text format 0.0.4). Not a parser of all of it.
 *
 * Thread rule: pure functions. */
#ifndef TIDE_STATUS_PROM_TEXT_H
#define TIDE_STATUS_PROM_TEXT_H

#include "base/str.h"

/* Sum of the samples of that name whose labels include label (`result="ok"`; NULL: any). False when none is there. */
bool prom_text_sum(struct str text, const char *name, const char *label, double *out);

#endif

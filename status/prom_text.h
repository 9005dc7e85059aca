/* Reads numbers out of another program's /metrics (Prometheus text format 0.0.4). Not a parser of all of it: types,
 * help and timestamps are passed over.
 *
 * Thread rule: pure functions. */
#ifndef TIDE_STATUS_PROM_TEXT_H
#define TIDE_STATUS_PROM_TEXT_H

#include "base/str.h"

struct prom_sample {
    struct str name;   /* "tidegate_requests_total" */
    struct str labels; /* between the braces, empty when there are none */
    double value;      /* finite */
};

/* The next sample; what is none is passed over. False at the end of *text. */
bool prom_text_next(struct str *text, struct prom_sample *out);
/* Value of a label as written (escapes stay); false when there is none of that name. */
bool prom_label(struct str labels, const char *name, struct str *out);

/* Sum of the samples of that name whose labels include label (`result="ok"`; NULL: any). False when none is there. */
bool prom_text_sum(struct str text, const char *name, const char *label, double *out);

#endif

/* The states a component can be in, in rising order of badness, with Statuspage's words for them.
 *
 * Thread rule: pure functions over const tables. */
#ifndef TIDE_STATUS_COMPONENT_STATUS_H
#define TIDE_STATUS_COMPONENT_STATUS_H

#include <stdbool.h>

#include "base/str.h"

enum component_status {
    COMPONENT_OPERATIONAL = 0,
    COMPONENT_UNDER_MAINTENANCE = 1,
    COMPONENT_DEGRADED = 2,
    COMPONENT_PARTIAL_OUTAGE = 3,
    COMPONENT_MAJOR_OUTAGE = 4,
};
enum { COMPONENT_STATUS_COUNT = 5 };

const char *component_status_word(enum component_status s); /* "operational", "degraded_performance", ... */
bool component_status_parse(struct str word, enum component_status *out);
static inline enum component_status component_status_worse(enum component_status a, enum component_status b)
{
    return a > b ? a : b;
}

#endif

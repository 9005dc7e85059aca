/* From component states to one word for everything: Statuspage's ladder.
 *
 *     every one major -> critical    any major, or every one partial -> major    any partial ->
 * minor every one / any degraded -> minor       any under maintenance -> maintenance       else
 * none
 *
 * On top of it: the indicator is never below the impact of an unresolved incident, and never `none`
 * while data are stale. Thread rule: pure functions. */
#ifndef TIDE_STATUS_LADDER_H
#define TIDE_STATUS_LADDER_H

#include <stdbool.h>

#include "base/http/problem.h"
#include "status/component_status.h"
#include "status/incident.h"

enum ladder_state {
    LADDER_OPERATIONAL = 0,
    LADDER_MAINTENANCE = 1,
    LADDER_STALE = 2, /* nothing known to be wrong, but not known to be right either */
    LADDER_PARTIALLY_DEGRADED = 3,
    LADDER_DEGRADED = 4,
    LADDER_MINOR_OUTAGE = 5,
    LADDER_PARTIAL_OUTAGE = 6,
    LADDER_MAJOR_OUTAGE = 7,
};

/* counts[s]: components in enum component_status s. */
enum ladder_state ladder_of_components(const unsigned counts[COMPONENT_STATUS_COUNT]);
enum ladder_state ladder_raise(enum ladder_state s, enum incident_impact worst_open, bool is_stale);
const char *ladder_indicator(enum ladder_state s); /* none, minor, major, critical, maintenance */
const char *ladder_description(enum ladder_state s, enum problem_lang lang);
enum incident_impact ladder_impact(enum ladder_state s);

#endif

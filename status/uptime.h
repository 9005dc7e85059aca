/* Ninety days of one component, a row a UTC day: seconds watched and seconds in each bad state.
 *
 *     days[0] is the oldest day kept; days[count - 1] the newest. Days without a row were not
 * watched.
 *
 * Formula (shown on the page): uptime = 1 - (major + 0.3 x partial) / watched, rounded down to 0.01
 * %. Degraded time does not count as downtime; time that was not watched counts as nothing. Units:
 * seconds as doubles, days since 1970-01-01 UTC. Thread rule: used by one thread at a time. */
#ifndef TIDE_STATUS_UPTIME_H
#define TIDE_STATUS_UPTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "status/component_status.h"

enum { UPTIME_DAYS = 90, UPTIME_DAY_MS = 86400000 };

struct uptime_day {
    int32_t day;     /* since the epoch */
    double watched;  /* seconds with fresh probe results */
    double degraded; /* seconds of them, likewise below */
    double partial;
    double major;
};

struct uptime {
    struct uptime_day days[UPTIME_DAYS]; /* ascending */
    unsigned count;
};

int32_t uptime_day_of(int64_t wall_ms);
/* Adds the time [from_ms, to_ms) spent in that state, split at midnight. Backward intervals add
 * nothing. */
void uptime_add(struct uptime *u, enum component_status status, int64_t from_ms, int64_t to_ms);
/* Takes a row kept elsewhere: for a day known here, the row with more watched time wins. */
void uptime_merge_day(struct uptime *u, const struct uptime_day *row);
const struct uptime_day *uptime_find_day(const struct uptime *u, int32_t day);
enum component_status uptime_day_status(const struct uptime_day *d); /* worst state of a minute or more */
/* Percent in hundredths, rounded down (9999 = 99.99 %); -1 when nothing was watched in the last 90
 * days. */
int32_t uptime_centipercent(const struct uptime *u, int32_t today);

#endif

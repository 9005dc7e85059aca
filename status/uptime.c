#include "status/uptime.h"

#include <math.h>
#include <string.h>

enum { COUNTED_FROM_S = 60 }; /* a state seen shorter than this does not colour the day */

int32_t uptime_day_of(int64_t wall_ms)
{
    int64_t day = wall_ms / UPTIME_DAY_MS;
    return (int32_t)(wall_ms % UPTIME_DAY_MS < 0 ? day - 1 : day);
}

static void drop_oldest(struct uptime *u)
{
    memmove(&u->days[0], &u->days[1], (u->count - 1) * sizeof u->days[0]);
    u->count--;
}

/* The row of that day, made in its place; NULL when it is older than all of a full table. */
static struct uptime_day *take_day(struct uptime *u, int32_t day)
{
    unsigned at = u->count;
    while (at > 0 && u->days[at - 1].day > day) {
        at--;
    }
    if (at > 0 && u->days[at - 1].day == day) {
        return &u->days[at - 1];
    }
    if (u->count == UPTIME_DAYS) {
        if (at == 0) {
            return NULL;
        }
        drop_oldest(u);
        at--;
    }
    memmove(&u->days[at + 1], &u->days[at], (u->count - at) * sizeof u->days[0]);
    u->count++;
    u->days[at] = (struct uptime_day){.day = day};
    return &u->days[at];
}

static void add_seconds(struct uptime_day *d, enum component_status status, double seconds)
{
    d->watched += seconds;
    switch (status) {
    case COMPONENT_DEGRADED:
        d->degraded += seconds;
        break;
    case COMPONENT_PARTIAL_OUTAGE:
        d->partial += seconds;
        break;
    case COMPONENT_MAJOR_OUTAGE:
        d->major += seconds;
        break;
    case COMPONENT_OPERATIONAL:
    case COMPONENT_UNDER_MAINTENANCE:
        break;
    }
}

void uptime_add(struct uptime *u, enum component_status status, int64_t from_ms, int64_t to_ms)
{
    while (from_ms < to_ms) {
        int32_t day = uptime_day_of(from_ms);
        int64_t midnight = ((int64_t)day + 1) * UPTIME_DAY_MS;
        int64_t until = to_ms < midnight ? to_ms : midnight;
        struct uptime_day *d = take_day(u, day);
        if (d) {
            add_seconds(d, status, (double)(until - from_ms) / 1000.0);
        }
        from_ms = until;
    }
}

void uptime_merge_day(struct uptime *u, const struct uptime_day *row)
{
    struct uptime_day *d = take_day(u, row->day);
    if (d && row->watched > d->watched) {
        *d = *row;
    }
}

const struct uptime_day *uptime_find_day(const struct uptime *u, int32_t day)
{
    for (unsigned i = u->count; i > 0; i--) {
        if (u->days[i - 1].day == day) {
            return &u->days[i - 1];
        }
    }
    return NULL;
}

enum component_status uptime_day_status(const struct uptime_day *d)
{
    if (d->major >= COUNTED_FROM_S) {
        return COMPONENT_MAJOR_OUTAGE;
    }
    if (d->partial + d->major >= COUNTED_FROM_S) {
        return COMPONENT_PARTIAL_OUTAGE;
    }
    return d->degraded >= COUNTED_FROM_S ? COMPONENT_DEGRADED : COMPONENT_OPERATIONAL;
}

int32_t uptime_centipercent(const struct uptime *u, int32_t today)
{
    double watched = 0, down = 0;
    for (unsigned i = 0; i < u->count; i++) {
        const struct uptime_day *d = &u->days[i];
        if (d->day <= today && d->day > today - UPTIME_DAYS) {
            watched += d->watched;
            down += d->major + 0.3 * d->partial;
        }
    }
    if (watched <= 0) {
        return -1;
    }
    double part = 1.0 - down / watched;
    return (int32_t)floor((part < 0 ? 0 : part) * 10000.0 + 1e-9);
}

/* The waiting list in the database, as steps inside jobs, and the tickets that show a place. Private to auth/.
 *
 *     waiting -> released (tidectl waitlist release) -> joined: has an account
 *        \-> expired (auth.waitlist_ttl)    \-> expired (auth.waitlist_release_ttl); both may join again, at the end
 *
 * Nobody has to prove a number to join: that costs a message each, and the code at sign-up proves it. So nothing here may
 * tell about a number: whoever joins gets the place of a newcomer shown, also for a number that has a place or an
 * account; its row stays, and that ticket never learns of it. Only the ticket of who named a number first sees
 * its release, and that it came in; and it gives the place up only while nobody else has named the number, who may be its
 * owner. A ticket, "wl_" and base64url of version, entry, place shown, its end and HMAC, is all that shows a place later.
 * Until it is released, a place is shown by its ticket alone; given up, it counts until the line has passed it.
 * A position is cheap, and about right: waitlist_blocks counts who waits per 4096 places; the places since the last block
 * count all, whether a number got them or not, or the next position would tell.
 * Thread rule: tickets pure; the rest inside jobs. */
#ifndef TIDE_AUTH_WAITLIST_H
#define TIDE_AUTH_WAITLIST_H

#include "auth/auth.h"
#include "auth/subject.h"

enum { WAITLIST_TICKET_TEXT = 72 }; /* bytes with an end */

struct waitlist_ticket {
    struct uuid entry;
    int64_t seq;       /* the place shown; the entry's own may be an earlier one */
    int64_t expires_s; /* Unix time, when the place ends, whatever is configured later */
};
void waitlist_ticket_write(const struct secret_ring *r, const struct waitlist_ticket *t,
                           char out[WAITLIST_TICKET_TEXT]);
/* ttl_ms: of tickets of the first version, which do not name their end. */
bool waitlist_ticket_read(const struct secret_ring *r, struct str text, uint64_t ttl_ms,
                          struct waitlist_ticket *out);

enum waitlist_status {
    WAITLIST_NONE = 0,
    WAITLIST_WAITING = 1,
    WAITLIST_RELEASED = 2, /* may come in now */
    WAITLIST_JOINED = 3,
    WAITLIST_EXPIRED = 4,
};
const char *waitlist_status_name(enum waitlist_status s);

struct waitlist_entry {
    enum waitlist_status
        status; /* as the clock says, whatever the row does; WAITLIST_NONE: all else is zero */
    struct uuid id;
    int64_t seq;
    int64_t expires_s; /* Unix time: of the place or of the release */
    bool was_released;
};

void waitlist_count(const char *event, int64_t n); /* metric tidegate_waitlist_events_total; any thread */

/* The entry of a number: 1 found, 0 none, or an error. */
int waitlist_find(struct pg *pg, const struct subject *s, struct waitlist_entry *out) TIDE_CHECK;
int waitlist_load(struct pg *pg, const struct uuid *id, struct waitlist_entry *out) TIDE_CHECK;
/* About how many wait before a place; length: before the place that the next newcomer gets. */
int waitlist_ahead(struct pg *pg, int64_t seq, int64_t *ahead) TIDE_CHECK;
int waitlist_length(struct pg *pg, int64_t *waiting) TIDE_CHECK;

struct waitlist_join {
    const struct phone *phone;
    const struct subject *subject;
    const char *lang;              /* of the message on release */
    uint64_t ttl_ms;               /* of the place */
    struct waitlist_ticket ticket; /* out */
    bool is_new;                   /* out: it got a place now */
};
/* Gives the place up that this ticket was given with, if nobody has named its number since. A ticket of somebody who named
 * the same number later, or of a number with an account, changes nothing. */
int waitlist_leave(struct pg *pg, const struct waitlist_ticket *t, bool *has_left) TIDE_CHECK;
int waitlist_join(struct pg *pg, const struct secret_ring *r, struct waitlist_join *j) TIDE_CHECK;

#endif

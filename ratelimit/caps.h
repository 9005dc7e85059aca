/* At most so many of a thing in a minute, an hour and a day of the clock (UTC): places that are taken before the work,
 * kept when it succeeds and given back when it fails. Not rates (gcra.h): a cap says how many accounts a day may bring.
 *
 *     caps_ask(takes) -> a place -> the work -> done: nothing more | failed: caps_give_back
 *
 * One script decides about all caps of a name, all or nothing, by the clock of Redis; its counts are one hash in the
 * ledger, gone two days after the last place. So a place is never given twice while Redis keeps what it has answered:
 * a server that is killed keeps it, a machine that loses power loses the last second (appendonly everysec), and a
 * failover loses what the replica had not got yet. A place whose gateway died in between stays taken until its minute,
 * hour and day are over.
 * Errors: ERR_LIMIT (full), ERR_UNAVAILABLE (the ledger does not say: whoever asks has to refuse), ERR_CANCELED (the loop
 * ends).
 * Ownership: a question is on the heap until its answer. Thread rule: the loop of the connection. */
#ifndef TIDE_RATELIMIT_CAPS_H
#define TIDE_RATELIMIT_CAPS_H

#include "base/redis.h"

enum { CAPS_PERIODS = 3 /* minute, hour, day */, CAPS_NAME_MAX = 63 };
enum { CAPS_NONE = UINT32_MAX /* this period is without a cap */ };

extern struct redis_script caps_script;

/* A place that was taken: what caps_give_back needs. */
struct caps_place {
    char name[CAPS_NAME_MAX + 1];
    int64_t periods[CAPS_PERIODS]; /* number of the minute, hour and day, since 1970; -1: no cap there */
};

/* wait_s: full: seconds until the first moment at which there may be a place. place: borrowed; NULL unless rc is 0 and
 * one was taken. */
typedef void (*caps_cb)(void *arg, int rc, int64_t wait_s, const struct caps_place *place);

/* Is there a place under this name, and take it if takes. done is called exactly once, perhaps before this returns.
 * ledger NULL: none is configured. */
void caps_ask(struct redis *ledger, struct str name, const uint32_t most[CAPS_PERIODS], bool takes,
              caps_cb done, void *arg);
void caps_give_back(struct redis *ledger, const struct caps_place *place);

#endif

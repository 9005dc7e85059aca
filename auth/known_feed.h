/* The numbers that have an account, out of the database into a filter (known_filter.h), and what has come since: steps for jobs.
 * Not when they are run, nor who asks the filter (gateway/known_accounts.h).
 *
 *     begin: an empty filter, and a snapshot of PostgreSQL -> page, page ... : all that there is -> catch up, again and again
 *
 * Nothing is missed, by construction. Begin's snapshot splits all transactions in two: what they had committed by then the
 * pages read, in the order of the hashes; of all others the trigger on identities has noted the hashes under the transaction's id
 * (migrations/0019), and a catch-up takes those that the snapshot before could not see, whenever they commit. So after a
 * catch-up the filter has each number that was an account's when it began.
 * When that chain is broken (the epoch is another one: the server was restarted, crashed or is another one; rows that were not
 * read have been purged; or there are too many at once), it says is_lost, and all begins anew.
 * Ownership: the caller's; known_feed_clear. Thread rule: a feed belongs to its job until that is done; the filter is
 * for everybody. */
#ifndef TIDE_AUTH_KNOWN_FEED_H
#define TIDE_AUTH_KNOWN_FEED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/secret.h"

struct known_filter;
struct pg;
struct subject;

enum { KNOWN_EPOCH_TEXT = 128 };

struct known_feed {
    size_t bytes; /* in: of the filter that begin makes */
    /* out */
    struct known_filter *filter; /* a reference; NULL before begin */
    bool is_loaded;              /* there are no more pages */
    bool is_lost;                /* of a page or a catch-up: begin again */
    /* its own */
    char epoch[KNOWN_EPOCH_TEXT];
    struct buf snapshot;              /* pg_snapshot as text: of the last catch-up */
    uint8_t after[SECRET_HMAC_BYTES]; /* the last hash read, of after_n bytes */
    size_t after_n;                   /* 0: none yet */
};

void known_feed_init(struct known_feed *f);
void known_feed_clear(struct known_feed *f);

/* Jobs; arg is the feed. A page or a catch-up that fails may be tried again. */
int known_feed_begin(struct pg *pg, void *feed) TIDE_CHECK; /* ERR_NOMEM: no room for the filter */
int known_feed_page(struct pg *pg, void *feed) TIDE_CHECK;
int known_feed_catch_up(struct pg *pg, void *feed) TIDE_CHECK;

/* Whether this subject may have an account, by any of its look-up keys. */
bool known_filter_may_have_subject(const struct known_filter *f, const struct subject *s);

#endif

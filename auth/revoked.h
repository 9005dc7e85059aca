/* Sessions that have ended while an access token of theirs may still be alive: a set with a time to forget. One a
 * loop, filled from the table `revocations`. Private to auth/.
 *
 * Ended sessions are remembered for keep_s; the set holds at most REVOKED_MAX, then the oldest is forgotten first
 * (its tokens are refused by the database at the next refresh).
 * Thread rule: used only on its loop. */
#ifndef TIDE_AUTH_REVOKED_H
#define TIDE_AUTH_REVOKED_H

#include "base/id.h"

enum { REVOKED_MAX = 1000000 };

struct revoked;
struct revoked *revoked_new(int64_t keep_s);
void revoked_free(struct revoked *r);
/* False when it was known already. at_s: when the session ended, Unix seconds. */
bool revoked_add(struct revoked *r, const struct uuid *session, int64_t at_s, int64_t now_s);
bool revoked_has(const struct revoked *r, const struct uuid *session);
unsigned revoked_count(const struct revoked *r);

#endif

/* Which numbers surely have no account, without asking the database for each of them: the filter of known_filter.h, kept up by
 * the control thread, and the requests that wait for its word. Not for what the waiting list knows.
 *
 *     request: ask -> not trusted: "maybe", at once
 *                  -> trusted: waits for a catch-up with the database that begins after it came, one for all who wait
 *                       -> the filter has the number: "maybe"    -> has it not: "surely not"    -> failed: "maybe"
 *
 *     filter:  EMPTY -> LOADING, page by page -> FOLLOWING: trusted while each catch-up succeeds
 *                ^--- lost, or full: four times as large --------/          past auth.known_filter_max -> OFF
 *
 * "Surely not" is exact: since the catch-up begins after the request came, the filter then has every number whose account was
 * committed by then, on whichever gateway or by whatever SQL (known_feed.h says why). Anything short of that is "maybe", and the
 * request asks the database, as if there were no filter. At most one catch-up in PACE_MS runs, however many wait.
 * Ownership: opened and closed by accounts.c. Thread rule: known_loop functions on the loop (close: after it has ended). */
#ifndef TIDE_GATEWAY_KNOWN_ACCOUNTS_H
#define TIDE_GATEWAY_KNOWN_ACCOUNTS_H

#include "auth/auth.h"

struct gateway;
struct known_accounts;
struct known_waiter;

/* The main thread, before any loop runs, and after all have ended. */
struct known_accounts *known_accounts_open(struct gateway *g);
void known_accounts_close(struct known_accounts *k);

/* A loop's half: who waits, in the order of their coming. */
struct known_loop {
    struct known_accounts *all; /* borrowed */
    struct known_waiter *first, **last;
};
void known_loop_init(struct known_loop *kl, struct known_accounts *all);
void known_loop_close(struct known_loop *kl); /* who still waits is told AUTH_KNOWN_CANCELED */
/* done(arg, answer) on the loop, exactly once, perhaps before this returns. */
void known_loop_ask(struct known_loop *kl, const struct subject *s, auth_known_cb done, void *arg);

#endif

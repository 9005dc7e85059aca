/* Keeps the waiting list moving: once a second a job that ends what is over, counts, and claims messages for people who
 * were released; each goes to the SMS hook, and what became of it is written back. Not who may join (auth/).
 *
 * Every gateway does this; the database lets one at a time do the first two and paces the messages over all of them
 * (auth.waitlist_notices). A message that a gateway claimed and never settled, since it died, is another's a minute after
 * hooks.sms_deadline, under the same webhook id: a receiver that drops repeated ids, as Standard Webhooks say, sends it once.
 * Thread rule: opened and closed on the main thread; the rest on the control thread. */
#ifndef TIDE_GATEWAY_WAITLIST_H
#define TIDE_GATEWAY_WAITLIST_H

struct gateway;
struct hooks;
struct waitlist;

struct waitlist *waitlist_open(struct gateway *g, struct hooks *hooks);
void waitlist_close(struct waitlist *w); /* after hooks_close; NULL allowed */

#endif

/* Who is asking: the publishable apikey, the Bearer token, and which issuer vouches for it.
 *
 * A token seen before is answered by the loop's cache: exp, and whether its session has ended, are looked at on each hit,
 * and one that was over is refused by a look-up. Another one is verified only
 * when its kid is known, its size is exact, and the address still has a token in its bucket of failed checks;
 * a failure is charged there, so a flood of bad tokens costs one hash each, and a few checks a second for whoever shares
 * the address.
 * The apikey's value as Bearer means "no user". While the database is away, rows with outage_grace take tokens
 * that expired up to auth.outage_grace ago; revoked ones never.
 * Ownership: r->who and r->token are borrowed from the exchange's arena.
 * Thread rule: an identify_loop belongs to its loop. */
#ifndef TIDE_GATEWAY_IDENTIFY_H
#define TIDE_GATEWAY_IDENTIFY_H

#include "gateway/request.h"

struct identify_loop;

int identify_loop_open(struct gateway_loop *gl, struct err *err) TIDE_CHECK;
void identify_loop_reload(struct gateway_loop *gl); /* after gl->conf was swapped, or keys moved */
void identify_loop_close(struct gateway_loop *gl);

/* True: r->token and r->who are set as the row wants them. False: it has answered. */
bool identify_request(struct request *r);

/* Of an identified request: "iss\0sub", since a subject means something only with its issuer; empty without a user. On the
 * exchange's arena. */
struct str identify_account(const struct request *r);

#endif

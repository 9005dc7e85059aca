/* Bans and allowances in the gateway: fetched from the database, kept on disk, asked at three places. Not their
 * matching (ratelimit/bans.h) and not the verbs of operators (admin_bans.c).
 *
 *     versions.bans moves -> a job fetches what moved and builds a snapshot -> loops swap theirs between two events
 *
 *     accept    address, before TLS (after the PROXY header where there is one)   connection reset
 *     hello     JA4                                                               connection closed
 *     request   address behind trusted proxies, AS number, JA4, device            403
 *     phone     when a code is asked for or tried (auth/)                         403
 *
 * Trusted proxies are never banned: they are not asked about, and operators' bans that would hold one are refused.
 * Hits are counted here and added to the database every few seconds.
 * Thread rule: bans_open and bans_close on the main thread, bans_loop_* as gateway.h says, the rest on the loop. */
#ifndef TIDE_GATEWAY_BANS_H
#define TIDE_GATEWAY_BANS_H

#include "gateway/gateway.h"
#include "gateway/request.h"

void bans_open(struct gateway *g);
void bans_close(struct gateway *g);
void bans_loop_open(struct gateway_loop *gl); /* after gl->server is there */
void bans_loop_close(struct gateway_loop *gl);

/* What is in force, borrowed. The control thread. */
const struct bans *bans_now(const struct gateway *g);
/* True: refused and answered. */
bool bans_refuse_request(struct request *r);
bool bans_refuse_phone(struct request *r, struct str e164);

#endif

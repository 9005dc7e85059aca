/* How suspicious an address is now, without counting anything: what tidectl explain tells of one.
 *
 * What only an attempt shows (the number's prefix, the kind of client, fields of the body) is not
 * in it.
 * Ownership: done is called once on the control thread, with JSON text that is borrowed until it returns, or never
 * when the gateway ends first.
 * Thread rule: the control thread. */
#ifndef TIDE_GATEWAY_SUSPICION_EXPLAIN_H
#define TIDE_GATEWAY_SUSPICION_EXPLAIN_H

#include "base/addr.h"
#include "base/json.h"
#include "gateway/gateway.h"

struct suspicion_explain;
struct suspicion_explain *suspicion_explain(struct gateway *g, const struct addr *address,
                                            void (*done)(void *arg, const struct buf *text), void *arg);
void suspicion_explain_forget(struct suspicion_explain *e); /* done will not be called */

#endif

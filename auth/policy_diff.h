/* What changed from one policy document to another, as rules and members, not as lines of text. Spelling, the order of
 * members and the order inside lists do not count: they mean the same.
 *
 *     {"same": false, "changes": [
 *         {"what": "rule", "id": "hk", "change": "added", "to": 1, "after": {...}},
 *         {"what": "rule", "id": "us", "change": "removed", "from": 3, "before": {...}},
 *         {"what": "rule", "id": "cn", "change": "changed", "from": 0, "to": 0, "members": [
 *             {"member": "ramp_percent", "before": 10, "after": 25},
 *             {"member": "when.phone_country", "added": ["MO"], "removed": [], "added_count": 1, "removed_count": 0}]},
 *         {"what": "rule", "id": "mo", "change": "moved", "from": 2, "to": 0},
 *         {"what": "default", "change": "changed", "members": [...]}]}
 * A rule is known by its id; places count from 0. Of rules that stand in another order as few as possible are called
 * moved; one that was also changed has "moved": true. `what` is rule, or a member of the document. A list shows at most
 * POLICY_DIFF_ITEMS of what came and went, and counts all. What has no `before` was not there.
 * Errors: ERR_INVALID when a document is no JSON; both should have been read by policy_parse before.
 * Thread rule: pure. */
#ifndef TIDE_AUTH_POLICY_DIFF_H
#define TIDE_AUTH_POLICY_DIFF_H

#include "base/buf.h"
#include "base/err.h"

enum { POLICY_DIFF_ITEMS = 20 };

int policy_diff(struct str before, struct str after, struct buf *out, struct err *err) TIDE_CHECK;

#endif

/* The public notice of the attack ladder as an incident of the page: "Protection against automated sign-ups: level 2 of
 * 4". Not what may sign up then: that is the policy's own notice (notice.h), beside this one.
 *
 * A row of status_notices (kind attack_level) says the level. Above A0 there is one incident of origin attack, updated
 * at each step and resolved at A0; codes come from the row's id, as those of notice.h do.
 * Body read: {"level": "A2"}; others are ignored. What moves the ladder is never told.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_ATTACK_NOTICE_H
#define TIDE_STATUS_ATTACK_NOTICE_H

#include "base/err.h"
#include "status/board.h"

enum { ATTACK_NOTICE_LEVELS = 5 };

struct attack_notice {
    int64_t id; /* of the row */
    int64_t at_ms;
    int level; /* 0 to 4 */
};

int attack_notice_parse(int64_t id, int64_t at_ms, struct str body, struct attack_notice *out,
                        struct err *err) TIDE_CHECK;
/* True when the board changed. Applying the same notice again changes nothing. */
bool attack_notice_apply(struct board *b, const struct attack_notice *n, int64_t now_ms);

#endif

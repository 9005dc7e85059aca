/* The public notice of the sign-up policy as an incident of the page: "Sign-up is limited to ...".
 *
 * A row of status_notices (kind signup_policy) says open, restricted or closed. While it is not open there is one
 * incident of origin policy, updated when the policy changes and resolved when sign-up is open again. Its codes
 * come from the row's id, so that every process and every restart makes the same incident.
 * Body read: {"state", "policy" or "countries", "messages": {"en", "zh-Hans", "zh-Hant"}}; others are ignored.
 * Thread rule: used only on the control thread. */
#ifndef TIDE_STATUS_NOTICE_H
#define TIDE_STATUS_NOTICE_H

#include "base/json.h"
#include "status/board.h"

enum signup_state {
    SIGNUP_OPEN = 0,
    SIGNUP_RESTRICTED = 1,
    SIGNUP_CLOSED = 2,
};

struct notice {
    int64_t id; /* of the row; 0: there is none */
    int64_t at_ms;
    enum signup_state state;
    bool only_mainland;        /* mainland China phone numbers and nothing else */
    struct incident_text body; /* the policy's own words, NULLs when it has none */
};

int notice_parse(int64_t id, int64_t at_ms, struct str body, struct notice *out, struct err *err) TIDE_CHECK;
void notice_clear(struct notice *n);
/* Of any row of status_notices: the code of what it told, and whether an incident has told it already. */
void notice_code(int64_t id, char out[SHORT_CODE_LEN + 1]);
bool notice_is_told(const struct board *b, const char *update);
bool notice_signup_state(const cJSON *object, enum signup_state *out); /* member "state" */
/* True when the board changed. Applying the same notice again changes nothing. */
bool notice_apply(struct board *b, const struct notice *n, int64_t now_ms);
/* What the Sign-up component shows for a state that was decided, not suffered. */
enum component_status notice_component_status(enum signup_state s);

#endif

/* Every word of ours that visitors read, in English, simplified and traditional Chinese: one table.
 *
 * Wording rules: say what works and what does not; no security details, no vendor names, no
 * promised repair time. {list} and {minutes} are replaced by phrase_fill. Thread rule: const table;
 * phrase_fill is pure. */
#ifndef TIDE_STATUS_PHRASES_H
#define TIDE_STATUS_PHRASES_H

#include "base/http/problem.h"
#include "status/incident.h"

enum phrase {
    /* names of incidents */
    PHRASE_NAME_OUTAGE = 0,
    PHRASE_NAME_SLOW,
    /* bodies of automatic updates */
    PHRASE_OPENED_OUTAGE,
    PHRASE_OPENED_SLOW,
    PHRASE_ALSO_AFFECTED,
    PHRASE_STILL,
    PHRASE_AGAIN,
    PHRASE_RECOVERED,
    PHRASE_WITHDRAWN, /* what was bad is probed no longer */
    PHRASE_RESOLVED,
    /* the sign-up policy */
    PHRASE_NAME_SIGNUP_MAINLAND,
    PHRASE_NAME_SIGNUP_LIMITED,
    PHRASE_NAME_SIGNUP_CLOSED,
    PHRASE_SIGNUP_MAINLAND,
    PHRASE_SIGNUP_LIMITED,
    PHRASE_SIGNUP_CLOSED,
    PHRASE_SIGNUP_OPEN,
    /* the attack ladder: names and bodies of A1 to A4 */
    PHRASE_NAME_ATTACK, /* {minutes} = level */
    PHRASE_ATTACK_A1,
    PHRASE_ATTACK_A2,
    PHRASE_ATTACK_A3,
    PHRASE_ATTACK_A4,
    PHRASE_ATTACK_OVER,
    PHRASE_LIST_JOIN, /* between the names of a list */
    PHRASE_LIST_MORE, /* after the third name */
    /* the page */
    PHRASE_TITLE,
    PHRASE_SKIP_LINK,
    PHRASE_AS_OF,
    PHRASE_NEVER_SEEN,
    PHRASE_STALE_BANNER,
    PHRASE_STORE_BANNER,
    PHRASE_COMPONENTS,
    PHRASE_MODELS,
    PHRASE_OPEN_INCIDENTS,
    PHRASE_PAST_INCIDENTS,
    PHRASE_NO_INCIDENTS_DAY,
    PHRASE_NO_INCIDENTS_RECENT,
    PHRASE_ALL_INCIDENTS,
    PHRASE_BACK,
    PHRASE_AUTOMATIC,
    PHRASE_POLICY,
    PHRASE_AFFECTED,
    PHRASE_UPTIME, /* {list} = percent */
    PHRASE_UPTIME_NONE,
    PHRASE_DAYS_AGO,
    PHRASE_TODAY,
    PHRASE_DAY_FINE,
    PHRASE_DAY_UNWATCHED,
    PHRASE_DAY_MINUTES, /* {minutes} */
    PHRASE_BAD_DAYS,    /* {minutes} = number */
    PHRASE_FORMULA,
    PHRASE_FEEDS,
    PHRASE_LANGUAGES,
    PHRASE_UNKNOWN_STATUS,
    PHRASE_LIMITED,
    PHRASE_CLOSED,
    PHRASE_STATUS_OPERATIONAL, /* + enum component_status */
    PHRASE_STATUS_MAINTENANCE,
    PHRASE_STATUS_DEGRADED,
    PHRASE_STATUS_PARTIAL,
    PHRASE_STATUS_MAJOR,
    PHRASE_INVESTIGATING, /* + enum incident_status */
    PHRASE_IDENTIFIED,
    PHRASE_MONITORING,
    PHRASE_STATUS_RESOLVED,
    PHRASE_POSTMORTEM,
    PHRASE_NOT_FOUND,
    PHRASE_COUNT,
};

const char *phrase(enum phrase p, enum problem_lang lang);
/* The phrase in one language with {list} and {minutes} replaced, appended to out. */
void phrase_add(struct buf *out, enum phrase p, enum problem_lang lang, const char *list, unsigned minutes);
/* The same in all languages. lists[lang] may be NULL when the phrase has no {list}. */
void phrase_fill(struct incident_text *out, enum phrase p, const char *const lists[STATUS_LANGS],
                 unsigned minutes);

#endif

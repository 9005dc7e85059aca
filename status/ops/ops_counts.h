/* What one reading of the gateway's /metrics says that the dashboard shows. Not its history: ops_history.h.
 *
 *     ops_counts_read(text, the reading before, &now)      names in tallies keep their places from reading to reading
 *
 * Units: totals since the gateway's start for counters, the value itself for gauges; seconds in histograms.
 * Thread rule: pure functions. */
#ifndef TIDE_STATUS_OPS_COUNTS_H
#define TIDE_STATUS_OPS_COUNTS_H

#include "base/str.h"

enum ops_count {
    /* counters */
    OPS_REQUESTS = 0,
    OPS_ERRORS = 1,  /* answered 5xx */
    OPS_REFUSED = 2, /* by limits */
    OPS_CODES = 3,   /* requests for codes, whatever came of them */
    OPS_CODES_SENT = 4,
    OPS_CODES_DENIED = 5, /* by the policy, or put on the waiting list */
    OPS_CODES_CHALLENGED = 6,
    OPS_CODES_LIMITED = 7, /* by limits, or too soon after the one before */
    OPS_CODES_FAILED = 8,
    OPS_WAITLISTED = 9,
    OPS_SIGNED_UP = 10,
    OPS_SIGNED_IN = 11,
    OPS_WRONG_CODES = 12,
    OPS_MESSAGES = 13, /* that providers took */
    OPS_GUARDED = 14,  /* not sent: the prefix is blocked */
    OPS_BANNED = 15,
    OPS_VERDICTS_ALLOW = 16,
    OPS_VERDICTS_CHALLENGE = 17,
    OPS_VERDICTS_DENY = 18,
    OPS_CHAT_FULL = 19, /* refused by the queue */
    OPS_CHAT_BROKEN = 20,
    OPS_REDIS_COMMANDS = 21,
    OPS_REDIS_OK = 22,
    OPS_PG_JOBS = 23,
    OPS_PG_OK = 24,      /* done, or refused for what was asked: the database works */
    OPS_CODES_HELD = 25, /* new numbers when budgets have only what they keep for accounts */
    OPS_LOGINS_OK = 26,  /* steps of log-ins of who has an account */
    OPS_LOGINS_BAD = 27, /* of them refused or failed */
    OPS_COUNTERS = 28,
    /* gauges */
    OPS_ACTIVE = OPS_COUNTERS,
    OPS_CONNECTIONS,
    OPS_POLICY_VERSION,
    OPS_EMERGENCY,
    OPS_RAMP_PERCENT,
    OPS_RAMP_STANDS,
    OPS_ATTACK_LEVEL,
    OPS_ATTACK_FROZEN,
    OPS_BAN_ENTRIES,
    OPS_PG_UP,
    OPS_PG_QUEUE,
    OPS_REDIS_LIMITS, /* connections ready for commands */
    OPS_REDIS_LEDGER,
    OPS_QUEUE, /* chats that wait for a worker */
    OPS_PRESSURE,
    OPS_STUCK,
    OPS_WAITING, /* people on the waiting list */
    OPS_NUMBERS,
};

enum ops_histogram {
    OPS_FIRST_BYTE = 0, /* of answers, all routes */
    OPS_TOKEN = 1,      /* of workers' answers */
    OPS_REDIS_TIME = 2,
    OPS_PG_TIME = 3,
    OPS_HISTOGRAMS = 4,
};

/* Counters whose names come from the gateway's configuration. */
enum ops_family { OPS_BY_RULE = 0, OPS_BY_SIGNAL = 1, OPS_BY_BAN = 2 };

enum { OPS_BUCKETS = 24, OPS_TALLIES = 96, OPS_TALLY_NAME = 47 };

struct ops_tally {
    enum ops_family family;
    char name[OPS_TALLY_NAME + 1]; /* longer ones are cut */
    double total;
};

struct ops_counts {
    double of[OPS_NUMBERS];
    bool is_known[OPS_NUMBERS];                /* some sample was there */
    double le[OPS_BUCKETS];                    /* upper bounds, ascending; INFINITY is the last */
    unsigned buckets;                          /* of le */
    double times[OPS_HISTOGRAMS][OPS_BUCKETS]; /* cumulative, as Prometheus has them */
    struct ops_tally tallies[OPS_TALLIES];     /* those past the ceiling are not counted */
    unsigned tally_count;
};

/* before may be NULL. False, and *out empty, when the text has no metric of a gateway. */
bool ops_counts_read(struct str text, const struct ops_counts *before, struct ops_counts *out);

#endif

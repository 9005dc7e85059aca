/* How suspicious one request for a code is: a small sum of named signals. Not where the counts come from
 * (suspicion_counts.h), not what is done about it (gateway/attempt.c).
 *
 *     facts -> suspicion_judge -> score = the points of the signals that are listed, nothing else
 *                              -> allow | challenge | challenge_hard | deny, by thresholds
 *
 * Every signal that speaks adds exactly its weight (the risk hook what it said, within its range) and is listed with what was seen and the number it is measured by. A fact that is not known adds nothing. Without Redis nobody is denied.
 * Weights and thresholds are the section `suspicion` of the configuration (suspicion_conf.c).
 * Units: points, 0 to 1000 a signal. Thread rule: pure functions. */
#ifndef TIDE_RATELIMIT_SUSPICION_H
#define TIDE_RATELIMIT_SUSPICION_H

#include "base/conf.h"
#include "base/json.h"

enum suspicion_signal {
    SUSPICION_JA4_ACCOUNTS = 0,     /* one kind of TLS client in one network asked for many numbers */
    SUSPICION_PREFIX_HEAT = 1,      /* many codes for the numbers of one prefix */
    SUSPICION_FAILURE_RATIO = 2,    /* codes of this network are seldom used */
    SUSPICION_ATTESTATION = 3,      /* the device was to prove itself and could not */
    SUSPICION_VELOCITY = 4,         /* one address asks often */
    SUSPICION_DISPOSABLE_EMAIL = 5, /* an address of a throw-away service */
    SUSPICION_HOSTING_ASN = 6,      /* the address belongs to a data centre */
    SUSPICION_HONEYPOT = 7,         /* it stepped into a trap: a path, or a field that people do not see */
    SUSPICION_RISK_HOOK = 8, /* the operator's own service said so; its points are its own, not a weight */
    SUSPICION_SIGNALS = 9,
};
const char *suspicion_signal_name(enum suspicion_signal s); /* "ja4_accounts", ... */

enum suspicion_mode {
    SUSPICION_OFF = 0,     /* nothing is counted */
    SUSPICION_OBSERVE = 1, /* counted, scored and recorded; nothing follows from it */
    SUSPICION_ENFORCE = 2,
};

/* In order of severity. */
enum suspicion_verdict {
    SUSPICION_ALLOW = 0,
    SUSPICION_CHALLENGE = 1,
    SUSPICION_CHALLENGE_HARD = 2,
    SUSPICION_DENY = 3,
    SUSPICION_VERDICTS = 4,
};
const char *suspicion_verdict_name(enum suspicion_verdict v); /* "allow", "challenge", ... */

struct suspicion_weights {
    uint32_t of[SUSPICION_SIGNALS]; /* 0: that signal is off; the risk hook has none */
};

struct suspicion_conf {
    enum suspicion_mode mode;
    struct suspicion_weights weights;
    uint32_t challenge_at, hard_at, deny_at; /* scores; deny_at 0: never */
    uint32_t ja4_numbers;                    /* more than so many in window_ms */
    uint32_t prefix_requests;                /* more than so many in prefix_window_ms */
    uint32_t failure_requests;               /* from so many on in window_ms ... */
    uint32_t failure_percent;                /* ... fewer than so many of 100 were used */
    uint32_t velocity_requests;              /* more than so many in velocity_window_ms */
    uint64_t window_ms, prefix_window_ms, velocity_window_ms;
    uint64_t trap_ms; /* how long a step into a trap is held against an address */
    struct conf_strings hosting_asns;
    struct conf_strings trap_paths;
    const char *trap_field; /* of `data`; NULL: none */
    uint32_t records;       /* a minute and loop */
};
extern const struct conf_section suspicion_conf_section;

/* What the fleet has counted, with this attempt. */
struct suspicion_counts {
    bool is_whole;        /* Redis answered to everything */
    uint32_t of_address;  /* requests in the velocity window */
    uint32_t of_network;  /* requests in the window */
    uint32_t verified;    /* codes of this network that were used in it */
    uint32_t ja4_numbers; /* numbers asked for by this kind of client in this network; 0: kind not known */
    uint32_t of_prefix;   /* requests in the prefix window */
    bool is_trapped;      /* the address stepped into a trap */
};

struct suspicion_facts {
    struct suspicion_counts counts;
    uint32_t asn; /* 0: not known */
    bool is_unattested, is_disposable, has_trap_field;
    uint32_t risk_points, risk_said,
        risk_most; /* of the risk hook: what counts, what it said, what it may say */
};

struct suspicion_item {
    enum suspicion_signal signal;
    uint32_t points;
    uint32_t seen;  /* what was counted (ASN: which one) */
    uint32_t limit; /* what it is measured by; 0: a yes or no */
};

struct suspicion_score {
    uint32_t total;
    enum suspicion_verdict verdict;
    bool is_blind; /* without what Redis would have told */
    unsigned count;
    struct suspicion_item items[SUSPICION_SIGNALS];
};

void suspicion_judge(const struct suspicion_conf *conf, const struct suspicion_facts *facts,
                     struct suspicion_score *out);
/* [{"signal":"velocity","points":20,"seen":9,"limit":5}, ...] as a value. */
void suspicion_write_items(const struct suspicion_score *s, struct json_writer *w);
bool suspicion_is_hosting(const struct suspicion_conf *conf, uint32_t asn);

#endif

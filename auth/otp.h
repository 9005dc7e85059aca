/* One-time codes in the database, as steps inside jobs. Private to auth/.
 *
 *     otp_begin     pending row, resend gap and failure budget of the number      \
 *     (the provider takes the message)                                             } three transactions
 *     otp_activate  live now; the older live one dies      | otp_drop             /
 *     otp_check     counts the attempt BEFORE anybody compares, then compares; a right code is consumed by otp_use
 *
 * Where the answer comes before the message, otp_activate is part of the first transaction.
 * A code is kept as HMAC(pepper; purpose, number, id, code). A decoy is a row that no code opens: what a
 * number without account gets when no account may be made, so that both look alike.
 * Thread rule: inside jobs. */
#ifndef TIDE_AUTH_OTP_H
#define TIDE_AUTH_OTP_H

#include "auth/auth.h"
#include "auth/subject.h"

enum { OTP_DIGITS = 6 };

struct otp_new {
    struct uuid id;            /* also the message id */
    char code[OTP_DIGITS + 1]; /* digits */
    uint8_t mac[SECRET_HMAC_BYTES];
    char key_id[SECRET_ID_MAX + 1];
};
/* Draws a code for a number. is_decoy: one that nothing opens. */
void otp_draw(const struct secret_ring *r, const char *e164, bool is_decoy, struct otp_new *out);
bool otp_is_code(struct str text); /* exactly OTP_DIGITS ASCII digits */

/* What a code remembers of its request, for when it is presented. */
struct otp_intent {
    bool may_create; /* it allowed a new account */
    bool has_invite; /* and showed an invite */
    struct uuid invite;
};

/* 0 begun; ERR_LIMIT: too soon or too many failures, *wait_s says how long. */
int otp_begin(struct pg *pg, const struct auth_config *conf, const struct subject *s,
              const struct otp_new *code, const struct otp_intent *intent, int64_t *wait_s) TIDE_CHECK;
int otp_activate(struct pg *pg, const struct auth_config *conf, const struct subject *s,
                 const struct uuid *id) TIDE_CHECK;
/* may_ask: the number need not wait until it may ask for another one. */
int otp_drop(struct pg *pg, const struct subject *s, const struct uuid *id, bool may_ask) TIDE_CHECK;

enum otp_verdict {
    OTP_RIGHT = 0,
    OTP_WRONG = 1,    /* or expired, or none: not told apart */
    OTP_TOO_MANY = 2, /* the number's failure budget is spent */
};
struct otp_checked {
    enum otp_verdict verdict;
    struct uuid id;
    struct otp_intent intent; /* of the request for this code */
    int64_t wait_s;           /* OTP_TOO_MANY */
};
/* 0 whatever the verdict: commit it, the attempt has to count. */
int otp_check(struct pg *pg, const struct auth_config *conf, const struct secret_ring *r,
              const struct subject *s, const char *e164, struct str code, struct otp_checked *out) TIDE_CHECK;
/* Forgets the wrong guesses that count against a number, and says how many there were. */
int otp_forgive(struct pg *pg, const struct subject *s, int64_t *failures) TIDE_CHECK;
/* Consumes a right code and gives its attempt back to the number's budget. */
int otp_use(struct pg *pg, const struct subject *s, const struct uuid *id) TIDE_CHECK;

#endif

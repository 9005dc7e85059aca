/* See invite.h. */
#include "auth/invite.h"

#include <stdio.h>

static const char symbols[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford: no I, L, O, U */

/* --- the code ---------------------------------------------------------------------------------------- */

static char canonical_symbol(char c)
{
    c = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
    return (char)(c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c);
}

bool invite_code_read(struct str text, struct invite_code *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '-' || text.p[i] == ' ') {
            continue;
        }
        char c = canonical_symbol(text.p[i]);
        if (n == INVITE_SYMBOLS || c == 0 || !strchr(symbols, c)) {
            return false;
        }
        out->symbols[n++] = c;
    }
    out->symbols[n] = 0;
    return n == INVITE_SYMBOLS;
}

void invite_code_draw(struct invite_code *out)
{
    uint8_t random[INVITE_SYMBOLS];
    id_random(random, sizeof random);
    for (unsigned i = 0; i < INVITE_SYMBOLS; i++) {
        out->symbols[i] = symbols[random[i] % 32];
    }
    out->symbols[INVITE_SYMBOLS] = 0;
    secret_cleanse(random, sizeof random);
}

void invite_code_print(const struct invite_code *c, char out[INVITE_CODE_TEXT])
{
    snprintf(out, INVITE_CODE_TEXT, "%.4s-%.4s-%.4s-%.4s", c->symbols, c->symbols + 4, c->symbols + 8,
             c->symbols + 12);
}

bool invite_code_hash(const struct secret_ring *r, const struct invite_code *c, unsigned i,
                      uint8_t out[SECRET_HMAC_BYTES])
{
    const struct str texts[] = {STR_INIT("invite"), str_of(c->symbols, INVITE_SYMBOLS)};
    const struct secret_key *key = i < INVITE_KEYS_MAX ? secret_at(r, SECRET_LOOKUP, i) : NULL;
    if (!key) {
        return false;
    }
    secret_hmac_of(key, texts, 2, out);
    return true;
}

/* --- the row ----------------------------------------------------------------------------------------- */

#define STATE                                                                                                \
    "CASE WHEN revoked_at IS NOT NULL THEN 2 WHEN expires_at <= clock_timestamp() THEN 3"                    \
    " WHEN uses >= max_uses THEN 4 ELSE 1 END"

static void take_row(struct pg *pg, struct invite *out)
{
    struct str campaign = pg_value(pg, 0, 2);
    out->state = (enum invite_state)pg_i64(pg, 0, 0);
    out->id = pg_uuid(pg, 0, 1);
    snprintf(out->campaign, sizeof out->campaign, STR_FMT, STR_ARG(campaign));
}

int invite_find(struct pg *pg, const struct secret_ring *r, const struct invite_code *c, struct invite *out)
{
    uint8_t hash[SECRET_HMAC_BYTES];
    *out = (struct invite){.state = INVITE_UNKNOWN};
    for (unsigned i = 0; invite_code_hash(r, c, i, hash); i++) {
        int rows = pg_query(pg, "SELECT " STATE ", id, campaign FROM invites WHERE code_hash = $1",
                            PG_BYTES(hash, sizeof hash));
        if (rows < 0) {
            return rows;
        }
        if (rows > 0) {
            take_row(pg, out);
            return 0;
        }
    }
    return 0;
}

int invite_load(struct pg *pg, const struct uuid *id, struct invite *out)
{
    *out = (struct invite){.state = INVITE_UNKNOWN};
    int rows = pg_query(pg, "SELECT " STATE ", id, campaign FROM invites WHERE id = $1", PG_UUID(*id));
    if (rows > 0) {
        take_row(pg, out);
    }
    return rows < 0 ? rows : 0;
}

/* --- the policy -------------------------------------------------------------------------------------- */

void invite_tell(const struct invite *i, struct policy_caller *caller)
{
    bool is_good = i->state == INVITE_GOOD;
    caller->invite = is_good ? POLICY_YES : POLICY_NO;
    snprintf(caller->campaign, sizeof caller->campaign, "%s", is_good ? i->campaign : "");
}

void invite_explain(struct policy_decision *d, enum invite_state state)
{
    static const char *const by_state[] = {NULL, NULL, "invite_invalid", "invite_expired", "invite_used_up"};
    if (d->reason && strcmp(d->reason, "invite_required") == 0 && by_state[state]) {
        d->reason = by_state[state];
    }
}

/* The loop's half of this room: which policy it knows and which sessions have ended. */
#include "auth/auth.h"

#include "auth/revoked.h"
#include "base/clock.h"
#include "base/jws.h"

void auth_loop_init(struct auth_loop *al, struct loop *loop, const struct auth_ports *ports,
                    struct pg_pool **pg)
{
    *al = (struct auth_loop){.loop = loop, .ports = ports, .pg = pg};
    al->revoked = revoked_new(AUTH_ENDED_KEEP_S);
}

void auth_loop_set_keys(struct auth_loop *al, struct secret_ring *secrets, const struct jws_keys *keys)
{
    al->secrets = secrets;
    al->keys = keys;
}

void auth_loop_clear(struct auth_loop *al)
{
    policy_unref(al->policy);
    policy_unref(al->beneath);
    revoked_free(al->revoked);
    *al = (struct auth_loop){0};
}

void auth_loop_set_policy(struct auth_loop *al, struct policy *p)
{
    struct policy **place = al->is_emergency ? &al->beneath : &al->policy;
    struct policy *old = *place;
    *place = policy_ref(p);
    policy_unref(old);
}

void auth_loop_set_emergency(struct auth_loop *al, struct policy *p)
{
    if (al->is_emergency) { /* what waited beneath is back */
        policy_unref(al->policy);
        al->policy = al->beneath;
        al->beneath = NULL;
    }
    al->is_emergency = p != NULL;
    if (p) {
        al->beneath = al->policy;
        al->policy = policy_ref(p);
    }
}

void auth_loop_end_sessions(struct auth_loop *al, const struct auth_ended *ended, unsigned n)
{
    int64_t now_s = clock_wall_s();
    bool is_new = false;
    for (unsigned i = 0; i < n; i++) {
        is_new |= revoked_add(al->revoked, &ended[i].session, ended[i].ended_s, now_s);
    }
    if (is_new) {
        al->ports->sessions_ended(al->arg);
    }
}

void auth_loop_set_era(struct auth_loop *al, int64_t era)
{
    bool is_later = era > al->era;
    al->era = era;
    if (is_later) {
        al->ports->sessions_ended(al->arg);
    }
}

bool auth_is_revoked(const struct auth_loop *al, const struct jws_claims *who)
{
    bool is_ours = who->issuer == 0;
    return (is_ours && who->era < al->era) || revoked_has(al->revoked, &who->session);
}

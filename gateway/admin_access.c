/* Who asks, and what may they do: by the listener, the peer's user, or the client's certificate. */
#include <pwd.h>
#include <stdio.h>

#include "gateway/admin_inner.h"
#include "gateway/config.h"

static void name_user(struct admin_call *c)
{
    uint32_t uid = 0;
    struct passwd pw;
    struct passwd *found = NULL;
    char text[1024];
    if (!http_peer_uid(c->ex, &uid)) {
        snprintf(c->actor, sizeof c->actor, "unknown");
        return;
    }
    bool named = getpwuid_r(uid, &pw, text, sizeof text, &found) == 0 && found != NULL;
    snprintf(c->actor, sizeof c->actor, "unix:%u(%s)", uid, named ? found->pw_name : "?");
}

enum admin_level admin_identify(struct admin_call *c)
{
    if (c->ex->listener != c->control->listeners[CONTROL_ADMIN_TLS]) {
        name_user(c);
        return c->ex->listener == c->control->listeners[CONTROL_ADMIN_READ] ? ADMIN_LEVEL_READ
                                                                            : ADMIN_LEVEL_ADMIN;
    }
    struct str name = http_peer_name(c->ex);
    name = name.n > 0 ? name : STR("?"); /* let in once, and by a reload no more */
    snprintf(c->actor, sizeof c->actor, "cert:" STR_FMT, STR_ARG(name));
    return admin_conf_level_of(&c->control->gateway->conf->set->admin, name);
}

/* What anybody with an apikey may ask: settings, health, the public keys. And a plain no for those paths of GoTrue
 * that are not offered here. */
#include "auth/call.h"
#include "base/http/problem.h"
#include "base/jws.h"

static void write_external(struct json_writer *w)
{
    static const char *const off[] = {"anonymous_users", "apple",  "azure",  "discord", "email",
                                      "facebook",        "github", "gitlab", "google",  "twitter"};
    json_open_at(w, "external", '{');
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        json_bool_at(w, off[i], false);
    }
    json_bool_at(w, "phone", true);
    json_close(w, '}');
}

void auth_http_settings(struct auth_call *call)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("application/json; charset=utf-8")},
        {STR_INIT("cache-control"), STR_INIT("private, max-age=1")},
        {STR_INIT("vary"), STR_INIT("accept-language")},
    };
    const struct policy *p = call->al->policy;
    struct buf body;
    if (!p) {
        auth_reply_failed(call, ERR_UNAVAILABLE);
        return;
    }
    buf_init(&body, 16384);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    write_external(&w);
    json_bool_at(&w, "disable_signup", policy_state(p) == POLICY_STATE_CLOSED);
    json_bool_at(&w, "mailer_autoconfirm", false);
    json_bool_at(&w, "phone_autoconfirm", false);
    json_str_at(&w, "sms_provider", STR("hook"));
    json_bool_at(&w, "mfa_enabled", false);
    json_bool_at(&w, "saml_enabled", false);
    json_key(&w, "signup");
    w.need_comma = false;
    policy_write_public(p, auth_lang(call), &body);
    w.need_comma = true;
    json_close(&w, '}');
    http_reply(call->ex, 200, fields, sizeof fields / sizeof *fields, buf_str(&body));
    buf_clear(&body);
}

void auth_http_health(struct auth_call *call)
{
    struct buf body;
    buf_init(&body, 256);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "version", STR("v" TIDE_VERSION));
    json_str_at(&w, "name", STR("Tidegate"));
    json_str_at(&w, "description", STR("Accounts with the interface of GoTrue"));
    json_close(&w, '}');
    auth_reply_json(call, 200, &body);
    buf_clear(&body);
}

void auth_http_jwks(struct auth_call *call)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("application/json; charset=utf-8")},
        {STR_INIT("cache-control"), STR_INIT("public, max-age=600")},
    };
    struct buf body;
    buf_init(&body, 65536);
    jws_write_jwks(call->al->keys, &body);
    http_reply(call->ex, 200, fields, sizeof fields / sizeof *fields, buf_str(&body));
    buf_clear(&body);
}

void auth_http_refuse(struct auth_call *call)
{
    static const struct {
        const char *path, *code;
    } rows[] = {
        {"/auth/v1/signup", "signup_disabled"},
        {"/auth/v1/recover", "email_provider_disabled"},
        {"/auth/v1/magiclink", "email_provider_disabled"},
        {"/auth/v1/authorize", "provider_disabled"},
        {"/auth/v1/sso", "provider_disabled"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (str_is(call->ex->path, rows[i].path)) {
            http_reply_error(call->ex, rows[i].code,
                             "accounts are made and opened by phone code: POST /auth/v1/otp");
            return;
        }
    }
    http_reply_error(call->ex, "feature_disabled", "this part of the interface is not offered");
}

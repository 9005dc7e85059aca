/* See reply.h. Members and their spelling are GoTrue's; `session` and `is_new_user` are ours. */
#include "auth/reply.h"

#include "auth/call.h"
#include "base/clock.h"
#include "base/http/problem.h"
#include "base/log.h"

enum { REPLY_MAX = 16384, REPLY_USUAL = 1000, BUSY_RETRY_S = 30 };

static void write_uuid_at(struct json_writer *w, const char *key, const struct uuid *u)
{
    char text[ID_UUID_TEXT + 1];
    uuid_format(u, text);
    json_str_at(w, key, str_from(text));
}

static void write_time_at(struct json_writer *w, const char *key, const char *time)
{
    if (time[0]) {
        json_str_at(w, key, str_from(time));
    } else {
        json_null_at(w, key);
    }
}

static struct str gotrue_phone(const struct account *a)
{
    return str_from(a->phone[0] == '+' ? a->phone + 1 : a->phone);
}

static void write_identity(struct json_writer *w, const struct account *a)
{
    json_open(w, '{');
    write_uuid_at(w, "identity_id", &a->identity);
    write_uuid_at(w, "id", &a->user);
    write_uuid_at(w, "user_id", &a->user);
    json_open_at(w, "identity_data", '{');
    write_uuid_at(w, "sub", &a->user);
    json_str_at(w, "phone", gotrue_phone(a));
    json_bool_at(w, "phone_verified", true);
    json_close(w, '}');
    json_str_at(w, "provider", STR("phone"));
    write_time_at(w, "created_at", a->identity_created_at);
    write_time_at(w, "updated_at", a->identity_created_at);
    write_time_at(w, "last_sign_in_at", a->last_sign_in_at);
    json_close(w, '}');
}

void reply_write_user(struct json_writer *w, const struct account *a)
{
    json_open(w, '{');
    write_uuid_at(w, "id", &a->user);
    json_str_at(w, "aud", STR("authenticated"));
    json_str_at(w, "role", STR("authenticated"));
    json_str_at(w, "email", STR(""));
    json_str_at(w, "phone", gotrue_phone(a));
    write_time_at(w, "phone_confirmed_at", a->identity_created_at);
    write_time_at(w, "confirmed_at", a->identity_created_at);
    write_time_at(w, "last_sign_in_at", a->last_sign_in_at);
    json_open_at(w, "app_metadata", '{');
    json_str_at(w, "provider", STR("phone"));
    json_raw_at(w, "providers", STR("[\"phone\"]"));
    json_close(w, '}');
    json_raw_at(w, "user_metadata", STR("{}"));
    json_open_at(w, "identities", '[');
    write_identity(w, a);
    json_close(w, ']');
    write_time_at(w, "created_at", a->created_at);
    write_time_at(w, "updated_at", a->updated_at);
    json_bool_at(w, "is_anonymous", false);
    json_close(w, '}');
}

static void write_session(struct json_writer *w, const struct account *a, const struct access_grant *grant,
                          const struct access_token *token, const char *refresh, bool is_new_user)
{
    json_open(w, '{');
    json_str_at(w, "access_token", buf_str(&token->text));
    json_str_at(w, "token_type", STR("bearer"));
    json_i64_at(w, "expires_in", token->expires_in_s);
    json_i64_at(w, "expires_at", token->expires_at_s);
    json_str_at(w, "refresh_token", str_from(refresh));
    json_key(w, "user");
    reply_write_user(w, a);
    json_open_at(w, "session", '{');
    write_uuid_at(w, "id", &grant->session);
    json_close(w, '}');
    json_bool_at(w, "is_new_user", is_new_user);
    json_close(w, '}');
}

void reply_session(struct auth_call *call, const struct account *a, const struct access_grant *grant,
                   int64_t counter, bool is_new_user)
{
    struct access_token token;
    struct err err = {0};
    char refresh[REFRESH_TOKEN_TEXT];
    struct buf body;
    int rc = access_token_mint(call->conf, call->al->keys, grant, clock_wall_s(), &token, &err);
    if (rc < 0) {
        log_error("access token cannot be signed error=\"%s\"", err.msg);
        http_reply_error(call->ex, "unexpected_failure", "the session could not be signed");
        buf_clear(&token.text);
        return;
    }
    refresh_token_write(call->al->secrets, &(struct refresh_token){grant->session, counter}, refresh);
    buf_init(&body, REPLY_MAX);
    struct json_writer w = {.out = &body};
    write_session(&w, a, grant, &token, refresh, is_new_user);
    auth_reply_json(call, 200, &body);
    secret_cleanse(body.p, body.n);
    buf_clear(&body);
    buf_clear(&token.text);
}

void reply_denied(struct auth_call *call, const struct policy *p, const struct policy_decision *d)
{
    reply_refused(call, p, d, 0);
}

void reply_refused(struct auth_call *call, const struct policy *p, const struct policy_decision *d,
                   int64_t position)
{
    struct buf extra;
    unsigned lang = auth_lang(call);
    buf_init(&extra, REPLY_MAX);
    buf_reserve(&extra, REPLY_USUAL);
    buf_add_cstr(&extra, "\"policy_version\":");
    buf_add_u64(&extra, (uint64_t)policy_version(p));
    buf_add_cstr(&extra, ",\"login_unaffected\":true,\"signup\":");
    policy_write_public(p, lang, &extra);
    if (position > 0) {
        buf_addf(&extra, ",\"waitlist\":{\"position\":%lld,\"join\":\"/auth/v1/waitlist\"}",
                 (long long)position);
    }
    bool is_busy = strcmp(d->reason, "signup_busy") == 0;
    struct problem problem = {.retry_after_s = !is_busy        ? 0
                                               : d->wait_s > 0 ? (uint32_t)d->wait_s
                                                               : BUSY_RETRY_S,
                              .code = d->reason,
                              .message = policy_message(p, d->reason, lang),
                              .extra = buf_str(&extra)};
    http_reply_problem(call->ex, &problem);
    buf_clear(&extra);
}

/* See access_token.h. */
#include "auth/access_token.h"

#include "base/jws.h"
#include "base/json.h"

static int64_t access_life_s(const struct auth_config *conf)
{
    int64_t ttl_s = (int64_t)(conf->access_ttl_ms / 1000);
    int64_t jitter_s = ttl_s * (int64_t)conf->access_jitter_percent / 100;
    return ttl_s - (jitter_s > 0 ? (int64_t)id_random_below((uint32_t)jitter_s + 1) : 0);
}

static void write_uuid_at(struct json_writer *w, const char *key, const struct uuid *u)
{
    char text[ID_UUID_TEXT + 1];
    uuid_format(u, text);
    json_str_at(w, key, str_from(text));
}

static void write_claims(const struct auth_config *conf, const struct access_grant *grant, int64_t now_s,
                         int64_t exp_s, struct buf *out)
{
    struct json_writer w = {.out = out};
    struct uuid jti = uuid_v7();
    json_open(&w, '{');
    json_str_at(&w, "iss", str_from(conf->issuer));
    json_str_at(&w, "aud", str_from(conf->audience));
    write_uuid_at(&w, "sub", &grant->user);
    json_i64_at(&w, "exp", exp_s);
    json_i64_at(&w, "iat", now_s);
    write_uuid_at(&w, "jti", &jti);
    write_uuid_at(&w, "session_id", &grant->session);
    if (grant->era > 0) { /* nobody was ever signed out with everybody else before */
        json_i64_at(&w, "era", grant->era);
    }
    json_str_at(&w, "role", STR("authenticated"));
    json_str_at(&w, "aal", STR("aal1"));
    json_open_at(&w, "amr", '[');
    json_open(&w, '{');
    json_str_at(&w, "method", str_from(grant->method));
    json_i64_at(&w, "timestamp", grant->began_s);
    json_close(&w, '}');
    json_close(&w, ']');
    json_close(&w, '}');
}

int access_token_mint(const struct auth_config *conf, const struct jws_keys *keys,
                      const struct access_grant *grant, int64_t now_s, struct access_token *out,
                      struct err *err)
{
    struct buf claims;
    buf_init(&out->text, JWS_TOKEN_MAX);
    const struct jws_key *key = jws_keys_signer(keys, conf->signing_kid, err);
    if (!key) {
        return ERR_NOT_FOUND;
    }
    out->expires_in_s = access_life_s(conf);
    out->expires_at_s = now_s + out->expires_in_s;
    buf_init(&claims, 2048);
    write_claims(conf, grant, now_s, out->expires_at_s, &claims);
    int rc = jws_sign(key, "JWT", buf_str(&claims), &out->text, err);
    buf_clear(&claims);
    return rc;
}

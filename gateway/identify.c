#include "gateway/identify.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/token_cache.h"
#include "gateway/accounts.h"
#include "gateway/config.h"
#include "gateway/failure_bucket.h"
#include "gateway/gateway.h"

static struct metric checks =
    METRIC_COUNTER_L("tidegate_token_checks_total", "Bearer tokens looked at, by result.", "result");

static struct metric spare_checks =
    METRIC_COUNTER("tidegate_token_spare_checks_total",
                   "Bearer tokens looked at although their address had no failures left.");

enum check_result {
    CHECK_CACHED,
    CHECK_VERIFIED,
    CHECK_REFUSED,
    CHECK_REVOKED,
    CHECK_THROTTLED,
    CHECK_RESULTS
};
static const char *const check_names[CHECK_RESULTS] = {"cached", "verified", "refused", "revoked",
                                                       "throttled"};

struct identify_loop {
    struct token_cache *cache;
    struct failure_bucket failures;
    struct metric_child *results[CHECK_RESULTS];
    const struct jws_issuer *issuers; /* those the cache was filled by: borrowed from gl->conf */
};

int identify_loop_open(struct gateway_loop *gl, struct err *err)
{
    struct identify_loop *il = calloc(1, sizeof *il);
    BUG_ON(il == NULL);
    il->cache = token_cache_new(gl->conf->set->identify.cache_entries);
    for (unsigned i = 0; i < CHECK_RESULTS; i++) {
        il->results[i] = metric_child(&checks, check_names[i]);
    }
    il->issuers = gl->conf->issuers;
    gl->identify = il;
    return 0;
}

/* Other keys or issuers may be in force: what was verified before proves nothing now. Where only limits are others, as an
 * operator or the attack ladder sets them, the issuers are the very same. */
void identify_loop_reload(struct gateway_loop *gl)
{
    if (gl->identify->issuers != gl->conf->issuers) {
        gl->identify->issuers = gl->conf->issuers;
        token_cache_drop_all(gl->identify->cache);
    }
}

void identify_loop_close(struct gateway_loop *gl)
{
    if (gl->identify != NULL) {
        token_cache_free(gl->identify->cache);
        free(gl->identify);
        gl->identify = NULL;
    }
}

struct str identify_account(const struct request *r)
{
    if (!r->who) {
        return STR("");
    }
    struct str iss = str_from(r->conf->verifier.issuers[r->who->issuer].iss);
    struct str sub = str_from(r->who->sub);
    char *p = arena_alloc(&r->ex->arena, iss.n + 1 + sub.n);
    memcpy(p, iss.p, iss.n);
    p[iss.n] = '\0';
    memcpy(p + iss.n + 1, sub.p, sub.n);
    return str_of(p, iss.n + 1 + sub.n);
}

/* --- the apikey ---------------------------------------------------------------------------------- */

static bool is_apikey(const struct gateway_config *conf, struct str key)
{
    const struct conf_strings *known = &conf->set->apikeys;
    for (unsigned i = 0; i < known->n; i++) {
        if (str_is(key, known->items[i])) {
            return true;
        }
    }
    return false;
}

static bool take_apikey(struct request *r)
{
    struct str key = http_field_get(r->ex, "apikey");
    if (key.n == 0) {
        key = http_field_get(r->ex, "x-api-key");
    }
    if (key.n > 0 && is_apikey(r->conf, key)) {
        return true;
    }
    http_reply_error(r->ex, key.n > 0 ? "invalid_api_key" : "no_authorization",
                     key.n > 0 ? "this apikey is not known" : "the header field apikey is missing");
    return false;
}

/* --- the token ----------------------------------------------------------------------------------- */

static struct str bearer_of(const struct http_exchange *ex)
{
    struct str v = str_trim(http_field_get(ex, "authorization"));
    if (v.n < 7 || !str_eq_nocase(str_of(v.p, 7), STR("bearer "))) {
        return STR("");
    }
    return str_trim(str_skip(v, 7));
}

static int64_t grace_s(const struct request *r)
{
    const struct auth_config *auth = r->conf->set->auth;
    if (auth == NULL || !r->route->outage_grace || atomic_load(&r->gl->gateway->pg_is_up)) {
        return 0;
    }
    return (int64_t)(auth->outage_grace_ms / 1000);
}

static void count(const struct request *r, enum check_result result)
{
    metric_child_add(r->gl->identify->results[result], 1);
}

static void refuse_token(struct request *r, enum check_result result, const char *code, const char *detail)
{
    count(r, result);
    http_add_field(r->ex, "www-authenticate", STR("Bearer error=\"invalid_token\""));
    http_reply_error(r->ex, code, "%s", detail);
}

static void refuse_throttled(struct request *r)
{
    count(r, CHECK_THROTTLED);
    http_reply_problem(r->ex,
                       &(struct problem){.code = "over_request_rate_limit",
                                         .detail = STR("too many tokens from this address failed the check"),
                                         .retry_after_s = 30});
}

static const struct jws_claims *keep(struct request *r, const struct jws_claims *claims)
{
    struct jws_claims *own = arena_alloc(&r->ex->arena, sizeof *own);
    *own = *claims;
    return own;
}

static bool take_spare(struct identify_loop *il, const struct identify_conf *conf, uint64_t now_ms)
{
    bool is_taken = failure_bucket_take_spare(&il->failures, conf->spare_checks, now_ms);
    metric_add(&spare_checks, is_taken ? 1 : 0);
    return is_taken;
}

/* A request of before a reload may have other issuers than the cache was filled by. */
static bool is_cache_of(const struct identify_loop *il, const struct request *r)
{
    return il->issuers == r->conf->issuers;
}

/* Verifies a token that the cache does not have. NULL: it has answered. */
static const struct jws_claims *verify(struct request *r)
{
    struct identify_loop *il = r->gl->identify;
    const struct identify_conf *conf = &r->conf->set->identify;
    uint64_t now_ms = loop_now_ms(r->gl->loop);
    struct jws_claims claims;
    struct err err = {0};
    bool has_failures =
        failure_bucket_has(&il->failures, &r->client, conf->failures, conf->failure_period_ms, now_ms);
    if (!has_failures && !take_spare(il, conf, now_ms)) {
        refuse_throttled(r);
        return NULL;
    }
    int rc = jws_verify(&r->conf->verifier, r->token, clock_wall_s(), grace_s(r), &r->ex->arena, &claims,
                        NULL, &err);
    if (rc != 0) {
        bool is_ours = rc == ERR_TIMEOUT || rc == ERR_AGAIN; /* but for its time: no attack */
        if (has_failures && !is_ours) {
            failure_bucket_charge(&il->failures, &r->client, conf->failure_period_ms, now_ms);
        }
        if (rc == ERR_TIMEOUT && is_cache_of(il, r)) {
            token_cache_add_over(il->cache, r->token, claims.exp);
        }
        refuse_token(r, CHECK_REFUSED, "bad_jwt", err.msg);
        return NULL;
    }
    count(r, CHECK_VERIFIED);
    if (is_cache_of(il, r)) {
        token_cache_add(il->cache, r->token, &claims);
    }
    return keep(r, &claims);
}

static const struct jws_claims *look_up(struct request *r)
{
    struct identify_loop *il = r->gl->identify;
    const struct jws_claims *hit = NULL;
    enum token_cache_answer answer = TOKEN_CACHE_MISS;
    if (is_cache_of(il, r)) {
        int64_t slack_s = r->conf->verifier.leeway_s + grace_s(r);
        answer = token_cache_find(il->cache, r->token, clock_wall_s(), slack_s, &hit);
    }
    switch (answer) {
    case TOKEN_CACHE_MISS:
        break;
    case TOKEN_CACHE_OVER: /* of clients that never refresh, after an outage of thousands */
        refuse_token(r, CHECK_REFUSED, "bad_jwt", "token: it has expired");
        return NULL;
    case TOKEN_CACHE_HIT:
        count(r, CHECK_CACHED);
        return keep(r, hit);
    }
    return verify(r);
}

static bool take_token(struct request *r)
{
    struct str token = bearer_of(r->ex);
    if (token.n == 0 || is_apikey(r->conf, token)) {
        http_add_field(r->ex, "www-authenticate", STR("Bearer"));
        http_reply_error(r->ex, "no_authorization", "the header field authorization has no Bearer token");
        return false;
    }
    r->token = token;
    const struct jws_claims *who = look_up(r);
    if (who == NULL) {
        return false;
    }
    if (accounts_is_revoked(r->gl, who)) {
        /* GoTrue's clients know this as 403; everybody else, OpenAI's among them, signs in again at a 401 */
        const char *code = r->ex->dialect == HTTP_DIALECT_GOTRUE ? "session_not_found" : "session_expired";
        refuse_token(r, CHECK_REVOKED, code, "the session of this token has ended");
        return false;
    }
    r->who = who;
    return true;
}

bool identify_request(struct request *r)
{
    switch (r->route->auth) {
    case ROUTE_AUTH_NONE:
        return true;
    case ROUTE_AUTH_APIKEY: /* clients refresh with the expired token still in the header: nobody looks */
        return take_apikey(r);
    case ROUTE_AUTH_USER:
        return take_token(r);
    case ROUTE_AUTH_APIKEY_USER:
        return take_apikey(r) && take_token(r);
    }
    return false;
}

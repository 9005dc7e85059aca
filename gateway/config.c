#include "gateway/config.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "gateway/routes.h"
#include "gateway/route_rows.h"

static atomic_ullong loads;
static struct metric snapshots =
    METRIC_GAUGE("tidegate_config_snapshots",
                 "Configurations in memory: one, and those that running requests began with.");

static void clear_issuers(struct gateway_config *c)
{
    for (unsigned i = 0; i < c->verifier.n; i++) {
        jws_keys_clear(&c->issuers[i].keys);
    }
    free(c->issuers);
}

static void config_free(struct gateway_config *c)
{
    if (c->original != NULL) {
        limit_rules_unref(c->limits);
        config_unref(c->original);
        free(c);
        return;
    }
    route_table_free(c->routes);
    limit_rules_unref(c->limits);
    tls_set_unref(c->tls);
    tls_set_unref(c->admin_tls);
    clear_issuers(c);
    if (c->secrets != NULL) {
        secret_ring_unref(c->secrets);
    }
    if (c->file != NULL) {
        conf_unref(c->file);
    }
    free(c);
    metric_add(&snapshots, -1);
}

const struct gateway_config *config_ref(const struct gateway_config *c)
{
    struct gateway_config *m = (struct gateway_config *)(uintptr_t)c;
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return c;
}

void config_unref(const struct gateway_config *c)
{
    struct gateway_config *m = (struct gateway_config *)(uintptr_t)c;
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
        config_free(m);
    }
}

struct config_hold *config_hold_new(const struct gateway_config *conf)
{
    struct config_hold *h = malloc(sizeof *h);
    BUG_ON(h == NULL);
    *h = (struct config_hold){.conf = conf, .refs = 1};
    return h;
}

void config_hold_drop(struct config_hold *h)
{
    if (--h->refs == 0) {
        config_unref(h->conf);
        free(h);
    }
}

static int add_issuer(struct gateway_config *c, const struct jws_issuer *row, const char *keys,
                      struct err *err)
{
    struct jws_issuer *to = &c->issuers[c->verifier.n];
    *to = *row;
    int rc = jws_keys_load(keys, &to->keys, err);
    if (rc == 0) {
        c->verifier.n++;
    }
    return rc;
}

static int load_issuers(struct gateway_config *c, struct err *err)
{
    const struct auth_config *auth = c->set->auth;
    const struct issuer_row *rows = c->set->issuers.items;
    int rc = 0;
    c->issuers = calloc(c->set->issuers.n + 1, sizeof *c->issuers);
    BUG_ON(c->issuers == NULL);
    c->verifier = (struct jws_verifier){.issuers = c->issuers, .leeway_s = 5};
    if (auth != NULL) {
        c->has_own_issuer = true;
        rc = add_issuer(
            c, &(struct jws_issuer){.iss = auth->issuer, .aud = auth->audience, .needs_session = true},
            auth->signing_keys, err);
        struct err why = {.msg = ""};
        if (rc == 0 && jws_keys_signer(&c->issuers[0].keys, auth->signing_kid, &why) == NULL) {
            rc = err_set(err, ERR_INVALID, "auth.signing_keys %s: %s", auth->signing_keys, why.msg);
        }
    }
    for (unsigned i = 0; i < c->set->issuers.n && rc == 0; i++) {
        rc = add_issuer(c,
                        &(struct jws_issuer){.iss = rows[i].issuer,
                                             .aud = rows[i].audience,
                                             .typ = rows[i].type,
                                             .needs_session = rows[i].needs_session},
                        rows[i].keys, err);
    }
    return rc;
}

/* Ticket keys of the ring, the active one first: all gateways resume each other's sessions. */
static unsigned ticket_keys(const struct secret_ring *ring, uint8_t *out)
{
    unsigned n = 0;
    if (ring == NULL) {
        return 0;
    }
    for (const struct secret_key *k; n < TLS_TICKET_KEYS_MAX; n++) {
        k = secret_at(ring, SECRET_TICKET, n);
        if (k == NULL || k->n != TLS_TICKET_KEY_BYTES) {
            break;
        }
        memcpy(out + (size_t)n * TLS_TICKET_KEY_BYTES, k->bytes, TLS_TICKET_KEY_BYTES);
    }
    return n;
}

static int load_tls(struct gateway_config *c, struct err *err)
{
    uint8_t tickets[TLS_TICKET_KEYS_MAX * TLS_TICKET_KEY_BYTES];
    struct secret_ring *own = NULL;
    const char *path = c->set->ticket_ring_file;
    int rc = path != NULL ? secret_ring_load(path, &own, err) : 0;
    if (rc != 0 || c->set->certificates.n == 0) {
        secret_ring_unref(own);
        return rc;
    }
    struct tls_set_conf conf = {.certs = c->set->certificates.items,
                                .cert_count = c->set->certificates.n,
                                .ticket_keys = tickets,
                                .ticket_key_count = ticket_keys(own != NULL ? own : c->secrets, tickets),
                                .http2 = http_listeners_want_h2(&c->set->listeners)};
    c->tls = tls_set_new(&conf, err);
    secret_cleanse(tickets, sizeof tickets);
    secret_ring_unref(own);
    return c->tls != NULL ? 0 : ERR_INVALID;
}

static int build(struct gateway_config *c, struct err *err)
{
    const struct auth_config *auth = c->set->auth;
    c->client_addr = (struct client_addr_conf){.trusted = c->set->trusted_proxies.items,
                                               .trusted_count = c->set->trusted_proxies.n};
    int rc = auth != NULL ? secret_ring_load(auth->key_ring_file, &c->secrets, err) : 0;
    if (rc == 0) {
        rc = load_issuers(c, err);
    }
    if (rc == 0) {
        rc = load_tls(c, err);
    }
    if (rc == 0) {
        rc = admin_conf_load_tls(&c->set->admin, &c->admin_tls, err);
    }
    if (rc == 0) {
        rc = route_rows_build(c, err);
    }
    if (rc == 0) {
        c->limits = limits_rules_build(&c->set->limits, c->routes, NULL, 0, err);
        rc = c->limits != NULL ? 0 : ERR_INVALID;
    }
    return rc;
}

int config_load(const char *path, struct gateway_config **out, struct err *err)
{
    struct gateway_config *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->refs = 1;
    metric_add(&snapshots, 1);
    c->serial = atomic_fetch_add(&loads, 1) + 1;
    int rc = conf_load(path, &gateway_conf_section, &c->file, err);
    if (rc == 0) {
        c->set = conf_root(c->file);
        rc = build(c, err);
    }
    if (rc != 0) {
        config_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

const struct gateway_config *config_without_changes(const struct gateway_config *c)
{
    if (c->original == NULL) {
        return c;
    }
    const struct gateway_config *original = config_ref(c->original);
    config_unref(c);
    return original;
}

const struct gateway_config *config_with_limits(const struct gateway_config *c, struct limit_rules *limits)
{
    const struct gateway_config *original = config_without_changes(c);
    struct gateway_config *changed = malloc(sizeof *changed);
    BUG_ON(changed == NULL);
    memcpy(changed, original, sizeof *changed);
    atomic_init(&changed->refs, 1);
    changed->original = original;
    changed->limits = limits;
    return changed;
}

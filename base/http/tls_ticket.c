#include "base/http/tls_ticket.h"

#include <openssl/core_names.h>
#include <pthread.h>

struct tls_ticket_key {
    uint8_t name[16]; /* public: stands in front of the ticket */
    uint8_t aes[32];
    uint8_t hmac[32];
};
_Static_assert(sizeof(struct tls_ticket_key) == TLS_TICKET_KEY_BYTES, "as the key ring has them");

/* Of this process: a reload must not end the sessions of those who came before it. */
static struct tls_ticket_key own_key;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static void make_own_key(void)
{
    id_random(&own_key, sizeof(own_key));
}

void tls_tickets_init(struct tls_tickets *t, const uint8_t *keys, unsigned count)
{
    t->count = count ? count : 1;
    t->keys = OPENSSL_malloc(t->count * sizeof(*t->keys));
    t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    BUG_ON(!t->keys || !t->cipher);
    if (count > 0) {
        memcpy(t->keys, keys, count * sizeof(*t->keys));
    } else {
        pthread_once(&own_once, make_own_key);
        t->keys[0] = own_key;
    }
}

void tls_tickets_clear(struct tls_tickets *t)
{
    OPENSSL_clear_free(t->keys, t->count * sizeof(*t->keys));
    EVP_CIPHER_free(t->cipher);
}

static const struct tls_ticket_key *find(const struct tls_tickets *t, const uint8_t name[16])
{
    for (unsigned i = 0; i < t->count; i++) {
        if (memcmp(t->keys[i].name, name, 16) == 0) {
            return &t->keys[i];
        }
    }
    return NULL;
}

/* 0: unknown key, a full handshake; 1: fine; 2: fine, but give the client a ticket under the first key. */
int tls_tickets_on_ticket(const struct tls_tickets *t, unsigned char *name, unsigned char *iv,
                          EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
    const struct tls_ticket_key *key = &t->keys[0];
    if (seal) {
        id_random(iv, 16);
        memcpy(name, key->name, 16);
    } else {
        key = find(t, name);
        if (!key) {
            return 0;
        }
    }
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->hmac,
                                          sizeof(key->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_CipherInit_ex2(cipher, t->cipher, key->aes, iv, seal, NULL) != 1 ||
        EVP_MAC_CTX_set_params(mac, params) != 1) {
        return -1;
    }
    return key == &t->keys[0] ? 1 : 2;
}

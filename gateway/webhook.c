/* See webhook.h. */
#include "gateway/webhook.h"

#include <openssl/hmac.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/secret.h"

enum { WEBHOOK_KEY_MIN = 24, WEBHOOK_MAC = 32 };

int webhook_key_parse(struct str text, struct webhook_key *out, struct err *err)
{
    struct str s = str_trim(text);
    if (str_starts(s, STR("v1,"))) {
        s = str_skip(s, 3);
    }
    if (!str_starts(s, STR("whsec_"))) {
        return err_set(err, ERR_INVALID, "a webhook secret begins with whsec_");
    }
    ptrdiff_t n = base64_decode(str_skip(s, 6), out->bytes, sizeof out->bytes);
    if (n < WEBHOOK_KEY_MIN) {
        return err_set(err, ERR_INVALID, "a webhook secret is whsec_ and base64 of 24 to 64 bytes");
    }
    out->n = (size_t)n;
    return 0;
}

int webhook_key_load(const char *path, struct webhook_key *out, struct err *err)
{
    struct buf text;
    buf_init(&text, 1024);
    int rc = secret_file_read(path, &text, err);
    if (rc == 0) {
        rc = webhook_key_parse(buf_str(&text), out, err);
    }
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
    return rc;
}

void webhook_sign(const struct webhook_key *key, struct str id, int64_t at_s, struct str body,
                  char out[WEBHOOK_SIGNATURE_TEXT])
{
    struct buf text;
    uint8_t mac[WEBHOOK_MAC];
    unsigned n = sizeof mac;
    buf_init(&text, id.n + body.n + 64);
    buf_addf(&text, STR_FMT ".%lld.", STR_ARG(id), (long long)at_s);
    buf_add_str(&text, body);
    HMAC(EVP_sha256(), key->bytes, (int)key->n, (const unsigned char *)text.p, text.n, mac, &n);
    memcpy(out, "v1,", 3);
    base64_encode(mac, n, out + 3);
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
}

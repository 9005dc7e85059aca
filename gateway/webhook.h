/* Standard Webhooks: the three headers that let a receiver know who wrote a message, and when. Pure.
 *
 * Secret: "whsec_" and base64 of 24 to 64 bytes (also with GoTrue's "v1," in front). Signed text: "ID.SECONDS.BODY".
 * Thread rule: any thread. */
#ifndef TIDE_GATEWAY_WEBHOOK_H
#define TIDE_GATEWAY_WEBHOOK_H

#include "base/err.h"
#include "base/str.h"

enum { WEBHOOK_KEY_MAX = 64, WEBHOOK_SIGNATURE_TEXT = 64 };

struct webhook_key {
    uint8_t bytes[WEBHOOK_KEY_MAX];
    size_t n;
};
int webhook_key_parse(struct str text, struct webhook_key *out, struct err *err) TIDE_CHECK;
int webhook_key_load(const char *path, struct webhook_key *out,
                     struct err *err) TIDE_CHECK; /* a secret file */
/* "v1,<base64>" */
void webhook_sign(const struct webhook_key *key, struct str id, int64_t at_s, struct str body,
                  char out[WEBHOOK_SIGNATURE_TEXT]);

#endif
